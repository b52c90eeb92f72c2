"""Which files are opened, and which are copied; the copies are tests/integration/node."""

from __future__ import annotations

import os

import pytest

from bridge.node import hot


@pytest.fixture
def image(tmp_path, monkeypatch):
    (tmp_path / "usr/lib").mkdir(parents=True)
    for name, size in (("usr/lib/libc", 300), ("usr/tool", 20), ("passwd", 10), ("unused", 1)):
        (tmp_path / name).write_bytes(b"x" * size)
        os.utime(tmp_path / name, ns=(1_000, 2_000))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def watched():
    watch = hot.Watch()
    watch.add_folders(".")
    return watch


def test_files_that_are_opened_after_it_began_are_noted(image):
    (image / "unused").read_bytes()
    watch = watched()
    (image / "usr/lib/libc").read_bytes()
    (image / "passwd").read_bytes()
    (image / "passwd").read_bytes()
    list((image / "usr").iterdir())
    (image / "usr/tool").stat()

    assert watch.list_opened() == {"./usr/lib/libc", "./passwd"}
    assert watch.list_opened() == set()


def test_links_lead_nowhere(image, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret").write_text("s")
    (image / "usr/out").symlink_to(outside)
    watch = watched()
    (image / "usr/out/secret").read_bytes()

    assert watch.list_opened() == set()


def test_only_so_many_folders_are_watched_those_above_first(image, monkeypatch):
    monkeypatch.setattr(hot, "MOST_FOLDERS", 2)
    watch = watched()
    (image / "usr/tool").read_bytes()
    (image / "usr/lib/libc").read_bytes()

    assert watch.list_opened() == {"./usr/tool"}


def test_small_files_are_copied_first_up_to_the_limit(image):
    paths = [image / "passwd", image / "usr/tool", image / "usr/lib/libc"]
    before = [path.stat() for path in paths]

    assert hot.copy_up({str(path) for path in paths}, 100) == [str(path) for path in paths[:2]]

    after = [path.stat() for path in paths]
    pairs = list(zip(before, after, strict=True))
    assert [old.st_ctime_ns < new.st_ctime_ns for old, new in pairs] == [True, True, False]
    assert all((new.st_mtime_ns, new.st_mode) == (2_000, old.st_mode) for old, new in pairs)


def test_what_has_several_names_or_is_no_file_is_left(image):
    (image / "other").hardlink_to(image / "passwd")
    (image / "link").symlink_to("usr/tool")
    os.mkfifo(image / "pipe")

    assert hot.copy_up({"./passwd", "./link", "./pipe", "./usr/tool"}, 1000) == ["./usr/tool"]
