"""What a sandbox consists of."""

from pathlib import Path

import pytest

from bridge.errors import SandboxError
from bridge.sandbox.plan import (
    LABEL,
    PLAN_LABEL,
    ContainerPlan,
    Machine,
    Mount,
    Publish,
    SandboxPlan,
    check_name,
    compute_nodes,
    plan_machine,
    plan_sandbox,
)


def make_plan(nodes: int = 2, port: int = 8080, node_image: str = "node:1") -> SandboxPlan:
    return plan_sandbox(
        "t",
        nodes=nodes,
        port=port,
        machine=Machine(2, 4096),
        node_image=node_image,
        login_image="login:1",
        source=(Mount("/src/bridge", "/opt/bridge/src/bridge", read_only=True),),
        ca_bundle=Path("/ca.crt"),
    )


def node_of(plan: SandboxPlan, node: str) -> ContainerPlan:
    return next(one for one in plan.containers if one.node == node)


def targets(container: ContainerPlan) -> dict[str, bool]:
    return {mount.target: mount.read_only for mount in container.mounts}


def test_nodes_are_head_login_computes_and_registry() -> None:
    plan = make_plan(nodes=3)
    assert [one.node for one in plan.containers] == ["head", "login", "c1", "c2", "c3", "registry"]
    assert node_of(plan, "c3").container == "abaco-bridge-t-c3"


def test_shared_filesystems_have_their_modes() -> None:
    plan = make_plan()
    shared = ("/scratch", "/work", "/corral")
    assert [targets(node_of(plan, "login"))[path] for path in shared] == [False, False, False]
    assert [targets(node_of(plan, "c1"))[path] for path in shared] == [False, False, True]


def test_only_login_sees_the_source_and_only_the_head_writes_the_keys() -> None:
    plan = make_plan()
    with_source = [o.node for o in plan.containers if "/opt/bridge/src/bridge" in targets(o)]
    assert with_source == ["login"]
    writers = [o.node for o in plan.containers if targets(o).get("/sandbox") is False]
    assert writers == ["head"]


def test_only_the_bridge_and_the_registry_are_published() -> None:
    published = {one.node: one.publish for one in make_plan().containers if one.publish}
    assert published == {"login": Publish(8080, 8080), "registry": Publish(0, 5000)}


def test_everything_carries_the_label() -> None:
    plan = make_plan()
    for container in plan.containers:
        assert dict(container.labels) == {LABEL: "t", PLAN_LABEL: plan.digest}
    assert all(name.startswith("abaco-bridge-t") for name in (plan.network, *plan.volumes))


def test_digest_changes_with_the_plan_but_not_with_the_port() -> None:
    same = make_plan().digest
    assert make_plan(port=0).digest == same
    assert make_plan(nodes=3).digest != same
    assert make_plan(node_image="node:2").digest != same


def test_nodes_take_a_share_of_the_machine() -> None:
    assert plan_machine(2, 24000, 2) == Machine(2, 6000)
    assert plan_machine(64, 512000, 2) == Machine(4, 8192)
    assert plan_machine(1, 2000, 4) == Machine(1, 1024)


@pytest.mark.parametrize("name", ["", "-a", "a b", "Demo", "a/b", "a" * 32, "a\n"])
def test_a_name_that_no_container_may_have_is_refused(name: str) -> None:
    with pytest.raises(SandboxError, match="cannot name containers"):
        check_name(name)


@pytest.mark.parametrize("count", [0, -1, 65])
def test_too_few_or_too_many_nodes_are_refused(count: int) -> None:
    with pytest.raises(SandboxError, match="1 to 64"):
        compute_nodes(count)
