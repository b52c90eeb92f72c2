"""``/openapi.json``: the routes and their descriptions as an OpenAPI 3.0 document.

One document for each prefix, since the case of the keys goes by the prefix: ``/openapi.json`` is of
the bare one, ``/openapi.json?prefix=/actors/v2`` and ``?prefix=/v3/actors`` of the others. Paths
have their prefix in front, as tapipy's own document has them, and the one server is the site's
public URL. It is 3.0, not 3.1, because tapipy reads no later one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, TypedDict, get_type_hints

from flask import Blueprint, Flask, Response, current_app, request
from werkzeug.routing import Rule

from bridge import __version__
from bridge.api.context import context
from bridge.api.describe import BARE, FORM, JSON, Description, describe, description_of
from bridge.api.paths import PREFIXES, ROOT, case_of
from bridge.api.schemas import Schemas, With
from bridge.core.case import Case, spell
from bridge.core.images import MAX_REGISTRY, REGISTRY_PATTERN
from bridge.errors import InvalidField
from bridge.services.search import NAMES
from bridge.sites import Site

blueprint = Blueprint("openapi", __name__)

_CACHE = "bridge.openapi"
_VARIABLE = re.compile(r"<(?:[a-z]+:)?([a-z_]+)>")

_PATH_PARAMETERS = {
    "actor_id": "An actor's id, or an alias of it.",
    "execution_id": "An execution's id.",
    "worker_id": "A worker's id.",
    "nonce_id": "A nonce's id.",
    "alias": "An alias.",
    "name": "A config's name.",
    "registry": "A registry, as images have it in front: host[:port].",
    "asset": "A file's name.",
    "search_type": "What is searched.",
}
# Of the others any text may be asked for.
_PATH_SCHEMAS: dict[str, dict[str, Any]] = {
    "search_type": {"enum": list(NAMES)},
    "registry": {"pattern": REGISTRY_PATTERN, "maxLength": MAX_REGISTRY},
}
_REFUSALS = {
    400: "The request is not valid, carries no credential that holds, or is not allowed.",
    404: "There is no such thing, or not for this tenant.",
    413: "The body is larger than the site takes.",
}


class _Query(TypedDict, total=False):
    prefix: Annotated[str, With(enum=[*PREFIXES], default=ROOT)]


@blueprint.get("/openapi.json")
@describe("get_openapi", result=BARE, query=_Query, media={JSON: "The document."}, is_public=True)
def document() -> Response:
    """Describe this interface as an OpenAPI document."""
    prefix = request.args.get("prefix", ROOT)
    if prefix not in PREFIXES:
        raise InvalidField(
            f"Invalid query parameter prefix: got {prefix[:64]!r}, expected one of: "
            f"{', '.join(PREFIXES)}."
        )
    made: dict[str, str] = current_app.extensions.setdefault(_CACHE, {})
    if prefix not in made:
        made[prefix] = json.dumps(build_document(current_app, context().site, prefix))
    return Response(made[prefix], content_type=JSON)


def described_routes(app: Flask) -> Iterator[tuple[Rule, str, Description | None]]:
    """Yield every route and method of the interface with its description, if it has one."""
    for rule in app.url_map.iter_rules():
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield rule, method, description_of(app.view_functions[rule.endpoint])


def path_of(rule: Rule, prefix: str) -> str:
    """Return the route's path in OpenAPI's form, under `prefix` if it is one of the contract's."""
    path = rule.rule
    if path == ROOT or path.startswith(ROOT + "/"):
        path = prefix + path.removeprefix(ROOT)
    return _VARIABLE.sub(r"{\1}", path)


def build_document(app: Flask, site: Site, prefix: str) -> dict[str, Any]:
    """Return the document of the routes under `prefix`, and of those that stand outside it."""
    case = case_of(prefix, site)
    schemas = Schemas(case)
    paths: dict[str, dict[str, Any]] = {}
    routes = [(rule, method, about) for rule, method, about in described_routes(app) if about]
    for rule, method, description in routes:
        operation = _operation(rule, description, schemas)
        if description.gives:
            following = [(other.arguments, about) for other, _, about in routes]
            operation["responses"]["200"]["links"] = _links(rule, description, following, case)
        paths.setdefault(path_of(rule, prefix), {})[method.lower()] = operation
    return {
        "openapi": "3.0.3",
        "info": {
            "title": "Abaco Bridge",
            "version": __version__,
            "description": "Abaco's interface to actors that run as batch jobs. Field names are "
            "taken in snake_case and in camelCase; an actor's id can be an alias wherever it is "
            "part of a path.",
        },
        "servers": [{"url": site.public_url.rstrip("/")}],
        "security": [{"bearer": []}, {"tapis": []}, {"nonce": []}]
        + [{_assertion(tenant): []} for tenant in site.tenants],
        "paths": paths,
        "components": {
            "schemas": schemas.named | {"Error": _envelope("error", schemas.of(None))},
            "securitySchemes": _security(site),
        },
    }


