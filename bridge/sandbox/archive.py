"""Debian's archive: where this machine gets it from, and a first root filesystem made of it.

Why: where no public image registry can be reached, Debian's packages usually still can, because
the machine itself was installed from them. The address comes from the machine's own apt sources.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

DEFAULT_ARCHIVE = "http://deb.debian.org/debian"  # Ubuntu's own sources hold no Debian
SUITE = "trixie"
DEBIAN_SUITES = frozenset(
    ("bullseye", "bookworm", "trixie", "forky", "sid", "oldstable", "stable", "testing", "unstable")
)
KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
)
# Debian's own archive, plain or as one day's snapshot; third-party archives have other paths.
ARCHIVE_PATH = re.compile(r"https?://[^ ]+/debian(/\d{8}T\d{6}Z)?/?$")


@dataclass(frozen=True)
class Source:
    """One entry of apt's sources: where, which suites, which components."""

    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]


def parse_one_line(text: str) -> Iterator[Source]:
    """Yield the entries of a sources file in the one-line format. Source: sources.list(5)."""
    for line in text.splitlines():
        words = re.sub(r"\[.*?\]", "", line.partition("#")[0]).split()
        if len(words) >= 3 and words[0] == "deb":
            yield Source((words[1],), (words[2],), tuple(words[3:]))


def parse_deb822(text: str) -> Iterator[Source]:
    """Yield the entries of a ``.sources`` file. Source: sources.list(5), deb822-style format."""
    bare = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n\s*\n", bare):
        fields = {
            name.lower(): tuple(value.split())
            for name, value in re.findall(r"^(\S+):((?:.*)(?:\n[ \t].*)*)", stanza, re.MULTILINE)
        }
        if "deb" in fields.get("types", ()) and fields.get("enabled") != ("no",):
            yield Source(
                fields.get("uris", ()), fields.get("suites", ()), fields.get("components", ())
            )


def pick_archive(sources: Iterable[Source]) -> str | None:
    """Return the address of Debian's main archive among `sources`; None when it is not there."""
    for source in sources:
        if "main" in source.components and DEBIAN_SUITES.intersection(source.suites):
            for uri in source.uris:
                if ARCHIVE_PATH.match(uri):
                    return uri.rstrip("/")
    return None


def read_archive(etc_apt: Path = Path("/etc/apt")) -> str:
    """Return the address of Debian's archive that this machine uses, or the public one."""
    sources: list[Source] = []
    for path in [etc_apt / "sources.list", *sorted(etc_apt.glob("sources.list.d/*"))]:
        if path.is_file():
            parse = parse_deb822 if path.suffix == ".sources" else parse_one_line
            sources.extend(parse(path.read_text(errors="replace")))
    return pick_archive(sources) or DEFAULT_ARCHIVE


def build_bootstrap_argv(archive: str, keyring: Path | None, target: Path) -> list[str]:
    """Return the command that writes a minimal Debian with apt to the tar file `target`.

    Source: mmdebstrap(1).
    """
    trusted = [f"--keyring={keyring}"] if keyring else []
    return [
        "mmdebstrap",
        "--quiet",
        "--variant=apt",
        "--include=passwd",
        "--skip=output/dev",  # device files only trouble those who unpack the image without root
        '--aptopt=Acquire::Check-Valid-Until "false"',
        *trusted,
        SUITE,
        str(target),
        f"deb {archive} {SUITE} main",
    ]


def find_keyring() -> Path | None:
    """Return the keyring that Debian's archive is signed with; None when it is not installed."""
    return next((path for path in KEYRINGS if path.is_file()), None)
