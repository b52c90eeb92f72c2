"""One active scheduler: a lease in the database, any number standing by."""

from __future__ import annotations

import hashlib
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
        self.holder = f"{socket.gethostname()}:{_place()}:{os.getpid()}:{os.urandom(4).hex()}"

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
    parts = holder.split(":")
    if len(parts) != 4 or parts[:2] != [socket.gethostname(), _place()]:
        return False
    return not Path("/proc", parts[2]).exists()


def _place() -> str:
    """Return what tells this kernel and its process numbers from all others.

    A host name does not: two containers may have the same, each with processes of its own.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        numbers = Path("/proc/self/ns/pid").readlink()
    except OSError:  # then no process is ever taken for gone: this place is like no other
        return os.urandom(8).hex()
    return hashlib.sha256(f"{boot}{numbers}".encode()).hexdigest()[:16]
