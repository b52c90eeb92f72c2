"""What the job holds, and what somebody else on the nodes sees of it and can do to it.

Bob is alice's neighbour: of her tenant, with an account on every node. One execution of hers runs
while he tries. What each attack is answered with is in tests/attacks.md.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bridge.sandbox.demo import Client
from tests.cluster import Cluster, wait_for

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(600)]

ALICE, SCIENCE, BRIDGE = 2001, 3000, 990
NODES = ("login", "c1", "c2")
RUNS_S = 240
# All that may be in the environment of the worker: what Slurm and its launchers set (srun(1),
# sbatch(1), --export=NIL), and the job's own user.
OF_SLURM = re.compile(
    r"(SLURM|SLURMD|SBATCH|PMI|PMIX|OMPI|HYDRA|I_MPI|PRTE|ZES|ROCR|CUDA|GPU)_\w+"
    r"|TMPDIR|PWD|HOME|USER|LOGNAME|PATH|SHELL|LANG|OLDPWD|SHLVL|_|ENVIRONMENT|HOSTNAME"
)


def mark(what: str) -> str:
    """Return a word that is nowhere else."""
    return f"{what}-{secrets.token_hex(12)}"


@dataclass
class Victim:
    """An execution of alice's that runs, and everything of it that is nobody else's to see."""

    actor: str
    execution: str
    marks: list[str]
    node: str
    job: str
    worker: str  # process number on the node
    spool: str
    agent: str  # process number on the login node


@pytest.fixture(scope="module")
def alice(cluster: Cluster) -> Client:
    return cluster.client()


@pytest.fixture(scope="module")
def victim(cluster: Cluster, alice: Client) -> Iterator[Victim]:
    run = cluster.sandbox.run
    words = {what: mark(what) for what in ("message", "default", "query", "config", "name")}
    actor = cluster.actor(
        alice,
        "probe",
        name=words["name"],
        defaultEnvironment={"GIVEN": words["default"]},
        token=True,
        batch={"time_limit": 300},
    )
    config = {"name": f"c-{actor}", "value": words["config"], "isSecret": True, "actors": actor}
    alice.call("POST", "/configs", json=config)
    nonce = alice.call("POST", f"/{actor}/nonces", json={"level": "EXECUTE"})["id"]
    orders = {"sleep": RUNS_S, "word": words["message"]}
    execution = alice.call(
        "POST",
        f"/{actor}/messages",
        data={"message": repr(orders)},
        params={"ASKED": words["query"], "x-nonce": nonce},
    )["executionId"]
    cluster.running(alice, actor)
    logs: list[str] = []

    def has_spoken() -> bool:
        logs[:] = alice.call("GET", f"/{actor}/executions/{execution}/logs")["logs"].splitlines()
        return bool(logs)

    wait_for(has_spoken, 30, "the container to say what it sees")
    token = json.loads(logs[0])["environment"]["_abaco_access_token"]
    assert token.count(".") == 2
    job, node = run("login", ["squeue", "-hu", "alice", "-o", "%A %N", "-tR"]).stdout.split()
    worker = run(node, ["pgrep", "-u", "alice", "-f", r"node-.*\.pyz worker"]).stdout.split()[0]
    agent = run("login", ["pgrep", "-u", "alice", "-f", r"node-.*\.pyz agent"]).stdout.split()[0]
    [*_, spool] = run(node, ["cat", f"/proc/{worker}/cmdline"]).stdout.rstrip("\0").split("\0")
    bearer = str(alice._session.headers["Authorization"]).removeprefix("Bearer ")
    marks = [*words.values(), nonce, token, bearer]
    yield Victim(actor, execution, marks, node, job, worker, spool, agent)
    alice.call("DELETE", f"/{actor}/executions/{execution}")
    ended = cluster.end(alice, actor, execution)
    alice.call("DELETE", f"/configs/c-{actor}")
    alice.call("DELETE", f"/{actor}")
    # Nobody else has ended it before.
    assert ended["exitCode"] == 143, ended


# --- what the job holds ---


def test_the_job_is_the_owners_in_every_number(cluster: Cluster, victim: Victim) -> None:
    for node, pid in ((victim.node, victim.worker), ("login", victim.agent)):
        status = cluster.sandbox.run(node, ["cat", f"/proc/{pid}/status"]).stdout
        found = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert found["Uid"].split() == found["Gid"].split() == [str(ALICE)] * 4
        assert sorted(map(int, found["Groups"].split())) == [ALICE, SCIENCE]
        assert int(found["Umask"], 8) == 0o077
        for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(found[kind], 16) == 0, (node, kind)
        assert cluster.sandbox.run(node, ["readlink", f"/proc/{pid}/cwd"]).stdout == "/\n"
    assert found["NoNewPrivs"].strip() == "1"  # of the agent, which no set-uid program can lift


def test_its_environment_has_nothing_of_the_daemons(cluster: Cluster, victim: Victim) -> None:
    run = cluster.sandbox.run
    worker = run(victim.node, ["cat", f"/proc/{victim.worker}/environ"]).stdout
    for entry in filter(None, worker.split("\0")):
        assert OF_SLURM.fullmatch(entry.partition("=")[0]), entry
    agent = run("login", ["cat", f"/proc/{victim.agent}/environ"]).stdout
    names = {entry.partition("=")[0] for entry in agent.split("\0") if entry}
    assert names == {"PATH", "HOME", "USER", "LOGNAME", "LANG"}
    for text in (worker, agent):
        assert "BRIDGE_" not in text
        assert not any(one in text for one in victim.marks)


def test_its_descriptors_are_its_own(cluster: Cluster, victim: Victim) -> None:
    def files(node: str, pid: str) -> list[str]:
        listed = cluster.sandbox.run(
            node, ["find", f"/proc/{pid}/fd", "-type", "l", "-printf", "%l\n"]
        )
        return listed.stdout.splitlines()

    allowed = re.compile(
        r"pipe:|/dev/null\Z|anon_inode:|/tmp/bridge-worker-"
        r"|(user|mnt|pid|ipc):\["  # the namespaces that its containers are made after
        r"|/var/log/apptainer-starts\.log\Z"  # of the sandbox, which counts starts
    )
    for path in files(victim.node, victim.worker):
        assert allowed.match(path) or path.startswith((victim.spool, "socket:")), path
    listed = files("login", victim.agent)
    assert all(
        re.match(r"pipe:|socket:|/dev/null\Z|/tmp/bridge-node-\w+/node-", path) for path in listed
    ), listed
    assert sum(path.startswith("socket:") for path in listed) <= 2  # its stream, in and out


def test_what_slurm_keeps_of_it(cluster: Cluster, victim: Victim) -> None:
    """By the owner's own eyes, and root's: script, environment and comment have nothing secret."""
    run = cluster.sandbox.run
    script = run(
        "login", ["scontrol", "write", "batch_script", victim.job, "-"], user="alice"
    ).stdout
    assert script.startswith("#!/bin/sh\n#SBATCH --job-name=bridge-")
    questions = (
        ["scontrol", "show", "job", "-d", victim.job],
        ["sacct", "-j", victim.job, "-P", "-o", "ALL"],
        ["sacct", "-j", victim.job, "-B"],
        ["sacct", "-j", victim.job, "--env-vars"],
    )
    told = [script, *(run("login", argv).stdout for argv in questions)]
    assert "exec /usr/bin/python3 -I" in told[-2]
    assert "SLURM_ARRAY_TASK_COUNT=" in told[-1]
    assert "HOME=" not in told[-1]  # nor anything else of whoever submitted
    for text in told:
        assert not any(one in text for one in victim.marks)
        assert "BRIDGE_" not in text
        assert "SECRET" not in text


# --- what bob can do ---

DENIED = {
    "list the spool": "ls {spool}",
    "list her scratch": "ls /scratch/alice",
    "list her work": "ls /work/alice",
    "read the journal": "cat {spool}/journal/0.0.jsonl",
    "read array.json": "cat {spool}/array.json",
    "read what came from the bridge": "cat {spool}/claimed/*",
    "give a worker orders": "touch {spool}/stop",
    "put a message into the inbox": "echo > {spool}/inbox/000009.jsonl",
    "replace the spool": "mv /scratch/alice /scratch/alice.old",
    "write into the image cache": "touch /work/.bridge/x",
    "write among the images": "touch /work/.bridge/images/x",
    "replace an image": "for f in /work/.bridge/images/*; do echo > $f; done",
    "look into her /tmp": "cat $(echo /tmp/bridge-worker-*)/lock",
    "list her /tmp": "ls /tmp/bridge-worker-*/",
    "read its environment": "cat /proc/{worker}/environ",
    "read its memory": "cat /proc/{worker}/mem",
    "read its maps": "cat /proc/{worker}/maps",
    "list its descriptors": "ls /proc/{worker}/fd/",
    "enter its root": "ls /proc/{worker}/root/",
    "enter its directory": "ls /proc/{worker}/cwd/",
    "enter its name spaces": "nsenter -t {worker} -U -m true",
    "trace it": "strace -o /dev/null -p {worker}",
    "end it": "kill {worker}",
    "stop it": "kill -STOP {worker}",
    "kill everything of hers": "pkill -u alice",
}
DENIED_BY_SLURM = {
    "cancel": "scancel {job}",
    "cancel by signal": "scancel --signal=KILL {job}",
    "cancel by user": "scancel --user=alice --verbose; exit 1",
    "hold": "scontrol hold {job}",
    "suspend": "scontrol suspend {job}",
    "requeue": "scontrol requeue {job}",
    "rename": "scontrol update jobid={job} name=mine",
    "take more time from": "scontrol update jobid={job} timelimit=1",
    "read the script of": "scontrol write batch_script {job} -; exit 1",
    "attach to": "sattach {job}.batch",
    "step into": "srun --jobid={job} --overlap --immediate=5 id",
}
DENIED_ON_LOGIN = {
    "read the agent's environment": "cat /proc/{agent}/environ",
    "list the agent's descriptors": "ls /proc/{agent}/fd/",
    "trace the agent": "strace -o /dev/null -p {agent}",
    "stop the agent": "kill -STOP {agent}",
    "end the bridge": "pkill -u bridge",
    "read the database": "cat /var/lib/bridge/bridge.db",
    "list the database's folder": "ls /var/lib/bridge",
    "read the site file": "cat /etc/bridge/site.toml",
    "read the tenant's key": "cat /etc/bridge/keys/physics.pem",
    "read the logs": "cat /var/log/bridge/scheduler.log",
    "replace the program": "for f in /tmp/bridge-node-*/*; do echo > $f; done",
    "add a program": "touch $(echo /tmp/bridge-node-*)/x",
    "ask the service's process": "cat /proc/$(pgrep -u bridge | head -1)/environ",
}
TRIES = [
    *((what, "node", line) for what, line in DENIED.items()),
    *((f"{what} the job", "login", line) for what, line in DENIED_BY_SLURM.items()),
    *((what, "login", line) for what, line in DENIED_ON_LOGIN.items()),
]


@pytest.mark.parametrize(("what", "where", "line"), TRIES, ids=[one[0] for one in TRIES])
def test_bob_cannot(cluster: Cluster, victim: Victim, what: str, where: str, line: str) -> None:
    node = victim.node if where == "node" else "login"
    told = line.format(spool=victim.spool, worker=victim.worker, job=victim.job, agent=victim.agent)
    done = cluster.sandbox.run(
        node, ["timeout", "10", "sh", "-c", told], user="bob", check=False, timeout_s=20
    )
    assert done.returncode not in (0, 124), (what, done.stdout)
    assert done.stdout == "", what
    said = done.stderr.lower()
    words = (
        "denied",
        "not permitted",
        "invalid user",
        "operation not",
        "failed",
        "can't",
        "cannot",
    )
    assert any(word in said for word in words) or "scancel" in line or "pkill" in line, said


def test_bob_finds_no_secret_while_it_runs(cluster: Cluster, alice: Client, victim: Victim) -> None:
    """Nothing marked is in what he can read: /proc, files, what Slurm says; nor in any log."""
    sandbox, marks = cluster.sandbox, "\n".join(victim.marks).encode()
    program = (Path(__file__).parent / "scanner.py").read_bytes()
    folders = ["/tmp", "/var/tmp", "/dev/shm", "/run", "/var/spool", "/var/lib", "/var/log", "/etc",
               "/scratch", "/work", "/home"]  # fmt: skip
    nonces = [alice.call("POST", f"/{victim.actor}/nonces", json={"level": "EXECUTE"})["id"]]
    for number in range(8):  # containers start while he looks
        query = {"x-nonce": nonces[0], "ASKED": victim.marks[2]}
        word = {"word": victim.marks[0], "sleep": 1, "number": number}
        alice.call("POST", f"/{victim.actor}/messages", data={"message": repr(word)}, params=query)
    for node in (victim.node, "login", *(n for n in ("c1", "c2") if n != victim.node)):
        sandbox.put(node, "/tmp/scanner.py", program)
        argv = ["python3", "/tmp/scanner.py", "12" if node == victim.node else "4", *folders]
        stdin = marks + b"\n" + nonces[0].encode()
        told = json.loads(sandbox.run(node, argv, user="bob", stdin=stdin).stdout)
        assert told["found"] == []
        assert told["commands"] > 100
        assert told["files"] > 100
        assert told["owners"] == []
    for argv in (
        ["squeue", "--all", "-O", "ALL"],
        ["scontrol", "show", "job", "-d"],
        ["scontrol", "show", "step"],
        ["sacct", "-aP", "-o", "ALL"],
        ["sacct", "-aB"],
        ["sacct", "-a", "--env-vars"],
        ["sacct", "-aB", "-j", victim.job],
        ["sacct", "--env-vars", "-j", victim.job],
        ["sstat", "-aP", "-j", victim.job],
        ["sprio", "-l"],
    ):
        told = sandbox.run("login", argv, user="bob", check=False).stdout
        assert not any(one in told for one in victim.marks), argv
        assert "/usr/bin/python3 -I" not in told, argv  # her script
        assert "SLURM_ARRAY_TASK_COUNT=" not in told, argv  # what she was given


def test_no_secret_is_in_any_log(cluster: Cluster, victim: Victim) -> None:
    """By root's eyes: the bridge's logs, and those of Slurm's daemons."""
    for node in ("head", *NODES):
        find = ["sh", "-c", "cat /var/log/bridge/* /var/log/slurm/* 2>/dev/null || true"]
        told = cluster.sandbox.run(node, find).stdout
        assert told
        # A name is no secret; the rest is.
        assert not [one for one in victim.marks if one in told and not one.startswith("name-")]


def test_nothing_of_the_message_is_in_a_command_line(cluster: Cluster, victim: Victim) -> None:
    """By root's eyes, outside and inside of the container."""
    listed = cluster.sandbox.run(victim.node, ["ps", "-eww", "-o", "args"]).stdout
    assert "node-" in listed
    assert not [one for one in victim.marks if one in listed]
