"""Kinds of values that keys of a site file have: paths, URLs, words for Slurm, templates.

What is refused here could only fail later, on the cluster, or mean something else there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

from bridge.sites.mistakes import nearest, show_choice

# As in the directives of a batch script (bridge.launcher.filters), where nothing can be quoted.
_SLURM_WORD = re.compile(r"[A-Za-z0-9_./:@+=-]+\Z")
_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,62}\Z")
_API_VERSION = re.compile(r"v0\.0\.[0-9]{2}\Z")
_HOST_NAME = re.compile(rf"{_HOST}\Z")
_LOGIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*\Z")
_REGISTRY = re.compile(rf"{_HOST}(?::[0-9]{{1,5}})?\Z")
_NAMESPACE = re.compile(rf"{_HOST}(?::[0-9]{{1,5}})?(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*\Z")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_BRACES = re.compile(r"\{([^{}]*)\}")
_UNSAFE = ":,\\\n\r\t\0"


def _absolute(path: Path) -> Path:
    if not path.is_absolute() or ".." in path.parts or any(c < " " for c in str(path)):
        raise ValueError("expected an absolute path without '..'")
    return path


def _url(value: str, schemes: tuple[str, ...]) -> str:
    said = f"expected a URL that begins with {' or '.join(f'{one}://' for one in schemes)}"
    try:
        parts = urlsplit(value)
        is_whole = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError as error:  # a port that is none, or half an IPv6 address
        raise ValueError(f"{said} and names a host") from error
    if not is_whole or any(c <= " " for c in value):
        raise ValueError(f"{said} and names a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"{said}, without user and password")
    if parts.query or parts.fragment:
        raise ValueError(f"{said}, without query and fragment")
    return value


def _http_url(value: str) -> str:
    return _url(value, ("http", "https"))


def _https_url(value: str) -> str:
    """Take https, and http to this host itself, where nobody is in between."""
    try:
        host = urlsplit(value).hostname or ""
    except ValueError:
        host = ""
    is_here = host in ("localhost", "::1") or re.fullmatch(r"127(\.[0-9]{1,3}){3}", host)
    return _url(value, ("https", "http") if is_here else ("https",))


def _slurm_word(value: str) -> str:
    if not _SLURM_WORD.match(value):
        raise ValueError("expected a name as Slurm has them: letters, digits and _./:@+=-")
    return value


def _maybe_slurm_word(value: str) -> str:
    return value and _slurm_word(value)


def _name(value: str) -> str:
    if not _NAME.match(value):
        raise ValueError("expected a name: a letter, then letters, digits and '-', 63 at most")
    return value


def _api_version(value: str) -> str:
    if not _API_VERSION.match(value):
        raise ValueError("expected a version of slurmrestd's answers, as in v0.0.42")
    return value


def _host(value: str) -> str:
    if not _HOST_NAME.match(value):
        raise ValueError("expected a host's name or address, without scheme and port")
    return value


def check_login(value: str) -> str:
    """Return `value`, which may be the name of an account.

    Raises:
        ValueError: says what is expected, for the line that reports it.
    """
    if not _LOGIN.match(value):
        raise ValueError("expected the name of an account")
    return value


def _registry(value: str) -> str:
    if not _REGISTRY.match(value):
        raise ValueError("expected a registry, as in registry.example.org or registry:5000")
    return value


def _namespace(value: str) -> str:
    if not _NAMESPACE.match(value):
        raise ValueError(
            "expected a registry or a namespace of it, as in docker.io/biocontainers, "
            "without a scheme, tag or digest"
        )
    return value


def _digest(value: str) -> str:
    if not _DIGEST.match(value):
        raise ValueError("expected a digest, sha256: and 64 hexadecimal digits")
    return value


def check_template(value: str, *words: str) -> str:
    """Return `value`; refuse words in braces that are none of `words`.

    Raises:
        ValueError: says what is expected, for the line that reports it.
    """
    for word in _BRACES.findall(value):
        if word not in words:
            known = show_choice(f"{{{one}}}" for one in words).replace('"', "")
            near = nearest(word, words)
            hint = f"; did you mean {{{near}}}?" if near else ""
            raise ValueError(f"expected no templates but {known or 'none'}{hint}")
    if "{" in _BRACES.sub("", value) or "}" in _BRACES.sub("", value):
        raise ValueError("expected every brace to have its other one")
    return value


def check_path_template(value: str, *words: str, start: str = "/") -> str:
    """Return `value`, the template of an absolute path with no other templates than `words`.

    Args:
        value: as the site file has it.
        words: the templates that are filled in.
        start: what it may begin with besides a slash: a template that is an absolute path itself.

    Raises:
        ValueError: says what is expected, for the line that reports it.
    """
    is_absolute = value.startswith(("/", start))
    if not is_absolute or any(c in _UNSAFE for c in value) or ".." in value.split("/"):
        raise ValueError("expected an absolute path without '..', ':', ',' or control marks")
    return check_template(value, *words)


@dataclass(frozen=True)
class HostFile:
    """Marks a key that names a file of the bridge's own host, for `bridge config check --files`."""

    is_secret: bool = False
    is_directory: bool = False
    is_roots: bool = False


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
PublicFile = Annotated[Path, AfterValidator(_absolute), HostFile()]
SecretFile = Annotated[Path, AfterValidator(_absolute), HostFile(is_secret=True)]
RootsFile = Annotated[Path, AfterValidator(_absolute), HostFile(is_roots=True)]
PublicFolder = Annotated[Path, AfterValidator(_absolute), HostFile(is_directory=True)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
HttpsUrl = Annotated[str, AfterValidator(_https_url)]
SlurmWord = Annotated[str, AfterValidator(_slurm_word)]
MaybeSlurmWord = Annotated[str, AfterValidator(_maybe_slurm_word)]
Name = Annotated[str, AfterValidator(_name)]
ApiVersion = Annotated[str, AfterValidator(_api_version)]
Host = Annotated[str, AfterValidator(_host)]
Login = Annotated[str, AfterValidator(check_login)]
Registry = Annotated[str, AfterValidator(_registry)]
Namespace = Annotated[str, AfterValidator(_namespace)]
Digest = Annotated[str, AfterValidator(_digest)]
