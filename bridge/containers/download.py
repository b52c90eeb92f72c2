"""The blobs of an image, as a directory of the OCI layout that needs no registry any more.

Each blob is counted and checked while it comes. The manifest is written anew from what was checked:
one that came might lead whoever reads it elsewhere (a layer's `urls`). Source: OCI image layout.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from pathlib import Path

from bridge.clock import monotonic_s
from bridge.containers.http import Access
from bridge.containers.registry import BLOB_S, Registry
from bridge.containers.resolve import Blob, Resolved
from bridge.errors import ImageRefused, PullFailed

_OCI = "application/vnd.oci.image."
_LAYER = f"{_OCI}layer.v1.tar"
# What layers may be, and the name that the layout has for it.
_KINDS = {
    _LAYER: _LAYER,
    f"{_LAYER}+gzip": f"{_LAYER}+gzip",
    f"{_LAYER}+zstd": f"{_LAYER}+zstd",
    "application/vnd.docker.image.rootfs.diff.tar": _LAYER,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": f"{_LAYER}+gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd": f"{_LAYER}+zstd",
    "": f"{_LAYER}+gzip",
}
_UNPACK_BYTES = 1 << 20


def download_layout(image: Resolved, access: Access, folder: Path) -> int:
    """Write `image` into `folder`, which is empty; return its length unpacked, as far as known.

    Layers that are packed by zstd are counted as they are sent: Python cannot unpack them.

    Raises:
        ImageRefused: it is larger than the site allows, or leads to where it does not allow.
        PullFailed: something is missing, or not what the manifest says.
        OSError: the disk.
    """
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    kinds = [_kind_of(layer, image) for layer in image.layers]
    unpacked = _Unpacked(access.max_unpacked_bytes)
    registry = Registry(image.reference, access)
    end = monotonic_s() + BLOB_S
    for layer, kind in zip(image.layers, kinds, strict=True):
        target = blobs / layer.digest.removeprefix("sha256:")
        if not target.exists():
            unpacked.begin(kind)
            _download(registry, layer, target, unpacked, end)
    config = _write(blobs, image.config_bytes, f"{_OCI}config.v1+json")
    layers = [
        {"mediaType": kind, "digest": layer.digest, "size": layer.size_bytes}
        for layer, kind in zip(image.layers, kinds, strict=True)
    ]
    kind = f"{_OCI}manifest.v1+json"
    document = {"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers}
    manifest = _write(blobs, json.dumps(document).encode(), kind)
    index = {"schemaVersion": 2, "manifests": [manifest]}
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return unpacked.total


def download_sif(image: Resolved, access: Access, target: Path) -> None:
    """Write the SIF that the registry holds as `target`.

    Raises:
        ImageRefused, PullFailed, OSError: as `download_layout`.
    """
    unpacked = _Unpacked(access.max_bytes)
    unpacked.begin("")
    [layer] = image.layers
    end = monotonic_s() + BLOB_S
    _download(Registry(image.reference, access), layer, target, unpacked, end)


def _kind_of(layer: Blob, image: Resolved) -> str:
    kind = _KINDS.get(layer.media_type)
    if kind is None:
        raise ImageRefused(
            f"{image.reference}: a layer is of the kind {layer.media_type[:100]!r}; expected a tar "
            "archive of an image that can be passed on."
        )
    return kind


def _download(
    registry: Registry, layer: Blob, target: Path, unpacked: _Unpacked, end: float
) -> None:
    digest, length = hashlib.sha256(), 0
    with registry.blob(layer.digest) as pieces, target.open("xb") as file:
        for piece in pieces:
            length += len(piece)
            if length > layer.size_bytes:
                break
            if monotonic_s() > end:
                raise PullFailed(f"The registry is too slow: over {BLOB_S:.0f} s for an image.")
            digest.update(piece)
            unpacked.add(piece)
            file.write(piece)
    found = f"sha256:{digest.hexdigest()}"
    if length != layer.size_bytes or found != layer.digest:
        more = "more than " if length > layer.size_bytes else ""
        raise PullFailed(
            f"The registry sent {more}{min(length, layer.size_bytes)} bytes ({found}) for the "
            f"{layer.size_bytes} of {layer.digest}."
        )


def _write(blobs: Path, body: bytes, kind: str) -> dict[str, object]:
    digest = hashlib.sha256(body).hexdigest()
    (blobs / digest).write_bytes(body)
    return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(body)}


class _Unpacked:
    """Counts what layers are unpacked to, and keeps none of it."""

    def __init__(self, limit: int) -> None:
        self.total = 0
        self._limit = limit
        self._gzip: zlib._Decompress | None = None

    def begin(self, kind: str) -> None:
        """Expect another layer."""
        self._gzip = zlib.decompressobj(31) if kind.endswith("+gzip") else None

    def add(self, piece: bytes) -> None:
        """Count one piece.

        Raises:
            ImageRefused: it is too much.
            PullFailed: it is not packed as it should be.
        """
        if self._gzip is None:
            self._count(len(piece))
        while self._gzip is not None and piece:
            try:
                self._count(len(self._gzip.decompress(piece, _UNPACK_BYTES)))
            except zlib.error as error:
                raise PullFailed("A layer is not packed by gzip, as its kind says.") from error
            piece = self._gzip.unconsumed_tail
            if self._gzip.eof:  # of one member; there may be several
                piece = self._gzip.unused_data
                self._gzip = zlib.decompressobj(31)

    def _count(self, length: int) -> None:
        self.total += length
        if self.total > self._limit:
            raise ImageRefused(
                f"The image has over {self._limit} bytes unpacked: more than is allowed."
            )
