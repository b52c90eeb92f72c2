"""The SIF cache: whole files under their digests, pulled once."""

from __future__ import annotations

import errno
import os
import subprocess
from collections import namedtuple
from pathlib import Path

import pytest

from bridge.containers import Resolved, SifCache
from bridge.containers import cache as room
from bridge.core.images import ImageReference
from bridge.errors import PullFailed
from tests.unit.containers.conftest import Puller

DIGEST = "sha256:" + "ab" * 32
IMAGE = Resolved(ImageReference("r.example.org", "lab/tool", None, DIGEST), {}, 1000)


@pytest.fixture
def cache(tmp_path: Path) -> SifCache:
    return SifCache(tmp_path / "images")


def leftovers(tmp_path: Path) -> list[str]:
    return sorted(str(path.relative_to(tmp_path / "images")) for path in
                  (tmp_path / "images").rglob("*") if path.is_file())  # fmt: skip


def test_an_image_is_pulled_once_a_tenant(cache: SifCache, puller: Puller, tmp_path: Path) -> None:
    path = cache.ensure("PHYSICS", IMAGE, plain_http=False)
    assert path == tmp_path / "images" / "PHYSICS" / f"{'ab' * 32}.sif"
    assert cache.ensure("PHYSICS", IMAGE, plain_http=False) == path
    assert len(puller.pulled) == 1

    assert cache.ensure("BIOLOGY", IMAGE, plain_http=False) != path
    assert puller.pulled == [f"docker://r.example.org/lab/tool@{DIGEST}"] * 2


def test_everybody_can_read_it_and_nobody_write(cache: SifCache, puller: Puller) -> None:
    before = os.umask(0o077)
    try:
        path = cache.ensure("PHYSICS", IMAGE, plain_http=False)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o444
    for folder in (path.parent, path.parent.parent):
        assert folder.stat().st_mode & 0o077 == 0o055


def test_a_folder_s_own_mode_stays_where_it_is_wide_enough(
    cache: SifCache, puller: Puller, tmp_path: Path
) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images").chmod(0o775)
    cache.ensure("PHYSICS", IMAGE, plain_http=False)
    assert (tmp_path / "images").stat().st_mode & 0o777 == 0o775


@pytest.mark.parametrize(
    ("behaviour", "says"),
    [
        ("exit 1", "the pull failed"),
        ("echo FATAL: no such manifest >&2; exit 255", "no such manifest"),
        ("exit 0", "the pull failed"),
        ('printf "<html>" > "$file"', "the pull failed"),
        (': > "$file"', "the pull failed"),
        ("echo write /x: no space left on device >&2; exit 1", "the disk is full"),
        ('printf "a\\0b" >&2; exit 1', "the pull failed"),
    ],
)
def test_a_failed_pull_leaves_nothing(
    cache: SifCache, puller: Puller, tmp_path: Path, behaviour: str, says: str
) -> None:
    puller.behave(behaviour)
    with pytest.raises(PullFailed, match=says) as caught:
        cache.ensure("PHYSICS", IMAGE, plain_http=False)
    assert caught.value.retryable
    assert leftovers(tmp_path) == []


def test_a_pull_that_hangs_is_ended(
    cache: SifCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(argv: list[str], **given: object) -> object:
        raise subprocess.TimeoutExpired(argv, 1800)

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(PullFailed, match="over 1800 s"):
        cache.ensure("PHYSICS", IMAGE, plain_http=False)
    assert leftovers(tmp_path) == []


def test_a_full_disk_is_seen_before_the_pull(
    cache: SifCache, puller: Puller, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = namedtuple("status", "f_bavail f_frsize")(1, 1999)
    monkeypatch.setattr(os, "statvfs", lambda _path: status)
    with pytest.raises(PullFailed, match="the disk is full"):
        cache.ensure("PHYSICS", IMAGE, plain_http=False)
    assert puller.pulled == []


def test_a_cache_that_cannot_be_written(
    cache: SifCache, puller: Puller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(PullFailed, match="Read-only file system"):
        cache.ensure("PHYSICS", IMAGE, plain_http=False)


def test_a_half_written_image_is_never_seen(
    cache: SifCache, puller: Puller, tmp_path: Path
) -> None:
    puller.behave(f'ls "{tmp_path}/images/PHYSICS" > "{tmp_path}/seen"; {room_good()}')
    path = cache.ensure("PHYSICS", IMAGE, plain_http=False)
    assert path.name not in (tmp_path / "seen").read_text().split()


def room_good() -> str:
    return 'printf "%32s" "" > "$file"; printf "SIF_MAGIC" >> "$file"'


@pytest.mark.parametrize(("plain_http", "set_to"), [(True, "1"), (False, None)])
def test_the_pull_gets_an_environment_of_its_own(
    cache: SifCache,
    puller: Puller,
    monkeypatch: pytest.MonkeyPatch,
    plain_http: bool,
    set_to: str | None,
) -> None:
    monkeypatch.setenv("BRIDGE_SECRET", "hush")
    monkeypatch.setenv("APPTAINER_DOCKER_PASSWORD", "hush")
    cache.ensure("PHYSICS", IMAGE, plain_http=plain_http)

    environment = puller.environment
    assert "hush" not in environment.values()
    assert environment.get("APPTAINER_NOHTTPS") == set_to
    assert environment["HOME"] == environment["TMPDIR"]
    assert not Path(environment["HOME"]).exists()


def test_what_a_sif_is(tmp_path: Path) -> None:
    path = tmp_path / "x"
    assert not room.is_sif(path)
    path.write_bytes(b"#!/usr/bin/env run-singularity\n\0SIF_MAGIC\0")
    assert room.is_sif(path)
    path.write_bytes(b"x" * 100 + b"SIF_MAGIC")
    assert not room.is_sif(path)
