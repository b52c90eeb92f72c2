"""Images are brought at the same time, and nobody holds up the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from bridge.core.statuses import ActorStatus, ImageStatus
from bridge.db import Image
from bridge.scheduler import pulls as room
from bridge.scheduler.pulls import AT_ONCE, Pulls
from tests.factories.rows import add_actor, add_image
from tests.unit.scheduler.world import World


class Bringing:
    """What is being brought, until the test lets it end."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.pulls = Pulls()
        self.begun: list[str] = []
        self.go_on = threading.Event()

    def bring(self, _context: Any, image: Image) -> None:
        self.begun.append(image.reference)
        self.go_on.wait(30)
        with self.world.database.begin() as session:
            session.get_one(Image, image.id).status = ImageStatus.ERROR

    def want(self, reference: str, owner: str = "alice", **changes: Any) -> None:
        with self.world.database.begin() as session:
            image = add_image(session, reference=reference, **changes)
            add_actor(
                session,
                image_id=image.id,
                owner=owner,
                tenant=image.tenant,
                status=ActorStatus.SUBMITTED,
            )

    def tick(self) -> list[str]:
        """Return what is under way after a round."""
        expected = len(self.begun) + self.pulls.tick(self.world.context)
        wait_for(lambda: len(self.begun) == expected)
        return sorted(self.begun)

    def finish(self) -> None:
        self.go_on.set()
        wait_for(lambda: self.pulls.count == 0)


def wait_for(condition: Any) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        threading.Event().wait(0.005)


@pytest.fixture
def bringing(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bringing]:
    found = Bringing(world)
    monkeypatch.setattr(room, "bring_image", found.bring)
    yield found
    found.finish()


def test_users_do_not_wait_for_each_other(bringing: Bringing) -> None:
    bringing.want("r/a:1", "alice")
    bringing.want("r/b:1", "bob")
    assert bringing.tick() == ["r/a:1", "r/b:1"]


def test_one_user_has_one_at_a_time(bringing: Bringing) -> None:
    for name in ("r/a:1", "r/b:1", "r/c:1"):
        bringing.want(name, "alice")
    assert bringing.tick() == ["r/a:1"]
    assert bringing.tick() == ["r/a:1"]
    bringing.finish()
    assert bringing.tick() == ["r/a:1", "r/b:1"]


def test_two_tags_of_a_repository_are_looked_at_one_after_the_other(bringing: Bringing) -> None:
    bringing.want("r:5000/a:1", "alice")
    bringing.want("r:5000/a@sha256:" + "0" * 64, "bob")
    bringing.want("r:5000/a:2", "carol", tenant="BIOLOGY")
    assert bringing.tick() == ["r:5000/a:1", "r:5000/a:2"]


def test_there_are_so_many(bringing: Bringing) -> None:
    for number in range(AT_ONCE + 2):
        bringing.want(f"r/a{number}:1", f"user{number}")
    assert len(bringing.tick()) == AT_ONCE


def test_what_fails_unexpectedly_is_free_again(
    bringing: Bringing, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(room, "bring_image", fail)
    bringing.want("r/a:1")
    bringing.pulls.tick(bringing.world.context)
    wait_for(lambda: bringing.pulls.count == 0)
    assert "image failed" in caplog.text
