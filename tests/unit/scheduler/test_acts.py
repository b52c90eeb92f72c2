"""What the scheduler does as a user is in the audit trail."""

from __future__ import annotations

import pytest
from sqlalchemy import select, update

from bridge.db import Array, AuditRecord
from bridge.errors import PolicyLimit
from bridge.scheduler.close import close_array
from tests.unit.scheduler.world import World


def trail(world: World) -> list[tuple[str, str, str, str, str]]:
    with world.database.read() as session:
        records = session.scalars(select(AuditRecord).order_by(AuditRecord.id)).all()
    assert {(one.tenant, one.via) for one in records} == {("PHYSICS", "scheduler")}
    return [(one.username, one.action, one.object, one.result, one.code) for one in records]


def test_arrays_that_were_submitted(world: World) -> None:
    world.post(world.actor(owner="bob"))
    world.tick(2)
    assert trail(world) == [("bob", "array.submit", f"array {world.array().id}", "ok", "")]


def test_arrays_that_slurm_refused(world: World) -> None:
    world.slurm.refusal = PolicyLimit("too many jobs")
    world.post(world.actor())
    world.tick(2)
    about = f"array {world.array().id}"
    assert trail(world) == [("alice", "array.submit", about, "refused", "PolicyLimit")]


@pytest.mark.parametrize("deleted", [True, False], ids=["its actor was deleted", "it was closed"])
def test_arrays_that_were_cancelled(world: World, deleted: bool) -> None:
    world.post(world.actor())
    world.tick(2)
    array = world.array()
    if deleted:
        with world.database.begin() as session:
            session.execute(update(Array).values(stop_requested=True))
    else:
        close_array(world.context, array.id, "because")
    world.ticks(8, 5)
    done = [entry for entry in trail(world) if entry[1] == "array.cancel"]
    assert done == [("alice", "array.cancel", f"array {array.id}", "ok", "")]
