"""Runs as a hostile owner on the login node: does to a spool of her own whatever an owner can.

usage: spoiler.py plant SPOOL VICTIM   puts everything but what a worker writes into the journals;
                                       VICTIM is an execution of somebody else's
       spoiler.py clear SPOOL          puts empty files where the traps were
       spoiler.py stop SECONDS         stops every agent of hers as soon as it is there, and lets
                                       them go on after that time
"""

import json
import os
import signal
import sys
import time
from pathlib import Path


def plant(spool: Path, victim: str) -> None:
    journal = spool / "journal"
    for number, target in enumerate(
        ("/etc/shadow", "/work/bob/mine", "/dev/zero", "/proc/self/mem")
    ):
        (journal / f"0.{number + 1}.jsonl").symlink_to(target)
        (spool / "logs" / f"link{number}").symlink_to(target)
    os.mkfifo(journal / "0.11.jsonl")
    (journal / "0.12.jsonl").mkdir()
    (journal / "0.13.jsonl").touch()
    os.truncate(journal / "0.13.jsonl", 1 << 40)
    (journal / "0.14.jsonl").write_bytes(b"\n" * 20_000_000)
    (journal / "0.15.jsonl").write_bytes((b"[" * 900_000 + b"\n") * 20)
    (journal / "0.16.jsonl").write_bytes(os.urandom(5_000_000))
    (journal / "0.17.jsonl").write_text("".join(map(line, forged(victim))))
    for number in range(3000):
        (spool / "inbox" / f"{number:06}.jsonl.x").touch()
        (spool / "claimed" / f"000001.0.{number}.jsonl").touch()
    for name in ("array.json", "owner"):
        (spool / name).unlink()
        (spool / name).symlink_to("/etc/shadow")


def clear(spool: Path) -> None:
    for path in (spool / "journal").iterdir():
        if path.is_symlink() or path.is_fifo():
            path.unlink()
        elif path.is_dir():
            path.rmdir()
        path.touch()


def forged(victim: str) -> list[dict[str, object]]:
    """Return records about an execution that is not hers."""
    finished = {
        "t": "finished", "id": victim, "at": 1e9, "started_at": 0, "exit_code": 66,
        "runtime_error": None, "ended_by": None, "cpu_ns": 1, "max_rss_kib": 1, "io_bytes": 1,
        "log": "forged", "notes": "", "log_truncated": False, "oom_killed": False, "results": None,
        "state": None,
    }  # fmt: skip
    results = {"first": 0, "data": ["Zm9yZ2Vk"]}
    progress = {"t": "progress", "id": victim, "log": "forged", "results": results, "at": 1e9}
    return [{"t": "started", "id": victim, "at": 1e9}, progress, finished, {**finished, "at": 1e17}]


def line(record: dict[str, object]) -> str:
    return json.dumps(record) + "\n"


def stop(seconds: float) -> None:
    """Stop agents, then let them go on."""
    stopped = set()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for pid in agents() - stopped:
            os.kill(pid, signal.SIGSTOP)
            stopped.add(pid)
        time.sleep(0.02)
    for pid in stopped & agents():
        os.kill(pid, signal.SIGCONT)
    sys.stdout.write(str(len(stopped)))


def agents() -> set[int]:
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            if process.stat().st_uid == os.getuid() and b"agent" in words:
                found.add(int(process.name))
        except OSError:
            pass
    return found


if __name__ == "__main__":
    if sys.argv[1] == "plant":
        plant(Path(sys.argv[2]), sys.argv[3])
    elif sys.argv[1] == "clear":
        clear(Path(sys.argv[2]))
    else:
        stop(float(sys.argv[2]))
