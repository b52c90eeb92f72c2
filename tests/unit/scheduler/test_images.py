"""From a reference to a file in the cluster's cache, and what the actors learn of it."""

from __future__ import annotations

from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from bridge.core.statuses import ActorStatus, ImageStatus
from bridge.db import Actor, Event, Image
from bridge.errors import ImageRefused
from bridge.node.dialogue import LABEL
from bridge.scheduler.images import FIRST_RETRY, MAX_ATTEMPTS, tell_actors
from bridge.services.images import NOT_FIT, check_fit
from bridge.sites import Site
from tests.factories.rows import add_actor, add_image
from tests.factories.sites import make_site
from tests.unit.containers.conftest import Puller, Registry, puller, registry
from tests.unit.scheduler.world import World, image_tick

__all__ = ["puller", "registry"]


@pytest.fixture
def site(tmp_path: Path, registry: Registry) -> Site:
    """A site that asks the test's registry over plain HTTP."""
    cluster = {
        "session": "local",
        "spool": f"{tmp_path}/spool/{{username}}",
        "image_cache": f"{tmp_path}/images",
        "insecure_registries": [registry.host],
    }
    return make_site(tmp_path, clusters={"alpha": cluster}, registry_networks=["127.0.0.0/8"])


class Images:
    """The images and actors of a world."""

    def __init__(self, world: World, registry: Registry) -> None:
        self.world = world
        self.registry = registry

    def want(
        self, name: str = "lab/tool:1", webhook: str = "", reuse: str = "", **changes: Any
    ) -> tuple[int, str]:
        """Add an image and an actor that waits for it."""
        reference = changes.pop("reference", f"{self.registry.host}/{name}")
        with self.world.database.begin() as session:
            image = add_image(session, reference=reference, **changes)
            actor = add_actor(
                session,
                image_id=image.id,
                status=ActorStatus.SUBMITTED,
                tenant=image.tenant,
                webhook=webhook,
                batch={"reuse": reuse} if reuse else None,
            )
            return image.id, actor.id

    def image(self, image_id: int) -> Image:
        with self.world.database.read() as session:
            return session.get_one(Image, image_id)

    def actor(self, actor_id: str) -> Actor:
        with self.world.database.read() as session:
            return session.get_one(Actor, actor_id)

    def told(self) -> list[tuple[str, str]]:
        """Return the types and status messages of the events so far."""
        with self.world.database.read() as session:
            payloads = session.scalars(select(Event.payload).order_by(Event.id)).all()
        return [(payload["event_type"], payload["status_message"]) for payload in payloads]

    def tick(self, seconds: float = 0) -> int:
        self.world.clock.push(seconds)
        return image_tick(self.world.context)


@pytest.fixture
def images(world: World, registry: Registry, puller: Puller) -> Images:
    return Images(world, registry)


def test_an_image_comes_and_its_actor_is_ready(
    images: Images, registry: Registry, puller: Puller
) -> None:
    digest = registry.add(Entrypoint=["/bin/tool"])
    image_id, actor_id = images.want()

    assert images.tick() == 1

    image = images.image(image_id)
    assert (image.status, image.digest) == (ImageStatus.READY, digest)
    assert image.sif_path is not None
    assert Path(image.sif_path).is_file()
    assert image.config is not None
    assert image.config["Entrypoint"] == ["/bin/tool"]
    assert images.actor(actor_id).status is ActorStatus.READY
    assert images.tick(3600) == 0


def test_a_digest_that_is_there_is_not_pulled_again(
    images: Images, registry: Registry, puller: Puller
) -> None:
    digest = registry.add(tag="1")
    registry.answers["lab/tool/manifests/latest"] = registry.answers["lab/tool/manifests/1"]
    names = ["lab/tool:1", "lab/tool", f"lab/tool@{digest}"]
    wanted = [images.want(name) for name in names]
    images.tick()

    assert len(puller.pulled) == 1
    assert len({images.image(image_id).sif_path for image_id, _ in wanted}) == 1
    assert {images.actor(actor_id).status for _, actor_id in wanted} == {ActorStatus.READY}


def test_tenants_share_nothing(images: Images, registry: Registry, puller: Puller) -> None:
    registry.add()
    (first, _), (second, _) = images.want(), images.want(tenant="BIOLOGY")
    images.tick()
    assert images.image(first).sif_path != images.image(second).sif_path


