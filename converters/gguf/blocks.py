"""What the blocks of a GGUF tensor mean: to float32, or to the very integers and scales of an edgert encoding.
Where the bytes lie is `reader.py`. Source: ggml-common.h and ggml-quants.c of llama.cpp.

Every format is a little-endian structure, read as a NumPy record. Integers of a few bits lie in planes: for each
run of bytes first the lowest bits of all of them, then the next ones, which `_planes` undoes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from edgert.converters.gguf.reader import GgufTensor
from edgert.converters.llm.checkpoint import ExactBlocks, ExactEncoding
from edgert.errors import FormatError, UnsupportedError
from edgert.graph.ir import Array

CHUNK = 1 << 18
"""Values that are dequantized at a time: temporary arrays stay at a few MB whatever the tensor."""

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Blocks = npt.NDArray[np.void]

_F16, _U8 = "<f2", "u1"

# fmt: off
_FIELDS: dict[str, list[Any]] = {
    "F32": [("x", "<f4")],
    "F16": [("x", _F16)],
    "BF16": [("x", "<u2")],
    "Q4_0": [("d", _F16), ("qs", _U8, 16)],
    "Q4_1": [("d", _F16), ("m", _F16), ("qs", _U8, 16)],
    "Q5_0": [("d", _F16), ("qh", _U8, 4), ("qs", _U8, 16)],
    "Q5_1": [("d", _F16), ("m", _F16), ("qh", _U8, 4), ("qs", _U8, 16)],
    "Q8_0": [("d", _F16), ("qs", "i1", 32)],
    "Q2_K": [("scales", _U8, 16), ("qs", _U8, 64), ("d", _F16), ("m", _F16)],
    "Q3_K": [("qh", _U8, 32), ("qs", _U8, 64), ("scales", _U8, 12), ("d", _F16)],
    "Q4_K": [("d", _F16), ("m", _F16), ("scales", _U8, 12), ("qs", _U8, 128)],
    "Q5_K": [("d", _F16), ("m", _F16), ("scales", _U8, 12), ("qh", _U8, 32), ("qs", _U8, 128)],
    "Q6_K": [("qs", _U8, 128), ("qh", _U8, 64), ("scales", "i1", 16), ("d", _F16)],
    "IQ4_NL": [("d", _F16), ("qs", _U8, 16)],
    "IQ4_XS": [("d", _F16), ("scales_h", _U8, 2), ("scales_l", _U8, 4), ("qs", _U8, 128)],
}
# fmt: on

RECORDS: dict[str, np.dtype[np.void]] = {name: np.dtype(fields) for name, fields in _FIELDS.items()}
"""One block of each type: d is its scale, m its minimum (Q2_K to Q5_K: minus that)."""

SUPPORTED = tuple(RECORDS)

CODEBOOK = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32)
"""The sixteen values of IQ4: denser near zero, where weights are."""


def dequantize(tensor: GgufTensor) -> Floats:
    """`tensor` as a float32 array of its own.

    Raises UnsupportedError for a type that is not in SUPPORTED, FormatError for NaN and infinity.
    """
    _check_supported(tensor)
    kind, out = tensor.type, np.empty(tensor.shape, np.float32)
    flat = out.reshape(-1)
    for start, blocks in _chunks(tensor):
        part = flat[start * kind.values : (start + len(blocks)) * kind.values]
        with np.errstate(invalid="ignore", over="ignore"):  # what overflows is found and named below
            part[:] = DEQUANTIZERS[kind.name](blocks).reshape(-1)
        _check_finite(tensor, part, start, 1)
    return out


def exact(tensor: GgufTensor) -> ExactBlocks | None:
    """`tensor` without loss in an edgert encoding; None if none has its numbers. Raises as `dequantize`."""
    _check_supported(tensor)
    name = tensor.type.name
    if name == "F16":
        half = tensor.data.view(_F16).reshape(tensor.shape).astype(np.float16)
        _check_finite(tensor, half, 0, 1)
        return ExactBlocks("f16", half)
    if name not in EXACT or len(tensor.shape) != 2:
        return None
    encoding, integers = EXACT[name]
    count = len(tensor.data) // tensor.type.nbytes
    values = np.empty((count, 32), np.int8 if encoding == "q8g" else np.uint8)
    scales = {field: np.empty(count, np.float16) for field in ("d", "m") if field in (RECORDS[name].names or ())}
    for start, blocks in _chunks(tensor):
        part = slice(start, start + len(blocks))
        values[part] = integers(blocks)
        for field, scale in scales.items():
            scale[part] = blocks[field]
            _check_finite(tensor, scale[part], start, 32)
    groups = (tensor.shape[0], tensor.shape[1] // 32)
    arrays = {field: scale.reshape(groups) for field, scale in scales.items()}
    return ExactBlocks(encoding, values.reshape(tensor.shape), arrays["d"], arrays.get("m"))


def _check_supported(tensor: GgufTensor) -> None:
    if tensor.type.name not in RECORDS:
        raise UnsupportedError(
            f"{tensor.file}: expected tensor {tensor.name!r} stored as {', '.join(SUPPORTED)}, "
            f"found {tensor.type.name}; take a file of another quantization"
        )


def _chunks(tensor: GgufTensor) -> Iterator[tuple[int, Blocks]]:
    """(number of the first block, blocks) of the tensor, CHUNK values at a time."""
    blocks = tensor.data.view(RECORDS[tensor.type.name])
    step = CHUNK // tensor.type.values
    for start in range(0, len(blocks), step):
        yield start, blocks[start : start + step]


def _check_finite(tensor: GgufTensor, numbers: Array, start: int, each: int) -> None:
    """`numbers` begin in block `start` of the tensor, one for `each` of its values."""
    finite = np.isfinite(numbers)
    if not finite.all():
        index = int(np.argmin(finite)) * each + start * tensor.type.values
        place = [int(i) for i in np.unravel_index(index, tensor.shape)]
        raise FormatError(
            tensor.file, tensor.offset + index // tensor.type.values * tensor.type.nbytes,
            f"finite weights in tensor {tensor.name!r} ({tensor.type.name})", f"NaN or infinity at {place}",
            "the model is damaged or was converted wrongly",
        )  # fmt: skip


def _planes(data: Bytes, bits: int, width: int) -> Bytes:
    """uint8 [n, m * width] -> uint8 [n, m * width * 8 / bits]: planes of `bits` bits of runs of `width` bytes."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
    planes = data.reshape(len(data), -1, 1, width) >> shifts
    planes &= np.uint8((1 << bits) - 1)
    return planes.reshape(len(data), -1)


