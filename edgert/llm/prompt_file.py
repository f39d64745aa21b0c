"""A prompt with its cache as one file, so that it need not be computed again: checked whole before it is believed.

magic, version u32, header length u32, file length u64, CRC-32 of header and of data u32, CRC-32 of these 32 bytes
header: JSON {model, kv, tokens, states: [{name, layout, arrays: [{dtype, shape}]}]}
data: the tokens, int32; then the arrays of the states in that order, C order, all little-endian and without gaps
"""

from __future__ import annotations

import hashlib
import math
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgert.errors import FormatError
from edgert.format import json_text
from edgert.format.fields import Value
from edgert.format.limits import MAX_CONTEXT, MAX_NAME_BYTES, MAX_NODES, MAX_TENSOR_BYTES, PRELUDE_BYTES
from edgert.format.prelude import Prelude
from edgert.format.store import store
from edgert.graph.ir import Array
from edgert.llm.decoder import CacheSlice

MAGIC = b"\x89EDGP\r\n\x1a"
VERSION = 1
MAX_HEADER = 16 << 20
"""Bytes; a state takes some 150 of them, the deepest models have a few hundred."""

DTYPES = ("float16", "float32", "int8")
_FIELDS = struct.Struct("<8sIIQII")
_CRC = struct.Struct("<I")
_DAMAGED = "the file is damaged: delete it and save the prompt again"


@dataclass(frozen=True)
class SavedPrompt:
    """model: digest of the file that computed it. kv: Decoder.cache_kind. slices: the cache of `tokens`."""

    model: str
    kv: str
    tokens: list[int]
    slices: list[CacheSlice]


def model_digest(path: str | os.PathLike[str]) -> str:
    """SHA-256 of what precedes the data of a `.edge` file: with the checksums of all of it, its identity."""
    file = Path(path)
    with file.open("rb") as stream:
        start = stream.read(PRELUDE_BYTES)
        prelude = Prelude.unpack(start, file, os.fstat(stream.fileno()).st_size)
        return hashlib.sha256(start + stream.read(prelude.header_length)).hexdigest()


def save_prompt(path: str | os.PathLike[str], prompt: SavedPrompt) -> None:
    """Writes `prompt` to `path`, whole or not at all. Raises EdgertError if it can not be stored."""
    arrays = [array for entry in prompt.slices for array in entry.data]
    little = [np.array(prompt.tokens, "<i4"), *(np.asarray(a, a.dtype.newbyteorder("<"), order="C") for a in arrays)]
    pieces = [array.reshape(-1).view(np.uint8).data for array in little]
    header = json_text.dump(
        {
            "model": prompt.model, "kv": prompt.kv, "tokens": len(prompt.tokens),
            "states": [
                {
                    "name": entry.name, "layout": entry.layout,
                    "arrays": [{"dtype": a.dtype.name, "shape": list(a.shape)} for a in entry.data],
                }
                for entry in prompt.slices
            ],
        },
        Path(path),
    )  # fmt: skip
    crc = 0
    for piece in pieces:
        crc = zlib.crc32(piece, crc)
    length = _FIELDS.size + _CRC.size + len(header) + sum(piece.nbytes for piece in pieces)
    start = _FIELDS.pack(MAGIC, VERSION, len(header), length, zlib.crc32(header), crc)
    store(Path(path), "the prompt", length, [start, _CRC.pack(zlib.crc32(start)), header, *pieces])


