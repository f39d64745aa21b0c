"""Shapes of sampling, pooled regions and selections: named sizes, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgert.errors import UnsupportedError
from edgert.graph.ir import Node, TensorType
from edgert.graph.operators import OPERATORS
from edgert.graph.registry import NeedsValue


def infer(op: str, *inputs: Any, **attrs: Any) -> list[TensorType]:
    """Types of the outputs of `op`; an input is a shape of float32, a TensorType, or a value."""
    values = [x if isinstance(x, np.ndarray) else None for x in inputs]
    types = [
        TensorType(x.dtype.name, x.shape) if isinstance(x, np.ndarray)
        else x if isinstance(x, TensorType) or x is None else TensorType("float32", x)
        for x in inputs
    ]  # fmt: skip
    return OPERATORS[op].infer(Node(op, ("x",) * len(inputs), ("y",), attrs), types, values)


def test_named_sizes_stay_names() -> None:
    assert infer("GridSample", ("N", 3, "H", "W"), ("N", 7, "P", 2))[0].shape == ("N", 3, 7, "P")
    images = TensorType("int64", ("R",))
    aligned = infer("RoiAlign", ("N", 8, "H", "W"), ("R", 4), images, output_height=3, output_width=5)
    assert aligned[0].shape == ("R", 8, 3, 5)
    assert infer("MaxRoiPool", ("N", 8, "H", "W"), ("R", 5), pooled_shape=[2, 2])[0].shape == ("R", 8, 2, 2)
    assert infer("DeformConv", ("N", 4, 6, 6), (8, 4, 3, 3), ("N", 18, 4, 4))[0].shape == ("N", 8, 4, 4)
    assert infer("TensorScatter", ("N", 2, 9, 4), ("N", 2, 1, 4))[0].shape == ("N", 2, 9, 4)
    assert infer("Det", ("N", 3, 3))[0].shape == ("N",)


def test_sizes_that_are_values_are_asked_for() -> None:
    boxes, scores = (1, 5, 4), (1, 2, 5)
    for op, inputs in [
        ("AffineGrid", [(1, 2, 3), TensorType("int64", (4,))]), ("Unique", [(4,)]),
        ("Compress", [(4,), TensorType("bool", (4,))]), ("NonMaxSuppression", [boxes, scores]),
        ("Col2Im", [(1, 4, 4), TensorType("int64", (2,)), np.array([2, 2])]),
        ("MaxUnpool", [(1, 1, 2, 2), TensorType("int64", (1, 1, 2, 2)), TensorType("int64", (4,))]),
    ]:  # fmt: skip
        with pytest.raises(NeedsValue):
            infer(op, *inputs, **({"kernel_shape": [2, 2]} if op == "MaxUnpool" else {}))


@pytest.mark.parametrize(("op", "inputs", "attrs", "message"), [
    ("GridSample", [(1, 1, 4, 4), (1, 2, 2, 3)], {}, "2 coordinates per position"),
    ("GridSample", [(1, 1, 4, 4), (2, 2, 2, 2)], {}, "the batch"),
    ("GridSample", [(1, 1, 4, 4), (1, 2, 2, 2)], {"mode": "bilinear"}, "expected mode"),
    ("GridSample", [(1, 1, 0, 4), (1, 2, 2, 2)], {}, "at least one value"),
    ("AffineGrid", [(1, 2, 3), np.array([2, 1, 4, 4])], {}, "theta of shape"),
    ("AffineGrid", [(1, 2, 3), np.array([1, 1, 4])], {}, "a size"),
    ("DeformConv", [(1, 4, 6, 6), (8, 4, 3, 3), (1, 18, 5, 4)], {}, "offsets of shape"),
    ("DeformConv", [(1, 4, 6, 6), (8, 4, 3, 3), (1, 54, 4, 4)], {"offset_group": 3}, "offset_group that divides"),
    ("RoiAlign", [(1, 8, 6, 6), (3, 5), np.zeros(3, np.int64)], {}, "regions of shape"),
    ("RoiAlign", [(1, 8, 6, 6), (3, 4), np.zeros(2, np.int64)], {}, "batch indices of shape"),
    ("MaxRoiPool", [(1, 8, 6, 6), (3, 5)], {"pooled_shape": [2]}, "pooled_shape of two sizes"),
    ("NonMaxSuppression", [np.zeros((1, 5, 3), np.float32), np.zeros((1, 2, 5), np.float32)], {}, "coordinates"),
    ("Compress", [np.zeros(3), np.ones(4, bool)], {}, "a condition of at most 3"),
    ("Col2Im", [(1, 5, 9), np.array([4, 4]), np.array([2, 2])], {}, "channels in blocks of 4"),
    ("Col2Im", [(1, 4, 8), np.array([4, 4]), np.array([2, 2])], {}, "positions of the block"),
    ("BitCast", [(2,)], {"to": "int64"}, "a dtype of 4 bytes"),
    ("TensorScatter", [(1, 2, 4), (1, 3, 4)], {}, "an update of at most 2"),
    ("Det", [(2, 3)], {}, "both sides"),
])  # fmt: skip
def test_refused(op: str, inputs: list[Any], attrs: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        infer(op, *inputs, **attrs)
