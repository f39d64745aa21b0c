"""Operators that move, copy or make values against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import numpy_helper

from edgert.errors import UnsupportedError
from edgert.kernels_cpu.reference import Quant, evaluate

Agrees = Callable[..., None]
INT_MAX, INT_MIN = 2**63 - 1, -(2**63)


def x(*shape: int, dtype: str = "float32") -> Any:
    return np.arange(1, np.prod(shape, dtype=int) + 1).reshape(shape).astype(dtype)


def i64(*values: int) -> Any:
    return np.array(values, np.int64)


@pytest.mark.parametrize("start", [None, 0, 1, -1, -9, 9])
@pytest.mark.parametrize("end", [None, 2, -1, 9, -9])
def test_shape_and_size(agrees: Agrees, start: int | None, end: int | None) -> None:
    attrs = {k: v for k, v in (("start", start), ("end", end)) if v is not None}
    agrees("Shape", [x(2, 3, 0, 4)], attrs)
    agrees("Size", [x(2, 3, 4)])


@pytest.mark.parametrize(("shape", "target", "attrs"), [
    ((2, 3, 4), (4, -1), {}), ((2, 3, 4), (0, 0, -1), {}), ((2, 3, 4), (-1,), {}), ((6,), (1, 6), {}),
    ((2, 0, 3), (0, 0, 5), {}), ((0, 3), (3, 0), {"allowzero": 1}), ((1,), (), {}), ((), (1, 1), {}),
    ((2, 3), (0, 3, 1), {}), ((2, 0), (-1, 2), {}),
])  # fmt: skip
def test_reshape(agrees: Agrees, shape: tuple[int, ...], target: tuple[int, ...], attrs: dict[str, int]) -> None:
    agrees("Reshape", [x(*shape), i64(*target)], attrs)


@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1, -3])
def test_flatten(agrees: Agrees, axis: int) -> None:
    agrees("Flatten", [x(2, 3, 4)], {"axis": axis})
    agrees("Flatten", [x(2, 0, 4)], {"axis": axis})


def test_transpose(agrees: Agrees) -> None:
    agrees("Transpose", [x(2, 3, 4)])
    agrees("Transpose", [x(2, 3, 4, 5, dtype="uint8")], {"perm": [0, 2, 3, 1]})
    agrees("Transpose", [x(0, 3)])


def test_squeeze_and_unsqueeze(agrees: Agrees) -> None:
    agrees("Squeeze", [x(1, 3, 1, 2)])
    agrees("Squeeze", [x(1, 3, 1, 2), i64(0, -2)])
    agrees("Squeeze", [x(1, 1), i64(0, 1)])
    agrees("Unsqueeze", [x(3, 2), i64(0, 3)])
    agrees("Unsqueeze", [x(3, 2), i64(-1, 1)])
    agrees("Unsqueeze", [x(), i64(0)])


@pytest.mark.parametrize(("shape", "target"), [
    ((3, 1), (2, 1, 6)), ((3, 1), (3, 4)), ((3, 4), (1,)), ((), (2, 2)), ((1,), (0,)), ((2, 3), ()),
])  # fmt: skip
def test_expand(agrees: Agrees, shape: tuple[int, ...], target: tuple[int, ...]) -> None:
    agrees("Expand", [x(*shape), i64(*target)])


def test_tile(agrees: Agrees) -> None:
    for repeats in [(1, 1), (2, 3), (0, 2)]:
        agrees("Tile", [x(2, 3), i64(*repeats)])


def test_concat(agrees: Agrees) -> None:
    for axis in (1, -2):
        agrees("Concat", [x(2, 1, 3), x(2, 4, 3), x(2, 0, 3)], {"axis": axis})
    agrees("Concat", [x(2, dtype="int64")], {"axis": 0})


def test_split(agrees: Agrees) -> None:
    agrees("Split", [x(6, 2)], {"axis": 0, "num_outputs": 3}, outputs=3)
    agrees("Split", [x(2, 7)], {"axis": -1, "num_outputs": 3}, outputs=3)
    agrees("Split", [x(2, 7), i64(1, 0, 6)], {"axis": 1}, outputs=3)
    agrees("Split", [x(0, 2), i64(0, 0)], {"axis": 0}, outputs=2)


@pytest.mark.parametrize(("starts", "ends", "axes", "steps"), [
    ([1, 0], [3, 2], None, None), ([0], [INT_MAX], [1], None), ([-3], [-1], [-1], None),
    ([-1], [INT_MIN], [2], [-1]), ([10], [-10], [0], [-2]), ([1], [100], [2], [3]), ([3], [1], [1], None),
    ([-100, 1], [100, -1], [0, 1], [1, 2]), ([4], [0], [2], [-2]), ([100], [0], [1], [-1]),
])  # fmt: skip
def test_slice(agrees: Agrees, starts: Any, ends: Any, axes: Any, steps: Any) -> None:
    inputs = [x(4, 3, 5), i64(*starts), i64(*ends), None if axes is None else i64(*axes)]
    inputs += [] if steps is None else [i64(*steps)]
    agrees("Slice", inputs if axes is not None or steps is not None else inputs[:3])


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
@pytest.mark.parametrize(("pads", "axes"), [
    ([0, 1, 2, 0, 2, 1], None), ([1, 2], [-1]), ([2, 0, 1, 0], [2, 0]), ([0, -1, 0, 0, 0, -2], None),
    ([0, -1, 1, 0, 1, -1], None), ([0] * 6, None),
])  # fmt: skip
def test_pad(agrees: Agrees, mode: str, pads: Any, axes: Any) -> None:
    extra = [] if axes is None else [i64(*axes)]
    agrees("Pad", [x(3, 4, 5), i64(*pads), None, *extra], {"mode": mode})
    if mode == "constant":
        agrees("Pad", [x(3, 4, 5), i64(*pads), np.float32(7.5), *extra])
        agrees("Pad", [x(3, 4, 5, dtype="int64"), i64(*pads), np.int64(-3), *extra])


def test_pad_of_nothing(agrees: Agrees) -> None:
    agrees("Pad", [x(0, 2), i64(1, 0, 2, 0), np.float32(3)])


def test_pad_of_quantized_is_its_zero_point() -> None:
    quant = Quant(np.float32(0.1), np.int32(17))
    (y,) = evaluate("Pad", [np.array([1, 2], np.uint8), i64(1, 1)], quant_in=[quant], dtype_out=["uint8"])
    assert y.tolist() == [17, 1, 2, 17]


@pytest.mark.parametrize("value", [np.float32(1.5), np.int64(-2), True, np.uint8(200)])
def test_constant_of_shape(agrees: Agrees, value: Any) -> None:
    for sizes in ([2, 3], [], [0, 2]):
        agrees("ConstantOfShape", [i64(*sizes)], {"value": numpy_helper.from_array(np.array([value]))})
    agrees("ConstantOfShape", [i64(2)])


@pytest.mark.parametrize(("dtype", "start", "limit", "delta"), [
    ("int64", 0, 10, 3), ("int32", 10, 0, -4), ("float32", 0, 1, 0.25), ("float32", 1, 0.1, -0.3),
    ("int64", 3, 3, 1), ("int64", 5, 2, 1),
])  # fmt: skip
def test_range(agrees: Agrees, dtype: str, start: float, limit: float, delta: float) -> None:
    agrees("Range", [np.array(v, dtype) for v in (start, limit, delta)])


def test_eye_like(agrees: Agrees) -> None:
    agrees("EyeLike", [x(3, 4)])
    agrees("EyeLike", [x(4, 3)], {"k": -1, "dtype": 7})
    agrees("EyeLike", [x(3, 3, dtype="int32")], {"k": 2})


@pytest.mark.parametrize("upper", [0, 1])
def test_trilu(agrees: Agrees, upper: int) -> None:
    for k in (None, -1, 0, 2, 9):
        inputs = [x(2, 3, 4)] if k is None else [x(2, 3, 4), np.array(k, np.int64)]
        agrees("Trilu", inputs, {"upper": upper})
    agrees("Trilu", [x(3, 3, dtype="int64")], {"upper": upper})


def test_blocks(agrees: Agrees) -> None:
    for mode in ("DCR", "CRD"):
        agrees("DepthToSpace", [x(2, 8, 2, 3)], {"blocksize": 2, "mode": mode})
    agrees("SpaceToDepth", [x(2, 3, 4, 6)], {"blocksize": 2})


def test_identity(agrees: Agrees) -> None:
    agrees("Identity", [x(2, 3)])


def test_unknown_modes_are_refused() -> None:
    for op, inputs, attrs in [
        ("Pad", [x(2), i64(1, 1)], {"mode": "mirror"}),
        ("DepthToSpace", [x(1, 4, 1, 1)], {"mode": "ABC", "blocksize": 2}),
        ("Range", [i64(0), i64(1), i64(0)], {}),
    ]:
        with pytest.raises(UnsupportedError, match="expected"):
            evaluate(op, inputs, attrs)
