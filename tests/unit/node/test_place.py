"""A worker's own directory: what a dead worker left is removed, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bridge.node.place import Place, remove_stale_places

HOLD = "from bridge.node.place import Place; p = Place(); print(p.path, flush=True); input()"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The directory for temporary files."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_only_what_nobody_holds_any_more_is_removed(folder):
    env = {"TMPDIR": str(folder), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    theirs = Path(other.stdout.readline().strip())
    ours = Place()
    (theirs / "left").mkdir()

    remove_stale_places()
    assert theirs.exists()
    assert Path(ours.path).exists()

    other.kill()
    other.communicate()
    remove_stale_places()
    assert not theirs.exists()
    assert Path(ours.path).exists()
    ours.remove()
    ours.remove()
    assert not list(folder.iterdir())


def test_what_only_looks_like_one_stays(folder):
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "lock").touch()
    (folder / "bridge-worker-link").symlink_to(elsewhere)
    (folder / "bridge-worker-file").touch()
    (folder / "bridge-worker-new").mkdir()
    (folder / "bridge-worker-fake").mkdir()
    (folder / "bridge-worker-fake" / "lock").symlink_to(elsewhere / "lock")
    (folder / "other").mkdir()
    (folder / "other" / "lock").touch()

    remove_stale_places()

    assert len(list(folder.iterdir())) == 6
    assert (elsewhere / "lock").exists()


def test_one_that_was_never_locked_goes_after_an_hour(folder):
    old = folder / "bridge-worker-old"
    old.mkdir()
    os.utime(old, (time.time() - 3700,) * 2)

    remove_stale_places()

    assert not old.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user's directory")
def test_another_user_s_stays(folder):
    theirs = folder / "bridge-worker-theirs"
    theirs.mkdir()
    (theirs / "lock").touch()
    os.chown(theirs, 65534, 65534)

    remove_stale_places()

    assert theirs.exists()
