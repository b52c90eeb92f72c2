"""The bench's picture, drawn as by `make bench`: by matplotlib in an environment of its own."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from tests.bench.__main__ import draw


def draw_report(folder: Path, rates: dict[str, Any]) -> Path:
    results, picture = folder / "bench.json", folder / "bench.png"
    results.write_text(json.dumps({"ratios": {}, "figures": {"rates": rates}}))
    draw(results, picture)
    return picture


def size_of(picture: Path) -> tuple[int, int]:
    head = picture.read_bytes()[:24]
    assert head.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", head[16:])
    return width, height


@pytest.mark.timeout(900)
def test_each_workload_has_a_panel(tmp_path: Path) -> None:
    loop, image = {"per_s": 14.4}, {"per_s": 281.0}
    one = size_of(draw_report(tmp_path, {"true": {"loop": loop, "image": image}}))
    three = {name: {"loop": loop, "image": image} for name in ("true", "python", "digits")}
    more = size_of(draw_report(tmp_path, three))
    assert more[0] == one[0]
    assert more[1] > one[1] * 1.5


def test_there_is_no_picture_of_nothing(tmp_path: Path) -> None:
    assert not draw_report(tmp_path, {}).exists()
