"""Stands in for Apptainer: reads the command line the bridge builds, runs the command directly.

Beside the image it notes each start (``<sif>.starts``) and the binds it was asked for
(``<sif>.mounts``). An image whose text begins with ``FATAL:`` fails with that text, as Apptainer
does before the actor runs.
"""

import csv
import os
import signal
import sys
from pathlib import Path

FLAGS = {"--silent", "--containall", "--no-home", "--no-eval", "--writable-tmpfs"}
OPTIONAL = {"--nv", "--userns"}


def main():
    words = iter(sys.argv[1:])
    assert next(words) == "--silent"
    assert next(words) == "exec"
    given, workdir, mounts = set(), "/", []
    for word in words:
        if word == "--pwd":
            workdir = next(words)
        elif word == "--mount":
            mounts.append(next(csv.reader([next(words)])))
        elif word in FLAGS:
            given.add(word)
        elif word in OPTIONAL:
            continue
        else:
            break
    assert given == FLAGS - {"--silent"}, given
    sif = word
    prefix = b"APPTAINERENV_"
    env = {n[len(prefix) :]: v for n, v in os.environb.items() if n.startswith(prefix)}
    env.setdefault(b"PATH", b"/usr/bin:/bin")
    with Path(sif + ".starts").open("ab", buffering=0) as file:
        file.write(env.get(b"_abaco_execution_id", b"?") + b"\n")
    if mounts:
        with Path(sif + ".mounts").open("a") as file:
            file.writelines(" ".join(mount) + "\n" for mount in mounts)
    text = Path(sif).read_text()
    if text.startswith("FATAL:"):
        sys.stderr.write(text)
        sys.exit(255)
    os.chdir(workdir)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it and would pass that on
    # No mount is made: what the actor calls by a path of ours is told where it lies.
    ours = [(m[2][len("destination=") :], m[1][len("source=") :]) for m in mounts]
    command = list(words)
    for target, source in ours:
        if target.startswith(("/_abaco_", "/tmp/.bridge")):
            command = [one.replace(target, source) for one in command]
    os.execvpe(command[0], command, env)


main()
