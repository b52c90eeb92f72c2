"""What executions leave: logs, results, state. All in the caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, insert, select
from sqlalchemy.orm import Session

from bridge.auth.identity import WORLD
from bridge.core.statuses import Level
from bridge.db import Actor, Execution, Log, Permission, Result
from bridge.db.given import GIVEN, Given
from bridge.harvest.records import Finished, Results, State
from bridge.node.results import LEAST_BYTES
from bridge.sites import Limits

TRUNCATED = " LOG LIMIT EXCEEDED; this execution log was TRUNCATED!"
OURS = "Abaco Bridge: "  # begins each line of a log that is not the actor's
HELD_BYTES = 4 << 20


class Outputs:
    """Collects what executions leave, and writes it with a few statements.

    What is collected and not written yet is bounded by HELD_BYTES and what one record brings.
    """

    def __init__(self, session: Session, actor: Actor, limits: Limits, now: datetime) -> None:
        self._session = session
        self._limits = limits
        lifetime_s = min(actor.log_ex or limits.log_ex_s, limits.log_ex_limit_s)
        self._log_expiry = now + timedelta(seconds=lifetime_s)
        self._result_expiry = now + timedelta(seconds=limits.result_lifetime_s)
        self._logs: dict[str, str] = {}
        self._results: list[dict[str, Any]] = []
        self._held_bytes = 0

    def add_to_log(self, execution: Execution, text: str) -> None:
        """Add to the log of an execution that runs; the end brings the whole one."""
        before = self._logs.get(execution.id)
        if before is None:
            query = select(Log.text).where(Log.execution_id == execution.id)
            before = self._session.scalars(query).one_or_none() or ""
        self._hold(execution.id, (before + text)[: self._limits.max_log_length])

    def keep_log(self, execution: Execution, record: Finished, logs: Mapping[str, str]) -> None:
        """Keep the log of an execution that has ended; `logs` has those that lie in files."""
        text = logs.get(execution.id, "") if record.log is None else record.log
        if record.log_truncated or len(text) > self._limits.max_log_length:
            text = text[: self._limits.max_log_length] + TRUNCATED
        if record.notes:
            if text and not text.endswith("\n"):
                text += "\n"
            text += "".join(f"{OURS}{line}\n" for line in record.notes.splitlines())
        self._hold(execution.id, text)

    def keep_results(self, execution: Execution, results: Results) -> None:
        """Keep results that are new; those that were told of before are known by their number.

        The worker minds the limit as this does; what a forged journal has beyond it is dropped.
        """
        for number, payload in enumerate(results.data, results.first):
            counts = max(len(payload), LEAST_BYTES)
            if number < execution.result_count or not payload:
                continue
            if execution.result_bytes + counts > self._limits.max_result_bytes:
                break
            execution.result_count = number + 1
            execution.result_bytes += counts
            row = {"execution_id": execution.id, "number": number, "payload": payload}
            self._results.append({**row, "expires_at": self._result_expiry})
            self._count(len(payload))

    def write(self) -> None:
        """Write what is collected."""
        if self._logs:
            rows = json.dumps(list(self._logs.items()))
            self._session.execute(
                _KEEP_LOGS[self._session.get_bind().dialect.name],
                {"rows": rows, "expires_at": self._log_expiry},
            )
        if self._results:
            self._session.execute(insert(Result), self._results)
        self._logs, self._results, self._held_bytes = {}, [], 0

    def _hold(self, execution: str, text: str) -> None:
        self._logs[execution] = text
        self._count(len(text))

    def _count(self, size: int) -> None:
        self._held_bytes += size
        if self._held_bytes >= HELD_BYTES:
            self.write()


def keep_state(session: Session, actor: Actor, execution: Execution, state: State) -> None:
    """Keep what an actor left in its state file, where whoever ran it may set the state."""
    if actor.stateless:
        return
    if execution.username != actor.owner:
        levels = session.scalars(
            select(Permission.level).where(
                Permission.actor_id == actor.id,
                Permission.username.in_((execution.username, WORLD)),
            )
        )
        if not any(level.allows(Level.UPDATE) for level in levels):
            return
    actor.state = state.value


def _keep_logs(given: Given) -> Any:
    """Return the statement that writes logs, over those that are there."""
    expiry = bindparam("expires_at", type_=Log.__table__.c.expires_at.type)
    values = given.select(given.text(0), given.text(1), expiry)
    insertion = given.insert(Log).from_select(["execution_id", "text", "expires_at"], values)
    new = {name: insertion.excluded[name] for name in ("text", "expires_at")}
    return insertion.on_conflict_do_update(index_elements=["execution_id"], set_=new)


_KEEP_LOGS = {name: _keep_logs(given) for name, given in GIVEN.items()}
