"""What an actor's fields mean to Slurm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bridge.db import Actor
from bridge.errors import InvalidField
from bridge.launcher.request import OVERHEAD_MIB, build_request, cpu_count, memory_mib
from bridge.sites import Site
from bridge.sites.cluster import WholeNode
from tests.factories.sites import make_site

BATCH: dict[str, Any] = {
    "time_limit": 7200, "cpus": 4, "memory": 2000, "gpus": 2, "partition": "gpu",
    "account": "special", "qos": "high", "constraint": "avx512", "nodes": 2, "ntasks": 8,
    "retries": 1, "reuse": "none",
}  # fmt: skip


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path, queues={"default": "", "special": "long"})


def request(site: Site, **fields: Any) -> dict[str, Any]:
    values: dict[str, Any] = {"tenant": "PHYSICS", "queue": "default"}
    actor = Actor(**values | fields)
    return build_request(site, site.clusters["alpha"], actor)


def test_what_nothing_asks_for_is_the_cluster_s(site: Site) -> None:
    assert request(site) == {
        "time_limit_s": 3600, "cpus": 1, "memory_mib": 1024, "message_memory_mib": 0,
        "partition": None, "account": "physics", "qos": None, "constraint": None, "gpus": 0,
        "nodes": None, "ntasks": 1, "slots": 1, "node_cpus": 0,
    }  # fmt: skip


def test_what_batch_asks_for_comes_first(site: Site) -> None:
    found = request(site, queue="special", mem_limit="1g", max_cpus=10**9, batch=BATCH)
    assert found == {
        "time_limit_s": 7200, "cpus": 4, "memory_mib": 2000, "message_memory_mib": 1024,
        "partition": "gpu", "account": "special", "qos": "high", "constraint": "avx512", "gpus": 2,
        "nodes": 2, "ntasks": 8, "slots": 1, "node_cpus": 0,
    }  # fmt: skip


def test_what_batch_leaves_null_is_not_asked_for(site: Site) -> None:
    assert request(site, batch=dict.fromkeys(BATCH)) == request(site)


@pytest.mark.parametrize(
    ("batch", "slots"),
    [
        ({}, 8),  # as many as have CPUs
        ({"cpus": 3}, 2),
        ({"memory": 4000}, 4),
        ({"gpus": 1}, 2),
        ({"cpus": 9}, 1),
        ({"ntasks": 4}, 1),  # a message needs an array task for itself
    ],
)
def test_workers_share_a_node(site: Site, batch: dict[str, Any], slots: int) -> None:
    node = {"cpus": 8, "memory_mib": 16_000, "gpus": 2}

    found = on_whole_nodes(site, node, batch=batch)

    assert (found["slots"], found["node_cpus"]) == (slots, 8)
    assert found["cpus"] == batch.get("cpus", 1)


def test_a_node_that_others_may_use_is_not_held(site: Site) -> None:
    node = {"cpus": 8, "memory_mib": 16_000, "exclusive": False}

    found = on_whole_nodes(site, node)

    assert (found["slots"], found["node_cpus"]) == (8, 0)


def test_no_message_takes_its_neighbours_memory(site: Site) -> None:
    node = {"cpus": 8, "memory_mib": 16_000}

    assert on_whole_nodes(site, node)["message_memory_mib"] == 1024 - OVERHEAD_MIB
    assert on_whole_nodes(site, node, mem_limit="1g")["message_memory_mib"] == 1024


def on_whole_nodes(site: Site, node: dict[str, Any], **fields: Any) -> dict[str, Any]:
    actor = Actor(tenant="PHYSICS", queue="default", **fields)
    cluster = site.clusters["alpha"].model_copy(update={"whole_node": WholeNode(**node)})
    return build_request(site, cluster, actor)


def test_a_queue_is_a_partition(site: Site) -> None:
    assert request(site, queue="special")["partition"] == "long"


def test_a_queue_that_is_no_more(site: Site) -> None:
    with pytest.raises(InvalidField, match=r"no longer has the queue 'fast'.*default, special"):
        request(site, queue="fast")


def test_a_memory_limit_is_the_message_s_and_the_worker_has_more(site: Site) -> None:
    found = request(site, mem_limit="512m")
    assert (found["message_memory_mib"], found["memory_mib"]) == (512, 512 + OVERHEAD_MIB)


@pytest.mark.parametrize(("memory", "message"), [(2000, 2000 - OVERHEAD_MIB), (100, 50), (1, 1)])
def test_of_a_worker_s_memory_most_is_the_message_s(site: Site, memory: int, message: int) -> None:
    found = request(site, batch={"memory": memory})
    assert (found["memory_mib"], found["message_memory_mib"]) == (memory, message)


@pytest.mark.parametrize(
    ("text", "mib"),
    [(None, None), ("-1", None), ("0", None), ("00g", None), ("", None), ("1", 1),
     ("512m", 512), ("3G", 3072), ("1025k", 2), ("1048576", 1), ("1048577b", 2)],
)  # fmt: skip
def test_memory(text: str | None, mib: int | None) -> None:
    assert memory_mib(text) == mib


@pytest.mark.parametrize(
    ("nano", "cpus"), [(None, None), (-1, None), (0, None), (1, 1), (10**9, 1), (10**9 + 1, 2)]
)
def test_cpus(nano: int | None, cpus: int | None) -> None:
    assert cpu_count(nano) == cpus
