"""Reads plain PNG files with the standard library alone: devices show their first answer without Pillow.

8-bit grey or RGB, not interlaced, upright; everything else is Pillow's, through `preprocess.load_image`.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgert.errors import InputError
from edgert.graph.ir import Array

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3}
"""Colour type -> values of a pixel: grey and RGB."""
MAX_PIXELS = 1 << 20
"""Rows are unfiltered in Python, a microsecond or so a byte: larger images are for Pillow."""


def read_png(path: Path) -> Array:
    """Pixels uint8 [H, W, 1 or 3] of a PNG file. Raises InputError for what is none, or not a plain one.

    Source: W3C, Portable Network Graphics (third edition), sections 5, 9 and 11.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: expected an image, found something else ({error})") from None
    if not data.startswith(SIGNATURE):
        raise _not_plain(path, "another kind of file")
    chunks = _chunks(data, path)
    if not chunks or chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 13:
        raise _not_plain(path, "a PNG without a header")
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
    if depth != 8 or colour not in CHANNELS or interlaced or any(kind == b"eXIf" for kind, _ in chunks):
        raise _not_plain(path, f"a PNG of {depth} bits, colour type {colour}, interlaced or with orientation")
    if not 0 < width * height <= MAX_PIXELS:
        raise _not_plain(path, f"{width} x {height} pixels")
    channels = CHANNELS[colour]
    expected = height * (1 + width * channels)
    rows = _inflated(b"".join(body for kind, body in chunks if kind == b"IDAT"), expected, path)
    return _unfiltered(rows.reshape(height, 1 + width * channels), channels, path).reshape(height, width, channels)


def _not_plain(path: Path, found: str) -> InputError:
    return InputError(
        f"{path}: expected a PNG of 8-bit grey or RGB, not interlaced, of at most {MAX_PIXELS} pixels, found {found}; "
        "other images need Pillow: pip install 'edgert[image]'"
    )


def _chunks(data: bytes, path: Path) -> list[tuple[bytes, bytes]]:
    """(kind, body) of each chunk, to IEND; their checksums are verified."""
    chunks: list[tuple[bytes, bytes]] = []
    at = len(SIGNATURE)
    while not chunks or chunks[-1][0] != b"IEND":
        if at + 12 > len(data):
            raise InputError(f"{path}: the PNG ends within a chunk, after {len(data)} bytes")
        (size,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        if at + 12 + size > len(data):
            raise InputError(f"{path}: the PNG ends within a chunk, after {len(data)} bytes")
        if struct.unpack_from(">I", data, at + 8 + size) != (zlib.crc32(kind + body),):
            raise InputError(f"{path}: the chunk at byte {at} of the PNG does not match its checksum")
        chunks.append((kind, body))
        at += 12 + size
    return chunks


def _inflated(packed: bytes, expected: int, path: Path) -> Array:
    """The `expected` bytes that `packed` unpacks to, and never more of them in memory."""
    try:
        data = zlib.decompressobj().decompress(packed, expected)
    except zlib.error as error:
        raise InputError(f"{path}: the pixels of the PNG can not be unpacked ({error})") from None
    if len(data) != expected:
        raise InputError(f"{path}: the PNG has {len(data)} bytes of pixels, expected {expected}")
    return np.frombuffer(data, np.uint8)


def _unfiltered(rows: Array, channels: int, path: Path) -> Array:
    """uint8 [H, W * channels] of rows that begin with the number of their filter: each says what was subtracted."""
    pixels = np.zeros((rows.shape[0], rows.shape[1] - 1), np.uint8)
    above = np.zeros(rows.shape[1] - 1, np.uint8)
    for row, line in zip(pixels, rows, strict=True):
        kind, differences = int(line[0]), line[1:]
        if kind == 0:
            row[:] = differences
        elif kind == 1:
            row[:] = np.cumsum(differences.reshape(-1, channels), axis=0, dtype=np.uint8).reshape(-1)
        elif kind == 2:
            row[:] = differences + above
        elif kind in (3, 4):
            row[:] = _predicted(differences.tolist(), above.tolist(), channels, _average if kind == 3 else _paeth)
        else:
            raise InputError(f"{path}: row filter {kind} of the PNG, expected 0 to 4")
        above = row
    return pixels


def _predicted(
    differences: list[int], above: list[int], channels: int, predict: Callable[[int, int, int], int]
) -> Array:
    """Bytes of a row: each is its difference plus what `predict` makes of those left, above, and above left."""
    row = [0] * channels + differences
    over = [0] * channels + above
    for i in range(channels, len(row)):
        row[i] = (row[i] + predict(row[i - channels], over[i], over[i - channels])) & 255
    return np.array(row[channels:], np.uint8)


def _average(left: int, above: int, _: int) -> int:
    return (left + above) // 2


def _paeth(left: int, above: int, corner: int) -> int:
    """The neighbour that is nearest to left + above - corner."""
    guess = left + above - corner
    return min((left, above, corner), key=lambda value: abs(guess - value))
