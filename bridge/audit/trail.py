"""Reading the trail, newest first, in pages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Select, select

from bridge.audit.entries import Entry
from bridge.db import AuditRecord, Database

PAGE = 1000
_COLUMNS = [getattr(AuditRecord, name) for name in Entry.__dataclass_fields__]


@dataclass(frozen=True)
class Wanted:
    """What is looked for; None: whatever it is.

    Attributes:
        tenant: in this tenant.
        username: by this user.
        action: this one, or all of a kind (``actor``).
        object: this one, whole (``actor Ab3...``) or by its name.
        since: not before.
        until: before.
    """

    tenant: str | None = None
    username: str | None = None
    action: str | None = None
    object: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def query(self) -> Select[int]:
        """Return the statement that finds the records' numbers."""
        query = select(AuditRecord.id)
        for name in ("tenant", "username"):
            if (value := getattr(self, name)) is not None:
                query = query.where(getattr(AuditRecord, name) == value)
        if self.action is not None:
            kind = AuditRecord.action.startswith(f"{self.action}.", autoescape=True)
            query = query.where((AuditRecord.action == self.action) | kind)
        if self.object is not None:
            named = AuditRecord.object.endswith(f" {self.object}", autoescape=True)
            query = query.where((AuditRecord.object == self.object) | named)
        if self.since is not None:
            query = query.where(AuditRecord.at >= self.since)
        if self.until is not None:
            query = query.where(AuditRecord.at < self.until)
        return query


def find(database: Database, wanted: Wanted, limit: int) -> Iterator[Entry]:
    """Give up to `limit` entries, the newest first; one page is in memory at a time."""
    query = wanted.query().add_columns(*_COLUMNS).order_by(AuditRecord.id.desc())
    before: int | None = None
    while limit > 0:
        page = query if before is None else query.where(AuditRecord.id < before)
        with database.read() as session:
            rows = session.execute(page.limit(min(PAGE, limit))).all()
        if not rows:
            return
        for number, *values in rows:
            yield Entry(*values)
            before = number
        limit -= len(rows)


def shown(entry: Entry) -> dict[str, str]:
    """Return the entry as JSON has it."""
    return {**asdict(entry), "at": entry.at.isoformat(timespec="milliseconds")}
