"""Another site file for a scheduler that runs."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import select

from bridge.core.statuses import ImageStatus
from bridge.db import Execution
from bridge.errors import SiteConfigError
from bridge.events import record_actor
from bridge.scheduler.cron import cron_tick
from bridge.scheduler.deliver import links_tick
from bridge.scheduler.housekeeping import housekeeping_tick
from bridge.scheduler.lease import SchedulerLease
from bridge.scheduler.loop import SchedulerLoop
from bridge.scheduler.plan import plan_tick
from bridge.scheduler.renew import renew_contexts
from bridge.scheduler.users import users_tick
from bridge.sites import Site
from tests.factories.rows import add_account, add_actor, add_image
from tests.unit.scheduler.world import World, image_tick


@pytest.fixture
def one(world: World) -> SchedulerLoop:
    return SchedulerLoop([world.context], SchedulerLease(world.database, world.clock))


def changed(site: Site, cluster: str, **keys: Any) -> Site:
    tables = {**site.clusters, cluster: site.clusters[cluster].model_copy(update=keys)}
    return site.model_copy(update={"clusters": tables})


def finish(one: SchedulerLoop) -> None:
    """Wait for the submissions under way."""
    stop = threading.Event()
    stop.set()
    one.run(stop)


def statuses(world: World) -> Counter[str]:
    with world.database.read() as session:
        return Counter(str(status) for status in session.scalars(select(Execution.status)))


def test_the_next_round_has_the_new_site(world: World, one: SchedulerLoop) -> None:
    world.post(world.actor())
    world.clock.push(2)
    one.work()
    one.renew(changed(world.context.site, world.context.name, time_limit_s=7200))
    world.post(world.actor(owner="bob"))
    world.clock.push(2)
    one.work()
    finish(one)
    assert [array.request["time_limit_s"] for array in world.arrays()] == [3600, 7200]
    assert {str(array.status) for array in world.arrays()} == {"SUBMITTED"}


def test_what_is_under_way_is_known_to_the_new_contexts(world: World) -> None:
    world.context.submitting["token"] = "alice"
    (context,) = renew_contexts([world.context], world.context.site)
    assert context.submitting is world.context.submitting
    assert context.sessions is world.context.sessions


def test_files_of_keys_are_read_again(world: World) -> None:
    path = world.context.site.encryption_key_file
    assert path is not None
    old = path.read_bytes()
    new = Fernet.generate_key()
    path.write_bytes(new + b"\n" + old)
    try:
        (context,) = renew_contexts([world.context], world.context.site)
        assert context.box is not None
        written = context.box.encrypt("a secret").encode()
        assert Fernet(new).decrypt(written) == b"a secret"
        path.write_bytes(b"nothing")
        with pytest.raises(SiteConfigError, match="is no key"):
            renew_contexts([context], world.context.site)
    finally:
        path.write_bytes(old)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"session": "sudo"}, "clusters.alpha.session"),
        ({"min_uid": 500}, "clusters.alpha.min_uid"),
        ({"min_uid": 500, "forbidden_users": ("x",)}, "alpha.min_uid, clusters.alpha.forbidden"),
    ],
)
def test_what_is_fixed_at_the_start_needs_a_restart(
    world: World, one: SchedulerLoop, keys: dict[str, Any], said: str
) -> None:
    with pytest.raises(SiteConfigError, match=said):
        one.renew(changed(world.context.site, "alpha", time_limit_s=7200, **keys))
    world.post(world.actor())
    world.clock.push(2)
    one.work()
    finish(one)
    assert [array.request["time_limit_s"] for array in world.arrays()] == [3600]


def without(site: Site, tenant: str) -> Site:
    kept = {name: table for name, table in site.tenants.items() if name != tenant}
    return site.model_copy(update={"tenants": kept})


def test_every_tick_lives_without_a_tenant_that_has_all_sorts_of_things(world: World) -> None:
    now = world.clock.now()
    cron = {"cron_on": True, "cron_schedule": "now + 1 hour"}
    times = {"cron_start_at": now, "cron_next_at": now}
    gone = world.actor(workers_asked=2, **cron, **times)
    with world.database.begin() as session:
        theirs = add_actor(session, tenant="BIOLOGY", **cron, **times)
        linked = add_actor(session, link=theirs.id, webhook="http://192.0.2.1/x")
        record_actor(session, linked, now)
        add_image(session, status=ImageStatus.REQUESTED, reference="registry/other")
        add_account(session, "eve", asked=2)
    ids = world.post(gone, 3)
    world.tick(2)
    context = replace(world.context, site=without(world.context.site, "PHYSICS"))
    more = world.post(gone)
    for _ in range(3):
        world.work_all()
        world.tick(2, context)
        for tick in (users_tick, image_tick):
            tick(context)
        for whole in (links_tick, cron_tick, housekeeping_tick):
            whole(context.whole)
    assert {str(status) for status in world.statuses(ids)} == {"COMPLETE"}  # what ran goes on
    assert {str(status) for status in world.statuses(more)} == {"SUBMITTED"}
    with world.database.read() as session:
        cron_runs = select(Execution.actor_id).where(Execution.executor == "cron")
        assert session.scalars(cron_runs).all() == [theirs.id]


def test_messages_of_a_tenant_that_is_gone_wait_for_it(world: World, one: SchedulerLoop) -> None:
    site = world.context.site
    gone = without(site, "PHYSICS")
    world.post(world.actor())
    world.clock.push(2)
    one.work()
    world.post(world.actor())
    world.clock.push(2)
    plan_tick(world.context)  # its array is in the database, and Slurm has not heard of it
    one.renew(gone)
    world.post(world.actor())
    for _ in range(3):
        world.clock.push(2)
        one.work()
    finish(one)
    assert len(world.slurm.jobs) == 1  # what was submitted goes on
    assert statuses(world) == Counter({"SUBMITTED": 3})
    for _ in range(4):
        world.tick(6)  # the tenant is there again
    assert len(world.slurm.jobs) == 3
    assert statuses(world) == Counter({"SUBMITTED": 3})
