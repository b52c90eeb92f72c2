"""The worker of an array task, or of a slot of one: claims chunks, runs message after message.

The protocol is in bridge.node. What makes a message run at most once is the order: `started` is on
the disk, the worker is known not to be fenced off, then the container starts. What is said of a
message that has ended is written together with the start of the next one, which follows at once, or
at the end of the chunk: one write and one flush a message.
"""

import time
from typing import List, Optional, Tuple

from bridge.node.capture import Capture
from bridge.node.deadline import Deadline
from bridge.node.identity import Identity
from bridge.node.journal import Fenced, Journal, Record
from bridge.node.lookout import Lookout
from bridge.node.messages import Message
from bridge.node.orders import Orders
from bridge.node.points import reached
from bridge.node.progress import Progress
from bridge.node.results import Batch, Results
from bridge.node.signals import Signals
from bridge.node.spool import Array, Chunk, Spool
from bridge.node.starter import RUNTIME_FAILED, TERMINATED, Ending, Outcome, Starter

CANCEL_GRACE_S = 5.0  # a force quit is over in 10 s, the way of the order and the report included
END_GRACE_S = 3.0  # when the whole task ends: Slurm's own grace (KillWait) may be 5 s
FENCE_EVERY = 10  # looks at the orders for one look at the journal's name
IDLE_FIRST_S, IDLE_LONGEST_S, IDLE_SHARE = 0.05, 0.25, 0.02
ORDERS_S = 1.0  # between two looks at the orders of a worker that waits
OTHERS_S = 4.0  # ... while another of its array task looks into the inbox
WRITE_AGAIN_S = (1.0, 5.0, 20.0)


