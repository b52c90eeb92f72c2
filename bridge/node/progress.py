"""What a running execution has to tell so far: its log and its results, now and then."""

import time

from bridge.node.capture import Capture
from bridge.node.journal import Journal, Record
from bridge.node.results import Results

EVERY_S, SELDOM_S = 2.0, 30.0
SHARE = 0.02  # of the time that it has run: what runs for long tells less often


class Progress:
    """Writes the `progress` records of one execution."""

    def __init__(self, journal: Journal, execution: str, log: Capture, results: Results) -> None:
        self._journal = journal
        self._execution = execution
        self._log = log
        self._results = results
        self._begun = time.monotonic()
        self._due_at = self._begun

    def tell(self) -> None:
        """Write what is new, if it is time to.

        Raises:
            Fenced: the journal was taken away.
        """
        now = time.monotonic()
        if now < self._due_at:
            return
        pause_s = (now - self._begun) * SHARE
        self._due_at = now + min(max(pause_s, EVERY_S), SELDOM_S)
        news = self._log.read_news()
        batch = self._results.next_batch()
        if not news and batch is None:
            return
        record: Record = {"t": "progress", "id": self._execution, "log": news, "results": batch}
        try:
            self._journal.write(record)
        except OSError:
            return  # the disk is full, or the server hiccups: `finished` has the log, too
        if batch is not None:
            self._results.mark_told(batch)
