"""The root of the command line. Catches what is ours and prints one line; shows the rest whole."""

from __future__ import annotations

import sys

import click

from bridge import __version__
from bridge.cli.agent import agent
from bridge.cli.audit import audit
from bridge.cli.config import config
from bridge.cli.database import db
from bridge.cli.demo import demo
from bridge.cli.sandbox import sandbox
from bridge.cli.scheduler import scheduler
from bridge.cli.serve import api
from bridge.cli.token import token
from bridge.errors import BridgeError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bridge")
def cli() -> None:
    """Abaco Bridge: Abaco actors on a Slurm cluster."""


for command in (api, scheduler, config, audit, db, token, agent, sandbox, demo):
    cli.add_command(command)


def main() -> None:
    """Run the command line; an error of ours is one line and exit status 1."""
    try:
        cli()
    except BridgeError as error:
        click.echo(f"bridge: {error.message}", err=True)
        sys.exit(1)
