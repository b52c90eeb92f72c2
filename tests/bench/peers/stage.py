"""Where the contenders meet: the sandbox with the bridge, the workloads' images and the peers.

Below `PLACE`, on the shared filesystem, each workload has a folder with ``message``, the program
that is one message to every peer: it becomes the very `apptainer exec` line that the bridge would
use. What the digits print is kept there, a file for each picture.
"""

from __future__ import annotations

import json
import shlex
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bridge.sandbox import Sandbox, samples
from bridge.sandbox.cluster import say_nothing
from bridge.sandbox.demo import USER, Client
from bridge.sandbox.images import BUILD_TIMEOUT_S, ImageBuilder, hash_inputs, tag_of
from bridge.sandbox.service import BridgeService
from tests.bench.peers.workloads import BASE, DIGITS, WORKDIR, Workload, build_line

SLOTS = 4
NODES = 2
# A site for short messages: the autoscaler is to use all slots for the seconds that a measurement
# lasts, as every other contender does.
SHORT = {"target_task_s = 20 ": "target_task_s = 1 "}
HERE = Path(__file__).parent
INSTALLED = "/work/peers"
PLACE = f"/work/{USER}/bench"
LIBRARIES = ("submitit", "parsl", "dask-jobqueue", "distributed", "hyperqueue", "parallel")
BINDS = (
    (f"/scratch/{USER}", "/scratch", "rw"),
    (f"/work/{USER}", "/work", "rw"),
    ("/corral", "/corral", "ro"),
)
_MESSAGE = """#!/bin/sh
# One message, whose text is the first argument.
export APPTAINERENV_MSG="$1"
exec {line} > {output}
"""


@dataclass
class Stage:
    """The sandbox and what was put there."""

    sandbox: Sandbox
    service: BridgeService
    client: Client
    admin: Client  # may ask for workers
    images: dict[str, str] = field(default_factory=dict)  # reference by workload
    sifs: dict[str, str] = field(default_factory=dict)  # path on the nodes by workload
    labels: dict[str, str] = field(default_factory=dict)  # by picture, as containers name it

    def texts(self, workload: Workload) -> list[str]:
        """Return the different texts of a workload's messages."""
        return list(self.labels) if workload is DIGITS else list(workload.texts)

    def place(self, workload: Workload) -> str:
        """Return the workload's folder."""
        return f"{PLACE}/{workload.name}"

    def drive(self, driver: str, workload: Workload, aim_s: float, **more: Any) -> dict[str, Any]:
        """Run one of the drivers on the login node as the user; return what it found."""
        request = {
            "place": self.place(workload),
            "peers": INSTALLED,
            "work": f"/work/{USER}/",  # where containers have /work/
            "texts": self.texts(workload),
            "slots": SLOTS,
            "nodes": NODES,
            "aim_s": aim_s,
            **more,
        }
        argv = [f"{INSTALLED}/venv/bin/python", f"{PLACE}/drivers/{driver}.py"]
        env = {"PATH": f"{INSTALLED}/venv/bin:/usr/local/bin:/usr/bin:/bin"}
        stdin = json.dumps(request).encode()
        done = self.sandbox.run("login", argv, user=USER, stdin=stdin, env=env, timeout_s=300)
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    def register(self, workload: Workload, reuse: str) -> str:
        """Return a READY actor of the workload in one of the bridge's modes."""
        fields = {"image": self.images[workload.name], "batch": {"reuse": reuse}}
        actor: str = self.client.call("POST", json=fields)["id"]
        self.client.wait_ready(actor)
        return actor

    def clear(self) -> None:
        """End what a contender that failed left in Slurm."""
        self.sandbox.run("login", ["scancel", f"--user={USER}"])

    def check_labels(self, workload: Workload, who: str, count: int) -> None:
        """See that the pictures of so many messages got their labels, and forget the outputs.

        Raises:
            RuntimeError: one has another label, or none.
        """
        if workload is not DIGITS:
            return
        script = "cd out && for f in *; do read -r label _ < $f; echo $f $label; done; rm -rf *"
        argv = ["sh", "-c", f"cd {self.place(workload)} && {script}"]
        lines = self.sandbox.run("login", argv, user=USER).stdout.splitlines()
        found = {name: label[0] for name, *label in map(str.split, lines) if label}
        compare_labels(found, self.labels, who, count)


