"""`bridge sandbox`: a real cluster in containers on this machine."""

from __future__ import annotations

import sys
import time

import click

from bridge.sandbox import Sandbox
from bridge.sandbox.images import SLURM, SLURM_SUITES

name_option = click.option(
    "--name", default="demo", show_default=True, help="Which sandbox; several can run side by side."
)


@click.group()
def sandbox() -> None:
    """Run a Slurm cluster with Apptainer in containers on this machine.

    Needs root and podman (or docker).
    """


@sandbox.command()
@name_option
@click.option("--nodes", default=2, show_default=True, help="How many compute nodes.")
@click.option(
    "--port",
    default=8080,
    show_default=True,
    help="Port of 127.0.0.1 that reaches the bridge; 0 takes any free one.",
)
@click.option(
    "--slurm",
    type=click.Choice(list(SLURM_SUITES)),
    default=SLURM,
    show_default=True,
    help="Version of Slurm.",
)
def up(name: str, nodes: int, port: int, slurm: str) -> None:
    """Bring the sandbox up, or see that it is whole.

    A sandbox that is stopped, half built or of another shape is removed with its data and made
    anew.
    """
    begun = time.monotonic()
    Sandbox(name).up(nodes=nodes, port=port, say=click.echo, slurm=slurm)
    click.echo(f"  {time.monotonic() - begun:.1f} s in all")


@sandbox.command()
@name_option
@click.option("--images", is_flag=True, help="Remove the images too, save those in use.")
def down(name: str, images: bool) -> None:
    """Remove the sandbox with all its data."""
    Sandbox(name).down(images=images, say=click.echo)


@sandbox.command()
@name_option
def status(name: str) -> None:
    """Show containers, Slurm's nodes and the address; exit code 1 unless all is well."""
    found = Sandbox(name).status()
    if not found.exists:
        click.echo(f"There is no sandbox {name}: bridge sandbox up --name {name}")
        sys.exit(1)
    for node, state in sorted(found.containers.items()):
        click.echo(f"{node:10} {state:10} {found.slurm_nodes.get(node, '')}".rstrip())
    click.echo(f"address    {found.url or 'none'}")
    for problem in found.problems:
        click.echo(f"problem    {problem}")
    sys.exit(0 if found.is_healthy else 1)


@sandbox.command(context_settings={"ignore_unknown_options": True})
@name_option
@click.option("--user", default="root", show_default=True, help="alice, bob, carol, bridge, root.")
@click.argument("node")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def shell(name: str, user: str, node: str, command: tuple[str, ...]) -> None:
    """Open a shell on NODE (head, login, c1, ...), or run COMMAND there."""
    sys.exit(Sandbox(name).shell(node, command, user=user))


@sandbox.command()
@name_option
@click.option("--lines", default=200, show_default=True, help="How many of each log.")
@click.argument("node")
def logs(name: str, lines: int, node: str) -> None:
    """Show the daemons' logs of NODE."""
    click.echo(Sandbox(name).logs(node, lines), nl=False)
