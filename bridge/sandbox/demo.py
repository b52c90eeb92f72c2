"""The main job, as a user does it: a digits classifier over HTTP, and a report of what it took."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import requests

from bridge.errors import SandboxError
from bridge.sandbox.cluster import Sandbox
from bridge.sandbox.images import Say
from bridge.sandbox.service import BridgeService

USER = "alice"
POSTERS = 4
CALL_TIMEOUT_S = 60.0
TIMEOUT_S = 1200.0
Progress = Callable[[int, int, int, int], None]  # queued, running, done, all


@dataclass(frozen=True)
class DemoReport:
    """What `build/demo.json` holds. Seconds are wall time from the first post to the last end."""

    executions: int
    complete: int
    accuracy: float
    seconds: float
    executions_per_s: float
    sbatch_calls: int
    array_tasks: int
    container_starts: int
    cpu_seconds: float
    nodes: list[str]
    user: str
    sacct: list[str]
    url: str
    actor_id: str


class Client:
    """A small Abaco client: what `curl` would send."""

    def __init__(self, url: str, token: str) -> None:
        self.url = f"{url}/actors/v2"
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {token}"
        adapter = requests.adapters.HTTPAdapter(pool_maxsize=POSTERS)
        self._session.mount("http://", adapter)

    def send(self, method: str, path: str = "", **options: Any) -> requests.Response:
        """Return the whole answer to a request, whatever its status."""
        return self._session.request(method, self.url + path, timeout=CALL_TIMEOUT_S, **options)

    def call(self, method: str, path: str = "", **options: Any) -> Any:
        """Return the `result` of a call.

        Raises:
            SandboxError: the answer is not a success; says what came.
        """
        answer = self.send(method, path, **options)
        document = answer.json()
        if answer.status_code != 200:
            raise SandboxError(f"{method} {path}: {answer.status_code}, {document.get('message')}")
        return document["result"]

    def wait_ready(self, actor: str, timeout_s: float = 300) -> None:
        """Wait until the actor is READY; its ERROR is raised with the reason."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            found = self.call("GET", f"/{actor}")
            if found["status"] == "READY":
                return
            if found["status"] == "ERROR":
                raise SandboxError(f"The actor is in ERROR: {found['statusMessage']}")
            time.sleep(0.3)
        raise SandboxError(f"The actor was not READY after {timeout_s:.0f} s.")


def run_demo(
    sandbox: Sandbox,
    say: Say,
    progress: Progress,
    service: BridgeService | None = None,
    count: int | None = None,
) -> DemoReport:
    """Classify held-out digits with one message each; return the report.

    Args:
        sandbox: the cluster.
        say: gets a line for each step that took time.
        progress: gets the counts of executions as they change.
        service: the bridge on it, as it is to be configured.
        count: how many digits; all of them where it is not given.
    """
    service = service or BridgeService(sandbox)
    service.ensure()
    image = sandbox.ensure_image("digits-classifier", say)
    digits = sandbox.digits()[:count]
    client = Client(sandbox.url, service.token(USER))
    actor = client.call("POST", json={"image": image, "name": "digits-classifier"})["id"]
    say(f"Actor {actor} registered as {USER}; waiting for its image")
    client.wait_ready(actor)
    sandbox.reset_container_starts()
    since = sandbox.run("login", ["date", "+%Y-%m-%dT%H:%M:%S"]).stdout.strip()
    begun = time.monotonic()
    labels = _post_all(client, actor, digits)
    executions = _wait_all(client, actor, len(digits), progress)
    seconds = time.monotonic() - begun
    right = _count_right(client, actor, labels)
    return _report(client, sandbox, actor, executions, right, seconds, read_jobs(sandbox, since))


def _post_all(client: Client, actor: str, digits: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Post a message per image; return the true label by execution id."""

    def post(digit: tuple[str, str]) -> tuple[str, str]:
        path, label = digit
        sent = client.call("POST", f"/{actor}/messages", data={"message": _in_container(path)})
        return sent["executionId"], label

    with ThreadPoolExecutor(POSTERS) as pool:
        return dict(pool.map(post, digits))


def _in_container(path: str) -> str:
    """Return the path as the container has it: the tenant's mount of /work/{username} at /work."""
    return path.replace(f"/work/{USER}/", "/work/", 1)


def _wait_all(client: Client, actor: str, count: int, progress: Progress) -> list[dict[str, Any]]:
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        executions: list[dict[str, Any]] = client.call("GET", f"/{actor}/executions")["executions"]
        running = sum(e["status"] == "RUNNING" for e in executions)
        done = sum(e["status"] in ("COMPLETE", "ERROR") for e in executions)
        progress(count - running - done, running, done, count)
        if done == count:
            return executions
        time.sleep(1)
    raise SandboxError(f"Not all {count} executions were final after {TIMEOUT_S:.0f} s.")


def _count_right(client: Client, actor: str, labels: dict[str, str]) -> int:
    def is_right(item: tuple[str, str]) -> bool:
        execution, label = item
        logs = client.call("GET", f"/{actor}/executions/{execution}/logs")["logs"]
        return bool(logs.startswith(f"{label} (score"))

    with ThreadPoolExecutor(POSTERS) as pool:
        return sum(pool.map(is_right, labels.items()))


def _report(
    client: Client,
    sandbox: Sandbox,
    actor: str,
    executions: list[dict[str, Any]],
    right: int,
    seconds: float,
    jobs: list[list[str]],
) -> DemoReport:
    ours = {execution["id"] for execution in executions}
    starts = [line.split()[-1] for line in sandbox.container_starts()]
    return DemoReport(
        executions=len(executions),
        complete=sum(execution["status"] == "COMPLETE" for execution in executions),
        accuracy=round(right / len(executions), 4),
        seconds=round(seconds, 2),
        executions_per_s=round(len(executions) / seconds, 2),
        sbatch_calls=len({row[0].partition("_")[0] for row in jobs}),
        array_tasks=len(jobs),
        container_starts=sum(start in ours for start in starts),
        cpu_seconds=round(client.call("GET", f"/{actor}/executions")["totalCpu"] / 1e9, 2),
        nodes=sorted({row[3] for row in jobs}),
        user=",".join(sorted({row[1] for row in jobs})),
        sacct=["|".join(row) for row in jobs],
        url=sandbox.url,
        actor_id=actor,
    )


def read_jobs(sandbox: Sandbox, since: str) -> list[list[str]]:
    """Return what Slurm's accounting has of the bridge's array tasks submitted since then.

    Each row is job id, user, state and node. Accounting lags a little behind: rows that still run
    are waited for, 30 s at most.
    """
    argv = ["sacct", "-aXnP", "-S", since, "-o", "JobID,User,State,NodeList,JobName,Submit"]
    rows: list[list[str]] = []
    for _ in range(30):
        lines = sandbox.run("login", argv).stdout.splitlines()
        rows = [line.split("|") for line in lines if "|bridge-" in line]
        rows = [row for row in rows if row[5] >= since]
        if rows and all(row[2] not in ("RUNNING", "PENDING", "COMPLETING") for row in rows):
            break
        time.sleep(1)
    return [row[:4] for row in rows]


def write_report(report: DemoReport, path: Path) -> None:
    """Write the report as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(report), indent=2) + "\n", encoding="utf-8")
