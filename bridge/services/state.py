"""A stateful actor's saved document (abaco_contract.md 3.8)."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from bridge.auth.identity import Identity
from bridge.core.statuses import Level
from bridge.db import Actor
from bridge.errors import InvalidField, NotFound
from bridge.node.state import MAX_STATE_BYTES
from bridge.services.access import find_actor


def check_state(state: Any) -> None:
    """Refuse a state that no container could be given.

    Raises:
        InvalidField: says how large it is, and how large it may be.
    """
    size = len(repr(state).encode())
    if size > MAX_STATE_BYTES:
        raise InvalidField(
            f"Invalid actor state description: the state has {size} bytes in its Python form, "
            f"expected {MAX_STATE_BYTES} at most; keep what is large in a file."
        )


def replace_state(session: Session, identity: Identity, actor_id: str, state: Any) -> Actor:
    """Return the actor with `state`, any JSON value that `check_state` let pass, in place of its.

    The last one to write wins, a container that ends among them.

    Raises:
        NotFound: there is no such actor, or it is stateless.
    """
    actor = find_actor(session, identity, actor_id, Level.UPDATE, lock=True)
    if actor.stateless:
        raise NotFound("actor is stateless.")
    actor.state = state
    session.flush()
    return actor
