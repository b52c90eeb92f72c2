"""`bridge token`: tokens for sites that have no issuer of their own."""

from __future__ import annotations

import click

from bridge.auth import sign_token
from bridge.clock import SystemClock
from bridge.errors import SiteConfigError
from bridge.settings import read_settings
from bridge.sites import load_site


@click.group()
def token() -> None:
    """Make tokens that the bridge believes."""


@token.command()
@click.option("--tenant", required=True, help="Name of the tenant, as in the site file.")
@click.option("--username", required=True, help="The user's login on the tenant's cluster.")
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


def _create_in_sandbox(name: str, tenant: str, username: str, options: list[str]) -> str:
    """Run the same command on the sandbox's login node, where its site file and keys are."""
    from bridge.sandbox import Sandbox
    from bridge.sandbox.service import BridgeService

    return BridgeService(Sandbox(name)).token(username, *options, tenant=tenant)
