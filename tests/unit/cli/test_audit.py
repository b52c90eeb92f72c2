"""`bridge audit`."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from bridge.audit import Entry, Wanted, find, write
from bridge.cli.main import cli
from bridge.db import Database
from bridge.db.upgrade import upgrade
from tests.factories.rows import START


def entry(number: int, **changes: object) -> Entry:
    plain = {
        "at": START + timedelta(hours=number),
        "tenant": "PHYSICS",
        "username": "alice",
        "via": "token",
        "action": "actor.create",
        "object": f"actor A{number}",
    }
    return Entry(**plain | changes)  # type: ignore[arg-type]


ENTRIES = [
    entry(0),
    entry(1, username="bob", action="actor.delete"),
    entry(2, tenant="BIOLOGY", username="carol"),
    entry(3, action="actors_of_old"),
    entry(4, object="array A1", via="scheduler", action="array.submit"),
]


@pytest.fixture
def trail(database: Database) -> Database:
    with database.begin() as session:
        for one in ENTRIES:
            write(session, one)
    return database


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (Wanted(), [4, 3, 2, 1, 0]),
        (Wanted(tenant="PHYSICS", username="alice"), [4, 3, 0]),
        (Wanted(action="actor"), [2, 1, 0]),
        (Wanted(action="actor.delete"), [1]),
        (Wanted(object="A1"), [4, 1]),
        (Wanted(object="actor A1"), [1]),
        (Wanted(object="1"), []),
        (Wanted(object="%"), []),
        (Wanted(since=START + timedelta(hours=1), until=START + timedelta(hours=3)), [2, 1]),
    ],
    ids=str,
)
def test_what_is_looked_for_is_found(trail: Database, wanted: Wanted, numbers: list[int]) -> None:
    assert list(find(trail, wanted, 100)) == [ENTRIES[number] for number in numbers]


def test_pages_are_one_list(trail: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.audit.trail.PAGE", 2)
    assert len(list(find(trail, Wanted(), 100))) == 5
    assert [one.object for one in find(trail, Wanted(), 3)] == ["array A1", "actor A3", "actor A2"]


def test_the_command_prints_json_lines(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/bridge.db"
    upgrade(url)
    database = Database(url)
    with database.begin() as session:
        for one in ENTRIES:
            write(session, one)
    database.close()
    argv = ["audit", "--user", "bob", "--since", "2026-01-01", "--until", "2026-01-01T02:00"]
    done = CliRunner(env={"BRIDGE_SITE": "unused", "BRIDGE_DATABASE": url}).invoke(cli, argv)
    assert done.exit_code == 0
    [line] = done.output.splitlines()
    assert json.loads(line) == {
        "at": "2026-01-01T01:00:00.000+00:00",
        "tenant": "PHYSICS",
        "username": "bob",
        "via": "token",
        "action": "actor.delete",
        "object": "actor A1",
        "detail": "",
        "remote": "",
        "request_id": "",
        "result": "ok",
        "code": "",
    }
