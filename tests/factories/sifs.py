"""SIF files as Apptainer writes them, as far as anybody here reads them."""

from __future__ import annotations

import json
import struct

PRIMARY, DATA, OVERLAY = 2, 3, 4


def make_sif(
    *kinds: int, config: object = None, metadata: object = None, content: bytes = b"hsqs"
) -> bytes:
    """Return a SIF with one partition of each of `kinds`, by default a primary one."""
    objects = [(0x4004, kind, b"", content) for kind in kinds or (PRIMARY,)]
    for name, document in ((b"oci-config.json", config), (b"inspect-metadata.json", metadata)):
        if document is not None:
            objects.append((0x4006, 0, name, json.dumps(document).encode()))
    table, data = b"", b""
    start = 128 + 585 * len(objects)
    for number, (about, kind, name, body) in enumerate(objects, 1):
        table += struct.pack(
            "<i?III7q128s384s", about, True, number, 1, 0, start + len(data), len(body),
            len(body), 0, 0, 0, 0, name, struct.pack("<ii3s", 1, kind, b"02"),
        )  # fmt: skip
        data += body
    head = struct.pack(
        "<32s10s3s3s16s8q", b"#!/usr/bin/env run-singularity\n", b"SIF_MAGIC\0", b"01\0", b"02\0",
        bytes(16), 0, 0, 0, len(objects), 128, len(table), start, len(data),
    )  # fmt: skip
    return head + table + data
