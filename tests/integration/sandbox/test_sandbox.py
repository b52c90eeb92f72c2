"""A sandbox of its own, from nothing to nothing: the cluster is real at every step."""

import json
import os
import time
from collections.abc import Iterator

import pytest

from bridge.errors import SandboxError
from bridge.sandbox import Sandbox, check_host
from bridge.sandbox.plan import LABEL

pytestmark = pytest.mark.sandbox

NAME = os.environ.get("BRIDGE_TEST_SANDBOX", "test") + "-sbx"
REPEATED_UP_S = 40
# slurmctld writes what it knows of jobs within 5 s (SAVE_MAX_WAIT). One that is killed before that
# starts a job that runs already once more: slurmd refuses, the node is drained and the job held.
SAVED_S = 7
# An HTTP client of the nodes' own Python: argv holds URL and token, the body comes by stdin.
POST = """\
import sys, urllib.request
headers = {"X-SLURM-USER-NAME": "alice", "X-SLURM-USER-TOKEN": sys.argv[2],
           "Content-Type": "application/json"}
request = urllib.request.Request(sys.argv[1], sys.stdin.buffer.read(), headers)
sys.stdout.write(urllib.request.urlopen(request).read().decode())
"""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    missing = check_host()
    if missing:
        pytest.skip("; ".join(missing))
    sandbox = Sandbox(NAME)
    sandbox.down()
    sandbox.up(nodes=2, port=0)
    yield sandbox
    sandbox.down()


def labelled(sandbox: Sandbox) -> list[str]:
    """Everything that carries the sandbox's label."""
    label = f"--filter=label={LABEL}={NAME}"
    command = sandbox.engine.command
    containers = command("ps", "--all", "--quiet", label)
    networks = command("network", "ls", "--quiet", label)
    return [*containers.split(), *networks.split(), *command("volume", "ls", "-q", label).split()]


def wait_for_job(sandbox: Sandbox, job_id: str, state: str = "COMPLETED") -> None:
    """Wait until accounting says that the job ended as it should."""
    argv = ["sacct", "-X", "-n", "-P", "-j", job_id, "-o", "state"]
    deadline = time.monotonic() + 60
    while (found := sandbox.run("login", argv).stdout.strip()) != state:
        assert time.monotonic() < deadline, f"job {job_id} is {found}"
        time.sleep(0.2)


def wait_until_idle(sandbox: Sandbox) -> None:
    deadline = time.monotonic() + 30
    while sandbox.status().problems and time.monotonic() < deadline:
        time.sleep(0.2)
    assert sandbox.status().problems == ()


def test_all_nodes_take_jobs(sandbox: Sandbox) -> None:
    status = sandbox.status()
    assert status.is_healthy
    assert status.slurm_nodes.keys() == {"c1", "c2"}
    assert status.containers.keys() == {"head", "login", "c1", "c2", "registry"}
    assert status.url == sandbox.url
    assert sandbox.nodes == ["c1", "c2"]


@pytest.mark.parametrize(
    ("user", "uid", "account"),
    [("alice", 2001, "physics"), ("bob", 2002, "physics"), ("carol", 2003, "biology")],
)
def test_a_job_runs_as_its_user_and_is_accounted(
    sandbox: Sandbox, user: str, uid: int, account: str
) -> None:
    out = f"/work/{user}/out"
    sbatch = ["sbatch", "--parsable", f"--output={out}", "--wrap", "id -u; id -Gn; hostname"]
    job_id = sandbox.run("login", sbatch, user=user).stdout.strip()
    wait_for_job(sandbox, job_id)
    said = sandbox.get("login", out).decode().split()
    assert said[:3] == [str(uid), user, "science"]
    assert said[3] in sandbox.nodes
    accounting = ["sacct", "-X", "-n", "-P", "-j", job_id, "-o", "user,account"]
    assert sandbox.run("login", accounting).stdout == f"{user}|{account}\n"


def test_a_user_may_not_use_the_account_of_others(sandbox: Sandbox) -> None:
    argv = ["sbatch", "--account=physics", "--wrap", "true"]
    done = sandbox.run("login", argv, user="carol", check=False)
    assert done.returncode != 0
    assert "account" in done.stderr


