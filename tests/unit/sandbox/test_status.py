"""What a sandbox's status says."""

from bridge.sandbox.status import Status, find_problems, is_compute, parse_sinfo

RUNNING = dict.fromkeys(("head", "login", "c1", "c2", "registry"), "running")


def test_nodes_are_read_once_for_all_partitions() -> None:
    assert parse_sinfo("c1 idle\nc1 idle\nc2 mix\n\n") == {"c1": "idle", "c2": "mix"}


def test_a_whole_sandbox_has_no_problems() -> None:
    assert find_problems(RUNNING, {"c1": "alloc", "c2": "drain"}) == ()


def test_what_is_missing_stopped_or_silent_is_named() -> None:
    containers = {"head": "running", "login": "exited", "c1": "running", "c2": "running"}
    assert find_problems(containers, {"c1": "down*"}) == (
        "registry is missing",
        "login is exited",
        "c1 is down*",
        "c2 is unknown to Slurm",
    )


def test_a_sandbox_without_containers_neither_exists_nor_is_healthy() -> None:
    status = Status("t")
    assert not status.exists
    assert not status.is_healthy


def test_compute_nodes_are_told_by_name() -> None:
    assert [name for name in ("c1", "c12", "carol", "c", "head") if is_compute(name)] == [
        "c1",
        "c12",
    ]
