"""A nonce good for three, used a hundred times at once: by threads, and over HTTP."""

from __future__ import annotations

import http.client
import os
import re
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import func, select

from bridge.auth import redeem_nonce
from bridge.core.statuses import Level
from bridge.db import Database, Execution, Nonce
from bridge.errors import AuthenticationError
from bridge.sites import Site
from tests.factories.rows import START, add_account, add_actor, add_nonce
from tests.factories.sites import write_keys
from tests.unit.cli.processes import running

USES, REQUESTS = 3, 100
SPENT = "No remaining uses left for this nonce."
SITE = """\
name = "test"
public_url = "https://bridge.example.org"
[clusters.alpha]
spool = "/scratch/{{login}}"
image_cache = "/work/images"
[tenants.PHYSICS]
cluster = "alpha"
public_keys = ["{public}"]
"""
# As `bridge api` serves, but for the check of the uid: the suite runs as root.
SERVE = """
from bridge import logs
from bridge.cli.serve import Server
from bridge.settings import read_settings
from bridge.sites import load_site
settings = read_settings()
logs.configure(settings.log_level)
options = {"bind": "127.0.0.1:0", "workers": 2, "threads": 8}
Server(load_site(settings.site_file), settings, options).run()
"""


@pytest.fixture
def actor_and_nonce(database: Database) -> tuple[str, str]:
    with database.begin() as session:
        actor = add_actor(session)
        add_account(session)
        return actor.id, add_nonce(session, actor, max_uses=USES, remaining_uses=USES).id


def at_once(use: Callable[[], str]) -> Counter[str]:
    """Let everybody begin at the same moment; return what they were told."""
    start = threading.Barrier(REQUESTS)

    def one(_number: int) -> str:
        start.wait(60)
        return use()

    with ThreadPoolExecutor(REQUESTS) as pool:
        return Counter(pool.map(one, range(REQUESTS)))


def counted(database: Database, nonce_id: str) -> tuple[int, int]:
    with database.read() as session:
        nonce = session.get_one(Nonce, nonce_id)
        return nonce.current_uses, nonce.remaining_uses


def test_by_threads(database: Database, site: Site, actor_and_nonce: tuple[str, str]) -> None:
    actor_id, nonce_id = actor_and_nonce

    def use() -> str:
        try:
            redeem_nonce(database, site, nonce_id, actor_id, Level.EXECUTE, START)
        except AuthenticationError as error:
            return error.message
        return "redeemed"

    assert at_once(use) == {"redeemed": USES, SPENT: REQUESTS - USES}
    assert counted(database, nonce_id) == (USES, 0)


def test_over_http(database: Database, tmp_path: Path, actor_and_nonce: tuple[str, str]) -> None:
    actor_id, nonce_id = actor_and_nonce
    site_file = tmp_path / "site.toml"
    site_file.write_text(SITE.format(public=write_keys(tmp_path, "physics")[0]))
    env = {**os.environ, "BRIDGE_SITE": str(site_file), "BRIDGE_DATABASE": database.url}

    with running("-c", SERVE, env=env) as server:
        found = re.search(r":(\d+) \(", server.wait_for("Listening at"))
        assert found is not None
        port = int(found[1])
        server.wait_for("Booting worker")
        server.wait_for("Booting worker")

        def use() -> str:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
            connection.request(
                "POST",
                f"/actors/{actor_id}/messages?x-nonce={nonce_id}",
                b'{"message": "hello"}',
                {"Content-Type": "application/json", "Connection": "close"},
            )
            answer = connection.getresponse()
            text = answer.read().decode()
            connection.close()
            return "posted" if answer.status == 200 else SPENT if SPENT in text else text

        assert at_once(use) == {"posted": USES, SPENT: REQUESTS - USES}
    assert counted(database, nonce_id) == (USES, 0)
    with database.read() as session:
        assert session.scalars(select(func.count()).select_from(Execution)).one() == USES
