"""``bridge demo``: the sandbox, the bridge on it, and 600 digits through both."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from bridge.sandbox import Sandbox
from bridge.sandbox.demo import USER, DemoReport, run_demo, write_report
from bridge.sandbox.service import BridgeService

BAR = 40


@click.command()
@click.option("--name", default="demo", show_default=True, help="Which sandbox.")
@click.option("--nodes", default=2, show_default=True, help="How many compute nodes.")
@click.option("--port", default=8080, show_default=True, help="Port of 127.0.0.1 for the bridge.")
@click.option(
    "--report",
    default="build/demo.json",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Where the report goes.",
)
@click.option(
    "--session",
    type=click.Choice(["setuid", "sudo", "ssh"]),
    default="setuid",
    show_default=True,
    help="How the bridge becomes the owner.",
)
@click.option(
    "--slurm-port",
    type=click.Choice(["commands", "slurmrestd"]),
    default="commands",
    show_default=True,
    help="How Slurm is asked.",
)
def demo(name: str, nodes: int, port: int, report: Path, session: str, slurm_port: str) -> None:
    """Classify handwritten digits on a real Slurm cluster in containers.

    Starts the sandbox and the bridge where they do not run, and leaves them running.
    """
    sandbox = Sandbox(name)
    sandbox.up(nodes=nodes, port=port, say=click.echo)
    service = BridgeService(sandbox, slurm=slurm_port, session=session)
    found = run_demo(sandbox, click.echo, _show, service)
    write_report(found, report)
    _tell(found, sandbox)
    if found.complete != found.executions:
        sys.exit(f"{found.executions - found.complete} executions did not complete.")


def _show(queued: int, running: int, done: int, count: int) -> None:
    """Draw the progress bar; where the output is no terminal, a line now and then is enough."""
    filled = BAR * done // count
    bar = "#" * filled + "." * (BAR - filled)
    line = f"  [{bar}] queued {queued:4}  running {running:3}  done {done:4}"
    if sys.stdout.isatty():
        end = "\n" if done == count else ""
        sys.stdout.write(f"\r{line}{end}")
        sys.stdout.flush()
    elif done == count or done % 50 < running:
        click.echo(line)


def _tell(found: DemoReport, sandbox: Sandbox) -> None:
    token = BridgeService(sandbox).token(USER, "--lifetime", str(12 * 3600))
    click.echo(
        f"""
{found.complete} of {found.executions} executions COMPLETE in {found.seconds} s \
({found.executions_per_s} a second), accuracy {found.accuracy:.3f}
{found.sbatch_calls} Slurm arrays with {found.array_tasks} array tasks on \
{", ".join(found.nodes)}; {found.container_starts} containers; {found.cpu_seconds} CPU seconds
Slurm's own accounting (sacct): all of it ran as {found.user}"""
    )
    for row in found.sacct[:8]:
        click.echo(f"  {row}")
    click.echo(
        f"""
The bridge goes on running at {found.url}. As {USER}:

  TOKEN={token}
  curl -H "Authorization: Bearer $TOKEN" {found.url}/actors/v2
  curl -H "Authorization: Bearer $TOKEN" -d message=/corral/nothing.png \
{found.url}/actors/v2/{found.actor_id}/messages
  curl -H "Authorization: Bearer $TOKEN" {found.url}/actors/v2/{found.actor_id}/executions

To end it: bridge sandbox down{"" if sandbox.name == "demo" else f" --name {sandbox.name}"}"""
    )
