"""WAV files of every kind that is read, and those that are refused."""

from __future__ import annotations

import contextlib
import os
import struct
import wave
from pathlib import Path

import numpy as np
import pytest

from edgert.audio.wav import FLOAT, PCM, as_int16, parse_wav, read_wav
from edgert.errors import FormatError, InputError

GUID = bytes.fromhex("000000001000800000aa00389b71")


def riff(data: bytes, tag: int = PCM, channels: int = 1, rate: int = 8000, bits: int = 16, extra: bytes = b"") -> bytes:
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", tag, channels, rate, rate * block, block, bits) + extra
    body = b"WAVE" + b"LIST\x03\x00\x00\x00abc\x00" + b"fmt " + struct.pack("<I", len(form)) + form
    body += b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def test_what_the_standard_library_writes(tmp_path: Path) -> None:
    samples = np.array([[0, 1], [-32768, 32767]], "<i2")
    with wave.open(str(tmp_path / "x.wav"), "wb") as out:
        out.setnchannels(2)
        out.setsampwidth(2)
        out.setframerate(44100)
        out.writeframes(samples.tobytes())
    sound = read_wav(tmp_path / "x.wav")
    assert (sound.rate, sound.samples.shape, sound.samples.dtype) == (44100, (2, 2), np.float32)
    assert np.array_equal(as_int16(sound.samples), samples)
    assert sound.mono.tolist() == [1 / 65536, -1 / 65536]
    assert sound.seconds == 2 / 44100


@pytest.mark.parametrize(
    ("bits", "tag", "data", "expected"),
    [
        (8, PCM, bytes([0, 128, 192]), [-1, 0, 0.5]),
        (16, PCM, struct.pack("<3h", -32768, 0, 16384), [-1, 0, 0.5]),
        (24, PCM, bytes([0, 0, 0x80, 0, 0, 0, 0, 0, 0x40]), [-1, 0, 0.5]),
        (32, PCM, struct.pack("<3i", -(1 << 31), 0, 1 << 30), [-1, 0, 0.5]),
        (32, FLOAT, struct.pack("<3f", -1, 0, 0.5), [-1, 0, 0.5]),
        (64, FLOAT, struct.pack("<3d", -1, 0, 0.5), [-1, 0, 0.5]),
    ],
)
def test_every_kind_of_sample(bits: int, tag: int, data: bytes, expected: list[float]) -> None:
    assert parse_wav(riff(data, tag, bits=bits)).samples[:, 0].tolist() == expected


def test_extensible() -> None:
    extra = struct.pack("<HHIH", 22, 16, 4, PCM) + GUID
    assert parse_wav(riff(struct.pack("<h", 16384), 0xFFFE, extra=extra)).samples.tolist() == [[0.5]]


def test_a_stream_of_unknown_length() -> None:
    data = riff(struct.pack("<2h", 16384, 0))
    open_ended = data[:-8] + struct.pack("<I", 0xFFFFFFFF) + data[-4:]
    assert len(parse_wav(open_ended).samples) == 2


GOOD = riff(b"\0\0\0\0")


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "a WAV file"),
        (b"RIFX" + GOOD[4:], "a WAV file"),
        (GOOD[:-1], "cut off"),
        (GOOD[:40], "cut off|'data'"),
        (GOOD[:12], "'data'"),
        (b"RIFF\0\0\0\0WAVEdata\0\0\0\0", "'fmt '"),
        (riff(b"\0", tag=7, bits=8), "ffmpeg"),
        (riff(b"\0\0", bits=12), "12 bits"),
        (riff(b"\0\0", channels=0), "0 channels"),
        (riff(b"\0\0", rate=0), "0 Hz"),
        (riff(b"\0\0\0"), "whole blocks"),
        (riff(struct.pack("<f", float("nan")), FLOAT, bits=32), "finite"),
    ],
)
def test_refused(data: bytes, match: str) -> None:
    with pytest.raises(FormatError, match=match):
        parse_wav(data)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_wav(tmp_path / "none.wav")


def test_damaged_files_raise_typed_errors() -> None:
    rng = np.random.default_rng(5)
    for _ in range(300):
        data = bytearray(GOOD)
        for at in rng.integers(0, len(data), 3):
            data[at] = rng.integers(0, 256)
        with contextlib.suppress(FormatError):
            parse_wav(bytes(data[: rng.integers(1, len(data) + 1)]))


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    """A pipe would wait for ever, a device never end."""
    pipe = tmp_path / "pipe.wav"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path, Path("/dev/zero")):
        with pytest.raises(InputError, match="no regular file"):
            read_wav(path)


def test_files_of_nothing_but_chunks_are_refused() -> None:
    with pytest.raises(FormatError, match="other chunks"):
        parse_wav(b"RIFF\0\0\0\0WAVE" + b"note\0\0\0\0" * 100_000)
