"""One active scheduler: a lease in the database, any number standing by."""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from pathlib import Path

from sqlalchemy.exc import IntegrityError

from bridge.clock import Clock
from bridge.db import Database, Lease

DURATION = timedelta(seconds=15)


class SchedulerLease:
    """The lease as one process sees it."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self.holder = f"{socket.gethostname()}:{os.getpid()}:{os.urandom(4).hex()}"

    def hold(self) -> bool:
        """Take or renew the lease; whether it is ours now."""
        now = self._clock.now()
        try:
            with self._database.begin() as session:
                lease = session.get(Lease, "scheduler", with_for_update=True)
                if lease is None:
                    lease = Lease(name="scheduler", holder=self.holder, expires_at=now)
                    session.add(lease)
                taken = lease.holder != self.holder and lease.expires_at > now
                if taken and not is_gone(lease.holder):
                    return False
                if lease.holder == self.holder and lease.expires_at - now > DURATION / 2:
                    return True
                lease.holder, lease.expires_at = self.holder, now + DURATION
        except IntegrityError:  # another one was first
            return False
        return True

    def release(self) -> None:
        """Let another take over at once."""
        with self._database.begin() as session:
            lease = session.get(Lease, "scheduler", with_for_update=True)
            if lease is not None and lease.holder == self.holder:
                session.delete(lease)


def is_gone(holder: str) -> bool:
    """Whether `holder` was a process of this host that is no more: its lease need not run out.

    A process number that is in use again says nothing; then the lease is waited for.
    """
    host, pid, _ = holder.rsplit(":", 2)
    return host == socket.gethostname() and not Path("/proc", pid).exists()