def test_slurmrestd_runs_a_job_for_a_users_token(sandbox: Sandbox) -> None:
    token = sandbox.run("head", ["scontrol", "token", "username=alice", "lifespan=600"])
    job = {
        "name": "rest",
        "partition": "normal",
        "current_working_directory": "/work/alice",
        "environment": ["PATH=/usr/bin:/bin"],
        "standard_output": "/work/alice/rest",
        "script": "#!/bin/sh\nid -un\n",
    }
    url = "http://head:6820/slurm/v0.0.42/job/submit"
    words = ["python3", "-c", POST, url, token.stdout.strip().partition("=")[2]]
    body = json.dumps({"job": job}).encode()
    answer = json.loads(sandbox.run("login", words, user="bridge", stdin=body).stdout)
    wait_for_job(sandbox, str(answer["job_id"]))
    assert sandbox.get("login", "/work/alice/rest") == b"alice\n"


def test_apptainer_runs_images_of_the_registry_and_each_start_is_counted(sandbox: Sandbox) -> None:
    reference = sandbox.ensure_image("echo")
    assert reference == sandbox.ensure_image("echo") == "registry:5000/echo:latest"
    pull = ["apptainer", "pull", "--no-https", "/work/alice/echo.sif", f"docker://{reference}"]
    sandbox.run("c1", pull, user="alice", timeout_s=120)
    sandbox.reset_container_starts()
    env = {"APPTAINERENV_MSG": "a 'b' $(id)", "APPTAINERENV__abaco_execution_id": "exec-1"}
    argv = ["apptainer", "-q", "run", "--containall", "--no-eval", "/work/alice/echo.sif"]
    done = sandbox.run("c2", argv, user="alice", env=env)
    assert done.stdout.startswith("Contents of MSG: a 'b' $(id)\n")
    assert "\n_abaco_execution_id=exec-1\n" in done.stdout
    assert done.stdout.endswith("usr\nvar\n")
    sandbox.run(
        "c1", ["apptainer", "exec", "/work/alice/echo.sif", "true"], user="bob", check=False
    )
    sandbox.run("c1", ["apptainer", "inspect", "/work/alice/echo.sif"], user="alice")
    assert [line.split()[1] for line in sandbox.container_starts()] == ["exec-1", "-"]


def test_digits_are_classified(sandbox: Sandbox) -> None:
    pictures = sandbox.digits()
    assert len(pictures) >= 500
    assert sandbox.digits() == pictures
    owner = ["stat", "-c", "%U", pictures[0][0]]
    assert sandbox.run("login", owner).stdout == "alice\n"
    sif = "/work/alice/digits.sif"
    reference = f"docker://{sandbox.ensure_image('digits-classifier')}"
    sandbox.run(
        "c1", ["apptainer", "pull", "--no-https", sif, reference], user="alice", timeout_s=120
    )
    run = ["apptainer", "-q", "run", "--containall", "--no-eval", "--writable-tmpfs"]
    run += ["--bind=/work/alice/digits", "--pwd=/opt/digits/work", sif]
    right = 0
    for path, label in pictures[:10]:
        env = {"APPTAINERENV_MSG": path}
        lines = sandbox.run("c1", run, user="alice", env=env).stdout.splitlines()
        assert len(lines) == 5
        right += lines[0].startswith(f"{label} (score = ")
    assert right >= 9
    for path in ("/nowhere/it's", "/work/alice/digits/labels.csv"):
        done = sandbox.run("c1", run, user="alice", env={"APPTAINERENV_MSG": path}, check=False)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def test_shared_filesystems(sandbox: Sandbox) -> None:
    sandbox.run("login", ["sh", "-c", "echo here > /corral/alice/file"], user="alice")
    assert sandbox.get("c1", "/corral/alice/file") == b"here\n"
    assert sandbox.run("c1", ["touch", "/corral/alice/x"], user="alice", check=False).returncode
    assert sandbox.run("login", ["ls", "/work/alice"], user="bob", check=False).returncode
    stat = ["stat", "-c", "%U:%G %a", "/scratch", "/work", "/work/carol", "/work/.bridge"]
    modes = sandbox.run("login", [*stat, "/etc/bridge", "/var/lib/bridge", "/var/log/bridge"])
    assert modes.stdout.splitlines() == [
        *("root:root 755", "root:root 755", "carol:carol 700", "bridge:bridge 755"),
        *("root:bridge 750", "bridge:bridge 700", "bridge:bridge 750"),
    ]