def compare_labels(
    found: Mapping[str, str], expected: Mapping[str, str], who: str, count: int
) -> None:
    """Compare labels by picture; the classifier is wrong now and then, but always in the same way.

    Args:
        found: labels by the picture's name.
        expected: labels by the picture's path, in the order of messages.
        who: the contender.
        count: how many messages there were, each picture in turn.

    Raises:
        RuntimeError: an answer differs from `expected`, or a picture has none.
    """
    wanted = {Path(path).name: label for path, label in list(expected.items())[:count]}
    wrong = [name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)]
    if wrong:
        raise RuntimeError(
            f"{who}: expected the classifier's own label for each of {len(wanted)} pictures, found"
            f" others or none for {len(wrong)}: {', '.join(sorted(wrong)[:5])}"
        )


@contextmanager
def staged(name: str, workloads: Sequence[Workload], say: Callable[[str], None]) -> Iterator[Stage]:
    """Bring the sandbox up with all that the contenders need; take it down in the end."""
    sandbox = Sandbox(name)
    sandbox.down()  # a bridge that an earlier run left there may be an older one
    sandbox.up(nodes=NODES, port=0, say=say)
    try:
        service = BridgeService(sandbox)
        service.ensure(SHORT)
        token, admins = service.token(USER), service.token("bob", "--role", "Internal/abaco-admin")
        stage = Stage(sandbox, service, Client(sandbox.url, token), Client(sandbox.url, admins))
        install_peers(sandbox, say)
        for workload in workloads:
            prepare(stage, workload, say)
        yield stage
    finally:
        sandbox.down()


def bring_classifier(sandbox: Sandbox) -> str:
    """Put the classifier's code and model onto the shared filesystem; return where they are.

    For those who run it without a container.
    """
    engine = sandbox.engine
    tag = ImageBuilder(engine, say_nothing).ensure_sample(BASE)
    words = ["run", "--rm", "--network=none", *engine.limit_options(), "--entrypoint=tar"]
    files = ("png.py", "classify_image.py", "model.npz")
    packed = engine.call(engine.argv(*words, tag, "-C", "/opt/digits", "-c", *files)).stdout
    place = f"{PLACE}/classifier"
    argv = ["sh", "-c", f"mkdir -p {place} && tar -x -C {place}"]
    sandbox.run("login", argv, user=USER, stdin=packed)
    return place


def install_peers(sandbox: Sandbox, say: Callable[[str], None]) -> None:
    """Put the peers and their drivers onto the shared filesystem."""
    engine, builder = sandbox.engine, ImageBuilder(sandbox.engine, say)
    files = (HERE / "Containerfile", HERE / "requirements.txt")
    tag = tag_of("bench-peers", hash_inputs((builder.node_tag(), *files)))
    if not engine.has_image(tag):
        args = {"NODE": builder.ensure_node()}
        say("  peers: installing them")
        engine.call(engine.build_argv(tag, files[0], HERE, args), timeout_s=BUILD_TIMEOUT_S)
    words = ["run", "--rm", "--network=none", *engine.limit_options(), "--entrypoint=tar"]
    packed = engine.call(engine.argv(*words, tag, "-C", "/work", "-c", "peers"), timeout_s=120)
    sandbox.run("login", ["tar", "-x", "-C", "/work"], stdin=packed.stdout, timeout_s=120)
    sandbox.run("login", ["mkdir", "-p", f"{PLACE}/drivers"], user=USER)
    for path in (HERE / "rates.py", *(HERE / "drivers").glob("*.py")):
        sandbox.put("login", f"{PLACE}/drivers/{path.name}", path.read_bytes(), owner=USER)


