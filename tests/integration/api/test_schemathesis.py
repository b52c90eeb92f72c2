"""The API against its own document: thousands of requests made by schemathesis, every check on."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.integration.api.conftest import Served

HERE = Path(__file__).parent
EXAMPLES = 20  # for each operation; most requests come of going through every part of a schema
CHECKED = 2500  # requests that checks were made on, for each prefix


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("prefix", ["/actors/v2", "/v3/actors"])
def test_the_api_keeps_to_its_document(
    served: Served, tmp_path: Path, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    described = _fetch(served, prefix)
    names = _name_what_is_there(described, served.ids)
    config, document, report = (
        tmp_path / name for name in ("schemathesis.toml", "openapi.json", "report.json")
    )
    config.write_text((HERE / "schemathesis.toml").read_text() + names)
    document.write_text(json.dumps(described))
    run = subprocess.run(  # noqa: PLW1510 (its output is what a failure shows)
        [
            Path(sys.executable).with_name("schemathesis"),
            "--config-file", config,
            "run", document,
            "--url", served.url,
            "--header", f"Authorization: Bearer {served.token}",
            "--seed", "1",
            "--max-examples", str(EXAMPLES),
            "--no-color",
            "--report", "json",
            "--report-json-path", report,
        ],
        cwd=tmp_path,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.integration.api.schemathesis_hooks",
             "PYTHONPATH": str(HERE.parents[2])},
        capture_output=True,
        text=True,
        timeout=1500,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout
    found = json.loads(report.read_text())
    assert found["complete"]
    assert found["operations"]["tested"] == found["operations"]["total"]
    cases = found["test_cases"]
    assert cases["generated"] - cases["without_checks"] >= CHECKED
    answered = {
        operation: sum(phase["accepted"] for phase in phases.values())
        for operation, phases in found["valid_rates"].items()
    }
    assert [operation for operation, accepted in answered.items() if not accepted] == []
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


# What is deleted and what is asked again and again are not the same.
OF_OPERATIONS = {
    "update_actor": {"actor_id": "stateless_actor"},
    "delete_actor": {"actor_id": "doomed_actor"},
    "delete_execution": {"execution_id": "doomed_execution"},
    "delete_nonce": {"nonce_id": "doomed_nonce"},
    "delete_worker": {"worker_id": "doomed_worker"},
    "delete_alias": {"alias": "doomed_alias"},
    "delete_config": {"name": "doomed_config"},
    "delete_registry_login": {"registry": "doomed_registry"},
    "get_alias_nonce": {"nonce_id": "alias_nonce"},
    "delete_alias_nonce": {"nonce_id": "doomed_alias_nonce"},
}


def _fetch(served: Served, prefix: str) -> dict[str, Any]:
    answer = requests.get(f"{served.url}/openapi.json", params={"prefix": prefix}, timeout=30)
    document: dict[str, Any] = answer.json()
    return document


def _name_what_is_there(document: dict[str, Any], ids: dict[str, list[str]]) -> str:
    """Put into the document an example of each part of a path; return configuration with more.

    The examples are for going through a schema part by part, the rest is for random requests.
    """
    lines = [""]
    for name, values in ids.items():
        lines += [f"[dictionaries.{name}]", f"values = {json.dumps(values)}"]
    lines += ["[parameters]"]
    lines += [_bind(f"body.{name}", "actor_id") for name in ("actor_id", "actorId", "actors")]
    for operation in (each for path in document["paths"].values() for each in path.values()):
        known = {name: name for name in ids} | OF_OPERATIONS.get(operation["operationId"], {})
        lines += ["[[operations]]", f'include-operation-id = "{operation["operationId"]}"']
        lines += ["[operations.parameters]"]
        for parameter in operation["parameters"]:
            if parameter["in"] == "path" and parameter["name"] in known:
                dictionary = known[parameter["name"]]
                parameter["example"] = ids[dictionary][0]
                lines.append(_bind(f"path.{parameter['name']}", dictionary))
    return "\n".join(lines) + "\n"


def _bind(parameter: str, dictionary: str) -> str:
    return f'"{parameter}" = {{ dictionary = "{dictionary}", probability = 0.8 }}'
