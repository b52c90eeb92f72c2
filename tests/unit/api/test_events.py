"""A webhook that leads back to the bridge, as Abaco's own suite has it (abaco_contract.md 4.8)."""

from __future__ import annotations

import ast
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from typing import Any

import pytest
from sqlalchemy import select
from werkzeug.serving import make_server

from bridge.api import create_app
from bridge.clock import ManualClock
from bridge.core.statuses import ExecutionStatus
from bridge.core.waits import Waits
from bridge.db import Actor, Database, Event, Execution, Message
from bridge.events import HOPS_HEADER, MAX_HOPS, make_sender, record_executions
from bridge.scheduler.context import SiteContext
from bridge.scheduler.deliver import CLAIM, Webhooks
from bridge.sites import Site
from tests.factories.rows import START, add_actor, add_execution
from tests.unit.api.conftest import Caller


class AtOnce(Executor):
    """Does everything when it is submitted."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        fn(*args, **kwargs)
        return Future()


class Killed(BaseException):
    """Not an Exception, as a kill is not."""


class Home:
    """The bridge on a port of its own, and the delivery of its events.

    Attributes:
        source: an actor whose webhook posts to `target` by a nonce.
    """

    def __init__(self, site: Site, database: Database, clock: ManualClock, alice: Caller) -> None:
        self.context = SiteContext(site, database, clock)
        self.webhooks = Webhooks(self.context, make_sender(site), AtOnce())
        with database.begin() as session:
            self.target = add_actor(session).id
        nonce = alice.post(f"/{self.target}/nonces").json["result"]["id"]
        hook = f"{site.public_url}/actors/v2/{self.target}/messages?x-nonce={nonce}"
        with database.begin() as session:
            self.source = add_actor(session, webhook=hook).id

    def end_one(self, hops: int = 0) -> str:
        with self.context.database.begin() as session:
            actor = session.get_one(Actor, self.source)
            ended = add_execution(
                session, actor, status=ExecutionStatus.COMPLETE, finish_time=START, hops=hops
            )
            record_executions(session, actor, [ended], START)
            return ended.id

    def came(self) -> list[tuple[Execution, Message]]:
        with self.context.database.read() as session:
            return [
                (execution, session.get_one(Message, execution.id))
                for execution in session.scalars(
                    select(Execution).where(Execution.actor_id == self.target)
                )
            ]

    def given_up(self) -> list[str]:
        with self.context.database.read() as session:
            return list(session.scalars(select(Event.error)).all())


@pytest.fixture
def home(
    site: Site, database: Database, clock: ManualClock, waits: Waits, alice: Caller
) -> Iterator[Home]:
    door = _Door()
    server = make_server("127.0.0.1", 0, door, threaded=True)
    at_home = site.model_copy(update={"public_url": f"http://127.0.0.1:{server.server_port}"})
    door.app = create_app(at_home, database, clock, waits)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield Home(at_home, database, clock, alice)
    server.shutdown()
    thread.join(10)
    server.server_close()


class _Door:
    """The application, which is made when its port is known."""

    app: Any = None

    def __call__(self, environ: Any, start_response: Any) -> Any:
        return self.app(environ, start_response)


def test_it_becomes_a_message_of_whoever_made_the_nonce(home: Home) -> None:
    ended = home.end_one(hops=2)
    home.webhooks.tick()

    [(execution, message)] = home.came()
    assert (execution.executor, execution.hops) == ("alice", 3)
    assert message.content_type == "application/json"
    text = message.payload.decode()
    assert "'event_type': 'EXECUTION_COMPLETE'" in text
    assert ast.literal_eval(text)["execution_id"] == ended
    assert home.given_up() == []


def test_one_that_is_posted_twice_is_queued_once(home: Home) -> None:
    def die(_point: str) -> None:
        raise Killed

    home.end_one()
    doomed = SiteContext(home.context.site, home.context.database, home.context.clock, die)
    with pytest.raises(Killed):
        Webhooks(doomed, make_sender(doomed.site), AtOnce()).tick()
    assert isinstance(home.context.clock, ManualClock)
    home.context.clock.push(CLAIM.total_seconds())
    home.webhooks.tick()
    assert len(home.came()) == 1
    assert home.given_up() == []


def test_a_circle_ends(home: Home) -> None:
    home.end_one(hops=MAX_HOPS - 1)
    home.end_one(hops=MAX_HOPS)
    home.webhooks.tick()
    assert [execution.hops for execution, _ in home.came()] == [MAX_HOPS]
    assert home.given_up() == ["It answered 400."]


@pytest.mark.parametrize("text", ["", "-1", "x", "1e3", "٣", "99999"])
def test_what_is_no_number_of_hops_is_none(alice: Caller, database: Database, text: str) -> None:
    with database.begin() as session:
        actor = add_actor(session)
    headers = {HOPS_HEADER: text.encode().decode("latin-1")}
    response = alice.post(f"/{actor.id}/messages", data={"message": "x"}, headers=headers)
    assert response.status_code == 200
    with database.read() as session:
        assert session.scalars(select(Execution.hops)).one() == 0
