"""``bridge scheduler``: the process that submits and harvests."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Mapping
from queue import SimpleQueue

import click

from bridge import logs
from bridge.auth import load_secret_box
from bridge.cli.loaded import keep_what_is_loaded
from bridge.cli.reload import note_reload, read_site, refuse_reload
from bridge.clock import SystemClock
from bridge.db import Database
from bridge.errors import BridgeError, SessionError, SlurmError
from bridge.scheduler.context import ClusterContext, no_hook
from bridge.scheduler.lease import SchedulerLease
from bridge.scheduler.loop import SchedulerLoop
from bridge.scheduler.users import find_ids
from bridge.sessions import UserSession
from bridge.sessions.patience import Patience
from bridge.sessions.program import AgentProgram
from bridge.sessions.ways import Ways, start_ways
from bridge.settings import Settings, read_settings
from bridge.sites import Site
from bridge.slurm import make_slurm
from bridge.slurm.tokens import Sign, start_signers

log = logging.getLogger(__name__)


@click.command()
@click.option(
    "--service-user",
    default="bridge",
    show_default=True,
    help="Where a cluster's session is setuid: whom to become once the spawner is started.",
)
def scheduler(service_user: str) -> None:
    """Run the scheduler: one is active, others stand by.

    Started as root where a cluster's `session` is "setuid". Only a small spawner keeps root's
    rights; this process goes on as the service user. SIGHUP makes it read the site file again.
    """
    orders: SimpleQueue[int] = SimpleQueue()  # the one whose put() a signal may interrupt
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: orders.put(number))
    settings = read_settings()
    logs.configure(settings.log_level)
    site = read_site(settings.site_file)
    program = AgentProgram()
    signers = start_signers(site, service_user)
    ways = start_ways(site, program, service_user)
    database = Database(settings.database_url)
    contexts = _contexts(site, database, program, ways, signers)
    for context in contexts:
        _check_slurm(context)
    loop = SchedulerLoop(contexts, SchedulerLease(database, SystemClock()))
    keep_what_is_loaded()
    loop.start()
    while orders.get() == signal.SIGHUP:
        site = _reload(settings, site, loop)
    loop.finish()
    for context in contexts:
        context.sessions.close()
        context.submitters.close()
    ways.close()
    database.close()
    program.remove()


def _reload(settings: Settings, site: Site, loop: SchedulerLoop) -> Site:
    """Return the site that is in force from now on: the one in the file, or the old one."""
    try:
        new = read_site(settings.site_file)
        loop.renew(new)
    except BridgeError as error:
        refuse_reload(error, "scheduler", settings.database_url)
        return site
    note_reload(site, new, "scheduler", settings.database_url)
    return new


def _check_slurm(context: ClusterContext) -> None:
    """Say which Slurm this is; one that is away for the moment is no reason not to start."""
    facts = {"facts": {"cluster": context.name}}
    try:
        log.info("cluster %s: %s", context.name, context.slurm.check(), extra=facts)
    except (SlurmError, SessionError) as error:
        log.warning("cluster %s: %s", context.name, error.message, extra=facts)


def _contexts(
    site: Site,
    database: Database,
    program: AgentProgram,
    ways: Ways,
    signers: Mapping[str, Sign],
) -> list[ClusterContext]:
    return [
        _context(name, site, database, program, ways, signers.get(name)) for name in site.clusters
    ]


def _context(
    name: str,
    site: Site,
    database: Database,
    program: AgentProgram,
    ways: Ways,
    sign: Sign | None,
) -> ClusterContext:
    cluster = site.clusters[name]
    own = ways.own(name, cluster)

    def observer() -> UserSession:
        return own.session("bridge")

    def known(login: str) -> tuple[int, int] | None:
        return find_ids(database, name, login)

    return ClusterContext(
        name=name,
        site=site,
        database=database,
        sessions=ways.owners(name, cluster, Patience(), known),
        submitters=ways.owners(name, cluster, known=known),
        observer=observer,
        slurm=make_slurm(cluster, observer, sign),
        clock=SystemClock(),
        program=(program.data, program.digest),
        box=load_secret_box(site),
        at=crash_hook(),
    )


def crash_hook() -> Callable[[str], None]:
    """Return the test hook: BRIDGE_CRASH_AT names a point at which this process kills itself."""
    point = os.environ.get("BRIDGE_CRASH_AT", "")
    if not point:
        return no_hook

    def crash(reached: str) -> None:
        if reached == point:
            os.kill(os.getpid(), signal.SIGKILL)

    return crash
