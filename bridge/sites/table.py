"""What every table of a site file is: strict, frozen, with a meaning and a unit for each key."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Table(BaseModel):
    """A table of the site file; a key that is not of it is a mistake.

    What several of its keys say together is checked by methods that `bridge.sites.mistakes.check`
    marks.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def uses(self, key: str) -> bool:
        """Whether the table under `key` has any effect."""
        return True
