"""The OpenAPI document: complete both ways, and true of what is answered."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import jsonschema_rs
import pytest

from bridge.api.openapi import build_document, described_routes, path_of
from bridge.api.paths import PREFIXES
from bridge.api.schemas import SPELLED, Moment, Schemas, With
from bridge.core.statuses import Level

METHODS = {"get", "post", "put", "delete", "patch"}


def fetch(app, prefix):
    response = app.test_client().get("/openapi.json", query_string={"prefix": prefix})
    assert response.status_code == 200
    assert response.content_type == "application/json"
    return response.json


def operations(document):
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def result_schema(document, path, method):
    """The schema of a successful answer, its references within reach."""
    content = document["paths"][path][method]["responses"]["200"]["content"]
    schema = {**content["application/json"]["schema"], "components": document["components"]}
    return without_nullable(schema)


def without_nullable(schema):
    """The same in plain JSON schema, which has no such word."""
    if isinstance(schema, list):
        return [without_nullable(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {key: without_nullable(part) for key, part in schema.items() if key != "nullable"}
    return {"anyOf": [plain, {"type": "null"}]} if schema.get("nullable") is True else plain


def test_every_route_and_method_is_described(app):
    missing = [f"{method} {rule}" for rule, method, about in described_routes(app) if not about]
    assert not missing


@pytest.mark.parametrize("prefix", PREFIXES)
def test_the_paths_are_the_routes(app, prefix):
    routes = {(path_of(rule, prefix), method.lower()) for rule, method, _ in described_routes(app)}
    assert {(path, method) for path, method, _ in operations(fetch(app, prefix))} == routes


@pytest.mark.parametrize("prefix", PREFIXES)
def test_every_described_path_leads_to_its_route(app, prefix):
    """The document is read as a client reads it: paths are asked for, not looked up."""
    client = app.test_client()
    for path, method, operation in operations(fetch(app, prefix)):
        url = re.sub(r"\{.*?\}", "x", path)
        response = client.options(url)
        assert response.status_code == 200, (method, url)
        assert method in METHODS
        declared = {item["name"] for item in operation["parameters"] if item["in"] == "path"}
        assert declared == set(re.findall(r"\{(.*?)\}", path))


@pytest.mark.parametrize("prefix", PREFIXES)
def test_operations_have_one_id_each_and_say_what_they_do(app, prefix):
    found = [operation for _, _, operation in operations(fetch(app, prefix))]
    ids = [operation["operationId"] for operation in found]
    assert len(set(ids)) == len(ids)
    for operation in found:
        assert re.fullmatch(r"[a-z][a-z_]*", operation["operationId"])
        assert operation["summary"].endswith(".")


def test_tapipys_operations_have_tapipys_names(app):
    """What tapipy calls a thing is fixed in its wheel (abaco_contract.md 7)."""
    named = {
        (method, path.removeprefix("/v3/actors")): operation["operationId"]
        for path, method, operation in operations(fetch(app, "/v3/actors"))
    }
    for about, expected in (
        (("get", ""), "list_actors"),
        (("post", ""), "create_actor"),
        (("get", "/{actor_id}"), "get_actor"),
        (("delete", "/{actor_id}"), "delete_actor"),
        (("get", "/search/{search_type}"), "search_database"),
        (("get", "/{actor_id}/messages"), "get_messages"),
        (("post", "/{actor_id}/messages"), "send_message"),
        (("get", "/{actor_id}/executions"), "list_executions"),
        (("get", "/{actor_id}/executions/{execution_id}"), "get_execution"),
        (("get", "/{actor_id}/executions/{execution_id}/logs"), "get_execution_logs"),
    ):
        assert named[about] == expected


@pytest.mark.parametrize(
    ("prefix", "create_time", "other"),
    [
        ("/actors", "create_time", "createTime"),
        ("/v3/actors", "create_time", "createTime"),
        ("/actors/v2", "createTime", "create_time"),
    ],
)
def test_keys_are_spelled_as_the_prefix_spells_them(app, prefix, create_time, other):
    document = fetch(app, prefix)
    actor = document["components"]["schemas"]["ActorView"]["properties"]
    assert create_time in actor
    assert other not in actor
    assert "_links" in actor


@pytest.mark.parametrize("prefix", PREFIXES)
def test_answers_are_as_described(app, caller, prefix):
    document = fetch(app, prefix)
    user = caller("alice", prefix=prefix)

    def check(method, template, path, **arguments):
        response = user(method.upper(), path, **arguments)
        assert response.status_code == 200, response.json
        jsonschema_rs.validate(result_schema(document, prefix + template, method), response.json)
        return response.json["result"]

    actor = check("post", "", "", json={"image": "debian", "default_environment": {"a_b": "c"}})
    check("get", "/{actor_id}", f"/{actor['id']}")
    check("get", "", "")
    posted = check("post", "/{actor_id}/messages", f"/{actor['id']}/messages", json={"a": None})
    execution = posted.get("execution_id") or posted["executionId"]
    check("get", "/{actor_id}/messages", f"/{actor['id']}/messages")
    check("get", "/{actor_id}/executions", f"/{actor['id']}/executions")
    below = f"/{actor['id']}/executions/{execution}"
    check("get", "/{actor_id}/executions/{execution_id}", below)
    check("get", "/{actor_id}/executions/{execution_id}/logs", below + "/logs")
    check("get", "/{actor_id}/executions/{execution_id}/results/all", below + "/results/all")
    check("delete", "/{actor_id}/executions/{execution_id}", below)
    check("get", "/{actor_id}/executions/{execution_id}", below)
    usage = {"runtime": 1, "cpu": 1, "io": 1}
    check("post", "/{actor_id}/executions", f"/{actor['id']}/executions", json=usage)
    stateful = {"image": "debian", "stateless": False, "batch": {"cpus": 1}}
    check("put", "/{actor_id}", f"/{actor['id']}", json=stateful)
    for value in ({"a_b": 1}, None):
        body = {"data": json.dumps(value), "content_type": "application/json"}
        check("post", "/{actor_id}/state", f"/{actor['id']}/state", **body)
        check("get", "/{actor_id}/state", f"/{actor['id']}/state")
    check("delete", "/{actor_id}", f"/{actor['id']}")


def test_an_unknown_prefix_is_refused_by_name(app):
    response = app.test_client().get("/openapi.json?prefix=/v4")
    assert response.status_code == 400
    assert "'/v4'" in response.json["message"]
    assert "/actors/v2" in response.json["message"]


def test_the_document_is_for_everybody_and_the_rest_is_not(app):
    document = fetch(app, "/actors")
    public = {path for path, _, one in operations(document) if one.get("security") == []}
    assert "/openapi.json" in public
    for path in {path for path, _, _ in operations(document)} - public:
        answer = app.test_client().get(re.sub(r"\{.*?\}", "x", path))
        assert answer.status_code in (400, 405)
    assert document["security"]


def test_the_server_is_the_sites_public_url(app, site):
    assert fetch(app, "/actors")["servers"] == [{"url": site.public_url}]


def test_a_document_is_the_same_each_time(app, site):
    made = [json.dumps(build_document(app, site, "/actors")) for _ in range(2)]
    assert made[0] == made[1]


class Inner(TypedDict):
    some_name: int | None


class Outer(TypedDict):
    plain_text: str
    a_moment: Annotated[Moment | None, "When."]
    some_rows: Annotated[list[Inner], SPELLED]
    some_value: Any
    left_out: NotRequired[Literal["a", "b"]]
    some_level: Annotated[Level, With(default="READ")]
    an_object: dict[str, int]


@dataclass
class Form:
    an_image: str
    an_object: dict[str, str]
    a_flag: bool = True


def test_schemas_in_snake_case():
    schemas = Schemas("snake")
    assert schemas.of_result(list[Outer]) == {
        "type": "array",
        "items": {"$ref": "#/components/schemas/Outer"},
    }
    outer = schemas.named["Outer"]
    assert outer["required"] == [
        "plain_text", "a_moment", "some_rows", "some_value", "some_level", "an_object",
    ]  # fmt: skip
    assert outer["properties"]["a_moment"] == {
        "type": "string", "format": "date-time", "nullable": True, "description": "When.",
    }  # fmt: skip
    assert outer["properties"]["some_value"] == {}
    assert outer["properties"]["left_out"]["enum"] == ["a", "b"]
    assert outer["properties"]["some_level"]["default"] == "READ"
    assert outer["properties"]["some_level"]["enum"] == ["NONE", "READ", "EXECUTE", "UPDATE"]
    assert schemas.named["Inner"]["properties"] == {
        "some_name": {"type": "integer", "nullable": True}
    }


def test_schemas_in_camel_case_drop_nulls_at_the_top_alone():
    schemas = Schemas("camel")
    schemas.of_result(Outer)
    outer = schemas.named["Outer"]
    assert outer["required"] == ["plainText", "someRows", "someLevel", "anObject"]
    assert "nullable" not in outer["properties"]["aMoment"]
    inner = schemas.named["InnerWithNulls"]
    assert inner["required"] == ["someName"]
    assert inner["properties"]["someName"]["nullable"] is True


def test_schemas_of_bodies():
    schemas = Schemas("camel")
    body = schemas.of_body(Form)
    assert list(body["properties"]) == ["anImage", "anObject", "aFlag"]
    assert body["required"] == ["anImage", "anObject"]
    assert body["properties"]["aFlag"]["default"] is True
    form = schemas.of_body(Form, form=True)
    assert list(form["properties"]) == ["anImage", "aFlag"]
    assert form["required"] == ["anImage"]


def test_a_hint_that_has_no_schema_is_refused():
    with pytest.raises(TypeError, match="no JSON schema"):
        Schemas("snake").of(set)
