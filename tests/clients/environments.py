"""The Python environments of Abaco's own clients: one each below build/clients, made when needed.

That of the bench's plot is made in the same way.

What is installed is named in a requirements file with pinned versions. An environment is made again
when that file or this Python changes, and one that was not finished is not taken for whole.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
REQUIREMENTS = {
    "agavepy": ROOT / "tests" / "images" / "agavepy" / "requirements.txt",
    "tapipy": HERE / "tapipy.txt",
    "plot": ROOT / "tests" / "bench" / "plot.txt",
}
INSTALL_TIMEOUT_S = 600


def ensure_environment(client: str) -> Path:
    """Return the Python interpreter that has `client` installed."""
    requirements = REQUIREMENTS[client]
    place = ROOT / "build" / "clients" / client
    python = place / "bin" / "python"
    wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    stamp = place / "installed"
    if not stamp.is_file() or stamp.read_text() != wanted:
        shutil.rmtree(place, ignore_errors=True)
        venv.create(place, with_pip=True)
        install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run(
            [python, *install, "--requirement", requirements],
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, f"pip could not install {client}:\n{done.stdout}{done.stderr}"
        stamp.write_text(wanted)
    return python
