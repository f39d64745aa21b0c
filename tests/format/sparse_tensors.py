"""Sparse tensors of every kind, made up and judged, for the tests of rules F44 to F56."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import slow_sparse

from edgert.errors import FormatError
from edgert.format import Model, StoredTensor, encodings, layouts
from edgert.format.reader import check_tensor

Array = np.ndarray[Any, Any]
Forge = Any
Refused = Callable[..., FormatError]
Accepted = Callable[[], Model]
Sparse = dict[str, StoredTensor]

NAMES = [*layouts.BLOCKS, "bitmap8", "bitmap4", "bitmap16", "nm8", "nm4", "group4", "rowgroup4", "fanin"]
TWINS = {
    "bitmap8": "q8g", "bitmap4": "q4", "bitmap16": "f16", "nm8": "q8g", "nm4": "q4", "group4": "q4", "rowgroup4": "q4",
    "fanin": "dense",
}  # fmt: skip
SIZES = (0, 1, 2, 3, 5, 16, 17, 33, 70)


def judge(tensor: StoredTensor, parts: dict[str, Array]) -> StoredTensor:
    """`tensor` with other parts, judged as the reader does. Raises FormatError."""
    changed = StoredTensor(tensor.name, tensor.dtype, tensor.shape, tensor.encoding, tensor.layout, tensor.quant, parts)
    for spec in changed.specs:
        encodings.check_part(tensor.encoding, tensor.dtype, tensor.shape, tensor.layout, spec.role, parts[spec.role])
    check_tensor(changed, None)
    return changed


def patterned(kind: str, n: int, k: int, rng: np.random.Generator) -> tuple[StoredTensor, Array, StoredTensor]:
    """A random tensor of `kind`, its values, and what its dense twin shall be."""
    if kind in layouts.BLOCKS:
        shape = (n, k, 1, 2) if n % 2 else (n, k, 3)
        values = (rng.integers(-127, 128, shape) * (rng.random(shape) < 0.3)).astype(np.int8)
        scale = rng.uniform(0.1, 1, n).astype(np.float32)
        if layouts.BLOCKS[kind].dtype == "int8":
            packed = StoredTensor.pack_block("t", values, scale, kind)
            return packed, values, StoredTensor.pack_q8("t", values, scale, "n4k4")
        real = values.astype(np.float32) / 8
        return StoredTensor.pack_block("t", real, None, kind), real, StoredTensor.pack_dense("t", real, "n4k1")
    groups = -(-k // 32)
    scale = rng.normal(size=(n, groups)).astype(np.float16)
    kept = rng.random((n, k)) < 0.4
    numbers = (rng.integers(-128, 128, (n, k)) * kept).astype(np.int8)
    if kind == "fanin":
        rows = rng.uniform(0.1, 1, n).astype(np.float32)
        real = numbers * rows[:, None]
        return StoredTensor.pack_fanin("t", numbers, rows), real, StoredTensor.pack_dense("t", real, "n16k1")
    if kind == "bitmap16":
        packed = StoredTensor.pack_bitmap16("t", numbers / 8)
        return packed, (numbers / 8).astype(np.float32), StoredTensor.pack_f16("t", numbers / 8, "n16k1")
    if kind.startswith("nm"):
        tall = rng.random((n, groups * 8, 4)).argsort(axis=2).reshape(n, groups * 32)[:, :k]
        kept = tall < 2
    elif kind == "group4":
        order = rng.random((-(-n // 32), 32, groups)).argsort(axis=1).argsort(axis=1)
        kept = np.repeat(order.reshape(-(-n // 32) * 32, groups)[:n] < 16, 32, axis=1)[:, :k]
    elif kind == "rowgroup4":
        kept = np.repeat(rng.random((n, groups)) < 0.5, 32, axis=1)[:, :k]
    if kind in ("bitmap8", "nm8"):
        numbers = (rng.integers(-128, 128, (n, k)) * kept).astype(np.int8)
        packed = (
            StoredTensor.pack_bitmap8("t", numbers, scale)
            if kind == "bitmap8"
            else StoredTensor.pack_nm("t", numbers, scale, 2, 4)
        )
        twin = StoredTensor.pack_q8g("t", numbers, scale)
        return packed, twin.dense(), twin
    nibbles = np.where(kept, rng.integers(0, 16, (n, k)), 8).astype(np.uint8)
    packed = (
        StoredTensor.pack_nm("t", nibbles, scale, 2, 4)
        if kind == "nm4"
        else getattr(StoredTensor, f"pack_{kind}")("t", nibbles, scale)
    )
    twin = StoredTensor.pack_q4("t", nibbles, scale)
    return packed, twin.dense(), twin


def documented(name: str) -> None:
    """Random tensors of odd sizes: what was packed is what the page's words read from the bytes, and their twin's."""
    rng = np.random.default_rng(1)
    for n in SIZES:
        for k in SIZES:
            tensor, values, twin = patterned(name, n, k, rng)
            judge(tensor, dict(tensor.parts))
            np.testing.assert_array_equal(tensor.dense(), values, strict=True)
            slow = slow_sparse.read(tensor.encoding, tensor.layout, tensor.shape, tensor.parts)
            np.testing.assert_array_equal(slow.astype(values.dtype), values)
            expanded = tensor.expanded()
            assert (expanded.encoding, expanded.layout, expanded.type) == (twin.encoding, twin.layout, tensor.type)
            np.testing.assert_array_equal(expanded.dense(), values, strict=True)
            assert 0 <= tensor.density <= 1 and tensor.sparse and not expanded.sparse
