"""What is removed from the image cache, and what never is."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bridge.core.statuses import ActorStatus, ArrayStatus, ImageStatus
from bridge.db import Actor, Array, Image
from bridge.scheduler import evict
from bridge.scheduler.evict import STRAY_AFTER, evict_tick
from bridge.sites import Site
from tests.factories.rows import (
    add_account,
    add_actor,
    add_array,
    add_execution,
    add_image,
    add_message,
)
from tests.factories.sites import make_site
from tests.unit.containers.conftest import Puller, Registry, puller, registry
from tests.unit.scheduler.world import Killed, World, image_tick

__all__ = ["puller", "registry"]

AGE_S = 1000
DAY_S = 86_400


@pytest.fixture
def site(tmp_path: Path, registry: Registry) -> Site:
    """A site whose cache holds 250 bytes, each image for a while."""
    cluster = {
        "session": "local",
        "spool": f"{tmp_path}/spool/{{username}}",
        "image_cache": f"{tmp_path}/images",
        "image_cache_max_bytes": 250,
        "image_cache_max_age_s": AGE_S,
        "insecure_registries": [registry.host],
    }
    return make_site(tmp_path, clusters={"alpha": cluster}, registry_networks=["127.0.0.0/8"])


class Cache:
    """Images of 100 bytes, and what needs them."""

    def __init__(self, world: World, root: Path) -> None:
        self.world = world
        self.root = root

    def add(self, age_s: float = 0, name: str = "", **changes: Any) -> Image:
        """Add a READY image that was last used so long ago, with its file."""
        folder = self.root / "PHYSICS"
        folder.mkdir(parents=True, exist_ok=True)
        with self.world.database.begin() as session:
            image = add_image(session)
            path = folder / f"{name or image.id}.sif"
            path.write_bytes(b"x" * 100)
            values: dict[str, Any] = {
                "status": ImageStatus.READY,
                "digest": "sha256:" + "1" * 64,
                "sif_path": str(path),
                "sif_bytes": 100,
                "sif_sha256": "0" * 64,
                "used_at": self.now - timedelta(seconds=age_s),
            }
            for key, value in (values | changes).items():
                setattr(image, key, value)
            return image

    @property
    def now(self) -> datetime:
        return self.world.clock.now()

    def tick(self) -> list[str]:
        return evict_tick(self.world.context)

    def is_there(self, image: Image) -> bool:
        with self.world.database.read() as session:
            row = session.get_one(Image, image.id)
        there = Path(str(image.sif_path)).exists()
        assert (row.sif_path is not None) == there
        assert (row.status is ImageStatus.EVICTED) == (not there)
        return there


@pytest.fixture
def cache(world: World, tmp_path: Path) -> Cache:
    return Cache(world, tmp_path / "images")


def test_nothing_is_due(cache: Cache) -> None:
    images = [cache.add(age_s) for age_s in (0, AGE_S - 1)]
    assert cache.tick() == []
    assert all(map(cache.is_there, images))


def test_what_nobody_used_for_long_goes(cache: Cache) -> None:
    old, young = cache.add(AGE_S + 1), cache.add()
    assert cache.tick() == [old.sif_path]
    assert not cache.is_there(old)
    assert cache.is_there(young)


def test_where_there_is_too_much_the_longest_unused_go(cache: Cache) -> None:
    images = [cache.add(age_s) for age_s in (10, 400, 300, 20)]
    cache.tick()
    assert list(map(cache.is_there, images)) == [True, False, False, True]


def test_a_file_of_several_rows_is_as_young_as_its_youngest(cache: Cache) -> None:
    first = cache.add(AGE_S + 5, name="both")
    cache.add(5, name="both")
    assert cache.tick() == []
    assert cache.is_there(first)


def test_all_rows_of_a_file_lose_it(cache: Cache) -> None:
    images = [cache.add(AGE_S + 5, name="both"), cache.add(AGE_S + 9, name="both")]
    cache.tick()
    assert not any(map(cache.is_there, images))


def need_array(cache: Cache, image: Image, status: ArrayStatus) -> None:
    with cache.world.database.begin() as session:
        actor = add_actor(session, image_id=image.id, status=ActorStatus.READY)
        job = 7 if status is ArrayStatus.SUBMITTED else None
        ended = cache.now if status is ArrayStatus.ENDED else None
        add_array(session, actor, sif_path=image.sif_path, status=status, array_job_id=job,
                  ended_at=ended)  # fmt: skip


def need_waiting_actor(cache: Cache, image: Image) -> None:
    with cache.world.database.begin() as session:
        add_actor(session, image_id=image.id, status=ActorStatus.SUBMITTED)


def need_message(cache: Cache, image: Image) -> None:
    with cache.world.database.begin() as session:
        actor = add_actor(session, image_id=image.id, status=ActorStatus.READY)
        add_message(session, add_execution(session, actor))


@pytest.mark.parametrize(
    "need",
    [
        lambda cache, image: need_array(cache, image, ArrayStatus.PLANNED),
        lambda cache, image: need_array(cache, image, ArrayStatus.SUBMITTED),
        lambda cache, image: need_array(cache, image, ArrayStatus.CLOSING),
        need_waiting_actor,
        need_message,
    ],
    ids=["planned", "running", "closing", "a waiting actor", "a waiting message"],
)
def test_what_is_needed_stays_however_old_and_large(cache: Cache, need: Any) -> None:
    image = cache.add(10 * AGE_S, sif_bytes=1000)
    need(cache, image)
    assert cache.tick() == []
    assert cache.is_there(image)


def test_an_array_that_ended_needs_nothing(cache: Cache) -> None:
    image = cache.add(AGE_S + 1)
    need_array(cache, image, ArrayStatus.ENDED)
    assert cache.tick() == [image.sif_path]


def test_what_an_array_ran_for_long_is_young_when_it_ends(cache: Cache) -> None:
    image = cache.add(10 * DAY_S)
    need_array(cache, image, ArrayStatus.CLOSING)
    cache.tick()
    with cache.world.database.begin() as session:
        [array] = session.query(Array).all()
        array.status, array.ended_at = ArrayStatus.ENDED, cache.now
    assert cache.tick() == []
    assert cache.is_there(image)


def test_what_is_being_brought_is_left_alone(cache: Cache) -> None:
    image = cache.add(AGE_S + 1, status=ImageStatus.REQUESTED)
    assert cache.tick() == []
    assert Path(str(image.sif_path)).exists()


def test_a_file_that_somebody_removed_is_brought_again(cache: Cache) -> None:
    image = cache.add()
    Path(str(image.sif_path)).unlink()
    cache.tick()
    assert not cache.is_there(image)


def test_a_cache_that_is_not_mounted_loses_nothing(cache: Cache, tmp_path: Path) -> None:
    image = cache.add()
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    assert cache.tick() == []
    (tmp_path / "elsewhere").rename(tmp_path / "images")
    assert cache.is_there(image)


def test_strays_go_after_a_while(cache: Cache, tmp_path: Path) -> None:
    image = cache.add()
    stray, half = tmp_path / "images" / "PHYSICS" / "stray.sif", tmp_path / "images" / ".pull-x"
    stray.write_text("whole")
    half.mkdir()
    (half / "image.sif").write_text("half")
    at = cache.now.timestamp()
    for path in (stray, half, Path(str(image.sif_path))):
        os.utime(path, (at, at))
    cache.tick()
    assert stray.exists()
    cache.world.clock.push(STRAY_AFTER.total_seconds() + 1)
    with cache.world.database.begin() as session:
        session.get_one(Image, image.id).used_at = cache.now
    cache.tick()
    assert not stray.exists()
    assert not half.exists()
    assert cache.is_there(image)


def test_a_crash_between_row_and_file_leaves_a_stray(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise Killed("removing")

    image = cache.add(AGE_S + 1)
    monkeypatch.setattr(evict, "_remove", die)
    with pytest.raises(Killed):
        cache.tick()
    monkeypatch.undo()
    path = Path(str(image.sif_path))
    assert path.exists()
    os.utime(path, (0, 0))
    cache.tick()
    assert not path.exists()


class TestComingBack:
    """An evicted image of a READY actor, whose next message brings it again."""

    @pytest.fixture
    def actor(self, cache: Cache, registry: Registry) -> Actor:
        image = cache.add(AGE_S + 1, reference=f"{registry.host}/lab/tool:1")
        with cache.world.database.begin() as session:
            actor = add_actor(session, image_id=image.id, status=ActorStatus.READY)
        cache.tick()
        assert not cache.is_there(image)
        return actor

    def image(self, cache: Cache, actor: Actor) -> Image:
        with cache.world.database.read() as session:
            return session.get_one(Image, actor.image_id)

    def status(self, cache: Cache, actor: Actor) -> ActorStatus:
        with cache.world.database.read() as session:
            return session.get_one(Actor, actor.id).status

    def test_it_is_pulled_and_the_message_runs(
        self, cache: Cache, actor: Actor, registry: Registry, puller: Puller
    ) -> None:
        registry.add()
        image_tick(cache.world.context)
        assert puller.pulled == []  # nobody wants it yet
        cache.world.post(actor)
        cache.world.tick()
        assert self.image(cache, actor).status is ImageStatus.REQUESTED
        assert self.status(cache, actor) is ActorStatus.READY
        assert cache.world.arrays() == []

        image_tick(cache.world.context)
        cache.world.tick()
        array = cache.world.array()
        image = self.image(cache, actor)
        assert (array.sif_path, array.sif_sha256) == (image.sif_path, image.sif_sha256)
        assert Path(array.sif_path).exists()

    def test_one_that_is_gone_for_good_says_so_and_keeps_the_message(
        self, cache: Cache, actor: Actor, registry: Registry, puller: Puller
    ) -> None:
        cache.world.post(actor)
        cache.world.tick()
        image_tick(cache.world.context)
        assert self.status(cache, actor) is ActorStatus.ERROR
        assert cache.world.queued() == 1

        registry.add()
        with cache.world.database.begin() as session:
            session.get_one(Image, actor.image_id).status = ImageStatus.REQUESTED  # as a PUT does
        image_tick(cache.world.context)
        cache.world.tick()
        assert cache.world.queued() == 0

    def test_workers_that_an_admin_asks_for_bring_it_too(
        self, cache: Cache, actor: Actor, registry: Registry, puller: Puller
    ) -> None:
        registry.add()
        with cache.world.database.begin() as session:
            add_account(session)
            session.get_one(Actor, actor.id).workers_asked = 1
        cache.world.tick()
        image_tick(cache.world.context)
        cache.world.tick()
        assert cache.world.array().is_standing
