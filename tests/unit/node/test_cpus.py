"""Dividing CPUs between slots."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.node.cpus import Topology, divide_cpus, parse_cpus, read_topology

FLAT = Topology({}, {})


def two_threads(cores, nodes=1):
    """A node of `cores` cores, the threads of core n being n and n + cores, as Linux counts."""
    pairs = {cpu: frozenset({cpu % cores, cpu % cores + cores}) for cpu in range(2 * cores)}
    return Topology(pairs, {cpu: cpu % cores % nodes for cpu in pairs})


@pytest.mark.parametrize(
    ("text", "cpus"),
    [("", set()), ("\n", set()), ("0\n", {0}), ("0-2,8", {0, 1, 2, 8}), ("3,5-5", {3, 5})],
)
def test_the_kernel_s_lists(text, cpus):
    assert parse_cpus(text) == cpus


def test_threads_of_a_core_stay_together():
    assert divide_cpus(range(8), 2, two_threads(4)) == [{0, 1, 4, 5}, {2, 3, 6, 7}]


def test_cores_of_a_numa_node_stay_together():
    found = divide_cpus(range(8), 2, two_threads(4, nodes=2))

    assert found == [{0, 2, 4, 6}, {1, 3, 5, 7}]


def test_two_slots_share_a_core_before_they_share_a_cpu():
    assert divide_cpus(range(4), 4, two_threads(2)) == [{0}, {2}, {1}, {3}]


def test_with_fewer_cpus_than_slots_nothing_is_pinned():
    assert divide_cpus({4, 6}, 3, FLAT) == [{4, 6}] * 3


TOPOLOGIES = st.builds(two_threads, st.integers(1, 40), st.integers(1, 4))


@given(st.sets(st.integers(0, 79), min_size=1), st.integers(1, 80), TOPOLOGIES)
def test_no_slot_gets_what_the_task_does_not_have(allowed, slots, topology):
    found = divide_cpus(allowed, slots, topology)

    assert len(found) == slots
    assert all(found)
    assert set().union(*found) == allowed
    if slots <= len(allowed):
        assert sum(len(cpus) for cpus in found) == len(allowed)


@given(st.integers(1, 40), st.integers(1, 40))
def test_slots_get_whole_cores_and_equal_parts(cores, slots):
    topology = two_threads(cores)

    found = divide_cpus(range(2 * cores), slots, topology)

    if slots <= cores:
        assert all(topology.cores[cpu] <= cpus for cpus in found for cpu in cpus)
        assert max(map(len, found)) - min(map(len, found)) in (0, 2)


def test_the_kernel_s_files(tmp_path):
    for cpu, siblings in ((0, "0,2"), (1, "1,3"), (2, "0,2")):
        folder = tmp_path / f"cpu/cpu{cpu}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{siblings}\n")
    for node, cpus in ((0, "0,2"), (1, "1,3")):
        (tmp_path / f"node/node{node}").mkdir(parents=True)
        (tmp_path / f"node/node{node}/cpulist").write_text(f"{cpus}\n")
    (tmp_path / "node/online").write_text("0-1\n")

    found = read_topology({0, 1, 7}, str(tmp_path))

    assert found.cores == {0: {0, 2}, 1: {1, 3}, 7: {7}}
    assert found.nodes == {0: 0, 2: 0, 1: 1, 3: 1}