def test_compute_nodes_have_nothing_of_ours(sandbox: Sandbox) -> None:
    assert "version" in sandbox.run("login", ["bridge", "--version"], user="bridge").stdout
    for path in ("/opt/bridge", "/usr/local/bin/bridge"):
        assert sandbox.run("c1", ["test", "-e", path], check=False).returncode == 1


def test_keys_are_out_of_the_users_reach(sandbox: Sandbox) -> None:
    for node in ("head", "login", "c1"):
        found = ["sh", "-c", "cat /etc/munge/munge.key /sandbox/* /etc/slurm/*.key | wc -c"]
        assert sandbox.run(node, found, user="alice").stdout == "0\n"


def test_a_killed_slurmctld_comes_back_and_its_jobs_too(sandbox: Sandbox) -> None:
    argv = ["sbatch", "--parsable", "--output=/dev/null", "--wrap", "sleep 20"]
    job_id = sandbox.run("login", argv, user="alice").stdout.strip()
    wait_for_job(sandbox, job_id, "RUNNING")
    time.sleep(SAVED_S)
    sandbox.run("head", ["pkill", "-9", "-x", "slurmctld"])
    with pytest.raises(SandboxError, match="did not end within"):
        sandbox.run("login", ["sinfo"], timeout_s=2)
    sandbox.start_daemon("head", "slurmctld")
    wait_for_job(sandbox, job_id)
    wait_until_idle(sandbox)


def test_up_again_is_quick_and_changes_nothing(sandbox: Sandbox) -> None:
    before = labelled(sandbox)
    begun = time.monotonic()
    sandbox.up(nodes=2, port=0)
    assert time.monotonic() - begun < REPEATED_UP_S
    assert labelled(sandbox) == before


def test_up_starts_dead_daemons_and_keeps_the_data(sandbox: Sandbox) -> None:
    sandbox.put("login", "/work/kept", b"kept")
    sandbox.run("c1", ["pkill", "-9", "-x", "slurmd"])
    sandbox.run("head", ["pkill", "-9", "-x", "slurmdbd"])
    sandbox.up(nodes=2, port=0)
    assert sandbox.status().is_healthy
    assert sandbox.get("c1", "/work/kept") == b"kept"
    assert sandbox.run("head", ["pgrep", "-c", "-x", "slurmdbd"]).stdout == "1\n"


def test_background_processes_outlive_the_call(sandbox: Sandbox) -> None:
    argv = ["sh", "-c", 'echo "$A" started; sleep 60']
    log = "/var/log/bridge/test.log"
    pid = sandbox.start("login", argv, user="bridge", env={"A": "it"}, log_path=log)
    sandbox.run("login", ["kill", "-0", str(pid)])
    deadline = time.monotonic() + 5
    while not (said := sandbox.get("login", log)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert said == b"it started\n"
    sandbox.run("login", ["kill", "-9", str(pid)])


def test_leftovers_of_a_killed_up_are_replaced(sandbox: Sandbox) -> None:
    command = sandbox.engine.command
    command("rm", "--force", f"abaco-bridge-{NAME}-c2")
    command("stop", "--time=0", f"abaco-bridge-{NAME}-head")
    assert sandbox.status().problems
    sandbox.up(nodes=1, port=0)
    assert sandbox.nodes == ["c1"]
    assert sandbox.status().is_healthy


def test_down_leaves_nothing(sandbox: Sandbox) -> None:
    sandbox.down()
    assert labelled(sandbox) == []
    assert not sandbox.status().exists
