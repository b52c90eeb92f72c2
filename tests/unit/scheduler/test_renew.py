"""Another site file for a scheduler that runs."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import select

from bridge.db import Execution
from bridge.errors import SiteConfigError
from bridge.scheduler.lease import SchedulerLease
from bridge.scheduler.loop import SchedulerLoop
from bridge.scheduler.plan import plan_tick
from bridge.scheduler.renew import renew_contexts
from bridge.sites import Site
from tests.unit.scheduler.world import World


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
    world.post(world.actor())
    world.clock.push(2)
    one.work()
    finish(one)
    assert [array.request["time_limit_s"] for array in world.arrays()] == [3600, 7200]
    assert {str(array.status) for array in world.arrays()} == {"SUBMITTED"}


def test_what_is_under_way_is_known_to_the_new_contexts(world: World) -> None:
    world.context.submitting.add("token")
    (context,) = renew_contexts([world.context], world.context.site)
    assert context.submitting is world.context.submitting
    assert context.sessions is world.context.sessions


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


def test_messages_of_a_tenant_that_is_gone_wait_for_it(world: World, one: SchedulerLoop) -> None:
    site = world.context.site
    gone = site.model_copy(
        update={"tenants": {name: t for name, t in site.tenants.items() if name != "PHYSICS"}}
    )
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
