"""Mounts are the tenant's, with the owner's name in them and nothing else."""

from __future__ import annotations

import pytest

from bridge.errors import ConnectFailed, InvalidField
from bridge.services.accounts import Account
from bridge.services.logins import Person
from bridge.services.mounts import checked_paths, mounts_of

ALICE = Person("alpha", "PHYSICS", "alice")
ACCOUNT = Account("al", 2001, 2002, "/home/al/")


def with_mounts(site, *mounts):
    table = site.tenants["PHYSICS"].model_dump() | {"mounts": mounts}
    tenants = {**site.tenants, "PHYSICS": type(site.tenants["PHYSICS"]).model_validate(table)}
    return site.model_copy(update={"tenants": tenants})


def test_names_are_filled_in(site):
    assert mounts_of(site, ALICE, ACCOUNT, {}) == [
        {"host_path": "/work/alice", "container_path": "/work", "mode": "rw"},
        {"host_path": "/corral/PHYSICS", "container_path": "/corral", "mode": "ro"},
    ]


def test_every_template(site):
    path = "/x/{username}/{login}/{uid}.{gid}/{tenant}-{cluster}"
    mounts = (
        {"host_path": path, "container_path": "/data"},
        {"host_path": "{home}/data", "container_path": "{home}"},
    )
    first, second = mounts_of(with_mounts(site, *mounts), ALICE, ACCOUNT, {})
    assert first["host_path"] == "/x/alice/al/2001.2002/PHYSICS-alpha"
    assert first["mode"] == "ro"
    assert (second["host_path"], second["container_path"]) == ("/home/al/data", "/home/al")


BAD = ["..", ".", "", "a/b", "a:b", "a,b", "a\\b", "a\nb", "a\0b", "{tenant}"]


@pytest.mark.parametrize("name", BAD)
def test_a_name_that_would_change_the_path_is_refused(site, name):
    with pytest.raises(InvalidField, match="cannot be part of a mount's path"):
        mounts_of(site, Person("alpha", "PHYSICS", name), ACCOUNT, {})
    mapped = with_mounts(site, {"host_path": "/work/{login}", "container_path": "/work"})
    with pytest.raises(InvalidField, match="cannot be part of a mount's path"):
        mounts_of(mapped, ALICE, Account(name, 1, 1), {})


@pytest.mark.parametrize(
    "home", ["", "/", "//", "home", "/home/../etc", "/home/a:b", "/home/a,b", "/home/a\nb"]
)
def test_a_home_that_would_change_the_path_is_refused(site, home):
    mapped = with_mounts(site, {"host_path": "{home}", "container_path": "/home"})
    with pytest.raises(InvalidField, match="cannot be part of a mount's path"):
        mounts_of(mapped, ALICE, Account("al", 1, 1, home), {})


def test_what_is_not_there(site):
    checked = with_mounts(
        site,
        {"host_path": "/a/{login}", "container_path": "/a", "if_missing": "skip"},
        {"host_path": "/b/{login}", "container_path": "/b", "if_missing": "refuse"},
        {"host_path": "/c/{login}", "container_path": "/c"},
    )
    assert checked_paths(checked, ALICE, ACCOUNT) == ["/a/al", "/b/al"]

    def shown(**seen):
        paths = {f"/{name}/al": there for name, there in seen.items()}
        return [m["container_path"] for m in mounts_of(checked, ALICE, ACCOUNT, paths)]

    assert shown(a=True, b=True) == ["/a", "/b", "/c"]
    assert shown(a=False, b=True) == ["/b", "/c"]
    with pytest.raises(InvalidField, match="User alice sees no directory /b/al on cluster alpha"):
        shown(a=True, b=False)
    with pytest.raises(ConnectFailed, match="not known yet"):
        shown(a=True)
