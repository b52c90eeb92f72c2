"""Where the Debian archive of this machine is read from."""

from pathlib import Path

import pytest

from bridge.sandbox import archive

DEB822 = """\
# made by the installer
Types: deb deb-src
URIs: http://mirror.example/debian/
Suites: bookworm bookworm-updates
Components: main
# a comment inside
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
"""


def test_deb822_entries_are_read_with_comments_left_out() -> None:
    first, second = archive.parse_deb822(DEB822)
    assert first == archive.Source(
        ("http://mirror.example/debian/",), ("bookworm", "bookworm-updates"), ("main",)
    )
    assert second.suites == ("bookworm-security",)


def test_deb822_value_may_go_on_in_the_next_line() -> None:
    text = "Types: deb\nURIs: http://a.example/x\n http://b.example/debian\nSuites: sid\n"
    (source,) = archive.parse_deb822(text + "Components: main\n")
    assert source.uris == ("http://a.example/x", "http://b.example/debian")


@pytest.mark.parametrize("line", ["Types: deb-src", "Types: deb\nEnabled: no"])
def test_deb822_entries_that_apt_does_not_install_from_are_left_out(line: str) -> None:
    text = f"{line}\nURIs: http://a.example/debian\nSuites: sid\nComponents: main\n"
    assert list(archive.parse_deb822(text)) == []


def test_one_line_entries_are_read_without_options_and_comments() -> None:
    text = (
        "# deb http://old.example/debian sid main\n"
        "deb [arch=amd64 signed-by=/k.gpg] http://a.example/debian trixie main contrib # here\n"
        "deb-src http://a.example/debian trixie main\n"
    )
    assert list(archive.parse_one_line(text)) == [
        archive.Source(("http://a.example/debian",), ("trixie",), ("main", "contrib"))
    ]


@pytest.mark.parametrize(
    ("uri", "suite", "component"),
    [
        ("http://a.example/ubuntu", "noble", "main"),
        ("http://a.example/debian-security", "bookworm-security", "main"),
        ("http://a.example/linux/debian", "bookworm", "stable"),
        ("http://a.example/vendor", "bookworm", "main"),
        ("file:///srv/debian", "bookworm", "main"),
    ],
)
def test_other_archives_are_not_taken_for_debians(uri: str, suite: str, component: str) -> None:
    assert archive.pick_archive([archive.Source((uri,), (suite,), (component,))]) is None


def test_a_snapshot_of_the_archive_counts() -> None:
    uri = "http://a.example/archive/debian/20260101T000000Z/"
    source = archive.Source((uri,), ("trixie",), ("main",))
    assert archive.pick_archive([source]) == uri.rstrip("/")


def test_archive_is_read_from_all_files_of_apt(tmp_path: Path) -> None:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (parts / "other.list").write_text("deb http://a.example/vendor stable main\n")
    assert archive.read_archive(tmp_path) == archive.DEFAULT_ARCHIVE
    (parts / "debian.sources").write_text(DEB822)
    assert archive.read_archive(tmp_path) == "http://mirror.example/debian"


def test_bootstrap_trusts_the_keyring_when_there_is_one() -> None:
    argv = archive.build_bootstrap_argv("http://a.example/debian", Path("/k.gpg"), Path("/r.tar"))
    assert argv[0] == "mmdebstrap"
    assert "--keyring=/k.gpg" in argv
    assert argv[-3:] == ["trixie", "/r.tar", "deb http://a.example/debian trixie main"]