def _per(blocks: Blocks, field: str) -> Floats:
    """The scale `field` of each block, [n, 1]."""
    return blocks[field].astype(np.float32)[:, None]


def _scaled(scale: Floats, values: Array, minimum: Floats | None = None) -> Floats:
    """values [n, m * k] times scale [n, m], and from that minimum [n, m]."""
    grouped = values.reshape(*scale.shape, -1).astype(np.float32)
    grouped *= scale[..., None]
    if minimum is not None:
        grouped -= minimum[..., None]
    return grouped.reshape(len(values), -1)


def _bf16(blocks: Blocks) -> Floats:
    return (blocks["x"].astype(np.uint32) << np.uint32(16)).view(np.float32)


def _q4_0(blocks: Blocks) -> Floats:
    return _scaled(_per(blocks, "d"), _planes(blocks["qs"], 4, 16).view(np.int8) - np.int8(8))


def _q4_1(blocks: Blocks) -> Floats:
    return _scaled(_per(blocks, "d"), _planes(blocks["qs"], 4, 16), -_per(blocks, "m"))


def _fifth_bit(blocks: Blocks) -> Bytes:
    return _planes(blocks["qs"], 4, 16) | _planes(blocks["qh"], 1, 1) << np.uint8(4)


def _q5_0(blocks: Blocks) -> Floats:
    return _scaled(_per(blocks, "d"), _fifth_bit(blocks).view(np.int8) - np.int8(16))


def _q5_1(blocks: Blocks) -> Floats:
    return _scaled(_per(blocks, "d"), _fifth_bit(blocks), -_per(blocks, "m"))


def _q8_0(blocks: Blocks) -> Floats:
    return _scaled(_per(blocks, "d"), blocks["qs"])


def _q2_k(blocks: Blocks) -> Floats:
    """Sixteen groups of 16 values; scale and minimum are the nibbles of one byte."""
    scale = _per(blocks, "d") * (blocks["scales"] & 15)
    minimum = _per(blocks, "m") * (blocks["scales"] >> 4)
    return _scaled(scale, _planes(blocks["qs"], 2, 32), minimum)


