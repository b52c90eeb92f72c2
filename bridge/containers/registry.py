"""Asking a registry what a reference means now: the manifest's digest and the image's own config.

Source: the OCI distribution and image specifications, and Docker's token authentication. `requests`
carries the HTTP; no client library of the registry API that we found pins digests and gives the
configuration without pulling.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import requests
import urllib3

from bridge.clock import monotonic_s
from bridge.core.images import ImageReference
from bridge.errors import ImageUnknown, PullFailed

_INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
# What reading a document of another form may meet.
_OTHER_FORM = (AttributeError, LookupError, TypeError, ValueError, OverflowError)
_MAX_DOCUMENT_BYTES = 4 << 20
_TIMEOUT_S = (5, 30)  # to connect, between two pieces
_DOCUMENT_S = 60  # for all of its pieces


@dataclass(frozen=True)
class Resolved:
    """What a reference means: the platform's manifest digest and the image's configuration.

    Attributes:
        reference: the image by digest.
        config: the image's ``Entrypoint``, ``Cmd``, ``WorkingDir`` and ``Env``.
        size_bytes: of all layers, compressed.
    """

    reference: ImageReference
    config: dict[str, Any]
    size_bytes: int


def resolve(image: ImageReference, insecure: Collection[str] = ()) -> Resolved:
    """Ask the registry of `image`.

    Args:
        image: the reference, by tag or digest.
        insecure: registries (host:port) that are asked over plain HTTP.

    Raises:
        ImageUnknown: there is no such image, it is not for us, or not for this machine's kind.
        PullFailed: the registry did not answer, or not in the form of the specification.
    """
    registry = _Registry(image, plain_http=image.registry in insecure)
    manifest, digest = registry.document(f"manifests/{image.digest or image.tag}")
    if manifest.get("mediaType") in _INDEX_TYPES or "manifests" in manifest:
        wanted = _pick_platform(manifest, image)
        manifest, digest = registry.document(f"manifests/{wanted}")
    try:
        config_digest = _check_digest(manifest["config"]["digest"])
        size = sum(int(layer["size"]) for layer in manifest["layers"])
    except _OTHER_FORM as error:
        raise PullFailed(f"{image}: the registry's manifest is not of the OCI form.") from error
    config, _ = registry.document(f"blobs/{config_digest}")
    try:
        kept = _read_config(config.get("config") or {})
    except _OTHER_FORM as error:
        raise PullFailed(f"{image}: the image's configuration is not of the OCI form.") from error
    by_digest = ImageReference(image.registry, image.repository, None, digest)
    return Resolved(by_digest, kept, size)


def _pick_platform(index: dict[str, Any], image: ImageReference) -> str:
    wanted = _ARCHITECTURES.get(platform.machine(), platform.machine())
    try:
        for entry in index["manifests"]:
            kind = entry.get("platform") or {}
            if kind.get("os") == "linux" and kind.get("architecture") == wanted:
                return _check_digest(entry["digest"])
    except _OTHER_FORM as error:
        raise PullFailed(f"{image}: the registry's index is not of the OCI form.") from error
    raise ImageUnknown(f"{image}: the registry has it, but not for linux/{wanted}.")


def _check_digest(value: object) -> str:
    """Return a digest that what it names can be checked against."""
    if not isinstance(value, str) or not _DIGEST.match(value):
        raise ValueError("expected sha256 and 64 hexadecimal digits")
    return value


def _read_config(inner: dict[str, Any]) -> dict[str, Any]:
    for key in ("Entrypoint", "Cmd", "Env"):
        words = inner.get(key)
        if words is not None and not (
            isinstance(words, list) and all(isinstance(word, str) for word in words)
        ):
            raise ValueError(f"{key} is not a list of texts")
    if not isinstance(inner.get("WorkingDir") or "", str):
        raise TypeError("WorkingDir is not a text")
    return {key: inner.get(key) for key in ("Entrypoint", "Cmd", "WorkingDir", "Env")}


class _Registry:
    """One repository of one registry, with its token if it wants one."""

    def __init__(self, image: ImageReference, *, plain_http: bool) -> None:
        host = "registry-1.docker.io" if image.registry == "docker.io" else image.registry
        self._base = f"{'http' if plain_http else 'https'}://{host}/v2/{image.repository}"
        self._image = image
        self._headers = {"Accept": ", ".join(_INDEX_TYPES + _MANIFEST_TYPES)}

    def document(self, path: str) -> tuple[dict[str, Any], str]:
        """Return a JSON document of the repository and its digest, checked where it was named."""
        url = f"{self._base}/{path}"
        with self._get(url) as answer:
            status, body = answer.status_code, self._body(answer)
            challenge = answer.headers.get("WWW-Authenticate", "")
        if status == 401 and self._authorize(challenge):
            with self._get(url) as answer:
                status, body = answer.status_code, self._body(answer)
        if status in (401, 403, 404):
            raise ImageUnknown(
                f"No such image: {self._image} (the registry answered {status}). "
                "Check the name and tag, and that it may be read without a login."
            )
        if status != 200:
            raise PullFailed(f"{self._image}: the registry answered {status}.")
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        asked = path.partition("/")[2]
        if asked.startswith("sha256:") and asked != digest:
            raise PullFailed(f"{self._image}: the registry sent {digest} for {asked}.")
        try:
            document = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise PullFailed(f"{self._image}: the registry's answer is not JSON.") from error
        if not isinstance(document, dict):
            raise PullFailed(f"{self._image}: the registry's answer is not a JSON object.")
        return document, digest

    def _get(self, url: str) -> requests.Response:
        try:
            return requests.get(url, headers=self._headers, timeout=_TIMEOUT_S, stream=True)
        except requests.RequestException as error:
            raise PullFailed(
                f"{self._image}: the registry {self._image.registry} cannot be reached "
                f"({type(error).__name__})."
            ) from error

    def _body(self, answer: requests.Response) -> bytes:
        end = monotonic_s() + _DOCUMENT_S
        body = b""
        try:
            while piece := answer.raw.read1(1 << 16, decode_content=True):
                body += piece
                if len(body) > _MAX_DOCUMENT_BYTES:
                    raise PullFailed(
                        f"{self._image}: a manifest of over {_MAX_DOCUMENT_BYTES} bytes."
                    )
                if monotonic_s() > end:
                    raise PullFailed(f"{self._image}: the registry is too slow.")
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise PullFailed(f"{self._image}: the registry's answer broke off.") from error
        return body

    def _authorize(self, challenge: str) -> bool:
        """Fetch the anonymous token that the registry asks for; whether there is one now.

        Source: Docker Registry v2 authentication via central service.
        """
        fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        realm = fields.get("realm", "")
        if not challenge.startswith("Bearer ") or not realm.startswith("https://"):
            return False
        url = requests.Request(
            "GET", realm, params={k: fields[k] for k in ("service", "scope") if k in fields}
        ).prepare()
        with self._get(str(url.url)) as answer:
            status, body = answer.status_code, self._body(answer)
        if status != 200:
            return False
        try:
            found = json.loads(body)
            token = found.get("token") or found.get("access_token")
        except (ValueError, AttributeError, RecursionError) as error:
            raise PullFailed(f"{self._image}: the registry's token is unreadable.") from error
        self._headers["Authorization"] = f"Bearer {token}"
        return True
