"""PNG pictures with the standard library alone: 8-bit grey, as bytes."""

import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}  # by colour type; a palette has none of its own
LARGEST = 64 * 1024 * 1024  # bytes of a decoded picture


class NotAPicture(Exception):
    """The bytes are no PNG, or one of a kind that is not read here."""


def encode_grey(width: int, height: int, pixels: bytes) -> bytes:
    """Return a PNG of `pixels`, one byte each, row after row."""
    rows = b"".join(b"\0" + pixels[y * width : (y + 1) * width] for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b"")]
    return SIGNATURE + b"".join(_chunk(kind, data) for kind, data in chunks)


def decode_grey(data: bytes) -> tuple[int, int, bytes]:
    """Return width, height and grey pixels, row after row; colour becomes grey, alpha is dropped.

    Reads 8 bits a channel, not interlaced, without palette.

    Raises:
        NotAPicture: `data` is anything else, is cut short or is damaged.
    """
    try:
        width, height, channels, packed = _read_chunks(data)
        if not 0 < width * height * channels <= LARGEST:
            raise NotAPicture(f"a picture of {width} x {height} is not read")
        raw = zlib.decompressobj().decompress(packed, (width * channels + 1) * height)
        rows = _unfilter(raw, width * channels, height, channels)
    except (struct.error, zlib.error, IndexError) as error:
        raise NotAPicture(f"damaged PNG ({error})") from error
    return width, height, _to_grey(rows, channels)


def _chunk(kind: bytes, data: bytes) -> bytes:
    check = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)


def _read_chunks(data: bytes) -> tuple[int, int, int, bytes]:
    """Return width, height, channels and the compressed rows."""
    if not data.startswith(SIGNATURE):
        raise NotAPicture("not a PNG")
    width, height, depth, colour, _, _, interlace = struct.unpack_from(">IIBBBBB", data, 16)
    if depth != 8 or colour not in CHANNELS or interlace:
        raise NotAPicture("only PNG of 8 bits, without palette, not interlaced, is read")
    packed, at = b"", len(SIGNATURE)
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IDAT":
            packed += data[at + 8 : at + 8 + length]
        at += length + 12
    return width, height, CHANNELS[colour], packed


def _unfilter(raw: bytes, stride: int, height: int, channels: int) -> bytes:
    """Undo the row filters. Source: PNG specification, section 9, Filtering."""
    above = bytearray(stride)
    rows = bytearray()
    for y in range(height):
        start = y * (stride + 1)
        kind, row = raw[start], bytearray(raw[start + 1 : start + 1 + stride])
        if len(row) != stride or kind > 4:
            raise NotAPicture("damaged PNG (rows missing)")
        for x in range(stride) if kind else ():
            left = row[x - channels] if x >= channels else 0
            corner = above[x - channels] if x >= channels else 0
            row[x] = (row[x] + _predict(kind, left, above[x], corner)) & 255
        rows += row
        above = row
    return bytes(rows)


def _predict(kind: int, left: int, up: int, corner: int) -> int:
    """Return what filter `kind` (1 to 4) subtracted from a byte."""
    if kind < 4:
        return (left, up, (left + up) // 2)[kind - 1]
    guess = left + up - corner
    return min((left, up, corner), key=lambda value: abs(guess - value))


def _to_grey(rows: bytes, channels: int) -> bytes:
    if channels < 3:
        return rows[::channels]
    colours = zip(rows[::channels], rows[1::channels], rows[2::channels], strict=True)
    return bytes((299 * red + 587 * green + 114 * blue) // 1000 for red, green, blue in colours)
