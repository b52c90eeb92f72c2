"""Bad input on the real cluster: a clear error each, in Abaco's envelope."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from bridge.errors import SandboxError
from tests.cluster import Cluster, wait_for

pytestmark = pytest.mark.sandbox

NASTY = "$(id) `id` 'single' \"double\", a,b=c \\ %s ${HOME} ünïcödé\n#SBATCH --array=0-9\n-- end"


def send(cluster: Cluster, method: str, path: str, token: str, **options: Any) -> requests.Response:
    headers = {"Authorization": f"Bearer {token}", **options.pop("headers", {})}
    url = f"{cluster.sandbox.url}/actors/v2{path}"
    return requests.request(method, url, headers=headers, timeout=30, **options)


def refused(answer: requests.Response, status: int, *words: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    document = answer.json()
    assert set(document) == {"message", "status", "version", "result"}
    assert (document["status"], document["result"]) == ("error", None)
    for word in words:
        assert word in document["message"]


def test_unknown_image(cluster: Cluster) -> None:
    client = cluster.client()
    actor = client.call("POST", json={"image": "registry:5000/no-such-image:1"})["id"]
    with pytest.raises(SandboxError, match=r"No such image: registry:5000/no-such-image:1"):
        client.wait_ready(actor, 30)


def test_registry_down(cluster: Cluster) -> None:
    client = cluster.client()
    actor = client.call("POST", json={"image": "login:5999/some/image:1"})["id"]
    with pytest.raises(SandboxError, match=r"login:5999 cannot be reached"):
        client.wait_ready(actor, 30)


def test_missing_command(cluster: Cluster) -> None:
    client = cluster.client()
    actor = cluster.actor(client, "broken")
    cluster.post(client, actor, "hello")
    (execution,) = cluster.final(client, actor)
    assert execution["status"] == "ERROR"
    assert "/no/such/command" in execution["finalState"]["Error"]


def test_message_over_the_limit(cluster: Cluster) -> None:
    client, token = cluster.client(), cluster.service.token("alice")
    actor = cluster.actor(client, "echo")
    answer = send(cluster, "POST", f"/{actor}/messages", token, data={"message": "x" * 2_000_000})
    refused(answer, 400, "Message exceeds max content length of: ")


def test_malformed_json(cluster: Cluster) -> None:
    token = cluster.service.token("alice")
    kind = {"Content-Type": "application/json"}
    refused(send(cluster, "POST", "", token, data="{nonsense", headers=kind), 400)


def test_wrong_token(cluster: Cluster) -> None:
    token = cluster.service.token("alice")
    head, body, signature = token.split(".")
    refused(send(cluster, "GET", "", f"{head}.{body}.{signature[::-1]}"), 400, "Invalid JWT")


def test_user_unknown_on_the_cluster(cluster: Cluster) -> None:
    token = cluster.service.token("mallory", tenant="PHYSICS")
    answer = send(cluster, "POST", "", token, json={"image": "registry:5000/echo:latest"})
    refused(answer, 400, "mallory", "no account")


def test_other_tenant_sees_nothing(cluster: Cluster) -> None:
    actor = cluster.actor(cluster.client("alice"), "echo")
    carol = cluster.service.token("carol")
    answer = send(cluster, "GET", f"/{actor}", carol)
    refused(answer, answer.status_code)
    assert answer.status_code in (400, 404)
    assert send(cluster, "GET", "", carol).json()["result"] == []


def test_hostile_message_arrives_byte_for_byte(cluster: Cluster) -> None:
    client = cluster.client()
    actor = cluster.actor(client, "echo", defaultEnvironment={"GREETING": "$(id) `id`, x=y"})
    (execution,) = cluster.post(client, actor, NASTY)
    cluster.final(client, actor)
    logs = client.call("GET", f"/{actor}/executions/{execution}/logs")["logs"]
    assert logs.startswith(f"Contents of MSG: {NASTY}\n")
    lines = logs.splitlines()
    assert "GREETING=$(id) `id`, x=y" in lines
    assert f"_abaco_execution_id={execution}" in lines
    assert f"_abaco_actor_dbid=PHYSICS_{actor}" in lines
    assert "_abaco_username=alice" in lines
    assert not any("BRIDGE_" in line or "SLURM_" in line for line in lines)


def test_carol_runs_in_her_own_account(cluster: Cluster) -> None:
    client = cluster.client("carol")
    since = cluster.now()
    actor = cluster.actor(client, "echo")
    cluster.post(client, actor, "hello")
    (execution,) = cluster.final(client, actor)
    assert execution["status"] == "COMPLETE"

    def accounts() -> set[str]:
        argv = ["sacct", "-aXnP", "-S", since, "--user=carol", "-o", "User,Account"]
        return set(cluster.sandbox.run("login", argv).stdout.split())

    wait_for(lambda: accounts() == {"carol|biology"}, 10, "accounting to show carol's job")
