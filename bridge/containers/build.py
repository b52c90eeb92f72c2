"""``python -m bridge.containers.build FOLDER FILE``: one conversion, by spython.

A process of its own: see bridge.containers.convert. Exit status 0 means that spython said so; the
caller looks at the file.
"""

from __future__ import annotations

import sys

from spython.main import Client


def main(folder: str, target: str) -> None:
    """Make the SIF `target` of the OCI layout in `folder`; no registry is asked."""
    Client.build(f"oci:{folder}", target, sudo=False, force=True, options=["--disable-cache"])


if __name__ == "__main__":
    main(*sys.argv[1:])
