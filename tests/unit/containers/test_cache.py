"""The SIF cache: whole files under names that cannot be guessed, made of what was checked."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections import namedtuple
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

import pytest

from bridge.containers import Access, Resolved, SifCache, Stored, convert, resolve
from bridge.containers import sif as sif_room
from bridge.core.images import ImageReference
from bridge.errors import PullFailed
from bridge.net import AddressRules
from tests.unit.containers.conftest import LAYER, Puller, Registry

LOOPBACK = AddressRules((ip_network("127.0.0.0/8"),))
Bring = Callable[[], Stored]


@pytest.fixture
def cache(tmp_path: Path) -> SifCache:
    return SifCache(tmp_path / "images")


@pytest.fixture
def access(registry: Registry) -> Access:
    return Access(LOOPBACK, (registry.host,))


@pytest.fixture
def image(registry: Registry, access: Access) -> Resolved:
    """An image of the registry's."""
    registry.add()
    return resolve(ImageReference(registry.host, "lab/tool", "1", None), access)


@pytest.fixture
def bring(cache: SifCache, image: Resolved, access: Access, puller: Puller) -> Bring:
    """Brings the image into the cache."""

    def ensure() -> Stored:
        with cache.work("it") as work:
            return cache.keep("PHYSICS", cache.fetch(image, access, work))

    return ensure


def leftovers(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "images").rglob("*") if path.is_file()]


def test_what_was_checked_is_converted(
    bring: Bring, image: Resolved, puller: Puller, registry: Registry, tmp_path: Path
) -> None:
    stored = bring()
    assert Path(stored.path).parent == tmp_path / "images" / "PHYSICS"
    content = Path(stored.path).read_bytes()
    assert stored.sha256 == hashlib.sha256(content).hexdigest()
    assert stored.size_bytes == len(content)
    assert leftovers(tmp_path) == [Path(stored.path)]

    index = json.loads((puller.layout / "index.json").read_text())
    blobs = puller.layout / "blobs" / "sha256"
    manifest = json.loads(
        (blobs / index["manifests"][0]["digest"].removeprefix("sha256:")).read_text()
    )
    assert manifest["layers"][0]["digest"] == image.layers[0].digest
    assert (blobs / image.layers[0].digest.removeprefix("sha256:")).read_bytes() == LAYER
    config = (blobs / manifest["config"]["digest"].removeprefix("sha256:")).read_bytes()
    assert config == image.config_bytes


def test_a_name_is_never_used_again(bring: Bring) -> None:
    assert bring().path != bring().path


def test_workers_can_read_it_and_nobody_write_or_list(bring: Bring) -> None:
    before = os.umask(0o077)
    try:
        path = Path(bring().path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o444
    assert path.parent.stat().st_mode & 0o077 == 0o011
    assert path.parent.parent.stat().st_mode & 0o077 == 0o055


def test_a_folder_s_own_mode_stays_where_it_is_wide_enough(bring: Bring, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images").chmod(0o775)
    bring()
    assert (tmp_path / "images").stat().st_mode & 0o777 == 0o775


@pytest.mark.parametrize(
    ("behaviour", "says"),
    [
        ("exit 1", "cannot be converted"),
        ("echo FATAL: no space for it >&2; exit 255", "no space for it"),
        ("exit 0", "cannot be converted"),
        ('printf "<html>" > "$file"', "cannot be converted"),
        (': > "$file"', "cannot be converted"),
        ("echo write /x: no space left on device >&2; exit 1", "the disk is full"),
        ('printf "a\\0b" >&2; exit 1', "cannot be converted"),
    ],
)
def test_a_failed_conversion_leaves_nothing(
    bring: Bring, puller: Puller, tmp_path: Path, behaviour: str, says: str
) -> None:
    puller.behave(behaviour)
    with pytest.raises(PullFailed, match=says) as caught:
        bring()
    assert caught.value.retryable
    assert leftovers(tmp_path) == []


def test_a_conversion_that_hangs_is_ended_with_its_children(
    bring: Bring, puller: Puller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convert, "CONVERT_S", 0.5)
    monkeypatch.setattr(convert, "_LOOK_EVERY_S", 0.1)
    puller.behave(f"sleep 1000 & echo $! > {tmp_path}/child; wait")
    with pytest.raises(PullFailed, match="took over 0 s"):
        bring()
    assert leftovers(tmp_path) == []
    child = int((tmp_path / "child").read_text())
    state = Path(f"/proc/{child}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


def test_a_disk_that_fills_up_ends_the_conversion(
    bring: Bring, puller: Puller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convert, "MIN_FREE_BYTES", 1 << 62)
    monkeypatch.setattr(convert, "_LOOK_EVERY_S", 0.1)
    puller.behave("sleep 1000")
    with pytest.raises(PullFailed, match="the disk is full"):
        bring()
    assert leftovers(tmp_path) == []


def test_a_full_disk_is_seen_before_the_pull(
    bring: Bring, puller: Puller, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = namedtuple("status", "f_bavail f_frsize")(1, len(LAYER))
    monkeypatch.setattr(os, "statvfs", lambda _path: status)
    with pytest.raises(PullFailed, match="the disk is full"):
        bring()
    assert puller.pulled == []


def test_a_cache_that_cannot_be_written(bring: Bring, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(PullFailed, match="Read-only file system"):
        bring()


def test_the_conversion_gets_an_environment_of_its_own(
    bring: Bring, puller: Puller, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BRIDGE_SECRET", "APPTAINER_DOCKER_PASSWORD", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "hush")
    bring()
    environment = puller.environment
    assert "hush" not in environment.values()
    assert environment["HOME"] == environment["TMPDIR"]
    assert not Path(environment["HOME"]).exists()


def test_strays_are_what_nobody_knows_and_is_old(
    cache: SifCache, bring: Bring, tmp_path: Path
) -> None:
    known, stray = bring().path, bring().path
    half = tmp_path / "images" / ".pull-x"
    half.mkdir()
    (half / "layer").write_text("half")
    later = half.stat().st_mtime + 10
    assert cache.strays({known}, before=0) == []
    found = cache.strays({known}, before=later)
    assert sorted(found) == sorted([stray, str(half)])
    for path in found:
        cache.remove_stray(path)
    assert leftovers(tmp_path) == [Path(known)]


def test_nothing_outside_is_removed(cache: SifCache, tmp_path: Path) -> None:
    other = tmp_path / "other.sif"
    other.write_text("mine")
    cache.remove(str(other))
    assert other.exists()


def test_what_a_sif_is(tmp_path: Path) -> None:
    path = tmp_path / "x"
    assert not sif_room.is_sif(path)
    path.write_bytes(b"#!/usr/bin/env run-singularity\n\0SIF_MAGIC\0")
    assert sif_room.is_sif(path)
    path.write_bytes(b"x" * 100 + b"SIF_MAGIC\0")
    assert not sif_room.is_sif(path)