def prepare(stage: Stage, workload: Workload, say: Callable[[str], None]) -> None:
    """Make a workload's image, have the bridge pull it, write the program that is a message."""
    sandbox = stage.sandbox
    before = find_sifs(sandbox)
    stage.images[workload.name] = push_image(sandbox, workload, say)
    stage.register(workload, "none")
    (stage.sifs[workload.name],) = find_sifs(sandbox) - before
    place = stage.place(workload)
    sandbox.run("login", ["mkdir", "-p", f"{place}/out"], user=USER)
    line = build_line(stage.sifs[workload.name], workload.command, BINDS)
    output = f'{place}/out/"${{1##*/}}"' if workload is DIGITS else "/dev/null"
    text = _MESSAGE.format(line=shlex.join(line), output=output)
    sandbox.put("login", f"{place}/message", text.encode(), owner=USER, mode=0o755)
    if workload is DIGITS:
        stage.labels = classify(stage)
    say(f"  {workload.name}: ready")


def read_versions(sandbox: Sandbox) -> dict[str, str]:
    """Return the versions of what ran on the nodes: Slurm, Apptainer, Python and the peers."""
    node = sandbox.nodes[0]
    commands = {"slurm": "slurmd -V", "apptainer": "apptainer --version", "python": "python3 -V"}
    said = {
        name: sandbox.run(node, command.split()).stdout.split()[-1]
        for name, command in commands.items()
    }
    listed = sandbox.run(node, ["cat", f"{INSTALLED}/versions"]).stdout
    return said | parse_versions(listed)


def parse_versions(listed: str) -> dict[str, str]:
    """Return the peers' versions in lines of ``name==version`` that name much besides."""
    versions = dict(line.split("==", 1) for line in listed.splitlines() if "==" in line)
    return {name: versions[name] for name in LIBRARIES}


def push_image(sandbox: Sandbox, workload: Workload, say: Callable[[str], None]) -> str:
    """Return the nodes' reference to the workload's image, in the sandbox's registry."""
    engine = sandbox.engine
    base = ImageBuilder(engine, say).ensure_sample(BASE)
    text = (
        f"FROM {base}\nWORKDIR {WORKDIR}\nENTRYPOINT {json.dumps(workload.command)}\n"
        f"LABEL bench={workload.name}\n"
    )
    tag = tag_of(f"bench-{workload.name}", hash_inputs((text,)))
    if not engine.has_image(tag):
        with tempfile.TemporaryDirectory(prefix="abaco-bridge-") as folder:
            containerfile = Path(folder, "Containerfile")
            containerfile.write_text(text)
            argv = engine.build_argv(tag, containerfile, Path(folder), {})
            engine.call(argv, timeout_s=BUILD_TIMEOUT_S)
    name = f"bench-{workload.name}:latest"
    registry = engine.published(f"abaco-bridge-{sandbox.name}-registry", 5000)
    target = f"{registry}/{name}"
    if not engine.is_podman:
        engine.command("tag", tag, target)
    engine.call(engine.push_argv(tag, target), timeout_s=300)
    return f"{samples.REGISTRY}/{name}"


def find_sifs(sandbox: Sandbox) -> set[str]:
    """Return the images that the bridge has pulled."""
    find = ["find", "/work/.bridge/images/PHYSICS", "-name", "*.sif"]
    return set(sandbox.run("login", find, check=False).stdout.split())


def classify(stage: Stage) -> dict[str, str]:
    """Return what the classifier says of each picture, in one process in one container."""
    pictures = [path.replace(f"/work/{USER}/", "/work/", 1) for path, _ in stage.sandbox.digits()]
    script = f"{PLACE}/drivers/classify.py".replace(f"/work/{USER}/", "/work/", 1)
    inside = ["/usr/bin/python3", script, "/opt/digits"]
    argv = build_line(stage.sifs[DIGITS.name], inside, BINDS)
    stdin = "".join(f"{path}\n" for path in pictures).encode()
    done = stage.sandbox.run(stage.sandbox.nodes[0], argv, user=USER, stdin=stdin, timeout_s=300)
    *labels, _seconds = done.stdout.splitlines()
    return dict(zip(pictures, labels, strict=True))
