"""Reductions over axes that are not the last, norms of rows, and positions of extremes."""

from __future__ import annotations

import numpy as np
import pytest
from offers import check

from edgert.graph.ir import TensorType

OPERATORS = ["Mean", "Sum", "Max", "Min", "L1", "L2", "SumSquare"]


@pytest.mark.parametrize("op", OPERATORS)
@pytest.mark.parametrize(("shape", "axes"), [
    ((2, 5, 7), [1]), ((2, 5, 3, 40), [1]), ((6, 33), [0]), ((2, 1, 4, 3, 9), [1, 2, 3]), ((3, 17), [1]),
    ((2, 3, 4, 5), [2, 3]), ((2, 8), [1]),
])  # fmt: skip
def test_reductions(op: str, shape: tuple[int, ...], axes: list[int], rng: np.random.Generator) -> None:
    x, at = rng.standard_normal(shape).astype(np.float32), np.array(axes, np.int64)
    for keep in (0, 1):
        check(f"Reduce{op}", [x, at], attrs={"keepdims": keep}, constants={1: at}, rtol=1e-5, atol=1e-5)


def test_channels_of_planes(rng: np.random.Generator) -> None:
    x, at = rng.standard_normal((2, 5, 3, 7)).astype(np.float32), np.array([1], np.int64)
    offers = check("ReduceMax", [x, at], constants={1: at}, least=2)
    assert {(o.in_layouts[0], o.out_layouts[0]) for o in offers} == {("kp", "kp"), ("row", "row")}


@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize(("shape", "axis"), [((2, 5, 3, 7), 1), ((4, 21), 1), ((9, 20), 0), ((2, 3, 40), 1), ((5,), 0)])
def test_positions_of_extremes(op: str, last: int, shape: tuple[int, ...], axis: int, rng: np.random.Generator) -> None:
    x = rng.integers(-3, 4, shape).astype(np.float32)  # with equal values
    numbers = x.copy()
    numbers[rng.random(shape) < 0.1] = np.nan
    numbers[rng.random(shape) < 0.1] = np.inf
    for values in (x, numbers):
        for keep in (0, 1):
            out = list(shape)
            out[axis : axis + 1] = [1] * keep
            check(
                op, [values], [TensorType("int64", tuple(out))], out_dtype="int64",
                attrs={"axis": axis, "keepdims": keep, "select_last_index": last},
            )  # fmt: skip


def test_axes_that_are_no_neighbours_are_refused() -> None:
    at = np.array([0, 2], np.int64)
    with pytest.raises(AssertionError, match="not neighbours"):
        check("ReduceSum", [np.zeros((2, 3, 4), np.float32), at], constants={1: at})
