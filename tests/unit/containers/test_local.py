"""SIF files by their path: no link is followed, nothing read that not everybody may read."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import pytest

from bridge.containers import SifCache, open_local
from bridge.errors import ImageRefused, ImageUnknown


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory of SIF files, with a secret beside it."""
    (tmp_path / "sif" / "lab").mkdir(parents=True)
    (tmp_path / "sif" / "lab" / "x.sif").write_bytes(b"content")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "x.sif").write_bytes(b"secret")
    return tmp_path / "sif"


def read(path: Path | str, *directories: Path) -> bytes:
    with open_local(PurePosixPath(path), directories) as file:
        return file.read()


def test_what_is_below_a_directory_is_read(root: Path) -> None:
    assert read(root / "lab" / "x.sif", Path("/nowhere"), root) == b"content"


@pytest.mark.parametrize("path", ["secret/x.sif", "sif/../secret/x.sif", "sifx/x.sif", "sif"])
def test_nothing_else_is(root: Path, path: str) -> None:
    with pytest.raises(ImageRefused):
        read(root.parent / path, root)


@pytest.mark.parametrize(
    ("link", "target"),
    [("y.sif", "../secret/x.sif"), ("y.sif", "lab/x.sif"), ("d", "../secret"), ("d", "lab")],
)
def test_links_are_not_followed(root: Path, link: str, target: str) -> None:
    (root / link).symlink_to(target)
    with pytest.raises(ImageUnknown, match="Links are not followed"):
        read(root / link / "x.sif" if link == "d" else root / link, root)


def test_what_is_not_there(root: Path) -> None:
    for name in ("none.sif", "none/x.sif", "lab/x.sif/x.sif"):
        with pytest.raises(ImageUnknown):
            read(root / name, root)


@pytest.mark.parametrize(("name", "mode"), [("lab/x.sif", 0o640), ("lab", 0o750)])
def test_what_others_may_not_read_is_refused(root: Path, name: str, mode: int) -> None:
    (root / name).chmod(mode)
    with pytest.raises(ImageRefused, match="by everybody"):
        read(root / "lab" / "x.sif", root)


def test_a_fifo_is_refused_at_once(root: Path) -> None:
    os.mkfifo(root / "f.sif", 0o644)
    with pytest.raises(ImageRefused, match="not a regular file"):
        read(root / "f.sif", root)


def test_a_directory_is_refused(root: Path) -> None:
    (root / "d.sif").mkdir()
    with pytest.raises(ImageRefused, match="not a regular file"):
        read(root / "d.sif", root)


def test_no_descriptor_is_left(root: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    (root / "y.sif").symlink_to("lab/x.sif")
    (root / "lab" / "private.sif").touch(0o600)
    for name in ("y.sif", "none", "lab", "lab/private.sif", "lab/x.sif/z.sif"):
        with pytest.raises((ImageRefused, ImageUnknown)):
            read(root / name, root)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("limit", [6, 0])
def test_a_file_that_is_too_large_is_not_copied(root: Path, tmp_path: Path, limit: int) -> None:
    cache = SifCache(tmp_path / "images")
    with (
        cache.work("it") as work,
        (root / "lab" / "x.sif").open("rb") as file,
        pytest.raises(ImageRefused, match="over"),
    ):
        cache.copy(file, limit, work)
