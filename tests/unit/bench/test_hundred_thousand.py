"""What the measurement of 100,000 messages counts with."""

from __future__ import annotations

import os
from pathlib import Path

from tests.bench.creations import Creations
from tests.bench.hundred_thousand import SlurmCalls, read_counts

SDIAG = """
Jobs submitted: 3
Remote Procedure Call statistics by message type
\tREQUEST_JOB_INFO                        ( 2003) count:52     ave_time:246    total_time:12804
\tMESSAGE_NODE_REGISTRATION_STATUS        ( 1002) count:2      ave_time:492    total_time:985

Remote Procedure Call statistics by user
\troot            (       0) count:4      ave_time:290    total_time:1161
\tbridge          (     990) count:52     ave_time:290    total_time:1161
\talice           (    2001) count:3      ave_time:290    total_time:1161
"""


def test_counts_of_slurm_s_daemons_are_read() -> None:
    counts = read_counts(SDIAG)
    assert counts == {
        "REQUEST_JOB_INFO": 52,
        "MESSAGE_NODE_REGISTRATION_STATUS": 2,
        "root": 4,
        "bridge": 52,
        "alice": 3,
    }


def test_calls_are_those_since_a_moment() -> None:
    calls = SlurmCalls(60, 9, 25).since(SlurmCalls(10, 4, 5))
    assert (calls.total, calls.ticks) == (55, 20)
    assert SlurmCalls(0, 0, 0).ticks == 1


def test_every_name_that_was_created_is_counted_once(tmp_path: Path) -> None:
    (tmp_path / "old" / "older").mkdir(parents=True)
    (tmp_path / "old" / "file").touch()
    creations = Creations(str(tmp_path))
    (tmp_path / "old" / "older" / "one").touch()
    (tmp_path / "old" / "file").write_text("not new")
    (tmp_path / "new" / "deeper").mkdir(parents=True)
    (tmp_path / "new" / "deeper" / "two").touch()
    creations.read()
    (tmp_path / "new" / "three").touch()
    (tmp_path / "new" / "three").rename(tmp_path / "renamed")
    os.link(tmp_path / "renamed", tmp_path / "new" / "deeper" / "four")
    (tmp_path / "new" / "deeper" / "four").unlink()
    creations.read()
    creations.read()
    assert (creations.files, creations.directories, creations.lost) == (4, 2, 0)
