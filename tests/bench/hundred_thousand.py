"""100,000 messages through real workers: what they cost the filesystem and Slurm, and if all ran.

They run with ``reuse=process`` in an image whose process does nothing but note each message's id in
a file of its own (tests/images/starts): what was started is counted there, not by the bridge.

* Files: every name that was created below the owner's spools on the shared filesystem while the
  actor was at work, directories, links and temporary names among them (tests.bench.creations). The
  worker's own directory on a node is counted apart, as is what the process itself writes.
* Calls to Slurm: the requests that slurmctld and slurmdbd have counted of the service user and the
  owner (`sdiag`, `sacctmgr show stats`), from the first message posted to the last one final. A
  tick is a question to slurmctld about jobs, of which each round of the watch asks one.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.sandbox import Sandbox
from bridge.sandbox.demo import USER, Client
from bridge.sandbox.service import BridgeService

COUNT = 100_000
AT_ONCE = 5000  # messages of one batch
POLL_S = 1.0
STALLED_S = 120.0  # without one more final execution
SPOOLS = f"/scratch/{USER}/.bridge"
STARTS = f"/scratch/{USER}/starts"
NODE_LOCAL = "/tmp"  # of a node of the sandbox
QUESTION = "REQUEST_JOB_INFO"  # what each look at the jobs is to slurmctld
_COUNTED = re.compile(r"^\s+(\S+)\s+\(\s*\d+\)\s+count:(\d+)", re.MULTILINE)


def measure() -> tuple[dict[str, float], dict[str, Any]]:
    """Return (ratios, figures)."""
    sandbox = Sandbox("bench")
    sandbox.up(nodes=2, port=0, say=print)
    try:
        return run(sandbox, COUNT)
    finally:
        sandbox.down()


def run(
    sandbox: Sandbox, count: int, database: str | None = None
) -> tuple[dict[str, float], dict[str, Any]]:
    """Return (ratios, figures) of `count` messages on a sandbox that is up.

    Raises:
        RuntimeError: nothing went on for STALLED_S, or the kernel dropped events.
    """
    service = BridgeService(sandbox, database)
    service.ensure({"max_ntasks = 4\n": 'max_ntasks = 4\nreuse = ["none", "image", "process"]\n'})
    client = Client(sandbox.url, service.token(USER))
    sandbox.run("login", ["rm", "-rf", STARTS], user=USER)
    sandbox.run("login", ["mkdir", "-p", SPOOLS], user=USER)
    image = sandbox.ensure_image("starts", print)
    actor = client.call("POST", json={"image": image, "batch": {"reuse": "process"}})["id"]
    client.wait_ready(actor)
    with watched(sandbox) as created:
        before = SlurmCalls.read(sandbox)
        begun = time.monotonic()
        ids = post(client, actor, count)
        posted_s = time.monotonic() - begun
        wait_final(client, actor, count)
        seconds = time.monotonic() - begun
        calls = SlurmCalls.read(sandbox).since(before)
        complete = count_executions(client, actor, status="COMPLETE", exitCode="0")
        client.call("DELETE", f"/{actor}")
        wait_gone(sandbox)
    starts = Counter(sandbox.run("login", ["sh", "-c", f"cat {STARTS}/*"]).stdout.split())
    shared, *local = created
    if shared["lost"]:
        raise RuntimeError("the kernel dropped events of files that were created")
    ratios = {
        "hundred_thousand_files": shared["files"] + shared["directories"],
        "hundred_thousand_lost": max(count - complete, len(set(ids) - set(starts))),
        "hundred_thousand_twice": sum(number > 1 for number in starts.values()),
        "slurm_calls_per_tick": round(calls.total / calls.ticks, 2),
    }
    figures = {
        "messages": count,
        "seconds": round(seconds, 1),
        "messages_per_s": round(count / seconds, 1),
        "posted_per_s": round(count / posted_s, 1),
        "strange_starts": len(set(starts) - set(ids)),
        "processes": int(sandbox.run("login", ["sh", "-c", f"ls {STARTS} | wc -l"]).stdout),
        "node_local_files": sum(one["files"] + one["directories"] for one in local),
        "slurmctld_calls": calls.controller,
        "slurmdbd_calls": calls.accounting,
        "ticks": calls.ticks,
    }
    print(json.dumps({**ratios, **figures}, indent=1))
    return ratios, {"hundred_thousand": figures}


@dataclass(frozen=True)
class SlurmCalls:
    """Requests that Slurm's daemons have taken of others than Slurm itself and root."""

    controller: int
    accounting: int
    questions: int

    @classmethod
    def read(cls, sandbox: Sandbox) -> SlurmCalls:
        """Return what they have counted until now."""
        controller = read_counts(sandbox.run("head", ["sdiag"]).stdout)
        accounting = read_counts(sandbox.run("head", ["sacctmgr", "show", "stats"]).stdout)
        people = ("bridge", USER)
        questions = sum(n for name, n in controller.items() if name.startswith(QUESTION))
        return cls(
            sum(controller.get(name, 0) for name in people),
            sum(accounting.get(name, 0) for name in people),
            questions,
        )

    def since(self, before: SlurmCalls) -> SlurmCalls:
        """Return what has come since `before`."""
        return SlurmCalls(
            self.controller - before.controller,
            self.accounting - before.accounting,
            self.questions - before.questions,
        )

    @property
    def total(self) -> int:
        """All of them."""
        return self.controller + self.accounting

    @property
    def ticks(self) -> int:
        """How often the bridge has looked at its jobs."""
        return max(1, self.questions)


