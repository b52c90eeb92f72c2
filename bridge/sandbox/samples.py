"""The sample images of the tests: in the sandbox's registry, and the digits they classify."""

from __future__ import annotations

import csv
import io
import urllib.error
import urllib.request

from bridge.sandbox.engine import Engine
from bridge.sandbox.images import ImageBuilder, Say

REGISTRY = "registry:5000"  # as the nodes know it; plain HTTP
HELD_OUT = "/opt/digits/test"
MANIFESTS = "application/vnd.oci.image.manifest.v1+json"


def ensure_pushed(engine: Engine, registry: str, name: str, say: Say) -> str:
    """Build and push the sample image `name` unless the registry has it.

    `registry` is the address the host reaches the registry at. The image is pushed as its content's
    hash and as latest; the former tells next time that nothing need be done.

    Returns:
        The reference that the nodes pull, ``registry:5000/NAME:latest``.
    """
    tag = ImageBuilder(engine, say).ensure_sample(name)
    digest = tag.rpartition(":")[2]
    if not has_manifest(registry, name, digest):
        for version in (digest, "latest"):
            target = f"{registry}/{name}:{version}"
            if not engine.is_podman:
                engine.command("tag", tag, target)
            engine.call(engine.push_argv(tag, target), timeout_s=300)
    return f"{REGISTRY}/{name}:latest"


def has_manifest(registry: str, name: str, version: str) -> bool:
    """Tell whether the registry at `registry` holds `name`:`version`."""
    request = urllib.request.Request(
        f"http://{registry}/v2/{name}/manifests/{version}",
        method="HEAD",
        headers={"Accept": MANIFESTS},
    )
    try:
        with urllib.request.urlopen(request, timeout=10):  # noqa: S310  # http, on loopback
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return False


def parse_labels(text: str, directory: str) -> list[tuple[str, str]]:
    """Return (path, label) of each line of a ``labels.csv`` that lies in `directory`."""
    rows = csv.DictReader(io.StringIO(text))
    return [(f"{directory}/{row['path']}", row["label"]) for row in rows]
