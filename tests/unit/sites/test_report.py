"""The form of the report: all mistakes at once, each with its line; nothing secret in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.errors import SiteConfigError
from bridge.sites.lines import find_lines
from bridge.sites.load import load_site, read_site_file
from bridge.sites.mistakes import nearest, show_key, show_value

SITE = """\
name = "x y"
public_url = "https://bridge.example.org"
jwks_url = "https://id.example.org"

[clusters.alpha]
session = "ssh"
spool = "/scratch/x"
ssh = { hots = "login", known_hosts = "/k", key_file = "/i" }

[tenants.PHYSICS]
cluster = "alpa"
public_keys = ["/p.pub", "q.pub"]
mounts = [
  { host_path = "/a", container_path = "/data", mode = "rx" },
  { host_path = "/b", container_path = "/data" },
]

[tenants.physics]
cluster = "alpha"
"""
REPORT = """\
:1: name: found "x y", expected a name: a letter, then letters, digits and '-', 63 at most
:3: jwks_url: unknown key here; it is one of: [tenants.NAME]
:5: clusters.alpha.image_cache: missing, expected a path
:7: clusters.alpha.spool: found "/scratch/x", expected {login} in it: each owner has one
:8: clusters.alpha.ssh.host: missing, expected text
:8: clusters.alpha.ssh.hots: unknown key; did you mean "host"?
:11: tenants.PHYSICS.cluster: found "alpa", expected one of the clusters: "alpha"; did you mean "alpha"?
:12: tenants.PHYSICS.public_keys[1]: found a text of 5 characters, not shown, expected an absolute path without '..': the name of a file, never what is in it
:14: tenants.PHYSICS.mounts[0].mode: found "rx", expected "ro" or "rw"
:18: tenants.physics: differs from tenants.PHYSICS in case alone, expected another name
:18: tenants.physics: no key that its tokens may have, expected public_keys, jwks_file or jwks_url
"""  # noqa: E501 - as an admin sees it


def read(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "site.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SiteConfigError) as caught:
        load_site(path)
    return [line.removeprefix(str(path)) for line in caught.value.message.splitlines()]


def test_every_mistake_is_reported_at_once_with_its_line(tmp_path: Path) -> None:
    lines = read(tmp_path, SITE)
    assert [line for line in lines if ".mounts[1]" not in line] == REPORT.splitlines()
    hidden = [line for line in lines if ".mounts[1]" in line]
    assert len(hidden) == 1
    assert hidden[0].startswith(":15: tenants.PHYSICS.mounts[1].container_path: found")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ": name: missing, expected text"),
        ("a = [1,\n", ":2:1: not TOML: invalid value"),
        ('a = "\n"', ":1:6: not TOML: illegal character '\\n'"),
        ("x = 1\nx = 2\n", ":2:6: not TOML: cannot overwrite a value"),
    ],
)
def test_what_is_no_site_at_all(tmp_path: Path, text: str, line: str) -> None:
    assert read(tmp_path, text)[0] == line


def test_a_date_is_no_key_that_was_left_out(tmp_path: Path) -> None:
    lines = read(tmp_path, GOOD.replace('jwks_file = "/keys"', "jwks_file = 2026-01-01"))
    assert lines == [":15: tenants.PHYSICS.jwks_file: found a date or time, expected a path"]


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SiteConfigError, match=r"nothing: cannot be read \(No such file"):
        load_site(tmp_path / "nothing")
    with pytest.raises(SiteConfigError, match=r"cannot be read \(Is a directory"):
        load_site(tmp_path)
    path = tmp_path / "latin"
    path.write_bytes(b'name = "x"\npublic_url = "\xff"\n')
    with pytest.raises(SiteConfigError, match="latin:2: not TOML: found a byte that is not UTF-8"):
        load_site(path)
    for depth in (50, 300, 1000, 100_000):
        path.write_text("a = " + "[" * depth + "]" * depth)
        with pytest.raises(
            SiteConfigError, match=r"latin: name: missing|latin: .* nested too deep"
        ):
            load_site(path)
    path.write_text("a = " + "9" * 5000)
    with pytest.raises(SiteConfigError, match="latin: not TOML: a number is too long"):
        load_site(path)
    path.write_text("\ufeffa = 1\r\nb = [\r\n")
    with pytest.raises(SiteConfigError, match="latin:3:1: not TOML"):
        load_site(path)


GOOD = """\
name = "x"
public_url = "http://bridge.example.org"
registry_networks = ["::/0"]
[clusters.alpha]
spool = "/scratch/{login}"
image_cache = "/images"
ssh = { host = "h", known_hosts = "/k", key_file = "/i" }
[clusters.beta]
slurmrestd = { url = "http://head:6820", jwt_key_file = "/jwt" }
pyslurm_python = "/opt/pyslurm/bin/python3"
spool = "/scratch/{login}"
image_cache = "/images"
[tenants.PHYSICS]
cluster = "alpha"
jwks_file = "/keys"
jwks_lifetime_s = 60
account_table.alice = { login = "al" }
claims.login = "account"
images.keyring = "/ring"
limits = { max_workers = 5, max_workers_per_user = 6 }
"""


def test_what_has_no_effect_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(GOOD)
    found = read_site_file(path)
    lines = [found.line(one).removeprefix(f"{path}:") for one in found.warnings]
    assert lines == [
        '2: warning: public_url: found "http://bridge.example.org": '
        "tokens and messages travel unencrypted",
        '3: warning: registry_networks[0]: "::/0" opens every network, the hosts\' own services '
        "too",
        '7: warning: clusters.alpha.ssh: has no effect, as session is "setuid"',
        "8: warning: clusters.beta: no tenant uses it",
        '9: warning: clusters.beta.slurmrestd: has no effect, as slurm is "commands"',
        '10: warning: clusters.beta.pyslurm_python: has no effect, as slurm is "commands"',
        "16: warning: tenants.PHYSICS.jwks_lifetime_s: has no effect, as there is no jwks_url",
        '17: warning: tenants.PHYSICS.account_table: has no effect, as accounts is "getent"',
        '18: warning: tenants.PHYSICS.claims.login: has no effect, as accounts is "getent"',
        "19: warning: tenants.PHYSICS.images.keyring: has no effect, as signed_only is false",
        "20: warning: tenants.PHYSICS.limits.max_workers_per_user: found 6, has no effect: "
        "max_workers is 5",
    ]


@pytest.mark.parametrize(
    ("value", "key", "shown"),
    [
        ("hunter2", "password", "a text of 7 characters, not shown"),
        ("hunter2", "metrics_token_file", "a text of 7 characters, not shown"),
        ("/etc/hunter2", "metrics_token_file", '"/etc/hunter2"'),
        ("/etc\nhunter2", "spool", "a text of 12 characters, not shown"),
        ("https://a:hunter2@b", "public_url", "a URL with a user or password, not shown"),
        ("https://[a@b", "public_url", "a URL with a user or password, not shown"),
        ("", "public_keys", '""'),
        ("x" * 100, "name", '"' + "x" * 77 + '..."'),
        ({"password": "hunter2"}, "logins", "a table"),
        (["hunter2"], "public_keys", "a list"),
        (True, "case", "true"),
    ],
)
def test_what_is_shown_of_a_value(value: object, key: str, shown: str) -> None:
    assert show_value(value, key) == shown


def test_nearest_names() -> None:
    assert nearest("user", ("login", "username")) == "username"
    assert nearest("PARTITON", ("partition", "qos")) == "partition"
    assert nearest("x", ("partition", "qos")) is None


def test_keys_are_written_as_in_toml() -> None:
    assert show_key(("a", "b c", 1, "d-e")) == 'a."b c"[1].d-e'


def test_lines_of_a_difficult_file() -> None:
    text = '''\
# a = 1
"a b".c = """x
[not.a.table]
""""
[[t.list]]  # one
k = [
  { x = 1, 'y z' = { deep = [ "]", '}' ] } },  # }
  [1, 2],
]
[t.list.sub]
k = 1979-05-27 07:32:00
[[t.list]]
  k.v = true
  ["q\\u0041"]
z = \'\'\'
\'\'\'
last = 1'''
    assert {show_key(loc): line for loc, line in find_lines(text).items()} == {
        '"a b"': 2, '"a b".c': 2, "t": 5, "t.list": 5, "t.list[0]": 5, "t.list[0].k": 6,
        "t.list[0].k[0]": 7, "t.list[0].k[0].x": 7, 't.list[0].k[0]."y z"': 7,
        't.list[0].k[0]."y z".deep': 7, 't.list[0].k[0]."y z".deep[0]': 7,
        't.list[0].k[0]."y z".deep[1]': 7, "t.list[0].k[1]": 8, "t.list[0].k[1][0]": 8,
        "t.list[0].k[1][1]": 8, "t.list[0].sub": 10, "t.list[0].sub.k": 11, "t.list[1]": 12,
        "t.list[1].k": 13, "t.list[1].k.v": 13, "qA": 14, "qA.z": 15, "qA.last": 17,
    }  # fmt: skip
