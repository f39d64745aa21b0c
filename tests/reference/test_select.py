"""Selection by indices or by value against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgert.errors import InputError
from edgert.kernels_cpu.reference import evaluate

Agrees = Callable[..., None]


def x(*shape: int, dtype: str = "float32") -> Any:
    return np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)


def i64(values: Any) -> Any:
    return np.array(values, np.int64)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_gather(agrees: Agrees, axis: int) -> None:
    for indices in (0, -1, [], [1, -2], [[0, 1], [1, 0]]):
        agrees("Gather", [x(2, 3, 4), i64(indices)], {"axis": axis})
    agrees("Gather", [x(2, 3, dtype="uint8"), np.array([1], np.int32)], {"axis": axis})


def test_gather_elements(agrees: Agrees) -> None:
    indices = np.random.default_rng(0).integers(-2, 2, (2, 3, 4))
    agrees("GatherElements", [x(2, 3, 4), indices], {"axis": 0})
    agrees("GatherElements", [x(2, 5, 4), indices], {"axis": 1})
    agrees("GatherElements", [x(2, 3, 4), indices[:, :2]], {"axis": -1})


@pytest.mark.parametrize(("shape", "indices", "batch"), [
    ((2, 3, 4), [[0, 1], [1, -1]], 0), ((2, 3, 4), [[0, 1, 3]], 0), ((2, 3, 4), [[[1]], [[0]]], 0),
    ((2, 3, 4), [[1], [-1]], 1), ((2, 3, 4), [[[0, 1], [2, 3]], [[1, 1], [0, 0]]], 1),
    ((2, 2, 3), [[[0], [1]], [[2], [-1]]], 2),
])  # fmt: skip
def test_gather_nd(agrees: Agrees, shape: tuple[int, ...], indices: Any, batch: int) -> None:
    agrees("GatherND", [x(*shape), i64(indices)], {"batch_dims": batch})


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
def test_scatter_elements(agrees: Agrees, reduction: str) -> None:
    data, updates = x(3, 4), np.float32(2.5) + x(2, 4)
    indices = i64([[0, 1, 2, -1], [1, 2, 0, 0]])
    agrees("ScatterElements", [data, indices, updates], {"axis": 0, "reduction": reduction})
    agrees("ScatterElements", [data, indices[:, :2], updates[:, :2]], {"axis": 1, "reduction": reduction})
    if reduction != "none":  # places that meet
        agrees("ScatterElements", [data, indices * 0, updates], {"axis": 0, "reduction": reduction})


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
def test_scatter_nd(agrees: Agrees, reduction: str) -> None:
    attrs = {"reduction": reduction}
    agrees("ScatterND", [x(4, 3), i64([[0], [-1]]), np.float32(5) + x(2, 3)], attrs)
    agrees("ScatterND", [x(4, 3), i64([[[0, 1]], [[2, -1]]]), x(2, 1)], attrs)
    agrees("ScatterND", [x(4, 3), np.zeros((0, 1), np.int64), x(0, 3)], attrs)
    if reduction != "none":
        agrees("ScatterND", [x(4, 3), i64([[1], [1], [1]]), np.float32(5) + x(3, 3)], attrs)


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_one_hot(agrees: Agrees, axis: int) -> None:
    for indices in ([0, 2, -1], [[1, 5], [-9, 3]], []):
        agrees("OneHot", [i64(indices), i64(4), np.array([0, 1], np.float32)], {"axis": axis})
    agrees(
        "OneHot",
        [np.array([1, 2], np.float32), np.array([3], np.float32), np.array([7, -7], np.float32)],
        {"axis": axis},
    )


def test_non_zero(agrees: Agrees) -> None:
    for value in (np.array([[1, 0, 2], [0, 0, 3]], np.float32), np.zeros((2, 2), bool), np.array([0, 5], np.int64)):
        agrees("NonZero", [value])


@pytest.mark.parametrize("largest", [0, 1])
def test_top_k(agrees: Agrees, largest: int) -> None:
    values = np.random.default_rng(1).integers(0, 4, (3, 5, 7)).astype(np.float32)  # with equal values
    for axis, k in [(0, 2), (1, 5), (-1, 1), (-1, 0)]:
        agrees("TopK", [values, i64([k])], {"axis": axis, "largest": largest}, outputs=2)
    agrees("TopK", [values[0, 0].astype(np.int64), i64([3])], {"largest": largest}, outputs=2)


def test_indices_out_of_range() -> None:
    for op, inputs in [
        ("Gather", [x(3), i64([3])]), ("Gather", [x(3), i64([-4])]),
        ("GatherElements", [x(3), i64([3])]), ("GatherND", [x(3, 2), i64([[0, 2]])]),
        ("ScatterElements", [x(3), i64([5]), x(1)]), ("ScatterND", [x(3), i64([[3]]), x(1)]),
    ]:  # fmt: skip
        with pytest.raises(InputError, match=f"{op}: expected indices"):
            evaluate(op, inputs)
