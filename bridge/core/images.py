"""Image references: parsed and written in one normal form.

An image of a registry, or the path of a SIF file on the cluster. Source: the grammar of
distribution/reference (docker.io and library/ are implied, the tag is ``latest`` where neither tag
nor digest is given); paths are ours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from bridge.errors import InvalidField

_NAME = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_TAG_FORM = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST_FORM = r"sha256:[0-9a-f]{64}"
_REGISTRY_FORM = r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?"
_REGISTRY = re.compile(rf"{_REGISTRY_FORM}\Z")
REGISTRY_PATTERN = f"^{_REGISTRY_FORM}$"
MAX_REGISTRY = 255
_PATH = re.compile(rf"{_NAME}(?:/{_NAME})*\Z")
_TAG = re.compile(rf"{_TAG_FORM}\Z")
_DIGEST = re.compile(rf"{_DIGEST_FORM}\Z")
# No name that is hidden, and none that leads elsewhere.
_SIF_FORM = r"(?:/[A-Za-z0-9_][A-Za-z0-9._+@=-]*)+\.sif"
_SIF = re.compile(rf"{_SIF_FORM}\Z")

# The same grammar as one expression, for those who describe it: of several parts, a first one with
# a dot or a port, or localhost, is a registry. A test holds it to what `parse_image` takes.
_FIRST = (
    r"(?:(?:localhost|[A-Za-z0-9][A-Za-z0-9.-]*\.[A-Za-z0-9.-]*[A-Za-z0-9])(?::[0-9]{1,5})?"
    r"|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?:[0-9]{1,5}"
    r"|[a-z0-9]+(?:(?:__?|-+)[a-z0-9]+)*)"
)
PATTERN = (
    rf"^(?:{_SIF_FORM}|(?:docker://)?(?:{_NAME}|{_FIRST}/{_NAME}(?:/{_NAME})*)"
    rf"(?::{_TAG_FORM})?(?:@{_DIGEST_FORM})?)$"
)


@dataclass(frozen=True)
class ImageReference:
    """One image: `registry` (host[:port]), `repository`, and a `tag` or a `digest`."""

    registry: str
    repository: str
    tag: str | None
    digest: str | None

    def __str__(self) -> str:
        """Return the normal form, e.g. ``docker.io/library/debian:trixie``."""
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.registry}/{self.repository}{tag}{digest}"


@dataclass(frozen=True)
class SifPath:
    """One image: a SIF file by its absolute path on the cluster."""

    path: PurePosixPath

    def __str__(self) -> str:
        """Return the path."""
        return str(self.path)


def parse_image(text: str) -> ImageReference | SifPath:
    """Return the reference that `text` names, with Docker's defaults filled in.

    Raises:
        InvalidField: `text` is no image reference; says which part.
    """
    if text.startswith("/"):
        return _parse_path(text)
    rest = text.removeprefix("docker://")
    rest, at, digest = rest.partition("@")
    head, slash, tail = rest.rpartition("/")
    tail, colon, tag = tail.partition(":")
    path = f"{head}{slash}{tail}"
    first, slash, others = path.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        registry, repository = first, others
    else:
        registry, repository = "docker.io", path if slash else f"library/{path}"
    for value, pattern, what in (
        (registry, _REGISTRY, "registry"),
        (repository, _PATH, "repository"),
        (tag if colon else "latest", _TAG, "tag"),
        (digest if at else "sha256:" + "0" * 64, _DIGEST, "digest"),
    ):
        if not pattern.match(value) or len(text) > 512:
            raise InvalidField(
                f"Invalid image reference {text[:100]!r}: its {what} is {value[:100]!r}; expected "
                "the form [registry[:port]/]repository[:tag][@sha256:digest]."
            )
    # A registry's name is a host's: there is one spelling for whoever allows or refuses it.
    return ImageReference(
        registry.lower(), repository, tag or (None if digest else "latest"), digest or None
    )


def is_registry(text: str) -> bool:
    """Whether `text` is a registry (host[:port]) as references have it."""
    return bool(_REGISTRY.match(text)) and len(text) <= MAX_REGISTRY


def _parse_path(text: str) -> SifPath:
    if not _SIF.match(text) or len(text) > 512:
        raise InvalidField(
            f"Invalid image reference {text[:100]!r}: expected the path of a SIF file, "
            "/directory/.../name.sif of letters, digits and . _ + @ = -, none of them hidden."
        )
    return SifPath(PurePosixPath(text))
