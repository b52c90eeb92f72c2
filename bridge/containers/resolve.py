"""What a reference means now: a manifest's digest, its layers, and the image's own configuration.

Source: the OCI image specification. A registry may also hold a SIF, as ``apptainer push
oras://...`` puts one there: a manifest with one layer of Apptainer's own type.
"""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from typing import Any

from bridge.containers.http import Access
from bridge.containers.registry import INDEX_TYPES, Registry
from bridge.containers.sif import keep_config
from bridge.core.images import ImageReference
from bridge.errors import ImageRefused, ImageUnknown, PullFailed

SIF_TYPE = "application/vnd.sylabs.sif.layer.v1.sif"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
# What reading a document of another form may meet.
_OTHER_FORM = (AttributeError, LookupError, TypeError, ValueError, OverflowError)
_MAX_LAYERS = 1000


@dataclass(frozen=True)
class Blob:
    """Something that a manifest names: where, how long, and of what kind it says it is."""

    digest: str
    size_bytes: int
    media_type: str


@dataclass(frozen=True)
class Resolved:
    """What a reference means.

    Attributes:
        reference: the image by digest.
        names: every digest by which it may be known: its manifest's, that of the index which names
            this, and the one that the reference itself has.
        layers: its layers, or the one SIF.
        config: the image's ``Entrypoint``, ``Cmd``, ``WorkingDir`` and ``Env``; None for a SIF,
            which says it itself.
        config_bytes: the whole configuration as it came; empty for a SIF.
    """

    reference: ImageReference
    names: tuple[str, ...]
    layers: tuple[Blob, ...]
    config: dict[str, Any] | None
    config_bytes: bytes = b""

    @property
    def is_sif(self) -> bool:
        """Whether the registry holds the SIF itself."""
        return self.config is None

    @property
    def size_bytes(self) -> int:
        """Length of all layers as they are sent."""
        return sum(layer.size_bytes for layer in self.layers)


def resolve(image: ImageReference, access: Access) -> Resolved:
    """Ask the registry of `image`.

    Raises:
        ImageUnknown: there is no such image, it is not for us, or not for this machine's kind.
        ImageRefused: the registry leads to where the site does not allow, or the image is larger
            than it allows.
        PullFailed: the registry did not answer, or not in the form of the specification.
    """
    registry = Registry(image, access)
    manifest, _, digest = registry.document(f"manifests/{image.digest or image.tag}")
    names = [digest]
    if manifest.get("mediaType") in INDEX_TYPES or "manifests" in manifest:
        manifest, _, digest = registry.document(f"manifests/{_pick_platform(manifest, image)}")
        names.append(digest)
    by_digest = ImageReference(image.registry, image.repository, None, digest)
    try:
        layers = tuple(_read_layer(layer) for layer in manifest["layers"])
        config_digest = check_digest(manifest["config"]["digest"])
        if len(layers) > _MAX_LAYERS:
            raise ValueError(f"{len(layers)} layers")
    except _OTHER_FORM as error:
        raise PullFailed(f"{image}: the registry's manifest is not of the OCI form.") from error
    is_sif = [layer.media_type for layer in layers] == [SIF_TYPE]
    found = Resolved(by_digest, tuple(names), layers, None if is_sif else {})
    if found.size_bytes > access.max_bytes:
        raise ImageRefused(
            f"{image}: its layers have {found.size_bytes} bytes, {access.max_bytes} are allowed."
        )
    if is_sif:
        return found
    document, body, _ = registry.document(f"blobs/{config_digest}")
    try:
        config = keep_config(document.get("config") or {})
    except _OTHER_FORM as error:
        raise PullFailed(f"{image}: the image's configuration is not of the OCI form.") from error
    return Resolved(by_digest, tuple(names), layers, config, body)


def check_digest(value: object) -> str:
    """Return a digest that what it names can be checked against.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, str) or not _DIGEST.match(value):
        raise ValueError("expected sha256 and 64 hexadecimal digits")
    return value


def _read_layer(layer: dict[str, Any]) -> Blob:
    size = layer["size"]
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise ValueError("a layer's size is no number of bytes")
    # Its `urls` are not asked: what a reference names comes from the registry that it names.
    return Blob(check_digest(layer["digest"]), size, str(layer.get("mediaType") or ""))


def _pick_platform(index: dict[str, Any], image: ImageReference) -> str:
    wanted = _ARCHITECTURES.get(platform.machine(), platform.machine())
    try:
        for entry in index["manifests"]:
            kind = entry.get("platform") or {}
            if kind.get("os") == "linux" and kind.get("architecture") == wanted:
                return check_digest(entry["digest"])
    except _OTHER_FORM as error:
        raise PullFailed(f"{image}: the registry's index is not of the OCI form.") from error
    raise ImageUnknown(f"{image}: the registry has it, but not for linux/{wanted}.")
