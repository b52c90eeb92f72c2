"""Whether the keys that a site file names by their files are keys, and belong together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from bridge.auth.encryption import load_secret_box
from bridge.auth.keys import load_private_key, load_public_keys
from bridge.errors import SiteConfigError
from bridge.sites import Site, Tenant, read_secret


def check_keys(site: Site) -> Iterator[str]:
    """Yield a line for each key or secret of `site` that cannot be used, its key in front."""
    yield from _lines(partial(load_public_keys, site))
    yield from _lines(partial(load_secret_box, site))
    secrets = [("metrics_token_file", site.metrics_token_file)]
    for name, tenant in site.tenants.items():
        secrets.append((f"tenants.{name}.webhook_key_file", tenant.webhook_key_file))
        yield from (f"tenants.{name}.private_key: {line}" for line in _check_pair(tenant))
    for key, path in secrets:
        if path is not None:
            yield from _lines(partial(read_secret, path, key))


def _lines(load: Callable[[], object]) -> list[str]:
    try:
        load()
    except SiteConfigError as error:
        return error.message.splitlines()
    return []


def _check_pair(tenant: Tenant) -> Iterator[str]:
    """What `bridge token create` signs must be believed."""
    if tenant.private_key is None:
        return
    try:
        own = load_private_key(tenant.private_key).public_key()
        known = [load_pem_public_key(path.read_bytes()) for path in tenant.public_keys]
    except SiteConfigError as error:
        yield error.message
        return
    except (OSError, ValueError):
        return  # `load_public_keys` has said it
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if own.public_bytes(*form) not in [key.public_bytes(*form) for key in known]:
        yield f"the public half of {tenant.private_key} is in none of public_keys"
