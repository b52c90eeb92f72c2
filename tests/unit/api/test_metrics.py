"""``/metrics``: what it says, who may read it, and what it does not cost."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask
from prometheus_client.parser import text_string_to_metric_families

from bridge.api import create_app
from bridge.clock import ManualClock
from bridge.core.statuses import ActorStatus, ArrayStatus, ExecutionStatus, ImageStatus
from bridge.core.waits import Waits
from bridge.db import Database, Event, Lease
from bridge.errors import SiteConfigError
from bridge.scheduler.lease import SchedulerLease
from bridge.sites import Site
from tests.factories.rows import (
    START,
    add_actor,
    add_array,
    add_execution,
    add_image,
    add_worker,
)
from tests.factories.statements import recorded_scans
from tests.unit.api.conftest import Caller

TOKEN = "0123456789abcdef"


@pytest.fixture
def site(site: Site, tmp_path: Path) -> Site:
    """The site, with a token for metrics."""
    path = tmp_path / "metrics.token"
    path.write_text(TOKEN + "\n")
    return site.model_copy(update={"metrics_token_file": path})


@pytest.fixture
def read(app: Flask) -> Callable[[], dict[str, float]]:
    """Reads the metrics: ``name{label}`` to value, the label being the one that there is."""

    def get() -> dict[str, float]:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        response = app.test_client().get("/metrics", headers=headers)
        assert response.status_code == 200
        assert response.content_type == "text/plain; version=0.0.4; charset=utf-8"
        found = {}
        for family in text_string_to_metric_families(response.text):
            assert family.documentation
            for sample in family.samples:
                label = "".join(f"{{{value}}}" for value in sample.labels.values())
                found[sample.name.removeprefix("abaco_bridge_") + label] = sample.value
        return found

    return get


class TestReaders:
    def test_admins_of_any_tenant(self, caller: Callable[..., Caller], app: Flask) -> None:
        for tenant in ("PHYSICS", "BIOLOGY"):
            admin = caller("root_admin", "Internal/abaco-admin", tenant=tenant, prefix="")
            assert admin.get("/metrics").status_code == 200

    def test_no_other_user(self, caller: Callable[..., Caller]) -> None:
        for roles in ((), ("Internal/abaco-privileged",)):
            response = caller("alice", *roles, prefix="").get("/metrics")
            assert response.status_code == 400
            assert response.json["message"] == "Abaco Admin role required."

    @pytest.mark.parametrize(
        "header",
        [
            "", "Bearer", "Bearer ", f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}",
            TOKEN, "Bearer \u00e9",
        ],
    )  # fmt: skip
    def test_nobody_else(self, app: Flask, header: str) -> None:
        headers = {"Authorization": header} if header else {}
        response = app.test_client().get("/metrics", headers=headers)
        assert (response.status_code, response.json["result"]) == (400, None)

    def test_the_token_is_nobodys_elsewhere(self, app: Flask) -> None:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        for path in ("/actors", "/actors/utilization", "/actors/aliases"):
            assert app.test_client().get(path, headers=headers).status_code == 400

    def test_without_a_token_only_admins(
        self, site: Site, database: Database, clock: ManualClock, waits: Waits
    ) -> None:
        plain = site.model_copy(update={"metrics_token_file": None})
        client = create_app(plain, database, clock, waits).test_client()
        for given in (TOKEN, "None", ""):
            headers = {"Authorization": f"Bearer {given}"}
            assert client.get("/metrics", headers=headers).status_code == 400

    @pytest.mark.parametrize("text", ["", "short", None])
    def test_a_file_that_is_no_token(
        self, site: Site, database: Database, tmp_path: Path, text: str | None
    ) -> None:
        path = tmp_path / "bad.token"
        if text is not None:
            path.write_text(text)
        with pytest.raises(SiteConfigError, match="metrics_token_file"):
            create_app(site.model_copy(update={"metrics_token_file": path}), database)

    @pytest.mark.parametrize(
        "path", ["/actors/metrics", "/actors/v2/metrics", "/v3/actors/metrics"]
    )
    def test_it_stands_outside_the_prefixes(self, app: Flask, path: str) -> None:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        assert app.test_client().get(path, headers=headers).status_code == 400

    def test_only_get(self, app: Flask) -> None:
        assert app.test_client().post("/metrics").status_code == 405


class TestFigures:
    def test_of_nothing_there_are_zeros(self, read: Callable[[], dict[str, float]]) -> None:
        found = read()
        del found["info{" + next(k for k in found if k.startswith("info"))[5:-1] + "}"]
        assert set(found.values()) == {0.0}
        for name in (
            "executions_queued{READY}", "executions_queued_oldest_seconds{ERROR}",
            "executions_in_arrays{RUNNING}", "executions_posted_total",
            "executions_latest{COMPLETE}", "arrays{PLANNED}", "workers{BUSY}", "images{REQUESTED}",
            "actors{SUBMITTED}", "actors_held", "events{webhook}", "events_oldest_seconds{link}",
            "events_given_up", "schedules_overdue", "scheduler_up",
        ):  # fmt: skip
            assert name in found
        assert "arrays{ENDED}" not in found
        assert "scheduler_lease_seconds" not in found

    def test_what_there_is(
        self, read: Callable[[], dict[str, float]], database: Database, clock: ManualClock
    ) -> None:
        with database.begin() as session:
            actor = add_actor(session, cron_next_at=START)
            broken = add_actor(session, tenant="BIOLOGY", status=ActorStatus.ERROR)
            add_actor(session, deleted_at=START, cron_next_at=START)
            add_image(session, status=ImageStatus.ERROR)
            array = add_array(session, actor, status=ArrayStatus.SUBMITTED, array_job_id=1)
            ended = add_array(session, actor, status=ArrayStatus.ENDED, ended_at=START)
            worker = add_worker(session, array)
            add_worker(session, ended)
            for seconds in (10, 20, 30):
                at = START + timedelta(seconds=seconds)
                add_execution(session, actor, message_received_time=at)
            add_execution(session, broken)
            add_execution(session, actor, array_id=array.id, chunk=1)
            add_execution(
                session, actor, array_id=array.id, chunk=1, worker_id=worker.id,
                status=ExecutionStatus.RUNNING,
            )  # fmt: skip
            for status in (ExecutionStatus.COMPLETE, ExecutionStatus.ERROR):
                add_execution(session, actor, array_id=ended.id, status=status, finish_time=START)
            for is_webhook, given_up_at in (
                (True, None),
                (True, None),
                (False, None),
                (True, START),
            ):
                session.add(
                    Event(
                        tenant="PHYSICS", actor_id=actor.id, target="x", is_webhook=is_webhook,
                        payload={}, next_attempt_at=START, create_time=START,
                        given_up_at=given_up_at,
                    )
                )  # fmt: skip
            session.add(
                Lease(name="scheduler", holder="x", expires_at=START + timedelta(seconds=610))
            )
        clock.push(600)
        found = {name: value for name, value in read().items() if value}
        assert found.pop(next(name for name in found if name.startswith("info"))) == 1
        assert found == {
            "executions_queued{READY}": 3,
            "executions_queued_oldest_seconds{READY}": 590,
            "executions_queued{ERROR}": 1,
            "executions_queued_oldest_seconds{ERROR}": 600,
            "executions_in_arrays{SUBMITTED}": 1,
            "executions_in_arrays{RUNNING}": 1,
            "executions_posted_total": 8,
            "executions_latest{SUBMITTED}": 5,
            "executions_latest{RUNNING}": 1,
            "executions_latest{COMPLETE}": 1,
            "executions_latest{ERROR}": 1,
            "arrays{SUBMITTED}": 1,
            "workers{READY}": 1,
            "images{REQUESTED}": 3,
            "images{ERROR}": 1,
            "actors{READY}": 1,
            "actors{ERROR}": 1,
            "events{link}": 1,
            "events{webhook}": 2,
            "events_oldest_seconds{link}": 600,
            "events_oldest_seconds{webhook}": 600,
            "events_given_up": 1,
            "schedules_overdue": 1,
            "scheduler_up": 1,
            "scheduler_lease_seconds": 10,
        }

    def test_a_scheduler_that_died_shows(
        self, read: Callable[[], dict[str, float]], database: Database, clock: ManualClock
    ) -> None:
        assert SchedulerLease(database, clock).hold()
        assert read()["scheduler_up"] == 1
        clock.push(60)
        assert read()["scheduler_up"] == 0
        assert read()["scheduler_lease_seconds"] < -40

    def test_no_user_and_no_actor_is_named(
        self, app: Flask, database: Database, clock: ManualClock
    ) -> None:
        with database.begin() as session:
            actor = add_actor(session, name="secret-name", webhook="https://hooks.example.org")
            add_execution(session, actor)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        text = app.test_client().get("/metrics", headers=headers).text
        for word in ("alice", "PHYSICS", "secret-name", actor.id, "hooks"):
            assert word not in text

    def test_a_long_history_is_not_read(
        self, read: Callable[[], dict[str, float]], database: Database
    ) -> None:
        """Of what is final only the latest few rows are looked at, by their number."""
        with recorded_scans(database) as scans:
            read()
        assert set(scans) <= {"actors", "images"}
