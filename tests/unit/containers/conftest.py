"""A registry on the loopback, and a program that converts as Apptainer would."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import platform
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
LAYER = gzip.compress(b"a layer" * 100, mtime=0)
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


class Registry:
    """A registry with whatever a test puts into it.

    Attributes:
        answers: by path under /v2/, what is answered: a body, or a function that answers itself.
        asked: how often each path was asked for.
        host: where it is, host:port.
    """

    def __init__(self) -> None:
        self.answers: dict[str, bytes | Callable[[BaseHTTPRequestHandler], None]] = {}
        self.asked: Counter[str] = Counter()
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.removeprefix("/v2/")
                registry.asked[path] += 1
                answer = registry.answers.get(path)
                if callable(answer):
                    answer(self)
                    return
                self.send_response(404 if answer is None else 200)
                self.send_header("Content-Length", str(len(answer or b"")))
                self.end_headers()
                self.wfile.write(answer or b"")

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def put(self, path: str, document: Any) -> str:
        """Keep a document; return its digest."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.answers[path] = body
        return f"sha256:{hashlib.sha256(body).hexdigest()}"

    def blob(self, name: str, body: bytes) -> str:
        """Keep a blob; return its digest."""
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        self.put(f"{name}/blobs/{digest}", body)
        return digest

    def add(
        self,
        name: str = "lab/tool",
        tag: str = "1",
        layer: bytes = LAYER,
        kind: str = GZIP,
        size: int | None = None,
        **config: Any,
    ) -> str:
        """Keep an image for this machine; return its manifest's digest.

        Args:
            name: its repository.
            tag: its tag.
            layer: its one layer, as it is sent.
            kind: the layer's media type.
            size: of the layer, if not the true one.
            config: what is in its configuration besides.
        """
        body = json.dumps({"config": {"Cmd": ["/run"], **config}}).encode()
        about = {
            "mediaType": kind,
            "digest": self.blob(name, layer),
            "size": len(layer) if size is None else size,
        }
        manifest = {
            "mediaType": MANIFEST,
            "config": {"digest": self.blob(name, body)},
            "layers": [about],
        }
        found = self.put(f"{name}/manifests/{tag}", manifest)
        self.put(f"{name}/manifests/{found}", manifest)
        return found

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def registry() -> Iterator[Registry]:
    """An empty registry."""
    registry = Registry()
    yield registry
    registry.close()


PULLER = """\
#!/bin/sh
# Writes what `singularity build ... FILE SOURCE` would, or what the test wants instead.
[ "$1" = --version ] && { echo "apptainer version 1.4.5"; exit 0; }
while [ "$#" -gt 2 ]; do shift; done
file=$1 source=$2
echo "$source" >> "__FOLDER__/pulled"
cp -r "${source#oci:}" "__FOLDER__/layout"
env | sort > "__FOLDER__/environment"
. "__FOLDER__/behaviour"
"""
GOOD_PULL = 'printf "%32s" "" > "$file"; printf "SIF_MAGIC\\0" >> "$file"'


class Puller:
    """The program's memory and orders."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.behave(GOOD_PULL)

    def behave(self, script: str) -> None:
        """Have the next conversions do this; `$file` is where the image goes."""
        (self.folder / "behaviour").write_text(script + "\n")

    @property
    def pulled(self) -> list[str]:
        """Return the sources that were converted."""
        path = self.folder / "pulled"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def layout(self) -> Path:
        """Return a copy of the OCI layout of the first conversion."""
        return self.folder / "layout"

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of the last conversion."""
        lines = (self.folder / "environment").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)


@pytest.fixture
def puller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Puller:
    """A program that is found before any real runtime."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("singularity", "apptainer"):
        program = folder / name
        program.write_text(PULLER.replace("__FOLDER__", str(folder)))
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return Puller(folder)