def test_a_process_needs_an_image_that_is_made_for_it(images: Images, registry: Registry) -> None:
    registry.add(tag="plain", Labels={"maintainer": "x"})
    registry.add(tag="made", Labels={LABEL: "process"})
    _, good = images.want("lab/tool:made", reuse="process")
    _, other = images.want("lab/tool:plain", webhook="https://hooks.example.org")
    image_id, bad = images.want("lab/tool:plain2", webhook="https://hooks.x.org", reuse="process")
    registry.answers["lab/tool/manifests/plain2"] = registry.answers["lab/tool/manifests/plain"]
    for _ in range(3):
        images.tick(60)

    assert images.actor(good).status is ActorStatus.READY
    assert images.actor(other).status is ActorStatus.READY
    actor = images.actor(bad)
    assert (actor.status, actor.status_message) == (ActorStatus.ERROR, NOT_FIT)
    assert sorted(images.told()) == [("ACTOR_ERROR", NOT_FIT), ("ACTOR_READY", " ")]

    registry.answers["lab/tool/manifests/plain2"] = registry.answers["lab/tool/manifests/made"]
    with images.world.database.begin() as session:
        session.get_one(Image, image_id).status = ImageStatus.REQUESTED
    images.tick(60)
    assert images.actor(bad).status is ActorStatus.READY


CONFIGS: list[Any] = [
    None,
    {},
    {"Labels": None},
    {"Labels": {}},
    {"Labels": {LABEL: "none"}},
    {"Labels": {LABEL: "process"}},
]
BATCHES: list[Any] = [None, {}, {"reuse": None}, {"reuse": "image"}, {"reuse": "process"}]


def test_every_image_is_judged_alike_by_both_databases(each_world: World) -> None:
    wanted: dict[str, ActorStatus] = {}
    with each_world.database.begin() as session:
        for number, (config, batch) in enumerate(product(CONFIGS, BATCHES)):
            image = add_image(
                session, reference=f"x/{number}", status=ImageStatus.READY, config=config,
                digest="sha256:1", sif_path="/x.sif",
            )  # fmt: skip
            actor = add_actor(session, image_id=image.id, batch=batch, status=ActorStatus.SUBMITTED)
            try:
                check_fit(batch, image)
                wanted[actor.id] = ActorStatus.READY
            except ImageRefused:
                wanted[actor.id] = ActorStatus.ERROR
    for _ in range(2):
        tell_actors(each_world.context)

    with each_world.database.read() as session:
        found = {actor.id: actor.status for actor in session.scalars(select(Actor))}
    assert found == wanted
    assert list(wanted.values()).count(ActorStatus.ERROR) == 5


class TestEvents:
    def test_ready_is_told_once_with_the_status(
        self, images: Images, registry: Registry, puller: Puller
    ) -> None:
        registry.add()
        _, actor_id = images.want(webhook="https://hooks.example.org")
        images.want("lab/other:1")
        for _ in range(3):
            images.tick(60)
        assert images.actor(actor_id).status is ActorStatus.READY
        assert images.told() == [("ACTOR_READY", " ")]

    def test_error_is_told_with_the_reason_then_ready(
        self, images: Images, registry: Registry, puller: Puller
    ) -> None:
        image_id, actor_id = images.want("lab/none", webhook="https://hooks.example.org")
        images.tick()
        images.tick(60)
        assert images.told() == [("ACTOR_ERROR", images.actor(actor_id).status_message)]

        registry.add()
        with images.world.database.begin() as session:
            image = session.get_one(Image, image_id)
            image.status, image.reference = ImageStatus.REQUESTED, f"{registry.host}/lab/tool:1"
        images.tick()
        assert [kind for kind, _ in images.told()] == ["ACTOR_ERROR", "ACTOR_READY"]


