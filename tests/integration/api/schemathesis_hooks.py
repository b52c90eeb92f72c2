"""Which failures of schemathesis's checks are Abaco's contract, and why.

Every check is on. A failure is dropped here only if the answer is the one that the contract asks
for, recognised by its status and its text, or if the request is one that Abaco's parser takes.
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qs

import jsonschema_rs
import schemathesis
from schemathesis.core.failures import AcceptedNegativeData, Failure
from schemathesis.openapi.checks import (
    EnsureResourceAvailability,
    IgnoredAuth,
    RejectedPositiveData,
    UseAfterFree,
)

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"

# Requests that are well formed and refused for what is there or not there, which no schema can
# know; Abaco answers them with 400 as everything else (abaco_contract.md 0.4).
REFUSALS = {
    r"Nonce not found\.": "an unknown nonce is a 400, not a 404 (3.10)",
    r"Alias .* already exists": "a name is given once (3.11)",
    r"Config .* already exists": "a name is given once (3.12)",
    r" is a reserved word": "names that are routes (3.11, 3.12)",
    r" printable characters": "what is printable takes Unicode's tables to say",
    r"cannot be updated to be stateless": "depends on what the actor was (3.2)",
    r"stateful actors can only have 1 worker": "two fields together (3.1)",
    r"Cannot set both \w+ and \w+ as true": "two fields together (7)",
    r"It needs cron_?[sS]chedule": "two fields together (3.2)",
    r"Invalid queue name": "the site names its queues (3.1)",
    r"Invalid link parameter": "a link leads to an actor that is there (3.1)",
    r"would result in a cycle": "depends on the links of other actors (3.2)",
    r"The cron is not in the correct format": "a form of words and dates (4.7)",
    r"The starting date": "a form of words and dates (4.7)",
    r"invalid unit of time": "a form of words and dates (4.7)",
    r"Invalid environment variable name": "OpenAPI 3.0 has no schema for names of properties",
    r"Environment variable .* is reserved": "OpenAPI 3.0 has no schema for names of properties",
    r"webhook": "a URL that the bridge may call",
    r"The image .* is not allowed for your tenant": "a tenant says which images it runs",
    r"^Invalid actor description: {'batch'": "the site says what may be asked of Slurm",
    r"is what is shown in the place of a secret": "what was shown is not the secret (3.12)",
    r"Cannot force quit an execution not in RUNNING status": "depends on the execution (3.5)",
    r"Invalid num: .* on this cluster": "a cluster has its largest number of workers (3.14)",
    r"Invalid query parameter search: .* at most 20 words": "words are counted by spaces",
}


@schemathesis.hook
def filter_failure(context: Any, failure: Failure, case: Any, response: Any) -> bool:
    """Return whether `failure` stands."""
    if isinstance(failure, IgnoredAuth):
        # A missing or wrong credential is a 400 (abaco_contract.md 0.4, 2.2).
        return "got `400 " not in failure.message
    if isinstance(failure, RejectedPositiveData):
        return not _is_refusal(response) and not _is_unfinished(response)
    if isinstance(failure, UseAfterFree):
        # A purge ends what waits in a mailbox, which stays (3.3); a force quit ends an execution,
        # whose record is never removed (3.5).
        return re.fullmatch(r"DELETE .*/(messages|executions/[^/]+)", failure.free) is None
    if isinstance(failure, EnsureResourceAvailability):
        # The state of a stateless actor is a 404 (3.8).
        return response.json()["message"] != "actor is stateless."
    if isinstance(failure, AcceptedNegativeData):
        return not _is_taken_by_abaco(case, response)
    return True


def _is_refusal(response: Any) -> bool:
    return response.status_code == 400 and any(
        re.search(pattern, response.json()["message"]) for pattern in REFUSALS
    )


def _is_unfinished(response: Any) -> bool:
    """Whether a synchronous message was accepted and did not end in time (3.3)."""
    return response.status_code == 408 and "and goes on" in response.json()["message"]


def _is_taken_by_abaco(case: Any, response: Any) -> bool:
    """Whether the body is valid once its values are read as Abaco's parser does (1.7).

    Text is made of any JSON value, a number of its digits, a boolean of the words and digits for
    it, and a list of one value that is none.
    """
    bodies = {body.media_type: body for body in case.operation.body}
    media_type = case.media_type
    if media_type not in (JSON, FORM):
        return False
    schema = bodies[media_type].definition["schema"]
    sent = _read_sent(response.request.body, media_type)
    if sent is None:
        sent = {}  # null is as good as no body
    if not isinstance(sent, dict):
        return False
    read = {
        name: _read_as(schema["properties"][name], value)
        for name, value in sent.items()
        if name in schema["properties"]
    }
    return bool(jsonschema_rs.is_valid(_without_nullable(schema), read))


def _read_sent(body: Any, media_type: str) -> Any:
    text = body.decode() if isinstance(body, bytes) else body or ""
    try:
        return json.loads(text) if media_type == JSON else _read_form(text)
    except ValueError:
        return text


def _read_form(text: str) -> dict[str, Any]:
    fields = parse_qs(text, keep_blank_values=True)
    return {name: values[0] if len(values) == 1 else values for name, values in fields.items()}


def _read_as(schema: dict[str, Any], value: Any) -> Any:
    kind = schema.get("type")
    if value is None and schema.get("nullable"):
        return None
    if kind == "boolean" and str(value).lower() in ("true", "false", "1", "0"):
        return str(value).lower() in ("true", "1")
    if kind == "integer" and isinstance(value, str) and re.fullmatch("[+-]?[0-9]{1,19}", value):
        return int(value)
    if kind == "string":
        return str(value)
    if kind == "array":
        listed = value if isinstance(value, list) else [value]
        return [_read_as(schema["items"], item) for item in listed]
    if kind == "object" and isinstance(value, dict) and schema.get("additionalProperties"):
        return {key: _read_as(schema["additionalProperties"], item) for key, item in value.items()}
    return value


def _without_nullable(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_nullable(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {key: _without_nullable(part) for key, part in schema.items() if key != "nullable"}
    return {"anyOf": [plain, {"type": "null"}]} if schema.get("nullable") is True else plain
