"""The largest values of rows, at the sizes where vectors and columns end, with ties, NaN and infinities."""

from __future__ import annotations

import numpy as np
import pytest
from offers import check

from edgert.graph.ir import TensorType

SIZES = [
    (1, 1), (2, 1), (15, 3), (16, 16), (17, 5), (63, 1), (64, 64), (129, 128), (511, 128), (512, 128),
    (513, 128), (1000, 5), (1025, 128), (4095, 300), (4097, 128),
]  # fmt: skip


def rows_of(rng: np.random.Generator, rows: int, count: int) -> dict[str, np.ndarray]:
    """Rows by what is hard about them."""
    plain = rng.standard_normal((rows, count)).astype(np.float32)
    numbers = np.round(plain)
    numbers[rng.random(plain.shape) < 0.1] = np.nan
    numbers[rng.random(plain.shape) < 0.1] = np.inf
    numbers[rng.random(plain.shape) < 0.3] = -np.inf
    zeros = np.zeros_like(plain)
    zeros[:, ::2] = -0.0
    few = np.full_like(plain, -np.inf)
    few[:, -1] = 1
    peaks = np.where(np.arange(count) % 64 == 3, plain + 100, plain).astype(np.float32)  # the largest in few columns
    return {
        "plain": plain, "ties": np.round(plain), "numbers": numbers, "zeros": zeros, "few": few,
        "all nan": np.full_like(plain, np.nan), "rising": np.sort(plain), "falling": -np.sort(-plain), "peaks": peaks,
    }  # fmt: skip


def same(x: np.ndarray, k: int, axis: int = -1, **attrs: int) -> None:
    shape = list(x.shape)
    shape[axis] = k
    outs = [TensorType("float32", tuple(shape)), TensorType("int64", tuple(shape))]
    constant = np.array([k], np.int64)
    check("TopK", [x, constant], outs, {"axis": axis, **attrs}, constants={1: constant})


@pytest.mark.parametrize(("count", "k"), SIZES)
def test_the_largest_in_order(count: int, k: int, rng: np.random.Generator) -> None:
    for x in rows_of(rng, 2, count).values():
        same(x, k)


def test_the_largest_of_a_few(rng: np.random.Generator) -> None:
    for x in rows_of(rng, 1, 65).values():
        same(x, 8)


def test_rows_of_any_rank(rng: np.random.Generator) -> None:
    x = np.round(rng.standard_normal((2, 3, 70))).astype(np.float32)
    same(x, 9)
    same(x[0, 0], 9, axis=0)
    same(x.reshape(2, 210, 1), 9, axis=1, sorted=0)


@pytest.mark.parametrize("k", [1024, 3000])
def test_many(k: int, rng: np.random.Generator) -> None:
    same(np.round(9 * rng.standard_normal((1, 8400))).astype(np.float32), k)


def test_a_vocabulary(rng: np.random.Generator) -> None:
    x = (3 * rng.standard_normal((1, 49152))).astype(np.float32)
    same(x, 128)
    same(np.round(x), 1)


def test_what_is_refused(rng: np.random.Generator) -> None:
    x = rng.standard_normal((4, 6)).astype(np.float32)
    for attrs, why in (({"largest": 0}, "smallest"), ({"axis": 0}, "lie together")):
        with pytest.raises(AssertionError, match=why):
            same(x, 2, **attrs)
