"""Asking a registry: documents and blobs of one repository, with a token if it wants one.

Source: the OCI distribution specification, and Docker's token authentication.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

from bridge.containers.http import Access, Answer, get, origin
from bridge.core.images import ImageReference
from bridge.errors import ImageUnknown, PullFailed

INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
MAX_DOCUMENT_BYTES = 4 << 20
DOCUMENT_S = 60.0
BLOB_S = 1800.0
_DENIED = frozenset({401, 403, 404})


class Registry:
    """One repository of one registry.

    A login goes to the registry itself and to the realm that it names for tokens, both checked
    like every address; to no other host that a redirect leads to.
    """

    def __init__(self, image: ImageReference, access: Access) -> None:
        host = "registry-1.docker.io" if image.registry == "docker.io" else image.registry
        scheme = "http" if image.registry in access.insecure else "https"
        self._base = f"{scheme}://{host}/v2/{image.repository}"
        self._image = image
        self._access = access
        self._authorization = ""

    def document(self, path: str) -> tuple[dict[str, Any], bytes, str]:
        """Return a JSON document of the repository, as it came, and its digest, checked if named.

        Args:
            path: ``manifests/<tag or digest>`` or ``blobs/<digest>``.

        Raises:
            ImageUnknown: there is none, or none for us.
            ImageRefused: the registry leads to where the site does not allow.
            PullFailed: the registry did not answer, or not in the form of the specification.
        """
        with self._get(path, DOCUMENT_S) as answer:
            body = self._read(answer)
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        asked = path.partition("/")[2]
        if asked.startswith("sha256:") and asked != digest:
            raise PullFailed(f"{self._image}: the registry sent {digest} for {asked}.")
        return self._parse(body), body, digest

    @contextmanager
    def blob(self, digest: str) -> Iterator[Iterator[bytes]]:
        """Give the pieces of a blob, not checked.

        Raises:
            ImageUnknown, ImageRefused, PullFailed: as `document`.
        """
        with self._get(f"blobs/{digest}", BLOB_S) as answer:
            yield answer.pieces

    @contextmanager
    def _get(self, path: str, deadline_s: float) -> Iterator[Answer]:
        url = f"{self._base}/{path}"
        headers = {"Accept": ", ".join(INDEX_TYPES + MANIFEST_TYPES)}
        with get(url, self._access, headers, self._authorization, deadline_s) as answer:
            challenge = answer.headers.get("www-authenticate", "")
            # What another host asks for, to which the registry redirects, it is not given.
            if answer.status != 401 or not answer.is_direct:
                self._check(answer.status)
                yield answer
                return
        self._authorization = self._answer_to(challenge)
        with get(url, self._access, headers, self._authorization, deadline_s) as answer:
            self._check(answer.status)
            yield answer

    def _check(self, status: int) -> None:
        if status in _DENIED:
            who = "with the login that is known here" if self._access.login else "without a login"
            raise ImageUnknown(
                f"No such image: {self._image} (the registry answered {status}). "
                f"Check the name and tag, and that it may be read {who}."
            )
        if status != 200:
            raise PullFailed(f"{self._image}: the registry answered {status}.")

    def _read(self, answer: Answer) -> bytes:
        body = bytearray()
        for piece in answer.pieces:
            body += piece
            if len(body) > MAX_DOCUMENT_BYTES:
                raise PullFailed(f"{self._image}: a manifest of over {MAX_DOCUMENT_BYTES} bytes.")
        return bytes(body)

    def _parse(self, body: bytes) -> dict[str, Any]:
        try:
            document = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise PullFailed(f"{self._image}: the registry's answer is not JSON.") from error
        if not isinstance(document, dict):
            raise PullFailed(f"{self._image}: the registry's answer is not a JSON object.")
        return document

    def _answer_to(self, challenge: str) -> str:
        """Return what a registry that answered 401 is told the next time; empty for nothing.

        Source: RFC 7617, and Docker Registry v2 authentication via central service.
        """
        kind, _, rest = challenge.partition(" ")
        fields = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        if kind.lower() == "basic":
            return self._basic()
        if kind.lower() != "bearer" or not fields.get("realm"):
            return ""
        realm = fields["realm"]
        asked = urlencode({key: fields[key] for key in ("service", "scope") if key in fields})
        url = f"{realm}{'&' if '?' in realm else '?'}{asked}"
        origin(url)
        with get(url, self._access, {}, self._basic(), DOCUMENT_S) as answer:
            if answer.status in _DENIED:
                return ""  # then the registry says it once more
            if answer.status != 200:
                raise PullFailed(f"{self._image}: the registry's tokens: {answer.status}.")
            found = self._parse(self._read(answer))
        token = found.get("token") or found.get("access_token")
        if not isinstance(token, str) or not token.isprintable():
            raise PullFailed(f"{self._image}: the registry's token is unreadable.")
        return f"Bearer {token}"

    def _basic(self) -> str:
        login = self._access.login
        if login is None:
            return ""
        pair = f"{login.username}:{login.password}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"
