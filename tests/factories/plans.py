"""What a database would do for a statement: which large tables it would read from end to end."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, event

# Tables that grow with what was ever posted, or with what waits.
_LARGE = frozenset(
    {"executions", "messages", "message_parts", "logs", "results", "arrays", "workers", "events",
     "audit"}
)  # fmt: skip
# Of these tables, indexes that hold what is live or due alone: little, however much there was.
_LIVE = frozenset({"ix_arrays_live", "ix_executions_cancel", "ix_events_open"})
_STEP = re.compile(r"SCAN (\w+?)(?:_\d+)?(?: USING (?:COVERING )?INDEX (\w+))?\Z")
_EXPLAINED = ("SELECT", "WITH", "UPDATE", "DELETE", "INSERT")

Parameters = Mapping[str, Any] | Sequence[Any]


@contextmanager
def recorded(engine: Engine) -> Iterator[dict[str, Parameters]]:
    """Give a dictionary that fills with each statement sent meanwhile, and its last values."""
    found: dict[str, Parameters] = {}

    def note(
        _connection: Any, _cursor: Any, statement: str, values: Any, _context: Any, many: bool
    ) -> None:
        if statement.lstrip().upper().startswith(_EXPLAINED):
            found[statement] = values[0] if many else values

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", note)


def find_scans(connection: Connection, statement: str, values: Parameters) -> list[str]:
    """Return "table" or "table by index" for each large table that would be read whole.

    PostgreSQL is asked as one that avoids reading tables whole wherever an index can serve; then it
    reads indexes whole instead, which counts as well. SQLite is asked without statistics, as it has
    none at a site.
    """
    if connection.dialect.name == "sqlite":
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
        steps = [match for row in rows if (match := _STEP.match(row[3]))]
        aliases = dict(re.findall(r"\b(\w+) AS (\w+)", statement))
        names = {alias: table for table, alias in aliases.items()}
        read = [(names.get(step[1], step[1]), step[2]) for step in steps]
    else:
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        [answer] = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", values).one()
        plans = answer if isinstance(answer, list) else json.loads(answer)
        read = [one for plan in plans for one in _whole_reads(plan["Plan"])]
    large = {one for one in read if one[0] in _LARGE and one[1] not in _LIVE}
    return sorted(f"{table} by {index}" if index else table for table, index in large)


def _whole_reads(
    node: Mapping[str, Any], *, first: bool = False
) -> Iterator[tuple[str, str | None]]:
    """Yield (table, index) for each node that reads all there is; `first`: only the first row."""
    kind = node["Node Type"]
    table = node.get("Relation Name", "")
    first = first and "Filter" not in node
    if kind == "Seq Scan":
        yield table, None
    elif kind in ("Index Scan", "Index Only Scan") and "Index Cond" not in node and not first:
        yield table, node["Index Name"]
    elif kind == "Bitmap Heap Scan":
        for below in node["Plans"]:
            if below["Node Type"] == "Bitmap Index Scan" and "Index Cond" not in below:
                yield table, below["Index Name"]
    for below in node.get("Plans", ()):
        yield from _whole_reads(below, first=kind == "Limit")
