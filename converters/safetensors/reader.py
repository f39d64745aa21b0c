"""Reads a .safetensors file: where each tensor lies, and single tensors as float32; the data stays mapped.
Folders of them are `checkpoint.py`. Source: the format description in the README of huggingface/safetensors.

The reader is our own because bfloat16 has no NumPy type and because a header is judged before it is parsed.
"""

from __future__ import annotations

import json
import mmap
import stat
from collections import Counter
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgert.errors import FormatError, UnsupportedError

MAX_HEADER_BYTES = 32 << 20
"""131,072 tensors take about 16 MB. (The format itself allows 100 MB.)"""

MAX_JSON_VALUES = 1 << 21
"""Bytes `,` `[` `{` in a JSON text: bounds what parsing allocates (`[[],[],...` grows 25-fold)."""

MAX_TENSORS = 1 << 17
"""As many as an .edge file may have."""

MAX_NAME_BYTES = 255
MAX_RANK = 8
MAX_DIM = 1 << 40
"""Of one dimension: far past any model, and far from overflowing int64 in NumPy."""

BITS = {
    "F32": 32, "F16": 16, "BF16": 16, "F64": 64, "I64": 64, "U64": 64, "I32": 32, "U32": 32, "I16": 16, "U16": 16,
    "I8": 8, "U8": 8, "BOOL": 8, "C64": 64, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F6_E2M3": 6, "F6_E3M2": 6,
    "F4": 4,
}  # fmt: skip
"""Every dtype of the format. Those that are read:"""
SUPPORTED = ("F32", "F16", "BF16")

CHUNK = 1 << 20
"""Values that are widened at a time."""

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class SafeTensor:
    """One tensor. data: uint8, a view of the mapped file; offset: in its file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: Bytes
    file: Path
    offset: int


def read_safetensors(path: Path) -> dict[str, SafeTensor]:
    """Name -> tensor of the file `path`, in the order of their data.

    The header is checked whole against the limits above and the file before anything is made of it: sizes
    fit shapes, and the tensors fill the file without gap or overlap. Raises FormatError with the place.
    """
    data = map_file(path)
    if len(data) < 8:
        raise FormatError(path, 0, "a header length of 8 bytes", f"a file of {len(data)}")
    length = int.from_bytes(data[:8], "little")
    if length > min(MAX_HEADER_BYTES, len(data) - 8):
        expected = f"a header of at most {MAX_HEADER_BYTES} bytes inside the file of {len(data)}"
        raise FormatError(path, 0, expected, f"{length}", "is this a safetensors file, and complete?")
    header = parse_object(data[8 : 8 + length], path, 8)
    header.pop("__metadata__", None)
    if len(header) > MAX_TENSORS:
        raise FormatError(path, 8, f"at most {MAX_TENSORS} tensors", str(len(header)))
    start, room = 8 + length, len(data) - 8 - length
    tensors: dict[str, SafeTensor] = {}
    filled = 0
    entries = [(*_entry(name, entry, path), name) for name, entry in header.items()]
    for begin, end, dtype, shape, name in sorted(entries):
        if begin != filled or end > room:
            expected = f"tensor {name!r} from byte {filled} of {room} on"
            raise FormatError(path, start, expected, f"{begin} to {end}", "is the file complete?")
        view = np.frombuffer(data, np.uint8, end - begin, start + begin) if end > begin else np.empty(0, np.uint8)
        tensors[name] = SafeTensor(name, dtype, shape, view, path, start + begin)
        filled = end
    if filled != room:
        raise FormatError(path, start + filled, "the end of the file", f"{room - filled} bytes of no tensor")
    return tensors


def load(tensor: SafeTensor) -> Floats:
    """`tensor` as a float32 array of its own.

    Raises UnsupportedError for a dtype that is not in SUPPORTED, FormatError for NaN and infinity.
    """
    if tensor.dtype not in SUPPORTED:
        raise UnsupportedError(
            f"{tensor.file}: expected tensor {tensor.name!r} stored as {', '.join(SUPPORTED)}, "
            f"found {tensor.dtype}; save the model in one of these"
        )
    stored = tensor.data.view({"F32": "<f4", "F16": "<f2", "BF16": "<u2"}[tensor.dtype])
    out = np.empty(tensor.shape, np.float32)
    flat = out.reshape(-1)
    for start in range(0, len(stored), CHUNK):
        part = stored[start : start + CHUNK]
        if tensor.dtype == "BF16":  # the upper half of a float32
            part = (part.astype(np.uint32) << np.uint32(16)).view(np.float32)
        flat[start : start + CHUNK] = part
        finite = np.isfinite(flat[start : start + CHUNK])
        if not finite.all():
            index = start + int(np.argmin(finite))
            place = [int(i) for i in np.unravel_index(index, tensor.shape)]
            raise FormatError(
                tensor.file, tensor.offset + index * stored.itemsize,
                f"finite weights in tensor {tensor.name!r} ({tensor.dtype})", f"NaN or infinity at {place}",
                "the model is damaged or was saved wrongly",
            )  # fmt: skip
    return out


def map_file(path: Path) -> mmap.mmap | bytes:
    """The regular file `path`, mapped. Raises FormatError when it can not be read."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # before opening: a pipe would block
            raise FormatError(path, None, "a regular file", "something else")
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if status.st_size else b""
    except OSError as error:
        raise FormatError(path, None, "a file that can be read", error.strerror or str(error)) from None


