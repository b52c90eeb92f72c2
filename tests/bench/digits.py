"""Containers a second: the bridge beside the plain loop, in one run, on the same nodes and slots.

The plain loop is `xargs -P` on each node with the very `apptainer exec` line that a worker uses,
less the shim that reports the start.
"""

from __future__ import annotations

import shlex
import time
from concurrent.futures import ThreadPoolExecutor

from bridge.node.container import build_launch
from bridge.node.messages import Message
from bridge.node.spool import Array
from bridge.sandbox import Sandbox
from bridge.sandbox.demo import USER, run_demo

WORKERS = 4  # max_workers_per_actor of the sandbox's site file: the bridge's slots


def measure() -> tuple[dict[str, float], dict[str, float]]:
    """Return (ratios, figures) of the demo's 500 digits."""
    sandbox = Sandbox("bench")
    sandbox.up(nodes=2, port=0, say=print)
    try:
        report = run_demo(sandbox, print, lambda *_: None)
        loop_s, count = run_plain_loop(sandbox)
    finally:
        sandbox.down()
    bridge_rate = report.complete / report.seconds
    loop_rate = count / loop_s
    ratio = bridge_rate / loop_rate
    print(f"bridge     {bridge_rate:6.2f} executions/s  ({report.complete} in {report.seconds} s)")
    print(f"plain loop {loop_rate:6.2f} containers/s  ({count} in {loop_s:.2f} s)")
    print(f"ratio      {ratio:6.2f}")
    figures = {
        "bridge_executions_per_s": round(bridge_rate, 3),
        "loop_containers_per_s": round(loop_rate, 3),
        "bridge_s": report.seconds,
        "loop_s": round(loop_s, 2),
        "count": count,
        "slots": WORKERS,
    }
    return {"digits_none_vs_loop": round(ratio, 3)}, figures


def run_plain_loop(sandbox: Sandbox) -> tuple[float, int]:
    """Start one container per digit with xargs on every node; return seconds and how many."""
    paths = [path.replace(f"/work/{USER}/", "/work/") for path, _ in sandbox.digits()]
    find = ["find", "/work/.bridge/images/PHYSICS", "-name", "*.sif"]
    (sif,) = sandbox.run("login", find).stdout.split()
    line = shlex.join(plain_line(sif))
    slots = WORKERS // len(sandbox.nodes)
    script = f"xargs -P {slots} -I{{}} env APPTAINERENV_MSG={{}} {line} > /dev/null"

    def loop(node: str) -> None:
        mine = paths[sandbox.nodes.index(node) :: len(sandbox.nodes)]
        words = "".join(f"{path}\n" for path in mine).encode()
        sandbox.run(node, ["sh", "-c", script], user=USER, stdin=words, timeout_s=1200)

    begun = time.monotonic()
    with ThreadPoolExecutor(len(sandbox.nodes)) as pool:
        list(pool.map(loop, sandbox.nodes))
    return time.monotonic() - begun, len(paths)


def plain_line(sif: str) -> list[str]:
    """Return the worker's own command line for the digits image, without its shim."""
    command = ["/opt/digits/entrypoint.sh"]
    array = Array(
        array="",
        actor="",
        apptainer="apptainer",
        sif=sif,
        sif_bytes=None,
        sif_sha256=None,
        sif_uid=0,
        command=command,
        workdir="/opt/digits/work",
        binds=[
            (f"/scratch/{USER}", "/scratch", "rw"),
            (f"/work/{USER}", "/work", "rw"),
            ("/corral", "/corral", "ro"),
        ],
        environment={},
        log_limit_bytes=0,
        inline_log_bytes=0,
        max_run_time_s=0,
        kill_grace_s=0,
        idle_timeout_s=0,
        time_limit_s=0,
        memory_mib=0,
        max_result_bytes=0,
        ntasks=1,
        gpus=False,
        reuse="none",
    )
    launch = build_launch(array, Message(id="", env={}), {}, {}, [])
    words = [word.decode() for word in launch.argv]
    return words[: words.index(sif) + 1] + command
