"""What a SIF says of itself; anybody may have written it."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.containers.sif import RUNSCRIPT, read_sif
from bridge.errors import PullFailed
from bridge.node.dialogue import LABEL
from tests.factories.sifs import DATA, OVERLAY, PRIMARY, make_sif


def read(tmp_path: Path, content: bytes):
    path = tmp_path / "x.sif"
    path.write_bytes(content)
    return read_sif(path)


def test_it_runs_its_own_script_where_its_image_worked(tmp_path: Path) -> None:
    found = read(tmp_path, make_sif(config={"Cmd": ["/base"], "WorkingDir": "/data"}))
    assert found.config == {
        "Entrypoint": [RUNSCRIPT], "Cmd": None, "WorkingDir": "/data", "Env": None, "Labels": {},
    }  # fmt: skip
    assert (found.primary_id, found.partitions) == (1, 1)
    assert read(tmp_path, make_sif()).config["WorkingDir"] is None


@pytest.mark.parametrize(
    ("metadata", "labels"),
    [
        ({"data": {"attributes": {"labels": {LABEL: "process", "x": "y"}}}}, {LABEL: "process"}),
        ({"data": {"attributes": {"labels": {LABEL: 7}}}}, {}),
        ({"data": {"attributes": {"labels": {LABEL: "p" * 65}}}}, {}),
        ({"data": {"attributes": {"labels": [LABEL]}}}, {}),
        ({"data": {"attributes": None}}, {}),
        ({"data": []}, {}),
        ([], {}),
    ],
)
def test_its_labels_are_those_that_the_bridge_goes_by(
    tmp_path: Path, metadata: object, labels: dict[str, str]
) -> None:
    found = read(tmp_path, make_sif(metadata=metadata, config={"Labels": {LABEL: "none"}}))
    assert found.config["Labels"] == labels


def test_every_file_system_counts(tmp_path: Path) -> None:
    found = read(tmp_path, make_sif(OVERLAY, PRIMARY, DATA))
    assert (found.primary_id, found.partitions) == (2, 3)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"#!/bin/sh\n",
        make_sif()[:200],
        make_sif(DATA),
        make_sif(PRIMARY, PRIMARY),
        make_sif(config=[]),
        make_sif(config={"WorkingDir": 7}),
        make_sif().replace(b"SIF_MAGIC", b"SAF_MAGIC"),
        make_sif()[:80] + b"\xff" * 48 + make_sif()[128:],
    ],
)
def test_what_cannot_be_run_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(PullFailed, match="Not a SIF that can be run"):
        read(tmp_path, content)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(place=st.integers(0, 1300), value=st.binary(min_size=1, max_size=16))
def test_any_damage_is_read_or_refused(tmp_path: Path, place: int, value: bytes) -> None:
    content = bytearray(make_sif(config={"WorkingDir": "/data"}))
    content[place : place + len(value)] = value
    with contextlib.suppress(PullFailed):
        assert read(tmp_path, bytes(content)).partitions == 1
