"""The image's file is compared before a container of it starts."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from bridge.node import sif as room
from bridge.node.sif import SifFile

CONTENT = b"an image"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "x.sif"
    path.write_bytes(CONTENT)
    path.chmod(0o444)
    return path


def sif(path: Path, **changes: object) -> SifFile:
    about = {"size": len(CONTENT), "sha256": SHA256, "uid": os.getuid(), **changes}
    return SifFile(str(path), **about)  # type: ignore[arg-type]


def test_what_the_bridge_put_there_is_fine(path: Path) -> None:
    assert sif(path).find_problem() is None


def test_the_digest_is_read_once_while_nothing_changes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 0
    real = hashlib.sha256

    def sha256() -> object:
        nonlocal count
        count += 1
        return real()

    monkeypatch.setattr(room.hashlib, "sha256", sha256)
    file = sif(path)
    for _ in range(3):
        assert file.find_problem() is None
    assert count == 1
    os.utime(path, (1, 1))
    assert file.find_problem() is None
    assert count == 2


@pytest.mark.parametrize(
    ("content", "mode", "says"),
    [
        (b"an imagE", 0o444, "its SHA-256 is"),
        (b"an image, longer", 0o444, "has 16 bytes, expected 8"),
        (CONTENT, 0o464, "others may write it"),
        (CONTENT, 0o446, "others may write it"),
    ],
)
def test_another_file_is_not_started(path: Path, content: bytes, mode: int, says: str) -> None:
    file = sif(path)
    assert file.find_problem() is None
    path.unlink()
    path.write_bytes(content)
    path.chmod(mode)
    assert says in str(file.find_problem())
    assert says in str(file.find_problem())


def test_one_of_somebody_else_s_is_not_started(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    assert f"belongs to uid {me}" in str(sif(path, uid=me + 2).find_problem())
    assert sif(path, uid=me).find_problem() is None
    monkeypatch.setattr(os, "geteuid", lambda: me)
    assert sif(path, uid=me + 2).find_problem() is None  # the owner's own


def test_without_a_digest_the_rest_is_compared(path: Path) -> None:
    assert sif(path, sha256=None).find_problem() is None
    assert "bytes, expected" in str(sif(path, sha256=None, size=1).find_problem())


def test_what_is_not_there_or_no_file(tmp_path: Path) -> None:
    assert "cannot be read" in str(sif(tmp_path / "none").find_problem())
    assert "cannot be read" in str(sif(tmp_path).find_problem())
