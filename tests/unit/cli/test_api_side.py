"""`bridge token`, `bridge db` and `bridge api`, as a person types them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from bridge.auth import Authenticator
from bridge.cli.database import db
from bridge.cli.serve import api
from bridge.cli.token import token
from bridge.clock import SystemClock
from bridge.db.upgrade import check
from bridge.errors import AuthenticationError, DatabaseError, SettingsError, SiteConfigError
from bridge.sites import load_site
from tests.factories.sites import write_keys

SITE = """
name = "test"
public_url = "https://bridge.example.org"
[clusters.alpha]
spool = "/scratch/{{username}}"
image_cache = "/work/images"
[tenants.PHYSICS]
cluster = "alpha"
public_keys = ["{public}"]
private_key = "{private}"
"""


@pytest.fixture(autouse=True)
def environment(tmp_path, monkeypatch):
    """A site file and a database of the test's own."""
    public, private = write_keys(tmp_path, "physics")
    site = tmp_path / "site.toml"
    site.write_text(SITE.format(public=public, private=private))
    monkeypatch.setenv("BRIDGE_SITE", str(site))
    monkeypatch.setenv("BRIDGE_DATABASE", f"sqlite:///{tmp_path}/bridge.db")


def run(command, *arguments):
    return CliRunner().invoke(command, arguments, catch_exceptions=False, standalone_mode=False)


def test_a_token_is_printed_alone_and_believed():
    result = run(token, "create", "--tenant", "physics", "--username", "alice", "--role", "a",
                 "--role", "Internal/everyone", "--lifetime", "60")  # fmt: skip
    assert result.output.count("\n") == 1
    site = load_site(Path(os.environ["BRIDGE_SITE"]))
    headers = [("X-Tapis-Token", result.output.strip())]
    found = Authenticator(site, SystemClock()).authenticate(headers)
    assert (found.tenant, found.username) == ("PHYSICS", "alice")
    assert found.roles == ("a", "Internal/everyone")


def test_no_role_means_the_one_that_plain_use_needs():
    result = run(token, "create", "--tenant", "PHYSICS", "--username", "alice")
    site = load_site(Path(os.environ["BRIDGE_SITE"]))
    headers = [("X-Tapis-Token", result.output.strip())]
    assert Authenticator(site, SystemClock()).authenticate(headers).roles == ("Internal/everyone",)


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
def test_keys_are_made_and_sign(tmp_path, algorithm):
    result = run(token, "keys", str(tmp_path / "new"), "--algorithm", algorithm)
    private, public = tmp_path / "new.pem", tmp_path / "new.pub"
    assert result.output.splitlines() == [str(private), str(public)]
    assert (private.stat().st_mode & 0o777, public.stat().st_mode & 0o777) == (0o600, 0o644)
    Path(os.environ["BRIDGE_SITE"]).write_text(SITE.format(public=public, private=private))
    result = run(token, "create", "--tenant", "PHYSICS", "--username", "alice")
    site = load_site(Path(os.environ["BRIDGE_SITE"]))
    headers = [("X-Tapis-Token", result.output.strip())]
    assert Authenticator(site, SystemClock()).authenticate(headers).username == "alice"

    before = private.read_bytes()
    with pytest.raises(SettingsError, match=r"new\.pem cannot be made \(File exists\)"):
        run(token, "keys", str(tmp_path / "new"))
    assert private.read_bytes() == before


def test_unknown_tenants_and_impossible_names():
    with pytest.raises(SiteConfigError, match="known tenants: PHYSICS"):
        run(token, "create", "--tenant", "x", "--username", "alice")
    with pytest.raises(AuthenticationError):
        run(token, "create", "--tenant", "PHYSICS", "--username", "../x")


def test_upgrading():
    with pytest.raises(DatabaseError):
        check(os.environ["BRIDGE_DATABASE"])
    run(db, "upgrade")
    check(os.environ["BRIDGE_DATABASE"])


def test_the_api_does_not_run_as_root(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(SettingsError, match="does not run as root"):
        run(api)


def test_the_api_does_not_start_on_another_schema(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr("bridge.logs.configure", lambda _level: None)
    with pytest.raises(DatabaseError, match="bridge db upgrade"):
        run(api)
