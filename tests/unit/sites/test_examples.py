"""The examples: complete, without mistakes, and shown as what they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bridge.sandbox.images import CHECKOUT
from bridge.sites.changes import find_changes, find_fixed
from bridge.sites.explain import explain
from bridge.sites.load import read_site_file
from bridge.sites.tables import TABLES

FOLDER = CHECKOUT / "site_configs"
EXAMPLES = ("sandbox", "university", "centre")


@pytest.mark.parametrize("name", EXAMPLES)
def test_no_mistakes_and_no_warnings(name: str) -> None:
    assert read_site_file(FOLDER / f"{name}.toml").warnings == ()


def test_there_are_no_others() -> None:
    assert {path.stem for path in FOLDER.glob("*.toml")} == set(EXAMPLES)


def test_an_admin_finds_every_table_in_one_of_them() -> None:
    text = "\n".join((FOLDER / f"{name}.toml").read_text() for name in EXAMPLES)
    for title, _ in TABLES:
        for table in re.findall(r"\[([^\]]*)\]", title):
            form = re.escape(table.removesuffix(".USERNAME"))
            form = form.replace("NAME", "[^.]*").replace('"REGISTRY"', '"[^"]*"')
            assert re.search(rf"^\[{form}\]", text, re.MULTILINE), title


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_is_shown_means_the_same(name: str, tmp_path: Path) -> None:
    file = read_site_file(FOLDER / f"{name}.toml")
    path = tmp_path / "shown.toml"
    path.write_text(explain(file), encoding="utf-8")
    again = read_site_file(path)
    values = [re.sub(r"\s+# .*", "", text) for text in (explain(file), explain(again))]
    assert values[0] == values[1]
    inherited = ("container_url", "partition", "account", "qos", "max_message_bytes")
    changes = find_changes(file.site, again.site)
    assert [key for key in changes if key.rpartition(".")[2] not in inherited] == []


def test_each_value_is_shown_with_its_origin() -> None:
    file = read_site_file(FOLDER / "university.toml")
    shown = {line.split("  #")[0].strip(): line for line in explain(file).splitlines()}
    at = {key: file.lines[key] for key in (("case",), ("clusters", "campus", "partition"))}
    assert shown['case = "snake"'].endswith(f"# line {at['case',]}")
    assert shown["accept_nonce = true"].endswith("# default")
    partition = f"# clusters.campus.partition, line {at['clusters', 'campus', 'partition']}"
    assert any(
        line.startswith('partition = "short"') and line.endswith(partition)
        for line in explain(file).splitlines()
    )
    assert '"/etc/bridge/keys/secrets.key"' in explain(file)
    assert "# [tenants.CAMPUS.batch]" in shown


def test_changes_between_two_readings() -> None:
    site = read_site_file(FOLDER / "centre.toml").site
    aspen = site.clusters["aspen"].model_copy(update={"min_uid": 1, "qos": "x"})
    ssh = site.clusters["cedar"].ssh
    assert ssh is not None
    cedar = site.clusters["cedar"].model_copy(update={"ssh": ssh.model_copy(update={"port": 2222})})
    tenants = {name: one for name, one in site.tenants.items() if name != "HAZARDS"}
    other = site.model_copy(
        update={
            "case": "snake",
            "clusters": {"aspen": aspen, "cedar": cedar, "oak": aspen},
            "tenants": tenants,
        }
    )
    assert find_changes(site, other) == [
        "case",
        "clusters.aspen.qos",
        "clusters.aspen.min_uid",
        "clusters.birch",
        "clusters.cedar.ssh.port",
        "clusters.oak",
        "tenants.HAZARDS",
    ]
    assert find_fixed(site, other) == [
        "clusters.birch", "clusters.oak", "clusters.aspen.min_uid", "clusters.cedar.ssh",
    ]  # fmt: skip
    assert find_changes(site, site) == find_fixed(site, site) == []
