"""The sample images' own code, and the list of digits."""

import importlib.util
import struct
import zlib
from types import ModuleType

import pytest

from bridge.sandbox.images import find_sample
from bridge.sandbox.samples import parse_labels


@pytest.fixture(scope="module")
def png() -> ModuleType:
    """The decoder as it lies in the image: a file of no package."""
    path = find_sample("digits-classifier") / "png.py"
    spec = importlib.util.spec_from_file_location("sample_png", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_png(width: int, height: int, colour: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_a_picture_comes_back_as_it_was(png: ModuleType) -> None:
    pixels = bytes(range(64))
    assert png.decode_grey(png.encode_grey(8, 8, pixels)) == (8, 8, pixels)


def test_every_row_filter_is_undone(png: ModuleType) -> None:
    rows = bytes([0, 10, 20, 1, 5, 5, 2, 1, 1, 3, 5, 5, 4, 1, 1])
    pixels = bytes([10, 20, 5, 10, 6, 11, 8, 14, 9, 15])
    assert png.decode_grey(make_png(2, 5, 0, rows)) == (2, 5, pixels)


def test_colour_becomes_grey_and_alpha_is_dropped(png: ModuleType) -> None:
    rows = bytes([0, 255, 255, 255, 0, 0, 255, 0, 255])
    assert png.decode_grey(make_png(2, 1, 6, rows)) == (2, 1, bytes([255, 149]))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GIF89a",
        b"\x89PNG\r\n\x1a\n",
        make_png(2, 2, 3, bytes(6)),
        make_png(2, 2, 0, bytes(3)),
        make_png(2, 1, 0, bytes([9, 0, 0])),
        make_png(1 << 30, 1 << 30, 0, b""),
        make_png(0, 0, 0, b""),
        make_png(2, 2, 0, bytes(6))[:-27],
    ],
)
def test_what_is_no_readable_picture_is_refused(png: ModuleType, data: bytes) -> None:
    with pytest.raises(png.NotAPicture):
        png.decode_grey(data)


def test_labels_are_listed_with_full_paths() -> None:
    text = "path,label\r\n000.png,5\r\n001.png,0\r\n"
    assert parse_labels(text, "/work/alice/digits") == [
        ("/work/alice/digits/000.png", "5"),
        ("/work/alice/digits/001.png", "0"),
    ]
