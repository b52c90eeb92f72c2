"""What of a request goes into the audit trail (bridge.audit).

A view makes its change in `changing()`, whose transaction has the change's record; whatever else is
to be recorded is written when the answer is made. What a view does not say by `note` is known from
the URL.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import Flask, Response, current_app, g, request
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from bridge.api.context import context
from bridge.api.describe import description_of
from bridge.api.remote import remote_address, request_id
from bridge.audit import Entry, tell, write
from bridge.audit.entries import HIDDEN, Result, log, shown_name
from bridge.auth import Identity
from bridge.errors import AuthenticationError, PermissionDenied

# Operation, what it is called in the trail. What only reads is recorded where it is refused.
ACTIONS = {
    "create_actor": "actor.create",
    "update_actor": "actor.update",
    "delete_actor": "actor.delete",
    "update_state": "actor.state",
    "send_message": "message.post",
    "send_message_batch": "message.post",
    "delete_pending_messages": "message.purge",
    "add_execution": "execution.add",
    "delete_execution": "execution.cancel",
    "manage_worker_pool_size": "worker.ensure",
    "delete_worker": "worker.delete",
    "update_permissions": "permission.set",
    "create_alias": "alias.create",
    "update_actor_alias": "alias.update",
    "delete_alias": "alias.delete",
    "update_alias_permissions": "permission.set",
    "create_nonce": "nonce.create",
    "create_alias_nonce": "nonce.create",
    "delete_nonce": "nonce.delete",
    "delete_alias_nonce": "nonce.delete",
    "create_config": "config.create",
    "update_config": "config.update",
    "delete_config": "config.delete",
    "update_config_permissions": "permission.set",
    "put_registry_login": "registry.login",
    "delete_registry_login": "registry.forget",
    # An admin looks at what is other people's.
    "admin_list_actors": "admin.list",
    "admin_list_workers": "admin.list",
    "admin_list_executions": "admin.list",
}
# In the log alone, unless they are refused: see bridge.audit.
_LOG_ALONE = {"message.post"}
# Parts of a URL that name something; a nonce's id is a credential.
_NAMES = (
    ("execution_id", "execution"),
    ("worker_id", "worker"),
    ("alias", "alias"),
    ("name", "config"),
    ("registry", "registry"),
    ("actor_id", "actor"),
)


def register(app: Flask) -> None:
    """Have `app` record what is to be recorded."""
    app.before_request(_begin)
    app.after_request(_end)


def note(*, object: str = "", detail: str = "") -> None:  # the trail's own word
    """Say of this request what its URL does not."""
    g.audit_object = object or g.get("audit_object", "")
    g.audit_detail = detail or g.get("audit_detail", "")


def note_refusal(error: BaseException) -> None:
    """Say why this request is refused."""
    g.audit_error = error


@contextmanager
def changing() -> Iterator[Session]:
    """Give a transaction for a change; its record is the last thing in it."""
    with context().database.begin() as session:
        yield session
        entry = _entry(_action() or "", "ok", "")
        write(session, entry)
    g.audit_written = entry


def _begin() -> None:
    peer, trusted = request.remote_addr or "", context().site.trusted_proxies
    g.remote = remote_address(peer, ",".join(request.headers.getlist("X-Forwarded-For")), trusted)
    g.request_id = request_id(request.headers.get("X-Request-Id", ""), peer, trusted)


def _end(response: Response) -> Response:
    response.headers["X-Request-Id"] = g.request_id
    written: Entry | None = g.get("audit_written")
    action = _action()
    if response.status_code < 400:
        if written is None and action is not None:
            written = _entry(action, "ok", "")
            if action not in _LOG_ALONE:
                _write_alone(written)
        if written is not None:
            tell(written)
    elif action is not None or _is_about_rights():
        _record_refusal(action or _reading(), response.status_code)
    return response


def _record_refusal(action: str, status: int) -> None:
    error = g.get("audit_error")
    code = type(error).__name__ if error is not None else str(status)
    entry = _entry(action, "refused" if status < 500 else "failed", code)
    if context().refusals.take():
        _write_alone(entry)
    tell(entry)


def _write_alone(entry: Entry) -> None:
    """Write a row of its own. What was done is done: where that fails, the log has it."""
    try:
        context().database.write(lambda session: write(session, entry))
    except SQLAlchemyError as error:
        log.warning("not in the table: %s", type(error).__name__)


def _is_about_rights() -> bool:
    return isinstance(g.get("audit_error"), AuthenticationError | PermissionDenied)


def _operation() -> str:
    about = description_of(current_app.view_functions.get(request.endpoint or ""))
    return "" if about is None else about.operation


def _action() -> str | None:
    return ACTIONS.get(_operation())


def _reading() -> str:
    """Return what a refused request that changes nothing is called."""
    return f"read.{_operation() or 'unknown'}"


def _entry(action: str, result: Result, code: str) -> Entry:
    identity: Identity | None = g.get("identity")
    via = "none" if identity is None else "token" if identity.grant is None else "nonce"
    return Entry(
        at=context().now(),
        tenant="" if identity is None else identity.tenant,
        username="" if identity is None else identity.username,
        via=via,
        action=action,
        object=g.get("audit_object") or _object(request.view_args or {}),
        detail=g.get("audit_detail", ""),
        remote=g.remote,
        request_id=g.request_id,
        result=result,
        code=code,
    )


def _object(named: dict[str, Any]) -> str:
    """Return what the URL names, the nearest thing first."""
    for name, kind in _NAMES:
        if name in named:
            return f"{kind} {_shown(named[name])}"
    return ""


def _shown(word: str) -> str:
    """Return a name; one that looks like a nonce, which somebody has put in a wrong place, not."""
    is_nonce = any(word.startswith(f"{tenant}_") for tenant in context().site.tenants)
    return HIDDEN if is_nonce else shown_name(word)