def parse_object(text: bytes, path: Path, offset: int = 0) -> dict[str, Any]:
    """The JSON object in `text`, which lies at `offset` of `path`, with each key once. Raises FormatError."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) != len(pairs):
            counts = Counter(key for key, _ in pairs)
            raise FormatError(path, offset, "each key once in an object", f"{counts.most_common(1)[0][0][:80]!r} twice")
        return table

    values = text.count(b",") + text.count(b"[") + text.count(b"{")
    if values > MAX_JSON_VALUES:
        raise FormatError(path, offset, f"at most {MAX_JSON_VALUES} JSON values", str(values))
    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=unique)
    except RecursionError:
        raise FormatError(path, offset, "JSON of few levels", "nesting too deep to parse") from None
    except ValueError as error:  # not UTF-8, not JSON, or an integer of thousands of digits
        raise FormatError(path, offset, "a JSON object in UTF-8", str(error)[:200]) from None
    if not isinstance(value, dict):
        raise FormatError(path, offset, "a JSON object", type(value).__name__)
    return value


def _entry(name: str, entry: Any, path: Path) -> tuple[int, int, str, tuple[int, ...]]:
    """(begin, end, dtype, shape) of the header entry of tensor `name`, checked against each other."""

    def refuse(expected: str, found: object) -> FormatError:
        return FormatError(path, 8, f"{expected} (tensor {name[:80]!r})", f"{found!r:.80}")

    if not 1 <= len(name.encode("utf-8", "replace")) <= MAX_NAME_BYTES or any("\ud800" <= c <= "\udfff" for c in name):
        raise refuse(f"a name of 1 to {MAX_NAME_BYTES} bytes", name)
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise refuse("dtype, shape and data_offsets", entry)
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise refuse(f"one of the dtypes {', '.join(BITS)}", dtype)
    if not _are_sizes(shape) or len(shape) > MAX_RANK or not all(dim <= MAX_DIM for dim in shape):
        raise refuse(f"a shape of at most {MAX_RANK} dimensions up to {MAX_DIM}", shape)
    if not _are_sizes(offsets) or len(offsets) != 2:
        raise refuse("two data_offsets", offsets)
    bits = prod(shape) * BITS[dtype]
    if (offsets[1] - offsets[0]) * 8 != bits:
        raise refuse(f"{bits / 8:.0f} bytes for {dtype} {shape}", offsets)
    return offsets[0], offsets[1], dtype, tuple(shape)


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)
