"""Rows of stored matrices: the same numbers, places in the file, and checksums that hold for the pieces together."""

from __future__ import annotations

import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import sparse_tensors

from edgert.errors import FormatError
from edgert.format import Model, StoredTensor, read_model, write_model
from edgert.format.crc import combined
from edgert.format.layouts import BLOCKS
from edgert.format.parts import Parts
from edgert.format.slices import row_slices, why_not
from edgert.graph.ir import Graph, Node

ROWS, DEPTH = 200, 70
EDGES = (0, 64, 128, ROWS)
NAMES = ("a", "b", "c")
SPARSE = [name for name in sparse_tensors.NAMES if name not in BLOCKS]
KINDS = ["q4", "q4m", "q8g", "f16", "f32", "q8", *SPARSE]


def matrix(kind: str) -> StoredTensor:
    rng = np.random.default_rng(3)
    if kind in SPARSE:
        return sparse_tensors.patterned(kind, ROWS, DEPTH, rng)[0]
    scale = rng.uniform(0.01, 0.02, (ROWS, -(-DEPTH // 32))).astype(np.float16)
    if kind in ("q4", "q4m"):
        numbers = rng.integers(0, 16, (ROWS, DEPTH)).astype(np.uint8)
        return StoredTensor.pack_q4("t", numbers, scale) if kind == "q4" else StoredTensor.pack_q4m(
            "t", numbers, scale, -scale)  # fmt: skip
    numbers = rng.integers(-127, 128, (ROWS, DEPTH)).astype(np.int8)
    if kind == "q8g":
        return StoredTensor.pack_q8g("t", numbers, scale)
    if kind == "q8":
        return StoredTensor.pack_q8("t", numbers, scale[:, 0].astype(np.float32), "n16k4")
    real = rng.standard_normal((ROWS, DEPTH)).astype(np.float32)
    return StoredTensor.pack_f16("t", real, "n16k1") if kind == "f16" else StoredTensor.pack_dense("t", real, "n16k1")


def in_file(stored: StoredTensor, path: Path) -> StoredTensor:
    graph = Graph("g", [], ["y"], [Node("Identity", ("t",), ("y",), {}, "n")], {"t": stored.type, "y": stored.type})
    write_model(Model(graph, {"t": stored}), path)
    return read_model(path).tensors["t"]


def arrived(slice_: StoredTensor) -> dict[str, np.ndarray]:
    """The parts of a slice as their places in the file say, read from there."""
    assert isinstance(slice_.parts, Parts)
    found = {}
    for role in slice_.parts:
        place = slice_.parts.place(role)
        if place is not None:
            content = place.file.read_bytes()[place.offset : place.offset + place.nbytes]
            assert len(content) == place.nbytes and place.tensor == slice_.name
            found[role] = np.frombuffer(content, np.uint8).copy()
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_slices_have_the_rows_and_lie_in_the_file(kind: str, tmp_path: Path) -> None:
    stored = in_file(matrix(kind), tmp_path / "m.edge")
    whole = stored.dense()
    slices = row_slices(stored, EDGES, NAMES)
    for slice_, (first, last) in zip(slices, pairwise(EDGES), strict=True):
        assert slice_.shape == (last - first, DEPTH) and np.array_equal(slice_.dense(), whole[first:last])
        assert isinstance(slice_.parts, Parts)
        slice_.parts.check_arrived(arrived(slice_), crc=True)
        for role, content in arrived(slice_).items():
            assert content.tobytes() == np.ascontiguousarray(slice_.parts[role]).tobytes()
        if slice_.quant is not None:
            assert np.array_equal(slice_.quant.scale, stored.quant.scale[first:last])  # type: ignore[union-attr]
    assert sum(s.nbytes for s in slices) == stored.nbytes + 4 * (len(slices) - 1) * ("start" in stored.parts)
    views = [s.parts["data"] for s in slices]
    assert all(np.shares_memory(view, stored.parts["data"]) for view in views)


@pytest.mark.parametrize("kind", ["q4", "bitmap8"])
@pytest.mark.parametrize("damaged", range(3))
def test_damage_is_found_when_all_pieces_have_come(kind: str, damaged: int, tmp_path: Path) -> None:
    """And the next lap may bring the right bytes: a read that went wrong once is no damage for good."""
    slices = row_slices(in_file(matrix(kind), tmp_path / "m.edge"), EDGES, NAMES)
    with pytest.raises(FormatError, match="CRC-32"):
        for index, slice_ in enumerate(slices):
            parts = arrived(slice_)
            if index == damaged:
                # A number of the first block, where there is no padding: any would be right by itself.
                parts["data"].reshape(-1)[200] ^= 1
            slice_.parts.check_arrived(parts, crc=True)  # type: ignore[attr-defined]
    for _ in range(2):
        for slice_ in slices:
            slice_.parts.check_arrived(arrived(slice_), crc=True)  # type: ignore[attr-defined]
    parts = arrived(slices[1])
    parts["data"].reshape(-1)[200] ^= 1
    with pytest.raises(FormatError, match="CRC-32"):
        slices[1].parts.check_arrived(parts, crc=True)  # type: ignore[attr-defined]


def test_what_kernels_trust_is_always_checked(tmp_path: Path) -> None:
    slice_ = row_slices(in_file(matrix("bitmap8"), tmp_path / "m.edge"), EDGES, NAMES)[1]
    parts = arrived(slice_)
    parts["data"][:128] = 255
    with pytest.raises(FormatError, match="tensor 't' with 2 blocks"):
        slice_.parts.check_arrived(parts, crc=False)  # type: ignore[attr-defined]


def test_what_can_not_be_cut_says_why() -> None:
    real = np.zeros((32, 8), np.float32)
    assert "row" in why_not(StoredTensor.pack_f16("t", real, "row"))
    assert "dimensions" in why_not(StoredTensor.pack_dense("t", real.reshape(32, 8, 1, 1), "n4k1"))
    assert why_not(matrix("q4")) == ""
    with pytest.raises(ValueError, match="16 rows"):
        row_slices(matrix("q4"), (0, 8, ROWS), NAMES)


def test_checksums_of_pieces_make_that_of_the_whole() -> None:
    data = np.random.default_rng(1).integers(0, 256, 5000, np.uint8).tobytes()
    cuts = (0, 0, 1, 1000, 4999, 5000)
    pieces = [data[a:b] for a, b in pairwise(cuts)]
    assert combined((zlib.crc32(p), len(p)) for p in pieces) == zlib.crc32(data)
    assert combined([]) == 0
