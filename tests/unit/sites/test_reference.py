from __future__ import annotations

import re
import tomllib

from pydantic import BaseModel

from bridge.sandbox.images import CHECKOUT
from bridge.sandbox.service import read_sandbox_site
from bridge.sites.model import Site
from bridge.sites.reference import write_reference
from bridge.sites.tables import TABLES


def test_the_page_is_what_the_models_say() -> None:
    page = (CHECKOUT / "site_configs" / "README.md").read_text(encoding="utf-8")
    assert page == write_reference(), (
        "run: python -m bridge.sites.reference > site_configs/README.md"
    )


def test_every_key_has_a_meaning() -> None:
    for _, model in TABLES:
        for name, field in model.model_fields.items():
            is_table = (model, name) in {(Site, key) for key in ("clusters", "tenants", "limits")}
            assert field.description or is_table or isinstance(field.default, BaseModel), (
                model.__name__,
                name,
            )


def test_every_key_has_an_effect() -> None:
    """A key that nothing outside of this room reads is a promise that is not kept."""
    room = CHECKOUT / "bridge"
    code = [path for path in room.rglob("*.py") if room / "sites" not in path.parents]
    text = "\n".join(path.read_text(encoding="utf-8") for path in code)
    read = set(re.findall(r"(?<=\.)[a-z_]+\b|(?<=\")[a-z_]+(?=\")", text))
    keys = {name for _, model in TABLES for name in model.model_fields}
    assert keys - read == {"container_url"}  # read by Site.callback_url


def test_the_example_has_only_keys_of_the_page() -> None:
    Site.model_validate(tomllib.loads(read_sandbox_site()))
