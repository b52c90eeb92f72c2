"""The page of all keys of a site file, written from the models: ``site_configs/README.md``.

python -m bridge.sites.reference > site_configs/README.md
"""

from __future__ import annotations

import json
import types
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from bridge.sites.identity import Claims, TableAccount
from bridge.sites.images import ImagePolicy, RegistryLogin
from bridge.sites.limits import TenantLimits
from bridge.sites.model import BatchPolicy, Cluster, Limits, Mount, Site, Tenant
from bridge.sites.ways import Slurmrestd, Ssh, Sudo

TABLES: tuple[tuple[str, type[BaseModel]], ...] = (
    ("The file itself", Site),
    ("`[limits]`", Limits),
    ("`[clusters.NAME]`", Cluster),
    ("`[clusters.NAME.sudo]`", Sudo),
    ("`[clusters.NAME.ssh]`", Ssh),
    ("`[clusters.NAME.slurmrestd]`", Slurmrestd),
    ("`[clusters.NAME.batch]` and `[tenants.NAME.batch]`", BatchPolicy),
    ("`[tenants.NAME]`", Tenant),
    ("`[tenants.NAME.claims]`", Claims),
    ("`[tenants.NAME.account_table.USERNAME]`", TableAccount),
    ("An entry of a tenant's `mounts`", Mount),
    ("`[tenants.NAME.images]`", ImagePolicy),
    ('`[tenants.NAME.images.logins."REGISTRY"]`', RegistryLogin),
    ("`[tenants.NAME.limits]`", TenantLimits),
)
_WORDS = {
    str: "text", int: "integer", float: "number", bool: "true or false", Path: "path",
    IPv4Network: "network", IPv6Network: "network",
}  # fmt: skip
_HEAD = """\
# Site files

A site file is TOML. `sandbox.toml` is a complete small one. This page is made from the models in
`bridge/sites/model.py`, which check the whole file at once: `python -m bridge.sites.reference`.
"""


def write_reference() -> str:
    """Return the page as Markdown."""
    return "\n".join([_HEAD, *(_write_table(title, model) for title, model in TABLES)])


def _write_table(title: str, model: type[BaseModel]) -> str:
    about = " ".join((model.__doc__ or "").split())
    rows = [_write_row(name, field) for name, field in model.model_fields.items()]
    head = ["| key | what | default | meaning |", "|---|---|---|---|"]
    return "\n".join([f"## {title}", "", about, "", *head, *rows, ""])


def _write_row(name: str, field: FieldInfo) -> str:
    if field.is_required():
        default = "required"
    elif field.default is None:
        default = "none"
    elif isinstance(field.default, BaseModel):
        default = "its own defaults"
    else:
        default = f"`{json.dumps(field.default, default=str)}`"
    kind = " or ".join(dict.fromkeys(_kinds(field.annotation)))
    meaning = " ".join((field.description or "One table each, see below.").split())
    return f"| `{name}` | {kind} | {default} | {meaning.replace('|', '/')} |"


def _kinds(hint: Any) -> Iterator[str]:
    """Yield the words for a type hint: more than one for a union."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        yield from _kinds(inner[0])
    elif origin in (Union, types.UnionType):
        for one in inner:
            if one is not type(None):
                yield from _kinds(one)
    elif origin is Literal:
        yield from (f'`"{one}"`' for one in inner)
    elif origin is tuple:
        yield "list of " + " or ".join(dict.fromkeys(_kinds(inner[0])))
    elif origin is dict:
        yield "table of " + " or ".join(_kinds(inner[1]))
    elif isinstance(hint, type) and issubclass(hint, BaseModel):
        yield "table"
    else:
        yield _WORDS[hint]


if __name__ == "__main__":
    print(write_reference(), end="")  # noqa: T201 - the page is what it is called for
