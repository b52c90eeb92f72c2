"""Messages run under the account that their user has at that moment, or wait for one."""

from __future__ import annotations

from typing import Any

from bridge.core.statuses import ArrayStatus
from bridge.db import ClusterUser
from bridge.scheduler.plan import plan_tick
from bridge.scheduler.submit import submit_array
from bridge.sites import Site
from tests.factories.rows import add_account
from tests.factories.sites import with_tenant
from tests.unit.scheduler.world import BAD, GOOD, QUEUED, World


def map_accounts(world: World, **logins: str) -> None:
    """Have the site give accounts by a table."""
    table = {name: {"login": login} for name, login in logins.items()}
    site: Site = with_tenant(world.context.site, accounts="table", account_table=table)
    world.context = world.context.__class__(**{**vars(world.context), "site": site})


def know(world: World, username: str = "alice", **changes: Any) -> None:
    """Let the cluster's answer be there."""
    with world.database.begin() as session:
        add_account(session, username, checked_at=world.clock.now(), **changes)


def asked(world: World, username: str = "alice") -> bool:
    with world.database.read() as session:
        row = session.get_one(ClusterUser, ("alpha", "PHYSICS", username))
        return row.asked > row.answered


def test_an_account_of_another_name(each_world: World) -> None:
    world = each_world
    map_accounts(world, alice="al")
    know(world, login="al")
    actor = world.actor()
    (done,) = world.post(actor)
    world.tick(2)

    array = world.array()
    assert (array.username, array.login) == ("alice", "al")
    assert array.spool.startswith(world.context.spool_root("al"))
    assert {job.username for job in world.slurm.jobs.values()} == {"al"}
    assert ("session", "alice") not in world.sessions.asked
    world.work_all()
    world.tick()
    assert world.execution(done).status is GOOD


def test_users_of_one_account_have_arrays_of_their_own(world: World) -> None:
    map_accounts(world, alice="lab", bob="lab")
    for name in ("alice", "bob"):
        know(world, name, login="lab")
    actor = world.actor(run_as_executor=True)
    world.post(actor)
    world.post(actor, username="bob")
    world.tick(2)
    assert {(a.username, a.login) for a in world.arrays()} == {("alice", "lab"), ("bob", "lab")}


def test_a_user_of_whom_nothing_is_known_is_asked_for(world: World) -> None:
    actor = world.actor()
    (waiting,) = world.post(actor)
    with world.database.begin() as session:
        session.delete(session.get_one(ClusterUser, ("alpha", "PHYSICS", "alice")))
    world.clock.push(2)
    assert plan_tick(world.context) == []
    assert asked(world)
    assert world.execution(waiting).status is QUEUED
    know(world)
    assert len(plan_tick(world.context)) == 1


def test_messages_wait_for_an_account_and_not_for_ever(world: World) -> None:
    actor = world.actor()
    (refused,) = world.post(actor)
    know(world, uid=None, gid=None, reason="User alice has no account on cluster alpha.")
    world.clock.push(599)
    assert plan_tick(world.context) == []
    assert world.execution(refused).status is QUEUED
    assert asked(world)
    world.clock.push(1)
    assert plan_tick(world.context) == []
    assert world.execution(refused).status is BAD
    assert world.execution(refused).reason == "User alice has no account on cluster alpha."


def test_an_account_that_the_site_took_away_is_not_used(world: World) -> None:
    map_accounts(world, alice="al")
    know(world, login="al")
    actor = world.actor()
    (moved,) = world.post(actor)
    world.clock.push(2)
    (token,) = plan_tick(world.context)

    map_accounts(world, alice="lab")
    submit_array(world.context, token)
    array = world.array()
    assert array.status is ArrayStatus.CLOSING
    assert array.reason == "User alice no longer has account al."
    assert world.slurm.jobs == {}
    world.ticks(3, 10)
    assert world.execution(moved).status is QUEUED
    assert asked(world)  # and nothing is planned meanwhile, on the word of an older answer

    know(world, login="lab")
    world.tick(2)
    assert {job.username for job in world.slurm.jobs.values()} == {"lab"}


def test_a_running_array_of_the_old_account_gets_nothing_more(world: World) -> None:
    map_accounts(world, alice="al")
    know(world, login="al")
    actor = world.actor()
    world.post(actor)
    world.tick(2)
    first = world.array()
    map_accounts(world, alice="lab")
    know(world, login="lab")
    (second,) = world.post(actor)
    world.tick(2)
    newer = {array.id: array.login for array in world.arrays()}
    assert newer[world.execution(second).array_id or ""] == "lab"
    assert newer[first.id] == "al"
