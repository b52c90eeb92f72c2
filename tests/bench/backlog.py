"""A million messages of two thousand actors that wait: scheduler and API beside each other.

The rows are written by the database itself. Then for a while the scheduler goes round
(`tests.bench.backlog_scheduler`), workers take and end messages, and this process asks the API one
thing after the other over one connection; each of the three in a process of its own, database and
files on the disk. Once on SQLite, once on PostgreSQL: the worse of both counts.
"""

from __future__ import annotations

import http.client
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bridge.auth import sign_token
from bridge.clock import SystemClock
from bridge.db import Database
from bridge.sites import load_site
from tests.bench.posting import own_database, served
from tests.factories.backlog import fill_backlog
from tests.factories.postgres import postgres_server
from tests.factories.sites import write_keys

ACTORS, MESSAGES = 2000, 1_000_000
SECONDS = 45
BATCH = 100
PAUSE_S = 0.005  # between two requests

_SITE = """
name = "bench"
public_url = "http://127.0.0.1"
[clusters.alpha]
spool = "{folder}/spool/{{username}}"
image_cache = "{folder}/images"
max_workers = 50
[tenants.PHYSICS]
cluster = "alpha"
public_keys = ["{public}"]
private_key = "{private}"
[tenants.PHYSICS.limits]
max_queued_messages = 2000000
max_queued_messages_per_user = 1000000
"""


def measure() -> tuple[dict[str, float], dict[str, Any]]:
    """Return (ratios, figures); those of each database are below its name."""
    figures: dict[str, Any] = {}
    with postgres_server(durable=True) as server_url:
        # Not /tmp, which is memory on many systems.
        folder = Path(
            tempfile.mkdtemp(prefix="bridge-bench-", dir=os.environ.get("TMPDIR", "/var/tmp"))
        )
        try:
            for name, url in (
                ("sqlite", f"sqlite:///{folder}/{{}}.db"),
                ("postgresql", server_url),
            ):
                figures[f"backlog_{name}"] = found = _measure(folder / name, url)
                print(f"backlog {name:10}", json.dumps(found))
        finally:
            shutil.rmtree(folder)
    both = list(figures.values())
    ratios = {
        "backlog_tick_p99_ms": max(one["tick_p99_ms"] for one in both),
        "backlog_rss_mib": max(one[f"{kind}_rss_mib"] for one in both for kind in ("tick", "api")),
        "backlog_api_p99_ms": max(one["api_p99_ms"] for one in both),
    }
    return ratios, figures


def _measure(folder: Path, url: str) -> dict[str, Any]:
    folder.mkdir()
    url = own_database("backlog", url)
    database = Database(url)
    begun = time.monotonic()
    actors = fill_backlog(database, ACTORS, MESSAGES, datetime.now(UTC))
    loaded_s = time.monotonic() - begun
    database.close()
    public, private = write_keys(folder, "physics")
    site_file = folder / "site.toml"
    site_file.write_text(_SITE.format(folder=folder, public=public, private=private))
    argv = [sys.executable, "-m", "tests.bench.backlog_scheduler", str(site_file), url]
    with served("bridge", site_file, url) as (port, api):
        # What a process does once, when it is first asked something, is not what is measured.
        _ask(port, site_file, actors, 1)
        scheduler = subprocess.Popen([*argv, str(SECONDS)], stdout=subprocess.PIPE, text=True)
        times = _ask(port, site_file, actors, SECONDS)
        output, _ = scheduler.communicate(timeout=60)
        api_rss = max(_peak_mib(pid) for pid in _children(api.pid))
    rounds = json.loads(output)
    return {
        "tick_p99_ms": _p99(rounds["rounds_ms"]),
        "tick_median_ms": round(statistics.median(rounds["rounds_ms"]), 1),
        "tick_rss_mib": round(rounds["rss_mib"], 1),
        "rounds": len(rounds["rounds_ms"]),
        "other_ticks_ms": {name: round(ms, 1) for name, ms in rounds["others_ms"].items()},
        "api_p99_ms": max(_p99(one) for one in times.values()),
        "api_p99_each_ms": {name: _p99(one) for name, one in times.items()},
        "api_median_each_ms": {name: round(statistics.median(t), 1) for name, t in times.items()},
        "api_requests": sum(map(len, times.values())),
        "api_rss_mib": round(api_rss, 1),
        "given_out": rounds["given_out"],
        "complete": rounds["complete"],
        "loaded_s": round(loaded_s, 1),
    }


def _ask(
    port: int, site_file: Path, actors: Sequence[str], seconds: float
) -> dict[str, list[float]]:
    """Send every kind of request in turn; return how long each took, milliseconds."""
    tenant = load_site(site_file).tenants["PHYSICS"]
    clock = SystemClock()
    token = sign_token(tenant, "PHYSICS", "user00", ("Internal/everyone",), 86_400, clock)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    one = {"message": "hello"}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    times: dict[str, list[float]] = {}

    def ask(name: str, method: str, path: str, body: object = None) -> Any:
        begun = time.monotonic()
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, headers)
        answer = connection.getresponse()
        text = answer.read()
        times.setdefault(name, []).append((time.monotonic() - begun) * 1000)
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:200]!r}")
        time.sleep(PAUSE_S)
        return json.loads(text)["result"]

    mine = actors[:: len(actors) // 40]  # user00's: every fiftieth
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for actor in mine:
            path = f"/actors/{actor}"
            posted = ask("post", "POST", f"{path}/messages", one)
            ask("execution", "GET", f"{path}/executions/{posted['execution_id']}")
            ask("executions", "GET", f"{path}/executions?limit=100")
            ask("actor", "GET", path)
            ask("actors", "GET", "/actors?limit=100")
            ask("batch", "POST", f"{path}/messages/batch", [one] * BATCH)
    return times


def _p99(values: Sequence[float]) -> float:
    return round(sorted(values)[math.ceil(0.99 * len(values)) - 1], 1)


def _children(pid: int) -> list[int]:
    """Return the process itself and those that it has started."""
    below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, below)]


def _peak_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [peak] = [line for line in lines if line.startswith("VmHWM:")]
    return int(peak.split()[1]) / 1024
