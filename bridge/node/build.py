"""Packs the node side into one file. Runs where the bridge runs; not packed itself."""

import hashlib
import io
import zipfile
from pathlib import Path

_MAIN = "from bridge.node.main import main\n\nraise SystemExit(main())\n"
_MOMENT = (1980, 1, 1, 0, 0, 0)  # the earliest a zip file can name


def build_zipapp() -> tuple[bytes, str]:
    """Return the zipapp and its sha256 in hex; the same sources give the same bytes.

    It is uncompressed, so that no version of zlib can change it; it is small either way.
    """
    here = Path(__file__).parent
    members = {"__main__.py": _MAIN.encode(), "bridge/__init__.py": b""}
    for path in here.glob("*.py"):
        if path.name != Path(__file__).name:
            members[f"bridge/node/{path.name}"] = path.read_bytes()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            entry = zipfile.ZipInfo(name, _MOMENT)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, members[name])
    data = buffer.getvalue()
    return data, hashlib.sha256(data).hexdigest()
