"""WAV files as float samples: PCM of 8 to 32 bits and IEEE floats, with any number of channels.
Other rates are `resample.py`. Source: Multimedia Programming Interface and Data Specifications 1.0 (RIFF), 1991;
WAVEFORMATEXTENSIBLE, Microsoft."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgert.errors import FormatError, InputError

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
UNKNOWN_SIZE = 0xFFFFFFFF
"""What programs write that did not know the length yet: the data go on to the end of the file."""
MAX_BYTES = 1 << 30
"""Of one file: an hour and a half of 16-bit stereo at 48 kHz; longer sound belongs in pieces."""
MAX_CHUNKS = 1 << 12
"""Before the samples: programs write a handful, with cue points and notes."""
MAX_CHANNELS = 64
MAX_RATE = 768_000
"""Hz, the highest rate that converters of sound have."""

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Sound:
    """samples: float32 [n, channels] in -1..1 (integers divided by their range). rate: Hz."""

    rate: int
    samples: Samples

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate

    @property
    def mono(self) -> Samples:
        """The mean of the channels, float32 [n]."""
        if self.samples.shape[1] == 1:
            return self.samples[:, 0]
        mean: Samples = self.samples.mean(1, dtype=np.float32)
        return mean


def read_wav(path: str | Path) -> Sound:
    """The sound in the file at `path`.

    Raises InputError where there is no such file, or it is no regular one or too long; FormatError for what is no WAV
    file, is cut off, or has samples of another kind.
    """
    path = Path(path)
    try:
        if not path.is_file() and path.exists():  # a pipe would wait, a device never end
            raise InputError(f"{path}: expected a WAV file, found no regular file")
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: expected at most {MAX_BYTES} bytes, found {path.stat().st_size}; cut it")
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: expected a WAV file ({error.strerror})") from None
    return parse_wav(data, path)


def parse_wav(data: bytes, path: Path | None = None) -> Sound:
    """The sound in the bytes of a WAV file. Raises FormatError."""
    if len(data) < 12 or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise FormatError(path, 0, "a WAV file (RIFF....WAVE)", repr(data[:12]), "convert it, for example with ffmpeg")
    kind: tuple[int, int, int, int] | None = None
    at = 12
    for _ in range(MAX_CHUNKS):
        if at + 8 > len(data):
            break
        name, size = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        body = at + 8
        if name == b"data":
            if kind is None:
                raise FormatError(path, at, "a chunk 'fmt ' before the data", "none")
            if size == UNKNOWN_SIZE:
                size = len(data) - body
            if body + size > len(data):
                raise FormatError(path, at, f"{size} bytes of samples", f"{len(data) - body}", "the file is cut off")
            return Sound(kind[2], _samples(data[body : body + size], kind, path, body))
        if body + size > len(data):
            raise FormatError(path, at, f"a chunk of {size} bytes", f"{len(data) - body}", "the file is cut off")
        if name == b"fmt ":
            kind = _format(data[body : body + size], path, at)
        at = body + size + size % 2  # chunks begin at even offsets
    found = "the end of the file" if at + 8 > len(data) else f"{MAX_CHUNKS} other chunks"
    raise FormatError(path, at, "a chunk 'data'", found)


def _format(chunk: bytes, path: Path | None, at: int) -> tuple[int, int, int, int]:
    """(PCM or FLOAT, channels, rate, bits of a sample)."""
    if len(chunk) < 16:
        raise FormatError(path, at, "at least 16 bytes in chunk 'fmt '", str(len(chunk)))
    tag, channels, rate, _, block, bits = struct.unpack_from("<HHIIHH", chunk)
    if tag == EXTENSIBLE and len(chunk) >= 26:
        tag = struct.unpack_from("<H", chunk, 24)[0]
    if (tag, bits) not in {(PCM, 8), (PCM, 16), (PCM, 24), (PCM, 32), (FLOAT, 32), (FLOAT, 64)}:
        raise FormatError(
            path, at, "PCM of 8, 16, 24 or 32 bits, or floats of 32 or 64", f"format {tag} of {bits} bits",
            "convert it, for example with ffmpeg -c:a pcm_s16le",
        )  # fmt: skip
    if not 1 <= channels <= MAX_CHANNELS or not 1 <= rate <= MAX_RATE or block != channels * bits // 8:
        expected = f"1..{MAX_CHANNELS} channels, 1..{MAX_RATE} Hz and blocks of all channels"
        raise FormatError(path, at, expected, f"{channels} channels, {rate} Hz, blocks of {block} bytes")
    return tag, channels, rate, bits


def _samples(data: bytes, kind: tuple[int, int, int, int], path: Path | None, at: int) -> Samples:
    tag, channels, _, bits = kind
    if len(data) % (channels * bits // 8):
        raise FormatError(path, at, f"whole blocks of {channels * bits // 8} bytes", f"{len(data)} bytes")
    if tag == FLOAT:
        with np.errstate(over="ignore"):  # what float32 can not hold is refused below
            values = np.frombuffer(data, f"<f{bits // 8}").astype(np.float32)
        if not np.isfinite(values).all():
            raise FormatError(path, at, "finite samples", "infinite ones, or none that is a number")
    elif bits == 8:
        values = (np.frombuffer(data, np.uint8).astype(np.float32) - np.float32(128)) / np.float32(128)
    elif bits == 24:
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        values = wide.view("<i4")[:, 0].astype(np.float32) / np.float32(1 << 31)
    else:
        values = np.frombuffer(data, f"<i{bits // 8}").astype(np.float32) / np.float32(1 << (bits - 1))
    return np.ascontiguousarray(values.reshape(-1, channels), np.float32)


def as_int16(samples: Samples) -> npt.NDArray[np.int16]:
    """float samples -1..1 as 16-bit integers: those of a 16-bit file come back exactly."""
    whole: npt.NDArray[np.int16] = np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)
    return whole
