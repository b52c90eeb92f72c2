"""What is read of a template, and what it may not be."""

from __future__ import annotations

import os
import resource

import pytest

from bridge.node.mounts import MountsError
from bridge.node.template import (
    Entry,
    TemplateError,
    check_same,
    find_limits,
    open_namespaces,
    read_entries,
    read_environment,
    read_status,
)

PLAIN = {"Umask": "0022", "CapBnd": "0", "NoNewPrivs": "1", "Seccomp": "0", "Seccomp_filters": "0"}


def test_a_container_with_nothing_special_can_be_made_again():
    check_same(PLAIN, PLAIN)
    check_same({**PLAIN, "Seccomp": "2"}, {**PLAIN, "Seccomp": "2"})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"Seccomp": "2"}, "filters"),
        ({"Seccomp_filters": "1"}, "filters"),
        ({"CapEff": "0000000000000400"}, "CapEff"),
        ({"CapAmb": "1"}, "CapAmb"),
    ],
)
def test_what_cannot_be_given_to_another_is_refused(change, said):
    with pytest.raises(TemplateError, match=said):
        check_same(PLAIN, {**PLAIN, **change})


def test_a_kernel_that_does_not_tell_is_refused():
    with pytest.raises(TemplateError, match="Umask"):
        check_same({}, {})


def test_a_process_in_the_hosts_namespaces_is_refused():
    with pytest.raises(TemplateError, match="the host's ipc, mnt, pid, user"):
        open_namespaces(os.getpid())


def test_status_environment_and_limits_are_read():
    assert read_status("self")["Pid"] == str(os.getpid())
    assert read_status(1 << 30) == {}
    assert read_environment(os.getpid())  # as this process was started
    assert find_limits(os.getpid()) == {}
    assert resource.RLIMIT_NOFILE == 7  # the numbers are the kernel's


def test_a_directory_is_copied_with_all_that_is_in_it(tmp_path):
    (tmp_path / "folder").mkdir(mode=0o750)
    (tmp_path / "folder" / "file").write_bytes(b"text")
    (tmp_path / "folder" / "file").chmod(0o640)
    (tmp_path / "link").symlink_to("folder/file")
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "secret").write_text("x")
    tmp_path.chmod(0o1777)

    entries = read_entries(str(tmp_path), frozenset({f"{tmp_path}/ours"}))

    assert {entry.path: entry for entry in entries} == {
        "": Entry("", 0o1777),
        "folder": Entry("folder", 0o750),
        "folder/file": Entry("folder/file", 0o640, content=b"text"),
        "link": Entry("link", 0o777, link="folder/file"),
    }
    assert read_entries(f"{tmp_path}/folder/file") == [Entry("", 0o640, content=b"text")]


def test_what_cannot_be_copied_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(MountsError, match="pipe of a container"):
        read_entries(str(tmp_path))
