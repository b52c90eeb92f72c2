"""Limits: of the whole site, and of a tenant and each of its users."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import Field

from bridge.sites.mistakes import Mistake, check
from bridge.sites.table import Table

if TYPE_CHECKING:
    from bridge.sites.model import Site

_BOTH = ("max_queued_messages", "max_workers", "max_arrays", "core_hours_per_day")


class TenantLimits(Table):
    """What a tenant may use at once, and each of its users."""

    weight: float = Field(
        1.0, gt=0, description="Part of the cluster's `max_workers` beside other tenants'."
    )
    user_weights: dict[str, float] = Field(
        {},
        description="Parts of users beside each other, of the tenant's; 1 where none is given.",
    )
    max_message_bytes: int | None = Field(
        None,
        gt=0,
        description="Largest message; none: the site's limit, bytes.",
    )
    max_queued_messages: int | None = Field(
        None, gt=0, description="Messages of the tenant that wait or run at once; none: no limit."
    )
    max_queued_messages_per_user: int | None = Field(
        None, gt=0, description="Messages of one owner's actors that wait or run at once."
    )
    max_workers: int | None = Field(None, gt=0, description="Workers of the tenant at once.")
    max_workers_per_user: int | None = Field(None, gt=0, description="Workers of one user at once.")
    max_arrays: int | None = Field(None, gt=0, description="Job arrays of the tenant at once.")
    max_arrays_per_user: int | None = Field(
        None, gt=0, description="Job arrays of one user at once."
    )
    core_hours_per_day: float | None = Field(
        None, gt=0, description="CPU hours that the tenant's workers may hold in a day (UTC)."
    )
    core_hours_per_day_per_user: float | None = Field(
        None, gt=0, description="CPU hours that one user's workers may hold in a day (UTC)."
    )

    @check(*_BOTH, *(f"{name}_per_user" for name in _BOTH))
    def _check_users(self, _site: Site) -> Iterator[Mistake]:
        for name in _BOTH:
            all_of_them, one = getattr(self, name), getattr(self, f"{name}_per_user")
            if all_of_them is not None and one is not None and one > all_of_them:
                text = f"found {one}, has no effect: {name} is {all_of_them}"
                yield Mistake((f"{name}_per_user",), text, is_warning=True)

    @check("max_message_bytes")
    def _check_message(self, site: Site) -> Iterator[Mistake]:
        most = getattr(getattr(site, "limits", None), "max_message_bytes", None)
        if (
            most is not None
            and self.max_message_bytes is not None
            and self.max_message_bytes > most
        ):
            text = f"found {self.max_message_bytes}, expected at most the site's {most} (bytes)"
            yield Mistake(("max_message_bytes",), text)

    @check("user_weights")
    def _check_weights(self, _site: Site) -> Iterator[Mistake]:
        for user, weight in self.user_weights.items():
            if weight <= 0:
                text = f"found {weight}, expected a number above 0"
                yield Mistake(("user_weights", user), text)


class Limits(Table):
    """Limits of the whole site."""

    max_message_bytes: int = Field(
        500_000_000, gt=0, le=2**40, description="Largest binary message, bytes."
    )
    max_text_message_bytes: int = Field(
        1_048_576, gt=0, description="Largest form or JSON body, bytes."
    )
    max_batch_messages: int = Field(10_000, gt=0, description="Most messages of one batch.")
    max_batch_bytes: int = Field(8_388_608, gt=0, description="Largest body of a batch, bytes.")
    max_log_length: int = Field(
        1_000_000, gt=0, description="Characters of an execution's log that are kept."
    )
    log_ex_s: int = Field(43_200, gt=0, description="Lifetime of a log, seconds.")
    log_ex_limit_s: int = Field(2_592_000, gt=0, description="Longest `log_ex` granted, seconds.")
    max_result_bytes: int = Field(
        67_108_864,
        gt=0,
        le=1 << 30,
        description="Results of one execution together, bytes; each counts 1 KiB at least.",
    )
    result_lifetime_s: int = Field(604_800, gt=0, description="Lifetime of a result, seconds.")

    @check("log_ex_s", "log_ex_limit_s")
    def _check_logs(self, _site: Site) -> Iterator[Mistake]:
        if self.log_ex_s > self.log_ex_limit_s:
            text = f"found {self.log_ex_s}, expected at most log_ex_limit_s, {self.log_ex_limit_s}"
            yield Mistake(("log_ex_s",), text)
