"""What is read of the host."""

import socket
from pathlib import Path

import pytest

from bridge.sandbox import host


def test_memory_is_read_in_mib() -> None:
    assert host.read_memory_mib("MemTotal:       24641232 kB\nMemFree: 1 kB\n") == 24063


def test_capabilities_are_bits_of_the_effective_set() -> None:
    status = "CapPrm:\t0000000000000000\nCapEff:\t0000000000200000\n"
    assert host.has_capability(host.CAP_SYS_ADMIN, status)
    assert not host.has_capability(0, status)


def test_cgroups_are_hybrid_only_when_both_kinds_are_there(tmp_path: Path) -> None:
    assert not host.has_hybrid_cgroups(tmp_path)
    (tmp_path / "unified").mkdir()
    assert not host.has_hybrid_cgroups(tmp_path)
    (tmp_path / "memory").mkdir()
    assert host.has_hybrid_cgroups(tmp_path)


def test_limits_are_positive_and_bounded() -> None:
    limits = host.read_limits()
    assert 0 < limits["nofile"] <= host.MOST_OPEN_FILES
    assert 0 < limits["nproc"] <= host.MOST_PROCESSES


def test_a_port_in_use_is_seen() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        assert not host.port_is_free(server.getsockname()[1])


def test_a_missing_engine_is_one_line_that_names_the_packages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (line,) = host.missing_of_engine()
    assert "apt-get install podman" in line
    assert "\n" not in line


def test_docker_alone_needs_nothing_more(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "docker"
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert host.missing_of_engine() == []


def test_an_ordinary_user_is_told_to_be_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert any("run it as root" in line for line in host.check_host())
