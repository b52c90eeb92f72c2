"""The page of all keys of a site file, written from the models: ``site_configs/README.md``.

python -m bridge.sites.reference > site_configs/README.md
"""

from __future__ import annotations

import json

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from bridge.sites.tables import TABLES
from bridge.sites.words import kinds

_HEAD = """\
# Site files

A site file is TOML. Three complete examples to start from: `sandbox.toml` (what `bridge sandbox up`
starts), `university.toml` (one cluster, Lustre and NFS), `centre.toml` (several clusters and
tenants, reached by ssh, sudo and slurmrestd).

    bridge config check site.toml           # every mistake at once, each with its line
    bridge config check site.toml --files   # on its host: keys, secrets and their modes too
    bridge config show site.toml            # what is in force, and where it comes from

`bridge api` and `bridge scheduler` read the file again on SIGHUP. A file with mistakes is refused
and the old one stays in force.

This page is made from the models: `python -m bridge.sites.reference`.
"""


def write_reference() -> str:
    """Return the page as Markdown."""
    return "\n".join([_HEAD, *(_write_table(title, model) for title, model in TABLES)])


def _write_table(title: str, model: type[BaseModel]) -> str:
    about = " ".join((model.__doc__ or "").split())
    fixed: tuple[str, ...] = getattr(model, "fixed", ())
    rows = [
        _write_row(name, field, is_fixed=name in fixed)
        for name, field in model.model_fields.items()
    ]
    head = ["| key | what | default | meaning |", "|---|---|---|---|"]
    return "\n".join([f"## {title}", "", about, "", *head, *rows, ""])


def _write_row(name: str, field: FieldInfo, *, is_fixed: bool) -> str:
    if field.is_required():
        default = "required"
    elif field.default is None:
        default = "none"
    elif isinstance(field.default, BaseModel):
        default = "its own defaults"
    else:
        default = f"`{json.dumps(field.default, default=str)}`"
    kind = " or ".join(dict.fromkeys(kinds(field.annotation)))
    meaning = " ".join((field.description or "One table each, see below.").split())
    if is_fixed:
        meaning += " A change needs a restart of the scheduler."
    return f"| `{name}` | {kind} | {default} | {meaning.replace('|', '/')} |"


if __name__ == "__main__":
    print(write_reference(), end="")  # noqa: T201 - the page is what it is called for
