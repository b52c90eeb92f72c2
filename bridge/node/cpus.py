"""Dividing the CPUs of an array task between its slots.

A slot gets what lies together: CPUs of one core to one slot, cores of one NUMA node before those of
the next. Nothing is given out that the task does not have: what counts is what the kernel lets it
run on, not what the node has.
"""

from typing import Dict, FrozenSet, Iterable, List, Mapping, NamedTuple, Set, TypeVar

Thing = TypeVar("Thing")
_SYSTEM = "/sys/devices/system"


class Topology(NamedTuple):
    """Which CPUs are hardware threads of one core, and near which memory a CPU is."""

    cores: Mapping[int, FrozenSet[int]]
    nodes: Mapping[int, int]


def read_topology(cpus: Iterable[int], system: str = _SYSTEM) -> Topology:
    """Return what the kernel says of `cpus`; one of which it says nothing is a core of its own.

    Source: Linux, admin-guide/cputopology and ABI/stable/sysfs-devices-node.
    """
    cores = {}
    for cpu in cpus:
        text = _read("%s/cpu/cpu%d/topology/thread_siblings_list" % (system, cpu))
        cores[cpu] = frozenset(parse_cpus(text)) | {cpu}
    nodes: Dict[int, int] = {}
    for number in sorted(parse_cpus(_read(system + "/node/online"))):
        text = _read("%s/node/node%d/cpulist" % (system, number))
        nodes.update((cpu, number) for cpu in parse_cpus(text))
    return Topology(cores, nodes)


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def parse_cpus(text: str) -> Set[int]:
    """Return the numbers of a list as the kernel writes it: ``0-3,8``."""
    found: Set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def divide_cpus(allowed: Iterable[int], slots: int, topology: Topology) -> List[Set[int]]:
    """Return the CPUs of each slot, as many for one as for another but for one core.

    Where there are fewer cores than slots, the threads of a core are given to several; where there
    are even fewer CPUs, each slot has them all.
    """
    left = set(allowed)
    cores: List[List[int]] = []
    for cpu in sorted(left, key=lambda one: (topology.nodes.get(one, 0), one)):
        if cpu in left:
            core = sorted((topology.cores.get(cpu, frozenset()) | {cpu}) & left)
            left.difference_update(core)
            cores.append(core)
    if len(cores) >= slots:
        return [{cpu for core in run for cpu in core} for run in divide(cores, slots)]
    cpus = [cpu for core in cores for cpu in core]
    if len(cpus) >= slots:
        return [set(run) for run in divide(cpus, slots)]
    return [set(cpus)] * slots


def divide(things: List[Thing], count: int) -> List[List[Thing]]:
    """Divide `things` into `count` runs, in order, that differ by one in length at most."""
    bounds = [len(things) * number // count for number in range(count + 1)]
    return [things[bounds[number] : bounds[number + 1]] for number in range(count)]
