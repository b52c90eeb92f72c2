"""`bridge token`: tokens for sites that have no issuer of their own."""

from __future__ import annotations

import os
from pathlib import Path

import click

from bridge.auth import sign_token
from bridge.auth.keys import make_pair
from bridge.clock import SystemClock
from bridge.errors import SettingsError, SiteConfigError
from bridge.settings import read_settings
from bridge.sites import load_site


@click.group()
def token() -> None:
    """Make tokens that the bridge believes."""


@token.command()
@click.option("--tenant", required=True, help="Name of the tenant, as in the site file.")
@click.option("--username", required=True, help="The user's name in the tenant.")
@click.option("--role", "roles", multiple=True, help="A role; may be repeated.")
@click.option(
    "--lifetime",
    default=43_200,
    show_default=True,
    type=click.IntRange(min=1),
    help="How long it holds, seconds.",
)
@click.option("--sandbox", "sandbox_name", help="Make it in this sandbox, with its keys.")
def create(
    tenant: str, username: str, roles: tuple[str, ...], lifetime: int, sandbox_name: str | None
) -> None:
    """Print a token for USERNAME, signed with the tenant's private key.

    The site file is the one that BRIDGE_SITE names.
    """
    if sandbox_name is not None:
        options = ["--lifetime", str(lifetime)]
        options += [word for role in roles for word in ("--role", role)]
        click.echo(_create_in_sandbox(sandbox_name, tenant, username, options))
        return
    site = load_site(read_settings().site_file)
    found = site.tenant(tenant)
    if found is None:
        raise SiteConfigError(
            f"There is no tenant {tenant!r}; known tenants: {', '.join(sorted(site.tenants))}."
        )
    name, table = found
    granted = roles or (table.user_role,)
    click.echo(sign_token(table, name, username, granted, lifetime, SystemClock()))


@token.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--algorithm",
    default="ES256",
    show_default=True,
    type=click.Choice(["ES256", "RS256"]),
    help="What the key signs with.",
)
def keys(path: Path, algorithm: str) -> None:
    """Make a pair of keys: PATH.pem, which signs, and PATH.pub, which verifies.

    They are what the site file's `private_key` and `public_keys` of a tenant name. The first is the
    service user's alone (mode 0600). Nothing is written over.
    """
    private, public = make_pair(algorithm)
    for ending, data, mode in (("pem", private, 0o600), ("pub", public, 0o644)):
        file = path.with_name(f"{path.name}.{ending}")
        try:
            handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        except OSError as error:
            raise SettingsError(f"{file} cannot be made ({error.strerror}).") from error
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        click.echo(file)


def _create_in_sandbox(name: str, tenant: str, username: str, options: list[str]) -> str:
    """Run the same command on the sandbox's login node, where its site file and keys are."""
    from bridge.sandbox import Sandbox
    from bridge.sandbox.service import BridgeService

    return BridgeService(Sandbox(name)).token(username, *options, tenant=tenant)
