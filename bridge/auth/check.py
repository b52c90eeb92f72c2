"""Whether the keys that a site file names by their files are keys, and belong together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from bridge.auth.encryption import load_secret_box
from bridge.auth.keyring import load_rings
from bridge.auth.keys import load_private_key
from bridge.errors import SiteConfigError
from bridge.sites import Site, Tenant, read_secret


def check_keys(site: Site) -> Iterator[str]:
    """Yield a line for each key or secret of `site` that cannot be used, its key in front."""
    yield from _lines(partial(load_rings, site))
    yield from _lines(partial(load_secret_box, site))
    secrets = [("metrics_token_file", site.metrics_token_file)]
    for name, tenant in site.tenants.items():
        secrets.append((f"tenants.{name}.webhook_key_file", tenant.webhook_key_file))
        yield from (
            f"tenants.{name}.private_key: {line}" for line in _check_pair(name, tenant, site)
        )
    for key, path in secrets:
        if path is not None:
            yield from _lines(partial(read_secret, path, key))


def _lines(load: Callable[[], object]) -> list[str]:
    try:
        load()
    except SiteConfigError as error:
        return error.message.splitlines()
    return []


def _check_pair(name: str, tenant: Tenant, site: Site) -> Iterator[str]:
    """What `bridge token create` signs must be believed."""
    if tenant.private_key is None:
        return
    try:
        own = load_private_key(tenant.private_key)
    except SiteConfigError as error:
        yield error.message
        return
    if own.algorithm not in tenant.algorithms:
        yield f"{tenant.private_key} signs with {own.algorithm}, which algorithms does not have"
    if tenant.jwks_url is not None:
        return  # its keys are the issuer's to say, and nobody is asked here
    try:
        known = load_rings(site.model_copy(update={"tenants": {name: tenant}}))[name].keys()
    except SiteConfigError:
        return  # it has been said
    if own.private.public_key() not in [key.public for key in known]:
        yield f"the public half of {tenant.private_key} is in none of public_keys and jwks_file"
