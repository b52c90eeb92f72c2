"""Audit: who did what to which object, when, from where, and with what result.

Door: `Entry`, `write` (a row, in the caller's transaction), `tell` (a line of the log), `find`.

Every change that somebody asks for is in both, refusals included; so is what is refused because of
who asked, and what the scheduler does on a cluster as a user. The row of a change is written in the
transaction of the change: there is neither without the other. Posted messages are in the log alone:
the execution that each becomes is itself the record of who posted it and when, and a second row
would cost the hot path a part of its speed and keep a million rows a day. Plain reading is not
recorded.

Rows are added and, when they have had their time (`audit_lifetime_s`), removed; nothing changes
one. No entry holds a secret or anything of a message: an entry is built from the fields below and
from nothing else of a request, and what is not of the form of a name is left out.
"""

from bridge.audit.entries import Entry, tell, write
from bridge.audit.trail import Wanted, find

__all__ = ["Entry", "Wanted", "find", "tell", "write"]
