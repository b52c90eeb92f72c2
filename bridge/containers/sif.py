"""What a SIF file says of itself, without running anything.

Anybody may have written it: everything that is read is bounded, and every offset checked. Source:
the SIF specification, as Apptainer 1.4 writes it: a global header, then a table of descriptors.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from bridge.errors import PullFailed
from bridge.node.dialogue import LABEL

_MAGIC = b"SIF_MAGIC\0"
# launch script, magic, version, architecture, uuid, created, modified, free and all descriptors,
# then offset and length of the descriptors' table and of the data
_HEADER = struct.Struct("<32s10s3s3s16s8q")
# data type, used, id, group, linked, offset, size, size with padding, created, modified, uid, gid,
# name, extra
_DESCRIPTOR = struct.Struct("<i?III7q128s384s")
_PARTITION, _JSON = 0x4004, 0x4006
_PRIMARY = 2  # the kind of the partition that a container's root is made of
_MAX_DESCRIPTORS = 1000
_MAX_CONFIG_BYTES = 1 << 20
_MAX_LABEL = 64
_OCI_CONFIG = "oci-config.json"  # what Apptainer keeps of the image that a SIF was made from
_METADATA = "inspect-metadata.json"  # what `apptainer inspect` shows, labels of any origin among it
RUNSCRIPT = "/.singularity.d/runscript"


@dataclass(frozen=True)
class Sif:
    """What a SIF holds.

    Attributes:
        primary_id: the object that a container's root is made of.
        partitions: how many file systems there are; a container may see them all.
        config: in the form of an image's ``config``: the SIF's own script as ``Entrypoint``, which
            a definition file may have given it whatever the image below says, and that image's
            ``WorkingDir``.
    """

    primary_id: int
    partitions: int
    config: dict[str, Any]


def is_sif(path: Path) -> bool:
    """Whether `path` is a file that begins like a SIF."""
    try:
        with path.open("rb") as file:
            return _MAGIC in file.read(64)
    except OSError:
        return False


def read_sif(path: Path) -> Sif:
    """Return what the SIF `path` says of itself.

    Raises:
        PullFailed: it is no SIF, or not one that can be run.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        try:
            descriptors = _read_descriptors(file)
            primary = _find_primary(descriptors)
            config = _find_config(file, descriptors)
        except (struct.error, ValueError) as error:
            raise PullFailed(f"Not a SIF that can be run: {error}.") from error
    partitions = sum(descriptor[0] == _PARTITION for descriptor in descriptors)
    return Sif(primary, partitions, config)


def keep_config(inner: dict[str, Any]) -> dict[str, Any]:
    """Return the part of an image's ``config`` that a container's start needs.

    Raises:
        ValueError, TypeError: it is not of the OCI form.
    """
    for key in ("Entrypoint", "Cmd", "Env"):
        words = inner.get(key)
        if words is not None and not (
            isinstance(words, list) and all(isinstance(word, str) for word in words)
        ):
            raise ValueError(f"{key} is not a list of texts")
    if not isinstance(inner.get("WorkingDir") or "", str):
        raise TypeError("WorkingDir is not a text")
    kept = {key: inner.get(key) for key in ("Entrypoint", "Cmd", "WorkingDir", "Env")}
    return {**kept, "Labels": _keep_labels(inner.get("Labels"))}


def _keep_labels(labels: object) -> dict[str, str]:
    """Return those of an image's labels that the bridge goes by."""
    found = labels.get(LABEL) if isinstance(labels, dict) else None
    return {LABEL: found} if isinstance(found, str) and len(found) <= _MAX_LABEL else {}


def _read_descriptors(file: BinaryIO) -> list[tuple[Any, ...]]:
    header = _HEADER.unpack(file.read(_HEADER.size))
    total, offset = header[8], header[9]
    if header[1] != _MAGIC:
        raise ValueError("it does not begin like one")
    if not 0 < total <= _MAX_DESCRIPTORS or offset < _HEADER.size:
        raise ValueError(f"its table of {total} objects lies at {offset}")
    _seek(file, offset)
    table = file.read(total * _DESCRIPTOR.size)
    if len(table) < total * _DESCRIPTOR.size:
        raise ValueError("its table of objects is cut off")
    return [one for one in _DESCRIPTOR.iter_unpack(table) if one[1]]


def _seek(file: BinaryIO, offset: int) -> None:
    if not 0 <= offset <= os.fstat(file.fileno()).st_size:
        raise ValueError(f"something in it lies at {offset}, outside of it")
    file.seek(offset)


def _find_primary(descriptors: list[tuple[Any, ...]]) -> int:
    """Return the id of the one primary partition."""
    found: list[int] = [
        descriptor[2]
        for descriptor in descriptors
        if descriptor[0] == _PARTITION and struct.unpack_from("<ii", descriptor[13])[1] == _PRIMARY
    ]
    if len(found) != 1:
        raise ValueError(f"it has {len(found)} primary partitions, expected 1")
    return found[0]


def _find_config(file: BinaryIO, descriptors: list[tuple[Any, ...]]) -> dict[str, Any]:
    base = _read_json(file, descriptors, _OCI_CONFIG, keep_config) or {}
    labels = _read_json(file, descriptors, _METADATA, _find_labels)
    workdir = base.get("WorkingDir")
    own = {"Entrypoint": [RUNSCRIPT], "Cmd": None, "WorkingDir": workdir, "Env": None}
    return {**own, "Labels": labels or {}}


def _read_json(
    file: BinaryIO,
    descriptors: list[tuple[Any, ...]],
    wanted: str,
    parse: Callable[[Any], dict[str, Any]],
) -> dict[str, Any] | None:
    """Return what the last JSON object of a name says, None when there is none of it."""
    found = None
    for descriptor in descriptors:
        name = descriptor[12].partition(b"\0")[0].decode(errors="replace")
        if descriptor[0] == _JSON and name == wanted:
            offset, size = descriptor[5:7]
            if not 0 <= size <= _MAX_CONFIG_BYTES:
                raise ValueError(f"its {name} has {size} bytes")
            _seek(file, offset)
            try:
                found = parse(json.loads(file.read(size)))
            except (AttributeError, TypeError, RecursionError, ValueError) as error:
                raise ValueError(f"its {name} is not of the form that it should be") from error
    return found


def _find_labels(metadata: object) -> dict[str, str]:
    """Return the labels; metadata of another form have none, and the SIF may run all the same."""
    data = metadata.get("data") if isinstance(metadata, dict) else None
    attributes = data.get("attributes") if isinstance(data, dict) else None
    return _keep_labels(attributes.get("labels") if isinstance(attributes, dict) else None)
