"""What tapipy asks Tapis for before it asks for actors."""

from __future__ import annotations

import pytest

from bridge.api import create_app


def test_a_caller_finds_its_own_tenant_by_the_address_it_used(caller, site):
    ask = caller("carol", tenant="BIOLOGY", prefix="/v3")
    (found,) = ask.get("/sites").json["result"]
    assert found["site_id"] == site.name
    expected = {"tenant_id": "biology", "site_id": site.name, "base_url": site.public_url}
    assert ask.get("/tenants").json["result"] == [expected]


def test_a_container_finds_it_by_the_address_that_containers_have(
    caller, site, database, clock, waits
):
    inner = site.model_copy(update={"container_url": "http://login:8080"})
    client = create_app(inner, database, clock, waits).test_client()
    for base_url in ("http://login:8080", site.public_url):
        answer = client.get("/v3/tenants", headers=caller().headers, base_url=base_url)
        assert answer.json["result"][0]["base_url"] == base_url


@pytest.mark.parametrize("path", ["/sites", "/tenants"])
def test_nobody_unknown_is_told(caller, path):
    unknown = caller(prefix="/v3")
    unknown.headers = {}
    response = unknown.get(path)
    assert response.status_code == 400
    assert "No JWT" in response.json["message"]


@pytest.mark.parametrize("path", ["/sites", "/tenants"])
def test_other_methods_are_refused(caller, path):
    response = caller(prefix="/v3").post(path)
    assert response.status_code == 405
    assert response.json["status"] == "error"
