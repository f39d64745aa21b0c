"""Rules F48 to F50 of docs/format.md: bitmaps, rows of blocks and n of m numbers."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import slow_sparse
from sparse_tensors import documented, judge

from edgert.errors import FormatError
from edgert.format import Model, StoredTensor

Array = np.ndarray[Any, Any]
Forge = Any
Refused = Callable[..., FormatError]
Accepted = Callable[[], Model]
Sparse = dict[str, StoredTensor]


@pytest.mark.parametrize("name", ["bitmap8", "bitmap4", "bitmap16", "nm8", "nm4"])
def test_f48_masked_blocks_are_as_documented(name: str) -> None:
    documented(name)


def test_f48_a_block_by_hand() -> None:
    numbers = np.full((1, 8), 8, np.uint8)
    numbers[0, [0, 5, 6]] = 1, 2, 3
    data = StoredTensor.pack_bitmap4("t", numbers, np.full((1, 1), 2, np.float16)).parts["data"]
    # k = 0 is bit 0 of line 0, k = 5 and 6 are bits 1 and 2 of line 1; 1, 2 are one byte, 3 the next.
    assert data[:16].tolist() == [1, *[0] * 7, 6, *[0] * 7] and not data[16:128].any()
    assert data[128:130].tobytes() == struct.pack("<e", 2) and not data[130:192].any()
    assert data[192:].tolist() == [0x21, 3, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("name", "places", "pattern"),
    [
        # 17 x 40: rows 1 to 15 of the second row of blocks and k from 40 are padding; line 10 has k from 40.
        ("bitmap8", {"mask": (0, 10 * 8)}, "nothing kept in the padding"),
        ("bitmap4", {"mask": (1, 1)}, "nothing kept in the padding"),
        ("bitmap16", {"mask": (0, 40 * 2)}, "nothing kept in the padding"),
        ("bitmap8", {"scale": (0, 5, 0x7C00)}, "each scale of bitmap8 to be finite"),
        ("bitmap4", {"scale": (0, 20, 0xFC01)}, "each scale of bitmap4 to be finite"),
        ("nm8", {"scale": (0, 20, 0x7E00)}, "each scale of nm8 to be finite"),
        ("nm4", {"scale": (1, 16, 0x7C00)}, "each scale of nm4 to be finite"),
        ("bitmap8", {"scale": (1, 1, 1)}, "each scale of bitmap8 to be 0 in padding"),
        ("nm4", {"scale": (1, 17, 1)}, "each scale of nm4 to be 0 in padding"),
        ("bitmap8", {"end": 1}, "zeros after the numbers"),
        ("bitmap4", {"end": 0}, "zeros after the numbers"),
        ("bitmap16", {"end": 1}, "zeros after the numbers"),
    ],
)
def test_f48_masked_blocks_that_are_wrong(name: str, places: dict[str, Any], pattern: str, sparse: Sparse) -> None:
    parts = {role: part.copy() for role, part in sparse[name].parts.items()}
    flat = parts["data"].reshape(-1)
    starts = 8 * parts["start"].astype(int) if "start" in parts else [0, parts["data"].shape[-1], flat.size]
    if "mask" in places:
        block, byte = places["mask"]
        # Another bit goes, so that the length stays.
        head = flat[starts[block] : starts[block] + 128]
        full = np.flatnonzero(head)[0]
        head[full] &= head[full] - 1
        head[byte] |= 0x80 if block else 1
    elif "scale" in places:
        block, number, bits = places["scale"]
        flat[starts[block] + 128 :][:64].view("<u2")[number] = bits
    else:
        flat[starts[places["end"] + 1] - 1] |= 0x80
    with pytest.raises(FormatError, match=pattern):
        judge(sparse[name], parts)


def test_f48_an_unused_half_byte_is_zero() -> None:
    numbers = np.full((1, 8), 8, np.uint8)
    numbers[0, :3] = 1
    tensor = StoredTensor.pack_bitmap4("t", numbers, np.ones((1, 1), np.float16))
    parts = dict(tensor.parts)
    parts["data"][193] |= 0x10
    with pytest.raises(FormatError, match="zeros after the numbers"):
        judge(tensor, parts)
    # A kept number may be zero, and 16 numbers leave nothing unused.
    parts["data"][193] = 0x08
    assert judge(tensor, parts).dense()[0, 2] == 0


@pytest.mark.parametrize("name", ["bitmap8", "bitmap4", "bitmap16", "rowgroup4"])
def test_f49_rows_of_blocks_that_are_wrong(name: str, sparse: Sparse) -> None:
    right = sparse[name].parts
    units = int(right["start"][-1])
    for start, pattern in (
        ([1, right["start"][1], units], "begin with 0"),
        ([0, units + 1, units], "never falls"),
        ([0, right["start"][1], units - 1], "to end with"),
        ([0, right["start"][1], 2**32 - 1], "to end with"),
        ([0, 0, units], "row that ends before"),
        ([0, units, units], "another length|ends before"),
        ([0, right["start"][1] + 1, units], "another length"),
        ([0, right["start"][1] - 1, units], "another length|ends before"),
    ):
        with pytest.raises(FormatError, match=pattern):
            judge(sparse[name], {**right, "start": np.array(start, np.uint32)})
    more = right["data"].copy()
    more[:4] = 0xFF
    with pytest.raises(FormatError, match="a row of blocks"):
        judge(sparse[name], {**right, "data": more})


def test_f49_a_bitmap_that_start_can_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgert.format.encodings.ragged.MOST_UNITS", 40)
    with pytest.raises(FormatError, match="at most 320 bytes"):
        StoredTensor.pack_bitmap16("t", np.ones((17, 64)))


def test_f50_n_of_m_of_every_size() -> None:
    rng = np.random.default_rng(3)
    for m in (2, 4, 8, 16, 32):
        for n in {1, m // 2, m - 1}:
            order = rng.random((19, 96 // m, m)).argsort(axis=2).reshape(19, 96)[:, :90]
            numbers = (rng.integers(1, 128, (19, 90)) * (order < n)).astype(np.int8)
            scale = np.ones((19, 3), np.float16)
            tensor = StoredTensor.pack_nm("t", numbers, scale, n, m)
            assert tensor.parts["data"].shape == (2, 2, 192 + 1024 * n // m)
            assert (tensor.layout, tensor.pattern, tensor.density) == (f"nm:{n}:{m}", f"{n}:{m}", n / m)
            judge(tensor, dict(tensor.parts))
            np.testing.assert_array_equal(tensor.dense(), numbers.astype(np.float32))
            slow = slow_sparse.read("nm8", tensor.layout, tensor.shape, tensor.parts)
            np.testing.assert_array_equal(slow, numbers)
            bits = np.unpackbits(tensor.parts["data"][..., :128], axis=-1, bitorder="little")
            rows = bits.reshape(2, 2, 16, 16, 4).transpose(0, 3, 1, 2, 4).reshape(32, 128 // m, m)
            assert (rows.sum(axis=2) == n).all()
            # Swapped into a neighbour, or set beside it, it is n of m no more.
            for row, group in ((0, 0), (15, 1), (31, 127 // m)):
                place = np.argwhere(rows[row, group] == 0)[0, 0]
                k = group * m + place
                parts = {"data": tensor.parts["data"].copy()}
                bit = k % 64 // 4 * 64 + 4 * (row % 16) + k % 4
                parts["data"][row // 16, k // 64, bit // 8] ^= 1 << bit % 8
                with pytest.raises(FormatError, match=f"exactly {n} kept of every {m} k"):
                    judge(tensor, parts)


def test_f50_missing_numbers_are_the_first_zeros() -> None:
    numbers = np.zeros((1, 8), np.int8)
    numbers[0, 2:4] = 5, 6
    data = StoredTensor.pack_nm("t", numbers, np.ones((1, 1), np.float16), 3, 4).parts["data"][0, 0]
    # Rows 1 and 3 of a line are the high halves of its bytes, padding as the rest.
    assert data[:9].tolist() == [0x7D, *[0x77] * 7, 0x77] and data[192:196].tolist() == [0, 5, 6, 0]


def test_f50_padding_keeps_zeros(sparse: Sparse) -> None:
    for name in ("nm8", "nm4"):
        for block, byte in ((0, -1), (1, -1), (1, 194)):
            parts = {"data": sparse[name].parts["data"].copy()}
            # Row 16 has the first two numbers of a line; the last line of a block is k 60 to 63.
            parts["data"][block, 0, byte] ^= 0x11
            with pytest.raises(FormatError, match=f"numbers [08] in the padding of {name}"):
                judge(sparse[name], parts)


def test_f50_arguments() -> None:
    scale = np.ones((2, 1), np.float16)
    with pytest.raises(FormatError, match="at most 2 numbers of every 4"):
        StoredTensor.pack_nm("t", np.ones((2, 4), np.int8), scale, 2, 4)
    for n, m in ((0, 4), (4, 4), (2, 3), (1, 64), (-1, 4)):
        with pytest.raises(FormatError, match="nm:N:M"):
            StoredTensor.pack_nm("t", np.zeros((2, 4), np.int8), scale, n, m)
    with pytest.raises(FormatError, match="numbers"):
        StoredTensor.pack_nm("t", np.zeros((2, 4), np.int16), scale, 2, 4)
