"""Abaco's own clients against the bridge, unchanged: the scripts in tests/clients assert.

agavepy and tapipy are installed from PyPI at pinned versions. abaco-cli is no package: its requests
are sent as its scripts send them.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from bridge.sandbox.images import ImageBuilder
from bridge.sandbox.service import TENANTS
from tests.clients.environments import HERE, ensure_environment
from tests.cluster import Cluster

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(900)]

IMAGES = ("wc", "sleep-loop", "py-func", "binary-digest", "state-counter", "probe", "agavepy")
SCRIPT_TIMEOUT_S = 400
ADMIN = ("--role", "Internal/everyone", "--role", "Internal/abaco-admin")


@pytest.fixture(scope="module")
def facts(cluster: Cluster) -> dict[str, Any]:
    """What tests/clients/common.py reads from BRIDGE."""
    return {
        "url": cluster.sandbox.url,
        "tenant": TENANTS["alice"],
        "user": "alice",
        "token": cluster.service.token("alice"),
        "other": "bob",
        "other_token": cluster.service.token("bob"),
        "admin_token": cluster.service.token("alice", *ADMIN),
        "images": {name: cluster.sandbox.ensure_image(name) for name in IMAGES},
        "same_python": False,
    }


def run(argv: Sequence[str | Path], environment: Mapping[str, str], home: Path) -> None:
    """Run a client with nothing of the suite's environment; what it said is the failure's text."""
    whole = {"PATH": "/usr/bin:/bin", "HOME": str(home), "LANG": "C.UTF-8", **environment}
    done = subprocess.run(
        argv,
        env=whole,
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SCRIPT_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(f"{argv[-1]} ended with {done.returncode}:\n{done.stdout}", pytrace=False)


@pytest.mark.parametrize(
    ("client", "script"),
    [
        ("agavepy", "agavepy_contract.py"),
        ("agavepy", "agavepy_executor.py"),
        ("tapipy", "tapipy_contract.py"),
    ],
)
def test_stock_client(facts: dict[str, Any], client: str, script: str, tmp_path: Path) -> None:
    python = ensure_environment(client)
    run([python, HERE / script], {"BRIDGE": json.dumps(facts)}, tmp_path)


def test_functions_of_any_kind_through_the_executor_in_the_same_python(
    cluster: Cluster, facts: dict[str, Any], tmp_path: Path
) -> None:
    """The client in an image with py-func's own Python, as gateways' notebooks are such images."""
    engine = cluster.sandbox.engine
    tag = ImageBuilder(engine, print).ensure_sample("agavepy")
    inside = facts | {"url": "http://login:8080", "same_python": True}
    words = ["run", "--rm", f"--network=abaco-bridge-{cluster.sandbox.name}", "--env=BRIDGE"]
    words += [*engine.limit_options(), f"--volume={HERE}:/clients:ro"]
    words += [tag, "/opt/agavepy/bin/python", "-B", "/clients/agavepy_executor.py"]
    run(engine.argv(*words), {"BRIDGE": json.dumps(inside), "PATH": "/usr/sbin:/usr/bin"}, tmp_path)


def test_helpers_of_tapipy_in_the_environment_of_a_container(
    cluster: Cluster, facts: dict[str, Any], tmp_path: Path
) -> None:
    """Emulated: what a container saw is given to tapipy on this machine."""
    client = cluster.client()
    actor = cluster.actor(client, "probe", token=True)
    message = {"a": None, "b": ["it's"]}
    posted = client.call("POST", f"/{actor}/messages", json=message)
    log = cluster.log(client, actor, posted["executionId"])
    environment = json.loads(log.splitlines()[0])["environment"]
    ours = {"BRIDGE": json.dumps(facts | {"actor": actor, "message": message})}
    theirs = {name: value for name, value in environment.items() if name.startswith("_abaco")}
    theirs |= {"MSG": environment["MSG"], "_abaco_api_server": cluster.sandbox.url}
    run([ensure_environment("tapipy"), HERE / "tapipy_container.py"], theirs | ours, tmp_path)
    client.call("DELETE", f"/{actor}")


def test_requests_of_abaco_cli(facts: dict[str, Any], tmp_path: Path) -> None:
    environment = {
        "URL": facts["url"],
        "TOKEN": facts["token"],
        "ADMIN_TOKEN": facts["admin_token"],
        "IMAGE": facts["images"]["wc"],
    }
    run([HERE / "abaco_cli.sh"], environment, tmp_path)
