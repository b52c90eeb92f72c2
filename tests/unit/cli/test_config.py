"""`bridge config check` and `bridge config show`, as an admin types them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bridge.cli.config import config
from bridge.cli.reload import read_site
from bridge.errors import SiteConfigError
from tests.factories.sites import write_encryption_keys, write_keys

SITE = """\
name = "test"
public_url = "https://bridge.example.org"
encryption_key_file = "{folder}/encryption.key"
metrics_token_file = "{folder}/metrics"
[clusters.alpha]
session = "ssh"
spool = "/scratch/{{login}}"
image_cache = "/work/images"
ssh = {{ host = "login", known_hosts = "{folder}/hosts", key_file = "{folder}/{{login}}" }}
[tenants.PHYSICS]
cluster = "alpha"
public_keys = ["{folder}/physics.pub"]
private_key = "{folder}/physics.pem"
"""


@pytest.fixture
def site_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site file and all the files that it names."""
    _, private = write_keys(tmp_path, "physics")
    private.chmod(0o600)
    write_encryption_keys(tmp_path)
    (tmp_path / "hosts").write_text("login ssh-ed25519 AAAA\n")
    (tmp_path / "metrics").write_text("hunter2hunter2hunter2\n")
    (tmp_path / "metrics").chmod(0o640)
    path = tmp_path / "site.toml"
    path.write_text(SITE.format(folder=tmp_path))
    path.chmod(0o640)
    monkeypatch.setenv("BRIDGE_SITE", str(path))
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(config, [str(one) for one in arguments], catch_exceptions=False)


def test_a_good_file(site_file: Path) -> None:
    for result in (run("check"), run("check", site_file), run("check", "--files")):
        said = f"{site_file}: site test, 1 cluster, 1 tenant: no mistakes\n"
        assert (result.exit_code, result.output) == (0, said)


def test_warnings_are_no_mistakes(site_file: Path) -> None:
    site_file.write_text(site_file.read_text().replace("https:", "http:"))
    result = run("check")
    assert result.exit_code == 0
    assert "site.toml:2: warning: public_url: found" in result.stderr
    assert result.stdout.endswith(": no mistakes, 1 warning\n")


def test_every_mistake_and_their_number(site_file: Path) -> None:
    site_file.write_text(site_file.read_text().replace("name", "nmae").replace("spool", "spol"))
    result = run("check")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        f"{site_file}: name: missing, expected text",
        f'{site_file}:1: nmae: unknown key; did you mean "name"?',
        f"{site_file}:5: clusters.alpha.spool: missing, expected text",
        f'{site_file}:7: clusters.alpha.spol: unknown key; did you mean "spool"?',
        "4 mistakes",
    ]
    assert run("check", site_file.parent / "nothing").stderr.endswith("\n1 mistake\n")


def damage(folder: Path, name: str, what: str) -> None:
    path = folder / name
    if what == "gone":
        path.unlink()
    elif what == "a folder":
        path.unlink()
        path.mkdir()
    elif what.startswith("0o"):
        path.chmod(int(what, 8))
    else:
        path.write_text(what)


@pytest.mark.parametrize(
    ("name", "what", "said"),
    [
        ("physics.pub", "gone", ":12: tenants.PHYSICS.public_keys[0]: {} cannot be found (No such"),
        ("physics.pub", "a folder", ":12: tenants.PHYSICS.public_keys[0]: {} is something else"),
        ("physics.pub", "0o666", ":12: tenants.PHYSICS.public_keys[0]: {} has mode 0666: every"),
        ("physics.pub", "hunter2", ": tenants.PHYSICS.public_keys: {} holds no public key"),
        ("physics.pem", "0o644", ":13: tenants.PHYSICS.private_key: {} has mode 0644, expected a"),
        ("physics.pem", "hunter2", ": tenants.PHYSICS.private_key: {} holds no unencrypted"),
        ("encryption.key", "hunter2", ": encryption_key_file: line 1 of {} is no key"),
        ("encryption.key", "0o604", ":3: encryption_key_file: {} has mode 0604, expected a secret"),
        ("metrics", "hunter2", ": metrics_token_file: {} has 7 bytes: expected a secret of at"),
        ("metrics", "0o660", ":4: metrics_token_file: {} has mode 0660, expected a secret to"),
        ("hosts", "gone", ":9: clusters.alpha.ssh.known_hosts: {} cannot be found (No such file"),
    ],
)
def test_the_files_that_it_names(site_file: Path, name: str, what: str, said: str) -> None:
    damage(site_file.parent, name, what)
    assert run("check").exit_code == 0  # as anywhere else
    result = run("check", "--files")
    assert result.exit_code == 1
    line = result.stderr.splitlines()[0]
    assert line.startswith(str(site_file) + said.format(site_file.parent / name))
    assert "hunter2" not in result.output


def test_a_site_file_that_everybody_can_write(site_file: Path) -> None:
    site_file.chmod(0o666)
    assert run("check").exit_code == 0
    result = run("check", "--files")
    assert result.stderr.splitlines()[0] == (
        f"{site_file}: has mode 0666, expected 0644 or less: every user of this host can write"
    )
    with pytest.raises(SiteConfigError, match="has mode 0666"):
        read_site(site_file)


def test_keys_that_do_not_belong_together(site_file: Path) -> None:
    _, private = write_keys(site_file.parent, "biology")
    private.chmod(0o600)
    private.rename(site_file.parent / "physics.pem")
    result = run("check", "--files")
    assert result.exit_code == 1
    assert f"the public half of {site_file.parent}/physics.pem is in none of" in result.stderr


def test_what_is_shown(site_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE_DATABASE", "postgresql+psycopg://bridge:hunter2@db/bridge")
    monkeypatch.setenv("BRIDGE_LOG_LEVEL", "DEBUG")
    result = run("show")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[:4] == [
        f"# {site_file}, BRIDGE_SITE",
        "# BRIDGE_DATABASE = postgresql+psycopg://bridge:***@db/bridge, environment",
        "# BRIDGE_LOG_LEVEL = DEBUG, environment",
        f"{'name = ' + chr(34) + 'test' + chr(34):60}  # line 1",
    ]
    assert any(f"{site_file.parent}/metrics" in line for line in lines)
    assert "hunter2" not in result.output
    monkeypatch.setenv("BRIDGE_DATABASE", "hunter2")
    again = run("show", site_file)
    assert "# BRIDGE_DATABASE = no URL, not shown, environment" in again.output
    assert again.output.startswith(f"# {site_file}, argument\n")


def test_help_says_what_it_is_for() -> None:
    result: Any = run("--help")
    assert "check" in result.output
    assert "show" in result.output


def test_the_program_that_sudo_starts_is_roots(site_file: Path, tmp_path: Path) -> None:
    program = tmp_path / "agent.pyz"
    program.write_text("")
    program.chmod(0o775)
    text = site_file.read_text().replace('session = "ssh"', 'session = "sudo"')
    lines = [line for line in text.splitlines() if not line.startswith("ssh =")]
    table = f'sudo = {{ command = "{program}", program = "{program}" }}'
    lines.insert(lines.index("[clusters.alpha]") + 1, table)
    site_file.write_text("\n".join(lines))
    result = run("check", "--files")
    said = f"has uid {program.stat().st_uid} and mode 0775, expected root to own it and nobody else"
    assert result.stderr.count(said) == 2
