"""What a tenant's limits refuse, and how the refusal reads."""

from __future__ import annotations

import pytest

from bridge.api import create_app
from bridge.sites.limits import TenantLimits
from bridge.sites.model import BatchPolicy
from tests.unit.api.conftest import Caller

BINARY = {"Content-Type": "application/octet-stream"}


@pytest.fixture
def limited(site, database, clock, waits, app, caller):
    """Makes alice a caller of a site whose tenant PHYSICS is changed; other tenants are not."""

    def make(tenant="PHYSICS", **changes):
        table = site.tenants["PHYSICS"].model_copy(update=changes)
        changed = site.model_copy(update={"tenants": {**site.tenants, "PHYSICS": table}})
        user = caller("alice", tenant=tenant)
        return Caller(create_app(changed, database, clock, waits), "/actors", user.headers)

    return make


@pytest.fixture
def actor(alice):
    return alice.post(json={"image": "debian"}).json["result"]["id"]


class TestQueues:
    def test_single_posts_and_batches_and_those_that_wait_for_an_answer(self, limited, actor):
        alice = limited(limits=TenantLimits(max_queued_messages_per_user=3))
        path = f"/{actor}/messages"
        assert alice.post(path, json={"message": "a"}).status_code == 200
        assert alice.post(f"{path}/batch", json=["b", "c", "d"]).status_code == 429
        assert alice.post(f"{path}/batch", json=["b", "c"]).status_code == 200
        waiting = f"{path}?_abaco_synchronous=true"
        for refused in (alice.post(path, json={"message": "d"}), alice.post(waiting, data="d")):
            assert refused.status_code in (429, 400)
            assert refused.json["status"] == "error"
        refused = alice.post(path, json={"message": "d"})
        assert refused.status_code == 429
        assert refused.json["message"] == (
            "The actors of user alice have 3 messages that wait or run, 1 more would exceed the "
            "limit of 3 (max_queued_messages_per_user of tenant PHYSICS). Try again when some "
            "have ended, post fewer at once, or purge messages that are no longer needed."
        )
        assert alice.get(path).json["result"]["messages"] == 3


class TestSizes:
    def test_every_kind_of_message_has_the_tenant_s_limit(self, limited, actor):
        alice = limited(limits=TenantLimits(max_message_bytes=10))
        path = f"/{actor}/messages"
        for accepted in (
            alice.post(path, data={"message": "x" * 10}),
            alice.post(path, data=b"x" * 10, headers=BINARY),
        ):
            assert accepted.status_code == 200
        for refused in (
            alice.post(path, data={"message": "x" * 11}),
            alice.post(path, json={"a": "x" * 11}),
            alice.post(path, data=b"x" * 11, headers=BINARY),
            alice.post(f"{path}/batch", json=["x", "x" * 11]),
        ):
            assert refused.status_code == 400
            assert "Message exceeds max content length of: 10" in refused.json["message"]


class TestBatch:
    def test_the_tenant_s_own_table_counts_in_place_of_the_cluster_s(self, limited, caller):
        own = BatchPolicy(max_cpus=2, accounts=("physics", "optics"), qos=("low",))
        alice = limited(batch=own)
        asked = {"cpus": 2, "account": "optics", "qos": "low"}
        assert alice.post(json={"image": "x", "batch": asked}).status_code == 200
        refused = alice.post(json={"image": "x", "batch": {**asked, "cpus": 3, "account": "root"}})
        assert refused.status_code == 400
        for words in (
            "Tenant PHYSICS does not allow this.",
            "cpus: asked for 3, at most 2 is allowed",
            "account: asked for 'root', allowed: physics, optics",
            "Ask for less, or the site's administrators",
        ):
            assert words in refused.json["message"]

    def test_another_tenant_keeps_the_cluster_s(self, limited):
        other = limited(tenant="BIOLOGY", batch=BatchPolicy(max_cpus=2))
        refused = other.post(json={"image": "x", "batch": {"cpus": 2}})
        assert "Cluster alpha does not allow this." in refused.json["message"]
