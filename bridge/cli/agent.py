"""``bridge agent``: what root prepares on a host where users are become by sudo or bound keys."""

from __future__ import annotations

from pathlib import Path

import click

from bridge.sessions.openers import sudo_command
from bridge.sessions.program import install_program
from bridge.sites.ways import Sudo

program_argument = click.argument(
    "program", default=str(Sudo().program), type=click.Path(path_type=Path)
)


@click.group()
def agent() -> None:
    """Prepare a host for the `sudo` way, or for ssh keys that are bound to the agent."""


@agent.command()
@program_argument
def install(program: Path) -> None:
    """Write the agent's program to PROGRAM; to be repeated with each release.

    Only root may be able to change it, and the directories that it is in.
    """
    digest = install_program(program)
    click.echo(f"{program}: sha256 {digest}")


@agent.command()
@program_argument
@click.option("--service-user", default="bridge", show_default=True, help="Who may use sudo.")
@click.option(
    "--runas",
    required=True,
    help="Whom that user may become, as sudoers names them: alice,bob or %group; best a group of "
    "those whose actors may run.",
)
@click.option(
    "--python",
    default="/usr/bin/python3",
    show_default=True,
    help="The cluster's `node_python`.",
)
def sudoers(program: Path, service_user: str, runas: str, python: str) -> None:
    """Print the lines that PROGRAM needs, for a file in /etc/sudoers.d (mode 0440)."""
    command = " ".join(sudo_command(Sudo(program=program), python))
    click.echo(
        f"""\
# Abaco Bridge: the service user may start the agent as these users, and nothing else.
Cmnd_Alias ABACO_BRIDGE_AGENT = {command}
Defaults!ABACO_BRIDGE_AGENT env_reset, !requiretty, !use_pty, !log_input, !log_output
{service_user} ALL = ({runas}) NOPASSWD: ABACO_BRIDGE_AGENT"""
    )
