"""One entry, its row and its line."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import insert
from sqlalchemy.orm import Session

from bridge.db import AuditRecord

log = logging.getLogger("bridge.audit")

# What may stand in an entry as a name: of actors, executions, workers, aliases, configs, users, and
# of registries, which may have a port.
# A token, which somebody has put in a wrong place, is longer.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,63}\Z")
HIDDEN = "?"

Result = Literal["ok", "refused", "failed"]
_INSERT = insert(AuditRecord)


@dataclass(frozen=True)
class Entry:
    """What happened.

    Attributes:
        at: when.
        tenant: the tenant, or empty: not known.
        username: who, or empty: not known. Of a request with a nonce, the nonce's owner.
        via: how they came: ``token``, ``nonce``, ``none``, ``scheduler``, ``signal``.
        action: what: ``actor.create``, ``array.submit``...
        object: to what: ``actor Ab3...``.
        detail: a few facts, in words of the bridge's own.
        remote: from where: an address.
        request_id: of the request, as its answer has it.
        result: how it ended.
        code: why not: the name of an error.
    """

    at: datetime
    tenant: str
    username: str
    via: str
    action: str
    object: str = ""
    detail: str = ""
    remote: str = ""
    request_id: str = ""
    result: Result = "ok"
    code: str = ""


def shown_name(text: object) -> str:
    """Return a name that came from outside, or a mark where it has not the form of one."""
    word = str(text)
    return word if _NAME.match(word) else HIDDEN


def write(session: Session, entry: Entry) -> None:
    """Add the entry's row."""
    session.execute(_INSERT, dict(vars(entry)))


def tell(entry: Entry) -> None:
    """Log the entry; after the transaction that it is of."""
    facts = {name: value for name, value in vars(entry).items() if value and name != "at"}
    log.info("audit", extra={"facts": facts})
