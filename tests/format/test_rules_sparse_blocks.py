"""Rules F47 and F56 of docs/format.md: blocks of zeros, in rows, in pairs of rows and of halves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slow_sparse
from sparse_tensors import documented, judge

from edgert.errors import FormatError
from edgert.format import Model, StoredTensor, layouts, read_model, write_model
from edgert.graph.ir import Graph

Array = np.ndarray[Any, Any]
Forge = Any
Refused = Callable[..., FormatError]
Accepted = Callable[[], Model]
Sparse = dict[str, StoredTensor]


@pytest.mark.parametrize("name", list(layouts.BLOCKS))
def test_f47_blocks_are_as_documented(name: str) -> None:
    documented(name)


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        (lambda p: p["start"].__setitem__(0, 1), "begin with 0"),
        (lambda p: p["start"].__setitem__(1, 2**32 - 1), "never falls"),
        (lambda p: p["start"].__setitem__(-1, len(p["index"]) + 1), "`start` to end with the"),
        (lambda p: p["index"].__setitem__(0, 6), "cells below 6"),
        (lambda p: p["index"].__setitem__(1, p["index"][0]), "cells of `index` that rise"),
        (lambda p: p["data"].__setitem__((0, 0, 0), -128), "at least -127"),
        (lambda p: p["data"].__setitem__((-1, 1, 0), 1), "last output channel"),
        (lambda p: p["data"].__setitem__((np.flatnonzero(p["index"] % 2)[0], 0, 2), 1), "last input channel"),
        (lambda p: p["scale"].__setitem__(3, np.nan), "finite and > 0"),
        (lambda p: p["scale"].__setitem__(3, 0), "finite and > 0"),
        (lambda p: p["sum"].__setitem__(4, 77), "`sum` of block"),
        (lambda p: p.pop("sum"), "the parts"),
        (lambda p: p.update(index=p["index"].astype(np.uint32)), "part index uint16"),
    ],
)
def test_f47_blocks_that_are_wrong(change: Callable[[Any], Any], pattern: str, sparse: Sparse) -> None:
    parts = {role: part.copy() for role, part in sparse["b4x4"].parts.items()}
    judge(sparse["b4x4"], parts)
    change(parts)
    with pytest.raises(FormatError, match=pattern):
        judge(sparse["b4x4"], parts)


def pair(start: list[list[int]], index: list[int], rows: int = 2) -> StoredTensor:
    """A tensor b1x1 of 4 inputs with this table, all values 1."""
    parts = {
        "start": np.array(start, np.uint32),
        "index": np.array(index, np.uint16),
        "data": np.ones(max(0, start[-1][3]), np.float32),
    }
    tensor = StoredTensor("t", "float32", (rows, 4, 1, 1), "block", "b1x1", None, parts)
    return judge(tensor, parts)


def test_f47_pairs_of_rows() -> None:
    tensor = pair([[0, 1, 2, 0], [3, 3, 3, 4]], [2, 0, 1])
    np.testing.assert_array_equal(tensor.dense().reshape(2, 4), [[1, 0, 1, 0], [0, 1, 1, 0]])
    packed = StoredTensor.pack_block("t", tensor.dense(), None, "b1x1")
    for role, part in tensor.parts.items():
        np.testing.assert_array_equal(packed.parts[role], part, strict=True)
    for start, index, pattern in (
        ([[1, 1, 2, 0], [3, 3, 3, 4]], [2, 0, 1], "begin with 0"),
        ([[0, 2, 1, 0], [3, 3, 3, 5]], [0, 1, 2], "never falls"),
        ([[0, 1, 2, 0], [3, 3, 2, 4]], [2, 0, 1], "never falls"),
        ([[0, 1, 2, 0], [2, 3, 3, 4]], [2, 0, 1], "three times"),
        ([[0, 1, 2, 0], [4, 4, 4, 4]], [2, 0, 1], "end with the 3 blocks"),
        ([[0, 1, 2, 1], [3, 3, 3, 4]], [2, 0, 1], "begin with 0"),
        ([[0, 1, 2, 0], [3, 3, 3, 5]], [2, 0, 1], "two cells of `data`"),
        ([[0, 0, 0, 0], [3, 3, 3, 4]], [0, 1, 2], "two cells of `data`"),
        ([[0, 2, 2, 0], [2, 2, 2, 4]], [1, 0], "that rise"),
        ([[0, 1, 2, 0], [3, 3, 3, 4]], [0, 0, 1], "one segment"),
        ([[0, 0, 1, 0], [2, 2, 2, 2]], [3, 3], "one segment"),
        ([[0, 0, 1, 0], [2, 2, 2, 2]], [3, 4], "cells below 4"),
        ([[0, 1, 2, 0], [3, 3, 3, 7]], [2, 0, 1], "3 to 6 items"),
    ):
        with pytest.raises(FormatError, match=pattern):
            pair(start, index)
    pair([[0, 0, 1, 0], [1, 1, 1, 1]], [3], rows=1)
    for start, index in (([[0, 0, 0, 0], [1, 1, 1, 1]], [3]), ([[0, 1, 1, 0], [1, 1, 1, 2]], [3])):
        with pytest.raises(FormatError, match="beyond the last output"):
            pair(start, index, rows=1)


def test_f47_arguments() -> None:
    values, scale = np.ones((5, 3, 1, 1), np.int8), np.ones(5, np.float32)
    for args in (
        (values[:, :, 0, 0], scale, "b4x4"), (values, scale, "b4x1"), (values, scale, "n4k4"), (values, None, "b4x4"),
        (values.astype(np.float32), scale, "b4x1"), (values * np.int8(-128), scale, "b4x4"),
        (values, 0 * scale, "b4x4"), (np.ones((1, 8, 200, 200), np.int8), scale[:1], "b4x4"),
    ):  # fmt: skip
        with pytest.raises(FormatError):
            StoredTensor.pack_block("t", *args)  # type: ignore[arg-type]
    wide = np.zeros((1, 4, 256, 256), np.int8)
    wide[..., -1, -1] = 1
    assert StoredTensor.pack_block("t", wide, scale[:1], "b4x4").parts["index"].tolist() == [65535]


@pytest.mark.parametrize("layout", ["b4x1", "b2x1", "b1x1"])
@pytest.mark.parametrize("shape", [(5, 6, 1, 1), (4, 64, 2, 2), (3, 65, 2, 2), (1, 1, 1, 1)])
def test_f56_blocks_of_halves(layout: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    """The values of `block` in half the bytes; the number of a cell is a byte where 256 are enough."""
    rng = np.random.default_rng(6)
    values = (rng.normal(size=shape) * (rng.random(shape) < 0.4)).astype(np.float16).astype(np.float32)
    packed, wide = StoredTensor.pack_block16("t", values, layout), StoredTensor.pack_block("t", values, None, layout)
    cells = shape[1] * shape[2] * shape[3]
    assert packed.parts["index"].dtype == (np.uint8 if cells <= 256 else np.uint16)
    assert packed.parts["data"].dtype == np.float16 and packed.sparse and packed.pattern == wide.pattern
    np.testing.assert_array_equal(slow_sparse.read("block16", layout, shape, packed.parts), values)
    write_model(Model(Graph("g", outputs=["t"]), {"t": packed}), tmp_path / "m.edge")
    read = read_model(tmp_path / "m.edge", verify="all").tensors["t"]
    np.testing.assert_array_equal(read.dense(), values, strict=True)
    widened = read.widened()
    assert (widened.encoding, widened.layout, widened.density) == ("block", layout, wide.density)
    assert widened is read.widened() and widened.widened() is widened
    for role, part in wide.parts.items():
        np.testing.assert_array_equal(widened.parts[role], part, strict=True)
    twin = StoredTensor.pack_dense("t", values, "n4k1")
    np.testing.assert_array_equal(read.expanded().parts["data"], twin.parts["data"], strict=True)


def test_f56_halves_that_are_wrong() -> None:
    values = np.eye(5, dtype=np.float32).reshape(5, 5, 1, 1)
    packed = StoredTensor.pack_block16("t", values, "b1x1")
    judge(packed, dict(packed.parts))
    high = packed.parts["index"].copy()
    high[-1] = 5
    with pytest.raises(FormatError, match="cells below 5"):
        judge(packed, dict(packed.parts) | {"index": high})
    with pytest.raises(FormatError, match="part index uint8"):
        judge(packed, dict(packed.parts) | {"index": packed.parts["index"].astype(np.uint16)})
    with pytest.raises(FormatError, match="65504"):
        StoredTensor.pack_block16("t", values * np.float32(1e6), "b1x1")
    with pytest.raises(FormatError, match="layout"):
        StoredTensor.pack_block16("t", values, "b4x4")
