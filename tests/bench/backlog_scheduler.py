"""The scheduler of `tests.bench.backlog`, in a process of its own: rounds under a long backlog.

``python -m tests.bench.backlog_scheduler <site.toml> <database URL> <seconds>`` prints JSON: what
each round took, the slowest of each other tick, the most memory that the process had, and how many
messages were given to workers and came to an end. Slurm is the one in memory; agents, spools and
journals are real. Workers are moved by hand, between rounds and outside of what is measured.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import func, select

from bridge.cli.loaded import keep_what_is_loaded
from bridge.clock import SystemClock
from bridge.core.statuses import ExecutionStatus
from bridge.db import Database, Execution
from bridge.scheduler.cron import cron_tick
from bridge.scheduler.deliver import links_tick
from bridge.scheduler.evict import evict_tick
from bridge.scheduler.housekeeping import housekeeping_tick
from bridge.scheduler.images import find_wanted, tell_actors
from bridge.scheduler.lease import SchedulerLease
from bridge.scheduler.loop import SchedulerLoop
from bridge.scheduler.users import users_tick
from bridge.sessions import SessionPool
from bridge.sessions.openers import local_opener
from bridge.sessions.program import AgentProgram
from bridge.sites import load_site
from tests.unit.scheduler.world import Hand, World, finished

ROUND_S = 0.5
OTHERS_EVERY = 10  # rounds
MESSAGES_EACH = 4  # that each worker ends between two rounds


class Workers:
    """Every array task that Slurm has, each of which ends a few messages at a time."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._hands: list[Hand] = []

    def move(self) -> None:
        """Start what waits, and let each worker do a part of its work."""
        slurm = self._world.slurm
        for job in list(slurm.jobs.values()):
            for task in job.tasks:
                if task.state == "PENDING":
                    slurm.start(job.id, task.index)
                    self._hands.append(Hand(self._world, job.id, task.index).join())
        self._hands = [hand for hand in self._hands if self._work(hand)]

    def _work(self, hand: Hand) -> bool:
        for _ in range(MESSAGES_EACH):
            if hand.is_told_to_leave():
                hand.leave("stop")
                return False
            if hand.todo or hand.claim() is not None:
                began = time.time() - ROUND_S / MESSAGES_EACH
                hand.journal.write(finished(hand.begin(), began))
        return True


def _other_ticks(world: World) -> dict[str, Callable[[], object]]:
    context, whole = world.context, world.context.whole
    return {
        "users": lambda: users_tick(context),
        "images": lambda: (find_wanted(context), tell_actors(context)),
        "links": lambda: links_tick(whole),
        "cron": lambda: cron_tick(whole),
        "evict": lambda: evict_tick(context),
        "housekeeping": lambda: housekeeping_tick(whole),
    }


def _timed(step: Callable[[], object]) -> float:
    begun = time.monotonic()
    step()
    return (time.monotonic() - begun) * 1000


def _peak_mib() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    [peak] = [line for line in lines if line.startswith("VmHWM:")]
    return int(peak.split()[1]) / 1024


def _counts(database: Database) -> dict[str, int]:
    with database.read() as session:
        bound = select(func.count()).where(Execution.array_id.is_not(None))
        done = bound.where(Execution.status == ExecutionStatus.COMPLETE)
        return {
            "given_out": session.scalars(bound).one(),
            "complete": session.scalars(done).one(),
        }


def main() -> None:
    """Go round for some seconds, and print what that took."""
    site_file, database_url, seconds = sys.argv[1:]
    database, clock = Database(database_url), SystemClock()
    program = AgentProgram()
    sessions = SessionPool(local_opener(program.argv(sys.executable)))
    world = World(load_site(Path(site_file)), database, clock, sessions)  # type: ignore[arg-type]
    loop = SchedulerLoop([world.context], SchedulerLease(database, clock))
    workers, others = Workers(world), _other_ticks(world)
    rounds: list[float] = []
    slowest = dict.fromkeys(others, 0.0)
    keep_what_is_loaded()  # as the command does
    end = time.monotonic() + float(seconds)
    while (begun := time.monotonic()) < end:
        rounds.append(_timed(loop.work))
        if len(rounds) % OTHERS_EVERY == 0:
            for name, tick in others.items():
                slowest[name] = max(slowest[name], _timed(tick))
        workers.move()
        time.sleep(max(0.0, begun + ROUND_S - time.monotonic()))
    report = {"rounds_ms": rounds, "others_ms": slowest, "rss_mib": _peak_mib()}
    print(json.dumps(report | _counts(database)))
    sessions.close()
    program.remove()


if __name__ == "__main__":
    main()
