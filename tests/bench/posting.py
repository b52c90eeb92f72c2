"""Messages accepted a second by one gunicorn worker, beside a bare Flask endpoint in the same run.

The load generator runs in this process, on the same machine. Server and database are new for each
kind, both on the disk with all their flushing; rounds of the two alternate, so that what else the
machine does meets both.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bridge.auth import sign_token
from bridge.clock import SystemClock
from bridge.db import Base, Database
from bridge.sites import load_site
from tests.bench.load import build_request, post_for
from tests.bench.serve import ACTOR, BATCH, THREADS
from tests.factories.postgres import postgres_server
from tests.factories.rows import add_actor
from tests.factories.sites import write_keys

ROUNDS = 5
ROUND_S = 3.0

_SITE = """
name = "bench"
public_url = "http://127.0.0.1"
[clusters.alpha]
spool = "/scratch/{{username}}"
image_cache = "/work/images"
[tenants.PHYSICS]
cluster = "alpha"
public_keys = ["{public}"]
private_key = "{private}"
"""


def measure() -> tuple[dict[str, float], dict[str, float]]:
    """Return (ratios, figures) for single posts and batches on both databases."""
    ratios: dict[str, float] = {}
    figures: dict[str, float] = {}
    # Not /tmp, which is memory on many systems.
    folder = Path(
        tempfile.mkdtemp(prefix="bridge-bench-", dir=os.environ.get("TMPDIR", "/var/tmp"))
    )
    try:
        with postgres_server(durable=True) as server_url:
            urls = {"sqlite": f"sqlite:///{folder}/{{}}.db", "postgresql": server_url}
            for database, url in urls.items():
                rates = _measure(folder, url)
                for what, each in (("single", 1), ("batch", BATCH)):
                    ours, bare = (each * rates[kind, what] for kind in ("bridge", "bare"))
                    name = f"post_{what}_{database}"
                    ratios[f"{name}_vs_bare"] = round(ours / bare, 3)
                    figures[f"{name}_messages_per_s"] = round(ours, 1)
                    figures[f"{name}_bare_messages_per_s"] = round(bare, 1)
                    print(f"{name:22} {ours:9.1f}/s  bare {bare:9.1f}/s  ratio {ours / bare:.2f}")
    finally:
        shutil.rmtree(folder)
    return ratios, figures


def _measure(folder: Path, url: str) -> dict[tuple[str, str], float]:
    """Return requests a second by (application, kind of request): the median of the rounds."""
    site_file = folder / "site.toml"
    public, private = write_keys(folder, "physics")
    site_file.write_text(_SITE.format(public=public, private=private), encoding="utf-8")
    tenant = load_site(site_file).tenants["PHYSICS"]
    token = sign_token(tenant, "PHYSICS", "alice", ("Internal/everyone",), 86_400, SystemClock())
    requests = _requests(token)
    rates: dict[tuple[str, str], list[float]] = {key: [] for key in requests}
    with (
        served("bridge", site_file, _with_actor("bridge", url)) as (ours, _),
        served("bare", site_file, _with_actor("bare", url)) as (bare, _),
    ):
        ports = {"bridge": ours, "bare": bare}
        for kind, what in requests:  # warm up
            post_for(ports[kind], requests[kind, what], 0.5, THREADS)
        for _ in range(ROUNDS):
            for (kind, what), request in requests.items():
                rates[kind, what].append(post_for(ports[kind], request, ROUND_S, THREADS))
    return {key: statistics.median(values) for key, values in rates.items()}


def _requests(token: str) -> dict[tuple[str, str], bytes]:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    message = {"message": "hello"}
    one, many = json.dumps(message).encode(), json.dumps([message] * BATCH).encode()
    path = f"/actors/{ACTOR}/messages"
    return {
        ("bridge", "single"): build_request(path, one, headers),
        ("bare", "single"): build_request("/one", one, headers),
        ("bridge", "batch"): build_request(f"{path}/batch", many, headers),
        ("bare", "batch"): build_request("/many", many, headers),
    }


@contextmanager
def served(kind: str, site_file: Path, url: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Serve one of the applications over the database `url`; give its port and its process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    argv = [sys.executable, "-m", "tests.bench.serve", kind, str(site_file), url, str(port)]
    process = subprocess.Popen(argv)
    try:
        _wait_for(process, port)
        yield port, process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _with_actor(kind: str, url: str) -> str:
    """Make a database with the tables and the one actor; return its URL."""
    url = own_database(kind, url)
    database = Database(url)
    with database.begin() as session:
        add_actor(session, id=ACTOR)
    database.close()
    return url


def own_database(kind: str, url: str) -> str:
    """Make a database with the tables; return its URL."""
    if url.startswith("sqlite"):
        url = url.format(kind)
    else:
        server = Database(url)
        with server.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {kind}")
        server.close()
        url = url.replace("/postgres?", f"/{kind}?")
    database = Database(url)
    Base.metadata.create_all(database.engine)
    database.close()
    return url


def _wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("the server did not start")
