"""The reader of plain PNG files: the pixels that Pillow gives, or a clear error; the bare device has no Pillow."""

from __future__ import annotations

import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from edgert.errors import InputError
from edgert.format import Preprocessing
from edgert.models import fashion_mnist_samples
from edgert.png import SIGNATURE, read_png
from edgert.preprocess import load_image

GREY, RGB = 0, 2


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(rows: bytes, size: tuple[int, int], colour: int, depth: int = 8, interlaced: int = 0) -> bytes:
    """A PNG file of filtered rows, in two IDAT chunks."""
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, interlaced)
    packed = zlib.compress(rows)
    parts = [chunk(b"tEXt", b"title\0garment"), chunk(b"IDAT", packed[:5]), chunk(b"IDAT", packed[5:])]
    return b"".join([SIGNATURE, chunk(b"IHDR", header), *parts, chunk(b"IEND", b"")])


@pytest.mark.parametrize("colour", [GREY, RGB])
def test_every_filter_gives_what_pillow_gives(tmp_path: Path, rng: np.random.Generator, colour: int) -> None:
    Image = pytest.importorskip("PIL.Image")
    width, height, channels = 7, 15, 3 if colour == RGB else 1
    rows = rng.integers(0, 256, (height, 1 + width * channels), np.uint8)
    rows[:, 0] = np.arange(height) % 5
    path = tmp_path / "filters.png"
    path.write_bytes(png(rows.tobytes(), (width, height), colour))
    found = read_png(path)
    assert found.dtype == np.uint8 and found.shape == (height, width, channels)
    np.testing.assert_array_equal(found, np.asarray(Image.open(path)).reshape(height, width, channels))


def test_samples_are_read_alike_without_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("PIL.Image")
    steps = Preprocessing("x", (28, 28), channels="L", scale=[1 / 255])
    colour = Preprocessing("x", (28, 28), resize=28, channels="BGR", mean=[1, 2, 3])
    paths = [path for path, _ in fashion_mnist_samples()]
    expected = [load_image(path, wanted) for path in paths for wanted in (steps, colour)]
    monkeypatch.setitem(sys.modules, "PIL", None)
    found = [load_image(str(path), wanted) for path in paths for wanted in (steps, colour)]
    np.testing.assert_array_equal(np.stack(found[::2]), np.stack(expected[::2]))
    np.testing.assert_array_equal(np.stack(found[1::2]), np.stack(expected[1::2]))


ROWS = bytes([0, 10, 20, 0, 30, 40])
SOUND = png(ROWS, (2, 2), GREY)
FAULTS = {
    "another file": (b"GIF89a", "another kind of file"),
    "nothing after the signature": (SIGNATURE, "ends within a chunk, after 8 bytes"),
    "no header": (SIGNATURE + chunk(b"IDAT", b"") + chunk(b"IEND", b""), "without a header"),
    "a cut file": (SOUND[:-20], "ends within a chunk"),
    "a flipped byte": (SOUND.replace(b"garment", b"raiment"), "does not match its checksum"),
    "16 bits": (png(ROWS, (1, 2), GREY, depth=16), "a PNG of 16 bits"),
    "a palette": (png(ROWS, (2, 2), 3), "colour type 3"),
    "interlaced": (png(ROWS, (2, 2), GREY, interlaced=1), "interlaced"),
    "oriented": (SOUND.replace(chunk(b"IEND", b""), chunk(b"eXIf", b"") + chunk(b"IEND", b"")), "orientation"),
    "no pixels": (png(b"", (0, 2), GREY), "0 x 2 pixels"),
    "too large": (png(b"", (1 << 15, 1 << 15), GREY), "32768 x 32768 pixels"),
    "too few bytes": (png(ROWS[:-1], (2, 2), GREY), "has 5 bytes of pixels, expected 6"),
    "an unknown filter": (png(bytes([9, 1, 2]), (2, 1), GREY), "row filter 9"),
    "not deflated": (SOUND.replace(chunk(b"IDAT", zlib.compress(ROWS)[:5]), chunk(b"IDAT", b"noise")), "unpacked"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_other_files_are_refused(tmp_path: Path, fault: str) -> None:
    data, words = FAULTS[fault]
    path = tmp_path / "odd.png"
    path.write_bytes(data)
    with pytest.raises(InputError, match=words):
        read_png(path)


def test_without_pillow_nothing_is_resized_or_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    grey, colour = tmp_path / "grey.png", tmp_path / "colour.png"
    grey.write_bytes(SOUND)
    colour.write_bytes(png(bytes([0, *range(6), 0, *range(6)]), (2, 2), RGB))
    for path, steps, words in (
        (grey, Preprocessing("x", (3, 3), channels="L"), "expected an image of 3 x 3, found 2 x 2; resizing needs"),
        (grey, Preprocessing("x", (2, 2), resize=4, channels="L"), "resizing needs Pillow"),
        (colour, Preprocessing("x", (2, 2), channels="L"), "expected a grey image, found RGB"),
        (tmp_path / "none.png", Preprocessing("x", (2, 2)), "no such file"),
    ):
        with pytest.raises(InputError, match=words):
            load_image(path, steps)
