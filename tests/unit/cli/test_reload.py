"""SIGHUP: real processes read their site file again, or go on with the old one."""

from __future__ import annotations

import http.client
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.auth import sign_token
from bridge.clock import SystemClock
from bridge.db.upgrade import upgrade
from bridge.sites import load_site
from tests.factories.sites import write_keys
from tests.unit.cli.processes import Running, running

SITE = """\
name = "test"
public_url = "https://bridge.example.org"
[clusters.alpha]
session = "local"
spool = "/scratch/{{username}}"
image_cache = "/work/images"
[tenants.PHYSICS]
cluster = "alpha"
user_role = "student"
public_keys = ["{public}"]
private_key = "{private}"
"""
# As `bridge api` serves, but for the check of the uid: the suite runs as root.
SERVE = """
from bridge import logs
from bridge.cli.serve import Server
from bridge.settings import read_settings
from bridge.sites import load_site
settings = read_settings()
logs.configure(settings.log_level)
options = {"bind": "127.0.0.1:0", "workers": 1, "threads": 2}
Server(load_site(settings.site_file), settings, options).run()
"""
# As `bridge scheduler` works, but that it stays root, whose files these are.
SCHEDULE = """
import bridge.sessions.ways
from bridge.cli.scheduler import scheduler
bridge.sessions.ways.drop = lambda user, may_use_sudo: None
bridge.sessions.ways.AgentProgram.give = lambda program, user: None
scheduler()
"""


@pytest.fixture
def site_file(tmp_path: Path) -> Path:
    public, private = write_keys(tmp_path, "physics")
    path = tmp_path / "site.toml"
    path.write_text(SITE.format(public=public, private=private))
    path.chmod(0o640)
    return path


@pytest.fixture
def env(site_file: Path, tmp_path: Path) -> dict[str, str]:
    url = f"sqlite:///{tmp_path}/bridge.db"
    upgrade(url)
    return {**os.environ, "BRIDGE_SITE": str(site_file), "BRIDGE_DATABASE": url}


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


class Client:
    """A user with the role `student`, over one connection a request."""

    def __init__(self, port: int, site_file: Path) -> None:
        tenant = load_site(site_file).tenants["PHYSICS"]
        self._port = port
        self._token = sign_token(tenant, "PHYSICS", "alice", ("student",), 600, SystemClock())

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=300)

    @property
    def headers(self) -> dict[str, str]:
        return {"X-Tapis-Token": self._token}

    def status(self) -> int:
        connection = self.connect()
        connection.request("GET", "/actors/v2", headers=self.headers | {"Connection": "close"})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.status


@pytest.fixture
def api(env: dict[str, str]) -> Iterator[Running]:
    with running("-c", SERVE, env=env) as process:
        yield process


@pytest.fixture
def client(api: Running, site_file: Path) -> Client:
    found = re.search(r":(\d+) \(", api.wait_for("Listening at"))
    assert found is not None
    return Client(int(found[1]), site_file)


def test_the_api_takes_a_file_over_and_refuses_a_broken_one(
    api: Running, client: Client, site_file: Path
) -> None:
    assert client.status() == 200

    good = site_file.read_text()
    change(site_file, "user_role", "user_rule")
    api.hang_up()
    refused = api.wait_for("site file refused, the old one stays in force")
    assert f'{site_file}:9: tenants.PHYSICS.user_rule: unknown key; did you mean "user_role"?' in (
        refused
    )
    assert client.status() == 200

    site_file.write_text(good)
    change(site_file, '"student"', '"teacher"')
    api.hang_up()
    said = api.wait_for("site file reloaded")
    assert said == "site file reloaded; changed: tenants.PHYSICS.user_role"
    api.wait_for("Worker exiting")
    assert client.status() == 400  # a student has no role that counts any more

    change(site_file, '"local"', '"sudo"')
    api.hang_up()
    api.wait_for("the scheduler needs a restart for: clusters.alpha.session")
    api.wait_for("Worker exiting")


def test_the_api_refuses_keys_that_cannot_be_used(
    api: Running, client: Client, site_file: Path, tmp_path: Path
) -> None:
    assert client.status() == 200  # its process has read the keys
    (tmp_path / "physics.pub").write_text("nothing")
    api.hang_up()
    assert "physics.pub holds no public key" in api.wait_for("site file refused")
    assert client.status() == 200


def test_a_request_under_way_is_answered(api: Running, client: Client, site_file: Path) -> None:
    body = b'{"description": "an actor without"}'
    connection = client.connect()
    connection.putrequest("POST", "/actors/v2")
    for name, value in client.headers.items():
        connection.putheader(name, value)
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body[:10])
    assert client.status() == 200  # so the one worker has the other connection too

    change(site_file, '"student"', '"teacher"')
    api.hang_up()
    api.wait_for("site file reloaded")
    api.wait_for("Booting worker")
    connection.send(body[10:])
    answer = connection.getresponse()
    assert b"image" in answer.read()  # what is missing; a teacher's API would say: role
    connection.close()
    api.wait_for("Worker exiting")
    assert client.status() == 400


def test_the_scheduler_takes_a_file_over_or_goes_on_with_the_old_one(
    env: dict[str, str], site_file: Path
) -> None:
    with running("-c", SCHEDULE, env=env) as scheduler:
        scheduler.wait_for("leading")
        good = site_file.read_text()
        for old, new, said in (
            ('"alpha"', '"beta"', f'{site_file}:8: tenants.PHYSICS.cluster: found "beta"'),
            ('"alpha"', '"alpha', f"{site_file}:8:17: not TOML"),
            ('"local"', '"setuid"', "clusters.alpha.session: changed, which only a restart"),
            ("alpha", "beta", "clusters.alpha, clusters.beta: changed, which only a restart"),
        ):
            change(site_file, old, new)
            scheduler.hang_up()
            refused = scheduler.wait_for("site file refused, the old one stays in force")
            assert said in refused
            site_file.write_text(good)

        change(site_file, "[tenants.PHYSICS]", 'partition = "long"\n[tenants.PHYSICS]')
        change(site_file, "https:", "http:")
        scheduler.hang_up()
        scheduler.wait_for(f"{site_file}:2: warning: public_url: found")
        said = scheduler.wait_for("site file reloaded")
        assert said == "site file reloaded; changed: public_url, clusters.alpha.partition"
        scheduler.hang_up()
        scheduler.wait_for("changed: no key; files of keys were read again")