def _q3_k(blocks: Blocks) -> Floats:
    """Sixteen groups of 16 values with signed 6-bit scales; the third bit of a value is stored inverted as -4."""
    low, high = _planes(blocks["scales"][:, :8], 4, 8), _planes(blocks["scales"][:, 8:], 2, 4)
    scale = _per(blocks, "d") * ((low | high << np.uint8(4)).view(np.int8) - np.int8(32))
    values = _planes(blocks["qs"], 2, 32) | _planes(blocks["qh"], 1, 32) << np.uint8(2)
    return _scaled(scale, values.view(np.int8) - np.int8(4))


def _scales_k4(blocks: Blocks) -> tuple[Floats, Floats]:
    """Eight scales and minima of 6 bits, packed in 12 bytes; both [n, 8], times those of the block."""
    a, b, c = (blocks["scales"][:, i : i + 4] for i in (0, 4, 8))
    scale = np.concatenate([a & 63, c & 15 | a >> 6 << 4], axis=1)
    minimum = np.concatenate([b & 63, c >> 4 | b >> 6 << 4], axis=1)
    return _per(blocks, "d") * scale, _per(blocks, "m") * minimum


def _q4_k(blocks: Blocks) -> Floats:
    scale, minimum = _scales_k4(blocks)
    return _scaled(scale, _planes(blocks["qs"], 4, 32), minimum)


def _q5_k(blocks: Blocks) -> Floats:
    scale, minimum = _scales_k4(blocks)
    return _scaled(scale, _planes(blocks["qs"], 4, 32) | _planes(blocks["qh"], 1, 32) << np.uint8(4), minimum)


def _q6_k(blocks: Blocks) -> Floats:
    """Sixteen groups of 16 values with int8 scales."""
    values = _planes(blocks["qs"], 4, 64) | _planes(blocks["qh"], 2, 32) << np.uint8(4)
    return _scaled(_per(blocks, "d") * blocks["scales"], values.view(np.int8) - np.int8(32))


def _iq4_nl(blocks: Blocks) -> Floats:
    return _scaled(_per(blocks, "d"), CODEBOOK[_planes(blocks["qs"], 4, 16)])


def _iq4_xs(blocks: Blocks) -> Floats:
    """Eight groups of 32 values of the code book with signed 6-bit scales."""
    scale = _planes(blocks["scales_l"], 4, 1) | _planes(blocks["scales_h"], 2, 1) << np.uint8(4)
    return _scaled(_per(blocks, "d") * (scale.view(np.int8) - np.int8(32)), CODEBOOK[_planes(blocks["qs"], 4, 16)])


DEQUANTIZERS: dict[str, Callable[[Blocks], Floats]] = {
    "F32": lambda blocks: blocks["x"],
    "F16": lambda blocks: blocks["x"].astype(np.float32),
    "BF16": _bf16,
    "Q4_0": _q4_0, "Q4_1": _q4_1, "Q5_0": _q5_0, "Q5_1": _q5_1, "Q8_0": _q8_0,
    "Q2_K": _q2_k, "Q3_K": _q3_k, "Q4_K": _q4_k, "Q5_K": _q5_k, "Q6_K": _q6_k,
    "IQ4_NL": _iq4_nl, "IQ4_XS": _iq4_xs,
}  # fmt: skip
"""Records [n] -> float32 [n, values of a block], by the name of the type."""

EXACT: dict[str, tuple[ExactEncoding, Callable[[Blocks], Array]]] = {
    "Q4_0": ("q4", lambda blocks: _planes(blocks["qs"], 4, 16)),
    "Q4_1": ("q4m", lambda blocks: _planes(blocks["qs"], 4, 16)),
    "Q5_0": ("q8g", lambda blocks: _fifth_bit(blocks).view(np.int8) - np.int8(16)),
    "Q8_0": ("q8g", lambda blocks: blocks["qs"]),
    "IQ4_NL": ("q8g", lambda blocks: CODEBOOK[_planes(blocks["qs"], 4, 16)]),
}
"""Types that have the integers of an edgert encoding, and float16 for each 32 of them: the encoding, the integers."""
