"""Mounts are the tenant's, with the owner's name in them and nothing else."""

from __future__ import annotations

import pytest

from bridge.errors import InvalidField
from bridge.services.mounts import mounts_of


def test_names_are_filled_in(site):
    assert mounts_of(site.tenants["PHYSICS"], "PHYSICS", "alice") == [
        {"host_path": "/work/alice", "container_path": "/work", "mode": "rw"},
        {"host_path": "/corral/PHYSICS", "container_path": "/corral", "mode": "ro"},
    ]


@pytest.mark.parametrize(
    "username", ["..", ".", "", "a/b", "a:b", "a,b", "a\\b", "a\nb", "a\0b", "{tenant}"]
)
def test_a_name_that_would_change_the_path_is_refused(site, username):
    with pytest.raises(InvalidField, match="cannot be part of a mount's path"):
        mounts_of(site.tenants["PHYSICS"], "PHYSICS", username)