class Worker:
    """Works on one array."""

    def __init__(
        self,
        spool: Spool,
        array: Array,
        identity: Identity,
        journal: Journal,
        starter: Starter,
        signals: Signals,
        deadline: Deadline,
        lookout: Optional[Lookout] = None,
    ) -> None:
        self._spool = spool
        self._array = array
        self._identity = identity
        self._journal = journal
        self._starter = starter
        self._signals = signals
        self._deadline = deadline
        self._lookout = lookout or Lookout()
        self._orders = Orders(spool, identity.number)
        self._held: List[Record] = []  # of messages that have ended, and not written yet

    def work(self) -> None:
        """Take chunks and run their messages until there is a reason to leave; say that reason.

        Raises:
            Fenced: the bridge has taken this worker for gone; it may say nothing any more.
            OSError: the journal cannot be written.
        """
        remaining: List[str] = []
        while True:
            chunk, why = self._next_chunk()
            if chunk is not None:
                why, remaining = self._run_chunk(chunk)
            if why:
                self._write({"t": "left", "why": why, "remaining": remaining})
                return

    def _next_chunk(self) -> Tuple[Optional[Chunk], str]:
        """Return the next chunk, or why there is none.

        A worker without work reads the inbox again after a fiftieth of the time that it has waited:
        twenty times a second at first, four times after twelve seconds, each time a directory
        opened, read and closed. So much a thousand idle workers ask of a metadata server, and one
        of an actor's waits as a rule. A message that finds it waiting is seen within a quarter of
        a second. Orders, and whether its journal still stands, it looks at once a second, and
        before it claims. Of several in an array task one does so for all (bridge.node.lookout).
        """
        try:
            return self._wait_for_chunk()
        finally:
            self._lookout.leave()

    def _wait_for_chunk(self) -> Tuple[Optional[Chunk], str]:
        idle_from = looked_at = time.monotonic()
        looked_at -= OTHERS_S
        while True:
            now = time.monotonic()
            is_lookout = self._lookout.take()
            is_due = now >= looked_at + (ORDERS_S if is_lookout else OTHERS_S)
            if is_due or self._signals.has_come or (is_lookout and self._spool.has_chunks()):
                looked_at = now
                why = self._reason_to_leave()
                if why:
                    return None, why
                self._journal.check()
                chunk = self._spool.claim(self._identity.name)
                if chunk is not None:
                    reached("claimed")
                    return chunk, ""
            idle_s = time.monotonic() - idle_from
            if idle_s >= self._array.idle_timeout_s:
                return None, "empty"
            pause_s = min(max(IDLE_FIRST_S, idle_s * IDLE_SHARE), IDLE_LONGEST_S)
            self._signals.wait(min(pause_s, self._array.idle_timeout_s - idle_s))

    def _run_chunk(self, chunk: Chunk) -> Tuple[str, List[str]]:
        """Run a chunk's messages; return why it was left early, and the ids of what is left."""
        if chunk.bad_lines:
            self._write(*[{"t": "bad_line", "error": error} for error in chunk.bad_lines])
        for number, message in enumerate(chunk.messages):
            why = self._reason_to_leave()
            if why:
                self._write_held()
                return why, [left.id for left in chunk.messages[number:]]
            if self._orders.is_cancelled(message.id):
                self._finish(message, time.time(), Outcome(TERMINATED, ended_by="cancel"))
            else:
                self._run(message)
        self._write_held()
        return "", []

    def _reason_to_leave(self) -> str:
        if self._signals.has_come:
            return "signal"
        return self._orders.why_leave() or ("" if self._deadline.has_room() else "time")

    def _run(self, message: Message) -> None:
        begun = time.monotonic()
        self._write_held({"t": "started", "id": message.id})
        reached("started")
        started_at = time.time()
        log = Capture(
            self._spool.path("logs", message.id),
            self._array.inline_log_bytes,
            self._array.log_limit_bytes,
        )
        results = Results(
            self._spool.path("results", message.id),
            self._array.inline_log_bytes,
            self._array.max_result_bytes,
        )
        watch = _Watch(self, message, begun, Progress(self._journal, message.id, log, results))
        try:
            outcome = self._starter.run(message, log, results, watch)
        except OSError as error:  # no process, no memory, no descriptor: it did not get to run
            outcome = Outcome(RUNTIME_FAILED, "The container cannot be started: %s" % error)
        finally:
            log.close()
        reached("ran")
        self._deadline.add(time.monotonic() - begun)
        self._finish(message, started_at, outcome, log, results)

    def _finish(
        self,
        message: Message,
        started_at: float,
        outcome: Outcome,
        log: Optional[Capture] = None,
        results: Optional[Results] = None,
    ) -> None:
        record: Record = {"t": "finished", "id": message.id, "at": time.time()}
        record["started_at"] = started_at
        if log is None or outcome.runtime_error is not None:
            # What is in the log then are the runtime's words, not the actor's.
            record.update(log="", log_bytes=0, log_truncated=False)
        else:
            record.update(log=log.text, log_bytes=log.total_bytes, log_truncated=log.is_truncated)
        record.update(outcome._asdict())
        record["results"] = self._tell_most(message, results) if results else None
        record["notes"] = "\n".join(outcome.notes + (results.notes if results else ()))
        self._held.append(record)

    def _tell_most(self, message: Message, results: Results) -> Optional[Batch]:
        """Write all results but the last batch, which the `finished` record takes."""
        batch = results.next_batch()
        while batch is not None:
            results.mark_told(batch)
            following = results.next_batch()
            if following is None:
                break
            self._write({"t": "progress", "id": message.id, "log": "", "results": batch})
            batch = following
        return batch

    def _write_held(self, *records: Record) -> None:
        """Write what is held, and `records` after it."""
        held, self._held = self._held, []
        if held or records:
            self._write(*held, *records)
        if held:
            reached("finished")

    def _write(self, *records: Record) -> None:
        """Write what must not be lost: a full disk or a used up quota may pass."""
        for pause_s in WRITE_AGAIN_S:
            try:
                return self._journal.write(*records)
            except OSError:
                time.sleep(pause_s)
        return self._journal.write(*records)

    def look_around(self, message: Message, begun: float, fence: bool) -> Optional[Ending]:
        """Return why the running container has to end, if it has to."""
        grace_s = self._array.kill_grace_s
        short_s = min(grace_s, END_GRACE_S)
        if self._signals.has_come:
            return Ending("signal", short_s)
        if self._deadline.left_s <= 0:
            return Ending("time_limit", short_s)
        limit_s = self._array.max_run_time_s
        if limit_s and time.monotonic() - begun >= limit_s:
            return Ending("time_limit", grace_s)
        if self._spool.has_order("cancel", message.id):
            return Ending("cancel", min(grace_s, CANCEL_GRACE_S))
        try:
            if fence:
                self._journal.check()
        except Fenced:
            return Ending("fenced", short_s)
        except OSError:
            pass  # a file server that hiccups is no reason; the next record will tell
        return None


class _Watch:
    """What the starter calls about once a second while a container runs."""

    def __init__(self, worker: Worker, message: Message, begun: float, progress: Progress) -> None:
        self._worker = worker
        self._message = message
        self._begun = begun
        self._progress = progress
        self._count = 0

    def __call__(self) -> Optional[Ending]:
        self._count += 1
        try:
            self._progress.tell()
        except Fenced:
            return Ending("fenced", END_GRACE_S)
        fence = self._count % FENCE_EVERY == 0
        return self._worker.look_around(self._message, self._begun, fence)