def load_prompt(path: str | os.PathLike[str], model: str, kv: str) -> SavedPrompt:
    """The prompt saved at `path` by the model of digest `model` with a cache of `kv`.

    Raises FormatError for a file that is damaged, or of another model or kind of cache.
    """
    file = Path(path)
    data = _read(file)
    at = _FIELDS.size
    if data[: len(MAGIC)] != MAGIC:
        raise FormatError(file, 0, "a saved prompt", repr(data[: len(MAGIC)]), "give a file that save_prompt wrote")
    if len(data) < at + _CRC.size:
        raise FormatError(file, len(data), f"{at + _CRC.size} bytes at least", f"{len(data)} bytes", _DAMAGED)
    _check_crc(file, at, data[:at], _CRC.unpack_from(data, at)[0])
    _, version, header_length, length, header_crc, data_crc = _FIELDS.unpack_from(data)
    at += _CRC.size
    if version != VERSION:
        raise FormatError(file, 8, f"saved prompts of version {VERSION}", f"version {version}", "save the prompt again")
    if length != len(data):
        raise FormatError(file, min(length, len(data)), f"{length} bytes", f"{len(data)} bytes", _DAMAGED)
    if header_length > min(MAX_HEADER, len(data) - at):
        raise FormatError(file, 12, f"a header of at most {MAX_HEADER} bytes in the file", str(header_length), _DAMAGED)
    text = data[at : at + header_length]
    _check_crc(file, at, text, header_crc)
    at += header_length
    _check_crc(file, at, memoryview(data)[at:], data_crc)
    return _parse(file, data, at, json_text.parse(text, file), model, kv)


def _parse(file: Path, data: bytes, at: int, raw: object, model: str, kv: str) -> SavedPrompt:
    table = Value(raw, file).fields(("model", "kv", "tokens", "states"))
    if table["model"].line() != model:
        raise FormatError(file, None, "a prompt saved with this model", "one of another", "save it again with this one")
    if table["kv"].line() != kv:
        raise FormatError(
            file, None, f"a cache of {kv}", f"one of {table['kv'].line()}", "use the options it was saved with"
        )
    count = table["tokens"].integer(0, MAX_CONTEXT)
    entries = [_state(item) for item in table["states"].items(MAX_NODES)]
    # Sizes are Python's integers, and held against the file before any of them is used.
    sizes = [math.prod(shape) * np.dtype(dtype).itemsize for _, _, arrays in entries for dtype, shape in arrays]
    if (expected := at + 4 * count + sum(sizes)) != len(data):
        raise FormatError(file, None, f"{expected} bytes for the states in its header", f"{len(data)} bytes", _DAMAGED)
    tokens = np.frombuffer(data, "<i4", count, at).tolist()
    at += 4 * count
    slices = []
    for name, layout, arrays in entries:
        views: list[Array] = []
        for dtype, shape in arrays:
            views.append(np.ndarray(shape, np.dtype(dtype).newbyteorder("<"), data, at))
            at += views[-1].nbytes
        slices.append(CacheSlice(name, layout, tuple(views)))
    return SavedPrompt(model, kv, tokens, slices)


def _state(value: Value) -> tuple[str, str, list[tuple[str, tuple[int, ...]]]]:
    table = value.fields(("name", "layout", "arrays"))
    arrays = []
    for item in table["arrays"].items(4):
        fields = item.fields(("dtype", "shape"))
        shape = tuple(size.integer(0, MAX_TENSOR_BYTES) for size in fields["shape"].items(4))
        arrays.append((fields["dtype"].one_of(DTYPES), shape))
    return table["name"].name(), table["layout"].line(MAX_NAME_BYTES), arrays


def _read(file: Path) -> bytes:
    try:
        if not file.is_file():  # a FIFO would wait, a device would not end
            found = "something that is not a file" if file.exists() else "no such file"
            raise FormatError(file, None, "a saved prompt", found, "check the path")
        return file.read_bytes()
    except OSError as error:
        raise FormatError(
            file, None, "a saved prompt that can be read", str(error.strerror), "check the path"
        ) from error


def _check_crc(file: Path, at: int, data: bytes | memoryview, expected: int) -> None:
    if (crc := zlib.crc32(data)) != expected:
        raise FormatError(file, at, f"CRC-32 {expected:#010x}", f"{crc:#010x}", _DAMAGED)