class TestTrouble:
    def test_no_such_image_is_final(
        self, images: Images, registry: Registry, puller: Puller
    ) -> None:
        image_id, actor_id = images.want("lab/none")
        images.tick()

        image, actor = images.image(image_id), images.actor(actor_id)
        assert (image.status, image.next_attempt_at) == (ImageStatus.ERROR, None)
        assert actor.status is ActorStatus.ERROR
        assert "No such image" in actor.status_message
        assert images.tick(1_000_000) == 0
        assert puller.pulled == []

    def test_a_registry_that_is_down_is_asked_again_ever_less_often(
        self, images: Images, registry: Registry
    ) -> None:
        registry.close()
        image_id, actor_id = images.want()
        waits = [images.world.clock.now() for _ in range(100) if images.tick(15)]
        gaps = [(after - before).total_seconds() for before, after in pairwise(waits)]
        assert len(waits) == MAX_ATTEMPTS
        assert gaps == [FIRST_RETRY.total_seconds() * 2**n for n in range(1, MAX_ATTEMPTS)]
        assert images.image(image_id).status is ImageStatus.ERROR
        assert "cannot be reached" in images.actor(actor_id).status_message

    def test_it_may_come_back(self, images: Images, registry: Registry) -> None:
        image_id, actor_id = images.want()
        broken = "lab/tool/manifests/1"
        registry.put(broken, b"we are sorry")
        images.tick()
        assert images.actor(actor_id).status is ActorStatus.ERROR

        registry.add()
        images.tick(60)

        assert images.image(image_id).status is ImageStatus.READY
        assert images.image(image_id).attempts == 0
        assert images.actor(actor_id).status is ActorStatus.READY

    def test_a_full_disk(self, images: Images, registry: Registry, puller: Puller) -> None:
        registry.add()
        image_id, actor_id = images.want()
        puller.behave("echo no space left on device >&2; exit 1")
        images.tick()
        assert "the disk is full" in images.actor(actor_id).status_message
        assert images.image(image_id).next_attempt_at is not None

        puller.behave('printf "%32s" "" > "$file"; printf "SIF_MAGIC\\0" >> "$file"')
        images.tick(60)
        assert images.actor(actor_id).status is ActorStatus.READY

    def test_more_than_the_site_allows_is_not_begun(
        self, images: Images, registry: Registry, puller: Puller
    ) -> None:
        registry.add(size=2**60)
        _, actor_id = images.want()
        images.tick()
        assert "20000000000 are allowed" in images.actor(actor_id).status_message
        assert puller.pulled == []

    def test_what_a_pull_says_can_be_kept(
        self, images: Images, registry: Registry, puller: Puller
    ) -> None:
        registry.add()
        _, actor_id = images.want()
        puller.behave('printf "a\\0b\\033[2J" >&2; exit 1')
        images.tick()
        assert "\0" not in images.actor(actor_id).status_message
        assert "\x1b" not in images.actor(actor_id).status_message

    def test_one_bad_reference_holds_up_nobody_else(
        self, images: Images, registry: Registry
    ) -> None:
        registry.add()
        _, bad = images.want(reference="Not An Image")
        _, good = images.want()
        images.tick()
        assert images.actor(bad).status is ActorStatus.ERROR
        assert images.actor(good).status is ActorStatus.READY

    def test_who_is_ready_is_told_before_the_next_pull(
        self, images: Images, registry: Registry, puller: Puller, tmp_path: Path
    ) -> None:
        registry.add("lab/first")
        registry.add("lab/second", Labels={"other": "bytes"}, Cmd=["/other"])
        _, first = images.want("lab/first:1")
        _, second = images.want("lab/second:1")

        asked = registry.answers["lab/second/manifests/1"]

        def look(handler: Any) -> None:
            seen.append(images.actor(first).status)
            assert isinstance(asked, bytes)
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(asked)))
            handler.end_headers()
            handler.wfile.write(asked)

        seen: list[ActorStatus] = []
        registry.answers["lab/second/manifests/1"] = look
        images.tick()
        assert seen == [ActorStatus.READY]
        assert images.actor(second).status is ActorStatus.READY


def test_an_image_of_another_cluster_is_not_ours(images: Images) -> None:
    images.want(cluster="beta")
    assert images.tick() == 0


def test_a_late_actor_of_a_ready_image_is_told(images: Images, registry: Registry) -> None:
    registry.add()
    image_id, _ = images.want()
    images.tick()
    with images.world.database.begin() as session:
        late = add_actor(session, image_id=image_id, status=ActorStatus.SUBMITTED).id
    assert images.tick() == 0
    assert images.actor(late).status is ActorStatus.READY


def test_a_deleted_actor_stays_deleted(images: Images, registry: Registry) -> None:
    registry.add()
    _, actor_id = images.want()
    with images.world.database.begin() as session:
        actor = session.get_one(Actor, actor_id)
        actor.deleted_at, actor.status = images.world.clock.now(), ActorStatus.SHUTTING_DOWN
    images.tick()
    assert images.actor(actor_id).status is ActorStatus.SHUTTING_DOWN