def read_counts(text: str) -> dict[str, int]:
    """Return the counts of the tables in a report: by kind of message, and by user."""
    return {name: int(number) for name, number in _COUNTED.findall(text)}


def post(client: Client, actor: str, count: int) -> list[str]:
    """Post `count` messages in batches; return their execution ids."""
    ids: list[str] = []
    for first in range(0, count, AT_ONCE):
        batch = [f"message {n}" for n in range(first, min(count, first + AT_ONCE))]
        answer = client.call("POST", f"/{actor}/messages/batch", json=batch)
        ids += [one["executionId"] for one in answer["executions"]]
    return ids


def wait_final(client: Client, actor: str, count: int) -> None:
    """Wait until no execution is open.

    Raises:
        RuntimeError: none became final for STALLED_S.
    """
    left, since = count, time.monotonic()
    while left:
        time.sleep(POLL_S)
        now_left = count_executions(client, actor, **{"status.in": '["SUBMITTED","RUNNING"]'})
        if now_left != left:
            left, since = now_left, time.monotonic()
        elif time.monotonic() > since + STALLED_S:
            raise RuntimeError(f"{left} of {count} executions are not final and none ends")


def count_executions(client: Client, actor: str, **filters: str) -> int:
    """Return how many executions of the actor are as the filters say."""
    found = client.call("GET", f"/{actor}/executions", params={**filters, "limit": "1"})
    return int(found["_metadata"]["totalCount"])


def wait_gone(sandbox: Sandbox) -> None:
    """Wait until the last spool has been removed."""
    find = ["find", SPOOLS, "-name", "array.json"]

    def is_empty() -> bool:
        return not sandbox.run("login", find).stdout.strip()

    wait(is_empty, 120, "a spool stays")


@contextmanager
def watched(sandbox: Sandbox) -> Iterator[list[dict[str, int]]]:
    """Count what is created meanwhile, on the shared filesystem and on each node."""
    source = Path(__file__).with_name("creations.py").read_bytes()
    found: list[dict[str, int]] = []
    running: list[tuple[str, str, int]] = []
    try:
        for node, root in [("login", SPOOLS), *((node, NODE_LOCAL) for node in sandbox.nodes)]:
            log = "/root/creations.log"
            sandbox.put(node, "/root/creations.py", source)
            sandbox.run(node, ["rm", "-f", log])
            argv = ["python3", "/root/creations.py", root, "3600"]
            running.append((node, log, sandbox.start(node, argv, user="root", log_path=log)))
            wait(lambda n=node, p=log: sandbox.get(n, p) != b"", 20, "inotify does not start")
        yield found
    finally:
        for node, _, number in running:
            sandbox.run(node, ["kill", str(number)], check=False)
    for node, log, _ in running:
        wait(lambda n=node, p=log: sandbox.get(n, p).count(b"\n") == 2, 20, f"no count on {node}")
        found.append(json.loads(sandbox.get(node, log).splitlines()[1]))


def wait(condition: Callable[[], bool], timeout_s: float, otherwise: str) -> None:
    """Wait for `condition`.

    Raises:
        RuntimeError: it does not come true in time; says `otherwise`.
    """
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"{otherwise} ({timeout_s:.0f} s)")
        time.sleep(0.3)
