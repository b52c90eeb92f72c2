"""The loop: APScheduler calls ticks, and lives only here.

Timers only, no job store: what is to be done stands in our own tables. One instance of each tick at
a time; a tick that is late is run once, not once for each time it missed. The rounds in which
messages go to workers have a thread of their own, since they are also run as soon as there is
something to do (bridge.scheduler.pace).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent import futures

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from bridge.clock import monotonic_s
from bridge.errors import SlurmError
from bridge.events import make_sender
from bridge.scheduler.close import closing_tick
from bridge.scheduler.context import ClusterContext, SiteContext
from bridge.scheduler.cron import cron_tick
from bridge.scheduler.deliver import Webhooks, links_tick
from bridge.scheduler.evict import evict_tick
from bridge.scheduler.feed import feed_tick
from bridge.scheduler.hot import look_at_hot
from bridge.scheduler.housekeeping import housekeeping_tick
from bridge.scheduler.idle import idle_tick, leave_tick
from bridge.scheduler.journals import harvest_tick
from bridge.scheduler.lease import SchedulerLease
from bridge.scheduler.news import News
from bridge.scheduler.pace import PROBE_S, Due, Pace
from bridge.scheduler.plan import plan_tick
from bridge.scheduler.pulls import Pulls
from bridge.scheduler.renew import renew_contexts
from bridge.scheduler.stop import cancel_tick, stop_tick
from bridge.scheduler.submit import due_arrays, submit_array
from bridge.scheduler.surplus import surplus_tick
from bridge.scheduler.users import users_tick
from bridge.scheduler.watch import watch_tick
from bridge.sites import Site

log = logging.getLogger(__name__)

SETTLE_S = 1.0
WATCH_S = 2.0
# A Slurm that takes long to answer, or does not, is left in peace for so many times as long: the
# other work of the same thread goes on meanwhile.
PEACE = 4.0
QUESTIONS_S = 0.5
DELIVER_S = 0.5
CRON_S = 10.0
HOUSEKEEPING_S = 60.0
SUBMITTERS = 4  # one sbatch may hang for minutes


class SchedulerLoop:
    """The ticks of one scheduler process over all clusters of the site."""

    def __init__(self, contexts: Sequence[ClusterContext], lease: SchedulerLease) -> None:
        self._contexts = contexts
        self._lease = lease
        self._webhooks = Webhooks(contexts[0].whole, make_sender(contexts[0].site))
        self._leading = False
        self._news = News(contexts[0].database)
        self._pace = Pace(self._news.newest, monotonic_s)
        self._ended = threading.Event()
        self._rounds = threading.Thread(target=self._go_round, name="rounds", daemon=True)
        self._pulls = Pulls()
        self._settle_due = self._watch_due = 0.0
        self._peace_until: dict[str, float] = {}
        self._submitters = futures.ThreadPoolExecutor(SUBMITTERS, "submit")
        self._timers = BackgroundScheduler(
            executors={"default": ThreadPoolExecutor(8)},
            job_defaults={"max_instances": 1, "coalesce": True, "misfire_grace_time": None},
        )

    def run(self, stop: threading.Event) -> None:
        """Run until `stop` is set; a tick under way is finished first."""
        self.start()
        stop.wait()
        self.finish()

    def start(self) -> None:
        """Start the rounds, and the timers of all other ticks."""
        for seconds, tick in (
            (QUESTIONS_S, lambda: self._each(users_tick)),
            (QUESTIONS_S, lambda: self._each(self._pulls.tick)),
            (DELIVER_S, lambda: self._once(links_tick)),
            (DELIVER_S, lambda: self._once(lambda _: self._webhooks.tick())),
            (CRON_S, lambda: self._once(cron_tick)),
            (HOUSEKEEPING_S, lambda: self._once(housekeeping_tick)),
            (HOUSEKEEPING_S, lambda: self._each(_close_idle)),
            (HOUSEKEEPING_S, lambda: self._each(evict_tick)),
        ):
            self._timers.add_job(tick, "interval", seconds=seconds)
        self._timers.start()
        self._rounds.start()

    def renew(self, site: Site) -> None:
        """Let every further tick have `site`.

        Raises:
            SiteConfigError: `site` cannot be taken over; nothing has changed then.
        """
        contexts = renew_contexts(self._contexts, site)
        self._webhooks.renew(contexts[0].whole, make_sender(site))
        self._contexts = contexts

    def finish(self) -> None:
        """Finish the ticks and submissions under way, and let another scheduler lead."""
        self._ended.set()
        self._rounds.join()
        self._news.close()
        self._timers.shutdown(wait=True)
        self._submitters.shutdown(wait=True)
        self._webhooks.close()
        self._lease.release()

    def _go_round(self) -> None:
        """Do what is due until the loop is to end."""
        while not self._ended.wait(PROBE_S):
            is_hot = any(context.hot for context in self._contexts)
            due = self._pace.next_due(is_hot=is_hot and self._leading)
            if due is None:
                continue
            begun = monotonic_s()
            try:
                {Due.ROUND: self.work, Due.NEWS: self.hurry, Due.LOOK: self.look}[due]()
            except Exception:
                log.exception("round failed")
            self._pace.note(due, begun, self._take_wait())

    def _take_wait(self) -> float | None:
        """Return after how many seconds there will be something to plan, once."""
        waits = []
        for context in self._contexts:
            waits.append(context.memory.plan_again_s)
            context.memory.plan_again_s = None
        return min((wait for wait in waits if wait is not None), default=None)

    def hurry(self) -> None:
        """Give out what has come, and do nothing else."""
        if self._lead():
            self._each(plan_and_feed)
            self._each(self._submit)

    def look(self) -> None:
        """See what became of what was given out just now; give out what waited for that."""
        done: list[bool] = []
        self._each(lambda context: done.append(look_at_hot(context)))
        if any(done):
            self.hurry()

    def _lead(self) -> bool:
        """Whether this is the one scheduler that works; says so when that changes."""
        leading = self._lease.hold()
        if leading is not self._leading:
            log.info("leading" if leading else "standing by")
            self._leading = leading
            for context in self._contexts:
                context.memory.shown = None  # another may have shown other reasons meanwhile
        return leading

    def work(self) -> None:
        """Do one round of harvesting, planning, feeding, submitting, watching and closing."""
        self._lead()
        now = monotonic_s()
        settle, watch = now >= self._settle_due, now >= self._watch_due
        if settle:
            self._settle_due = now + SETTLE_S
        if watch:
            self._watch_due = now + WATCH_S
        self._each(cancel_tick)
        self._each(lambda context: harvest_tick(context, with_idle=settle))
        self._each(plan_and_feed)
        self._each(self._submit)
        if settle:
            self._each(settle_arrays)
        if watch:
            self._each(self._watch)

    def _watch(self, context: ClusterContext) -> None:
        begun = monotonic_s()
        if begun < self._peace_until.get(context.name, 0.0):
            return
        try:
            watch_slurm(context)
        finally:
            ended = monotonic_s()
            self._peace_until[context.name] = ended + PEACE * (ended - begun)

    def _submit(self, context: ClusterContext) -> None:
        """Have arrays submitted while this thread goes on, one of an owner's at a time.

        An owner's second one would wait for the same session, and hold up somebody else's.
        """
        for token, login in due_arrays(context):
            if login not in list(context.submitting.values()):
                context.submitting[token] = login
                self._submitters.submit(self._submit_one, context, token)

    @staticmethod
    def _submit_one(context: ClusterContext, token: str) -> None:
        try:
            submit_array(context, token)
        except Exception:
            log.exception("submission failed", extra={"facts": {"array": token}})
        finally:
            del context.submitting[token]

    def _each(self, tick: Callable[[ClusterContext], object]) -> None:
        """Run `tick` on every cluster; what goes wrong on one does not stop the others."""
        if not self._leading:
            return
        for context in self._contexts:
            try:
                tick(context)
            except SlurmError as error:
                log.warning("Slurm: %s", error.message, extra={"facts": {"cluster": context.name}})
            except Exception:
                log.exception("tick failed", extra={"facts": {"cluster": context.name}})

    def _once(self, tick: Callable[[SiteContext], object]) -> None:
        """Run a `tick` that concerns no cluster."""
        if not self._leading:
            return
        try:
            tick(self._contexts[0].whole)
        except Exception:
            log.exception("tick failed")


def plan_and_feed(context: ClusterContext) -> None:
    """Give out what waits: to new arrays, which are then due, and to those that run."""
    plan_tick(context)
    feed_tick(context)


def settle_arrays(context: ClusterContext) -> None:
    """Bring arrays to their end."""
    idle_tick(context)
    surplus_tick(context)
    leave_tick(context)
    closing_tick(context)


def watch_slurm(context: ClusterContext) -> None:
    """Tell Slurm, and ask it."""
    stop_tick(context)
    watch_tick(context)


def _close_idle(context: ClusterContext) -> None:
    context.sessions.close_idle()
    context.submitters.close_idle()
