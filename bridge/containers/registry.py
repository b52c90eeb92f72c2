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
_MAX_DOCUMENT_BYTES = 4 << 20
_TIMEOUT_S = (5, 30)  # to connect, between two pieces


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
        config_digest = str(manifest["config"]["digest"])
        size = sum(int(layer["size"]) for layer in manifest["layers"])
    except (KeyError, TypeError, ValueError) as error:
        raise PullFailed(f"{image}: the registry's manifest is not of the OCI form.") from error
    config, _ = registry.document(f"blobs/{config_digest}")
    inner = config.get("config") or {}
    if not isinstance(inner, dict):
        raise PullFailed(f"{image}: the image's configuration is not of the OCI form.")
    kept = {key: inner.get(key) for key in ("Entrypoint", "Cmd", "WorkingDir", "Env")}
    by_digest = ImageReference(image.registry, image.repository, None, digest)
    return Resolved(by_digest, kept, size)


def _pick_platform(index: dict[str, Any], image: ImageReference) -> str:
    wanted = _ARCHITECTURES.get(platform.machine(), platform.machine())
    for entry in index.get("manifests", []):
        kind = entry.get("platform") or {}
        if kind.get("os") == "linux" and kind.get("architecture") == wanted:
            return str(entry["digest"])
    raise ImageUnknown(f"{image}: the registry has it, but not for linux/{wanted}.")


class _Registry:
    """One repository of one registry, with its token if it wants one."""

    def __init__(self, image: ImageReference, *, plain_http: bool) -> None:
        host = "registry-1.docker.io" if image.registry == "docker.io" else image.registry
        self._base = f"{'http' if plain_http else 'https'}://{host}/v2/{image.repository}"
        self._image = image
        self._headers = {"Accept": ", ".join(_INDEX_TYPES + _MANIFEST_TYPES)}

    def document(self, path: str) -> tuple[dict[str, Any], str]:
        """Return a JSON document of the repository and its digest, checked where it was named."""
        answer = self._get(f"{self._base}/{path}")
        if answer.status_code == 401 and "Authorization" not in self._headers:
            self._authorize(answer.headers.get("WWW-Authenticate", ""))
            answer = self._get(f"{self._base}/{path}")
        if answer.status_code in (401, 403, 404):
            raise ImageUnknown(
                f"No such image: {self._image} (the registry answered {answer.status_code}). "
                "Check the name and tag, and that it may be read without a login."
            )
        if answer.status_code != 200:
            raise PullFailed(f"{self._image}: the registry answered {answer.status_code}.")
        body = self._body(answer)
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        asked = path.partition("/")[2]
        if asked.startswith("sha256:") and asked != digest:
            raise PullFailed(f"{self._image}: the registry sent {digest} for {asked}.")
        try:
            document = json.loads(body)
        except ValueError as error:
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
        try:
            with answer:
                body: bytes = answer.raw.read(_MAX_DOCUMENT_BYTES + 1, decode_content=True)
        except (requests.RequestException, OSError) as error:
            raise PullFailed(f"{self._image}: the registry's answer broke off.") from error
        if len(body) > _MAX_DOCUMENT_BYTES:
            raise PullFailed(f"{self._image}: a manifest of over {_MAX_DOCUMENT_BYTES} bytes.")
        return body

    def _authorize(self, challenge: str) -> None:
        """Fetch the anonymous token that the registry asks for (Docker token authentication)."""
        fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        realm = fields.get("realm", "")
        if not challenge.startswith("Bearer ") or not realm.startswith("https://"):
            return
        url = requests.Request(
            "GET", realm, params={k: fields[k] for k in ("service", "scope") if k in fields}
        ).prepare()
        answer = self._get(str(url.url))
        if answer.status_code == 200:
            try:
                found = json.loads(self._body(answer))
                token = found.get("token") or found.get("access_token")
            except (ValueError, AttributeError) as error:
                raise PullFailed(f"{self._image}: the registry's token is unreadable.") from error
            self._headers["Authorization"] = f"Bearer {token}"
