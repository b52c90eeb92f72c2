"""Where in a container the site may put something."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from bridge.sites.mounts import Mount, is_reserved, lies_below
from bridge.sites.parse import parse_site


@pytest.mark.parametrize(
    "path",
    ["/", "//", "/.", "/proc", "/proc/", "//proc", "/./proc/x", "/sys/fs", "/dev/shm", "/dev",
     "/usr", "/etc/", "/_abaco_results.sock", "/_abaco_x/y", "/.singularity.d/env"],
)  # fmt: skip
def test_a_place_that_is_the_containers_own(path):
    assert is_reserved(path)


@pytest.mark.parametrize(
    "path",
    ["/processes", "/devel", "/home/dev", "{home}", "/abaco", "/usr/local/site", "/etc/krb5"],
)
def test_a_place_that_is_free(path):
    assert not is_reserved(path)


@pytest.mark.parametrize(
    "path",
    ["work", "/a/../proc", "/{user}", "/a{", "/a}", "/a:b", "/a,b", "/a\n", "/a\0", "a{home}"],
)
def test_what_is_no_path(path):
    with pytest.raises(ValidationError, match="container_path"):
        Mount(host_path="/a", container_path=path)
    with pytest.raises(ValidationError, match="host_path"):
        Mount(host_path=path, container_path="/a")


def test_one_below_another():
    assert lies_below("/data/inner", "/data")
    assert lies_below("/data", "/data/")
    assert lies_below("/data//x/.", "/data/x")
    assert not lies_below("/data2", "/data")
    assert not lies_below("/data", "/data/inner")


def mistakes(site, *mounts):
    data = site.model_dump(mode="json", exclude_unset=True)
    data["tenants"]["PHYSICS"]["mounts"] = [
        {"host_path": "/a", "container_path": path} for path in mounts
    ]
    return [one.text for one in parse_site(data)[1] if "mounts" in one.loc]


def test_a_mount_does_not_hide_another(site):
    assert mistakes(site, "/data", "/data/inner", "/data2") == []
    for pair in (("/data/inner", "/data"), ("/data", "/data"), ("/data", "/data/")):
        (text,) = mistakes(site, *pair)
        assert "would hide mounts[0] before it" in text
    (text,) = mistakes(site, "/proc")
    assert text == 'found "/proc", expected a directory that the container does not have'
