"""Pictures for the documents, small enough to keep: of a page's thousands of colours, nearly all are edges of letters."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Iterator

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOURS = 256


def smaller(png: bytes) -> bytes:
    """The same picture in its 256 most frequent colours, others as the nearest of them; of a PNG as Chromium makes it."""
    width, height, rows = _rows(png)
    pixels = [row[at : at + 3] for row in rows for at in range(0, len(row), 3)]
    counted = Counter(pixels)
    kept = [colour for colour, _number in counted.most_common(_COLOURS)]
    place = {colour: _nearest(colour, kept) for colour in counted}
    indexed = bytes(map(place.__getitem__, pixels))
    lines = b"".join(b"\0" + indexed[at : at + width] for at in range(0, width * height, width))
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    parts = ((b"IHDR", header), (b"PLTE", b"".join(kept)), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(*part) for part in parts)


def _nearest(colour: bytes, kept: list[bytes]) -> int:
    return min(range(len(kept)), key=lambda at: sum((a - b) ** 2 for a, b in zip(colour, kept[at], strict=True)))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _rows(png: bytes) -> tuple[int, int, list[bytes]]:
    """Width, height, and each row as three bytes a pixel."""
    parts = dict[bytes, bytes]()
    for kind, data in _chunks(png):
        parts[kind] = parts.get(kind, b"") + data
    width, height, depth, colours = struct.unpack(">IIBB", parts[b"IHDR"][:10])
    size = {2: 3, 6: 4}[colours]
    assert depth == 8
    raw, rows, before = zlib.decompress(parts[b"IDAT"]), [], bytes(width * size)
    for at in range(0, len(raw), width * size + 1):
        before = _unfiltered(raw[at], bytearray(raw[at + 1 : at + 1 + width * size]), before, size)
        rows.append(before)
    if size == 4:
        rows = [b"".join(row[at : at + 3] for at in range(0, len(row), 4)) for row in rows]
    return width, height, rows


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(_SIGNATURE)
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        yield png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        at += 12 + length


def _unfiltered(kind: int, row: bytearray, above: bytes, size: int) -> bytes:
    """As the PNG specification has it: each byte is what is to be added to what its neighbours predict."""
    for at in range(len(row)):
        left = row[at - size] if at >= size else 0
        up, corner = above[at], above[at - size] if at >= size else 0
        row[at] = (row[at] + (0, left, up, (left + up) // 2, _paeth(left, up, corner))[kind]) & 255
    return bytes(row)


def _paeth(left: int, up: int, corner: int) -> int:
    guess = left + up - corner
    return min((left, up, corner), key=lambda each: abs(guess - each))