def _operation(rule: Rule, description: Description, schemas: Schemas) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": description.operation,
        "tags": [rule.endpoint.partition(".")[0]],
        "summary": description.summary,
        "parameters": _parameters(rule, description, schemas),
        "responses": _responses(rule, description, schemas),
    }
    if description.details:
        operation["description"] = description.details
    if content := _body(description, schemas):
        operation["requestBody"] = {"content": content, "required": description.body_required}
    if description.is_public:
        operation["security"] = []
    return operation


def _parameters(rule: Rule, description: Description, schemas: Schemas) -> list[dict[str, Any]]:
    parameters = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": _PATH_PARAMETERS[name],
            "schema": {"type": "string", "minLength": 1} | _PATH_SCHEMAS.get(name, {}),
        }
        for name in _VARIABLE.findall(rule.rule)
    ]
    query = get_type_hints(description.query, include_extras=True) if description.query else {}
    for place, hints in (("query", query), ("header", description.headers)):
        for name, hint in hints.items():
            schema = schemas.of(hint)
            about = schema.pop("description", "")
            parameters.append({"name": name, "in": place, "schema": schema, "description": about})
    return parameters


def _body(description: Description, schemas: Schemas) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if description.body is not None:
        schema = schemas.of_body(description.body)
        content[JSON] = {"schema": schema}
        if "properties" in schema:
            content[FORM] = {"schema": schemas.of_body(description.body, form=True)}
    for media, hint in description.body_media.items():
        content[media] = {"schema": schemas.of_body(hint, form=media == FORM)}
    return content


def _responses(rule: Rule, description: Description, schemas: Schemas) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if description.result is not BARE:
        schema = _envelope("success", schemas.of_result(description.result))
        content[JSON] = {"schema": schema}
    for media in description.media:
        content[media] = {"schema": {} if media == JSON else schemas.of(bytes)}
    about = " ".join(["The request was successful.", *description.media.values()])
    responses: dict[str, Any] = {"200": {"description": about, "content": content}}
    for status, text in (_refusals(rule) | dict(description.errors)).items():
        responses[str(status)] = {
            "description": text,
            "content": {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}},
        }
    return responses


def _links(
    rule: Rule,
    description: Description,
    following: Sequence[tuple[set[str], Description]],
    case: Case,
) -> dict[str, Any]:
    """Return the operations that can be asked of what this one creates."""
    known = {name: f"$request.path.{name}" for name in rule.arguments} | {
        name: f"$response.body#/result/{spell(key, case)}"
        for name, key in description.gives.items()
    }
    return {
        about.operation: {
            "operationId": about.operation,
            "parameters": {name: known[name] for name in sorted(arguments)},
        }
        for arguments, about in following
        if set(description.gives) <= arguments <= set(known)
    }


def _refusals(rule: Rule) -> dict[int, str]:
    statuses = {400}
    if rule.arguments:
        statuses.add(404)
    if (rule.methods or set()) & {"POST", "PUT"}:
        statuses.add(413)
    return {status: _REFUSALS[status] for status in sorted(statuses)}


def _envelope(word: str, result: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "message": {"type": "string"},
            "status": {"type": "string", "enum": [word]},
            "version": {"type": "string"},
            "result": result,
        },
        "required": ["message", "status", "version", "result"],
        "additionalProperties": False,
    }


def _security(site: Site) -> dict[str, Any]:
    """Return the ways of showing a credential (bridge.api.credentials)."""
    schemes: dict[str, Any] = {
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
        "tapis": {"type": "apiKey", "in": "header", "name": "X-Tapis-Token"},
        "nonce": {
            "type": "apiKey",
            "in": "query",
            "name": "x-nonce",
            "description": "Where no token is sent; for the actor, or the alias, that it was made "
            "for, and only where the path has that.",
        },
    }
    for tenant in site.tenants:
        name = f"X-Jwt-Assertion-{tenant}"
        schemes[_assertion(tenant)] = {"type": "apiKey", "in": "header", "name": name}
    return schemes


def _assertion(tenant: str) -> str:
    return f"assertion-{tenant}"
