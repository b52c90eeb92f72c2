"""``python -m bridge.containers.pull REFERENCE FILE``: one pull, by spython.

A process of its own: see bridge.containers.cache. Exit status 0 means that spython said so; the
caller looks at the file. spython takes no options of the pull itself: plain HTTP is asked for by
Apptainer's own variable, APPTAINER_NOHTTPS.
"""

from __future__ import annotations

import sys
from pathlib import Path

from spython.main import Client


def main(reference: str, target: str) -> None:
    """Pull `reference` (by digest) into the file `target`."""
    path = Path(target)
    Client.pull(f"docker://{reference}", name=path.name, pull_folder=str(path.parent), force=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
