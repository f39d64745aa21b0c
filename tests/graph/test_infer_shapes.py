"""Shape functions beyond plain numbers: named sizes, quantization that is passed on, and refusals.

That numbers come out right is in tests/reference/, against ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from edgert.errors import UnsupportedError
from edgert.graph.broadcast import MAX_DIM_NAME, broadcast, derived, product, total
from edgert.graph.ir import Dim, Node, Quantization, TensorType
from edgert.graph.operators import OPERATORS

Shape = tuple[Dim, ...]


def infer(
    op: str, ins: Sequence[TensorType | Shape | list[int] | None], outputs: int = 1, **attrs: Any
) -> list[TensorType]:
    """Output types; a tuple stands for a float32 input of that shape, a list for constant int64 values."""
    types: list[TensorType | None] = []
    for i in ins:
        if isinstance(i, list):
            types.append(TensorType("int64", (len(i),)))
        else:
            types.append(TensorType("float32", i) if isinstance(i, tuple) else i)
    consts = [np.array(i, np.int64) if isinstance(i, list) else None for i in ins]
    node = Node(op, tuple(map(str, range(len(ins)))), tuple(f"y{i}" for i in range(outputs)), attrs)
    return OPERATORS[op].infer(node, types, consts)


@pytest.mark.parametrize(("op", "ins", "attrs", "expected"), [
    ("Add", [("N", 3, "H", 1), (3, 1, "W")], {}, ("N", 3, "H", "W")),
    ("Add", [("N", 4), (7, 1)], {}, (7, 4)),
    ("MatMul", [("N", "T", 8), (8, 5)], {}, ("N", "T", 5)),
    ("MatMul", [("N", 2, "T", 8), (2, 8, "S")], {}, ("N", 2, "T", "S")),
    ("Gemm", [("N", 8), (5, 8), (5,)], {"transB": 1}, ("N", 5)),
    ("Einsum", [("N", "T", 8), ("N", "S", 8)], {"equation": "btc,bsc->bts"}, ("N", "T", "S")),
    ("Transpose", [("N", 3, "H")], {"perm": [2, 0, 1]}, ("H", "N", 3)),
    ("Concat", [("N", 3, "H"), ("N", 5, 9)], {"axis": 1}, ("N", 8, 9)),
    ("Concat", [("N", 3), ("M", 3), (2, 3)], {"axis": 0}, ("M+N+2", 3)),
    ("Flatten", [("N", 3, 4)], {}, ("N", 12)),
    ("Flatten", [("N", 3, "H")], {"axis": 0}, (1, "3*H*N")),
    ("Reshape", [("N", 3, 4), [-1, 12]], {}, ("N", 12)),
    ("Reshape", [("N", 3, 4), [0, -1]], {}, ("N", 12)),
    ("Reshape", [("N", 3, "H"), [0, 0, -1, 1]], {}, ("N", 3, "H", 1)),
    ("Reshape", [("N", 6), [-1, 4]], {}, ("6*N/4", 4)),
    ("Unsqueeze", [("N",), [1]], {}, ("N", 1)),
    ("Squeeze", [("N", 1, "H"), [1]], {}, ("N", "H")),
    ("Expand", [("N", 1), [1, 4]], {}, ("N", 4)),
    ("Tile", [("N", 3), [2, 1]], {}, ("2*N", 3)),
    ("Slice", [("N", 8), [0], [2**63 - 1], [0]], {}, ("N", 8)),
    ("Slice", [("N", 8), [-1], [-(2**63)], [0], [-1]], {}, ("N", 8)),
    ("Slice", [("N", 8), [1], [5], [1]], {}, ("N", 4)),
    ("Slice", [("N", 8), [1], [5], [0]], {}, ("(N)[1:5:1]", 8)),
    ("Pad", [("N", "H"), [0, 1, 0, 2]], {}, ("N", "H+3")),
    ("Gather", [("N", 5), TensorType("int64", ("T",))], {"axis": 1}, ("N", "T")),
    ("ReduceMean", [("N", 5, "H"), [1]], {"keepdims": 0}, ("N", "H")),
    ("ArgMax", [("N", 5)], {"axis": -1, "keepdims": 0}, ("N",)),
    ("TopK", [("N", 5), [2]], {}, ("N", 2)),
    ("Shape", [("N", 5, 1)], {"start": 1}, (2,)),
    ("DepthToSpace", [("N", 8, "H", 3)], {"blocksize": 2}, ("N", 2, "2*H", 6)),
])  # fmt: skip
def test_named_sizes(op: str, ins: list[Any], attrs: dict[str, Any], expected: Shape) -> None:
    assert infer(op, ins, outputs=2 if op == "TopK" else 1, **attrs)[0].shape == expected


def test_arithmetic_on_sizes() -> None:
    assert product([2, 3]) == 6
    assert product(["N", 1]) == "N"
    assert product(["N", 0]) == 0
    assert product(["H+2", 2]) == "2*(H+2)"
    assert total(["N", 0]) == "N"
    assert total(["N", -2]) == "N-2"
    assert broadcast() == ()
    assert broadcast((0,), ("N",)) == (0,)
    with pytest.raises(UnsupportedError, match="bind the named dimensions"):
        derived("N" * (MAX_DIM_NAME + 1))


QUANT = Quantization(np.float32(0.5), np.int32(3))
OTHER = Quantization(np.float32(0.25), np.int32(3))
CHANNELS = Quantization(np.array([0.5, 0.25], np.float32), np.zeros(2, np.int32), axis=0)


@pytest.mark.parametrize(("op", "rest", "attrs"), [
    ("Reshape", [[3, 2]], {}), ("Flatten", [], {}), ("Squeeze", [[]], {}), ("Unsqueeze", [[0]], {}),
    ("Slice", [[0], [1]], {}), ("Pad", [[1, 1, 1, 1]], {}), ("Expand", [[1, 1]], {}), ("Tile", [[1, 2]], {}),
    ("Split", [], {}), ("Gather", [[1]], {}), ("Transpose", [], {}), ("Identity", [], {}), ("ReduceMax", [], {}),
])  # fmt: skip
def test_quantization_moves_along(op: str, rest: list[list[int]], attrs: dict[str, Any]) -> None:
    (y,) = infer(op, [TensorType("uint8", (2, 3), QUANT), *rest], **attrs)
    assert (y.dtype, y.quant) == ("uint8", QUANT)


def test_concat_of_quantized() -> None:
    a, b = TensorType("uint8", (2, 3), QUANT), TensorType("uint8", (1, 3), OTHER)
    assert infer("Concat", [a, a], axis=0)[0] == TensorType("uint8", (4, 3), QUANT)
    with pytest.raises(UnsupportedError, match="quantized alike"):
        infer("Concat", [a, b], axis=0)


def test_channel_scales_move_with_their_axis() -> None:
    (y,) = infer("Transpose", [TensorType("int8", (2, 3), CHANNELS)], perm=[1, 0])
    assert y.quant is not None and y.quant.axis == 1
    with pytest.raises(UnsupportedError, match="scale per channel"):
        infer("Reshape", [TensorType("int8", (2, 3), CHANNELS), [6]])


I64, U8 = TensorType("int64", (2,)), TensorType("uint8", (2,), QUANT)


@pytest.mark.parametrize(("op", "ins", "attrs", "message"), [
    ("Add", [(2,), (3,)], {}, r"shapes \(2,\) and \(3,\) do not broadcast"),
    ("Add", [("N",), ("M",)], {}, "which may differ; bind"),
    ("Add", [(2,), I64], {}, "one dtype"),
    ("Add", [U8, U8], {}, "QLinear"),
    ("Add", [(2,), None], {}, "found none"),
    ("Exp", [I64], {}, "float32"),
    ("Where", [(2,), (2,), (2,)], {}, "bool"),
    ("Cast", [(2,)], {"to": 16}, "attribute 'to'"),
    ("BitShift", [TensorType("uint8", (2,))] * 2, {"direction": "UP"}, "LEFT or RIGHT"),
    ("MatMul", [(2, 3), (4, 5)], {}, "equal sizes of K"),
    ("MatMul", [(), (4, 5)], {}, "rank 1 or more"),
    ("Gemm", [(2, 3, 4), (4, 5)], {}, "rank 2"),
    ("Gemm", [(2, 3), (3, 4), (5,)], {}, "broadcast"),
    ("Einsum", [(2, 3)], {"equation": "ijk->i"}, "ranks"),
    ("Einsum", [(2, 3)], {"equation": "ij->k"}, "output label"),
    ("Einsum", [(2, 3)], {"equation": "i1"}, "letters"),
    ("Reshape", [(2, 3), I64], {}, "constant shape"),
    ("Reshape", [(2, 3), [4]], {}, "6 values"),
    ("Reshape", [(2, 3), [4, -1]], {}, "multiple of 4"),
    ("Reshape", [(2, 3), [-1, -1]], {}, "at most one -1"),
    ("Reshape", [(2, 3), [1, 6, 0]], {}, "a 0 only among"),
    ("Reshape", [(0, 3), [0, -1]], {}, "no size 0 beside -1"),
    ("Transpose", [(2, 3)], {"perm": [0, 0]}, "perm"),
    ("Flatten", [(2, 3)], {"axis": 3}, "an axis in"),
    ("Squeeze", [(2, 3), [0]], {}, "size 1 on axis 0"),
    ("Squeeze", [("N", 3)], {}, "tell whether it is 1"),
    ("Unsqueeze", [(2,), [0, 0]], {}, "each axis once"),
    ("Expand", [(2,), [-1]], {}, ">= 0"),
    ("Tile", [(2, 2), [1]], {}, "2 repeats"),
    ("Concat", [(2, 3), (3, 3)], {"axis": 1}, "equal sizes of axis 0"),
    ("Concat", [(2, 3), (3,)], {"axis": 0}, "one rank"),
    ("Concat", [(2, 3)], {}, "attribute axis"),
    ("Split", [(5,), [2, 2]], {}, "2 sizes|1 sizes"),
    ("Slice", [(5,), [0], [1], [0], [0]], {}, "steps other than 0"),
    ("Slice", [(5,), [0], [1, 2]], {}, "as many"),
    ("Slice", [(5,), I64, [1]], {}, "constant starts"),
    ("Pad", [(5,), [1]], {}, "2 pads"),
    ("Pad", [(2,), [-1, -2]], {}, "crop at most"),
    ("Pad", [(0,), [1, 0]], {"mode": "edge"}, "values to edge"),
    ("Pad", [(2,), [0, 0]], {"mode": "mirror"}, "mode"),
    ("ConstantOfShape", [[-1]], {}, ">= 0"),
    ("Range", [[0], [9], [0]], {}, "delta other than 0"),
    ("Trilu", [(2,)], {}, "matrices"),
    ("DepthToSpace", [(1, 6, 2, 2)], {"blocksize": 2}, "multiple of 4"),
    ("SpaceToDepth", [(1, 6, 3, 2)], {"blocksize": 2}, "multiple of 2"),
    ("Gather", [(2, 3), (2,)], {}, "int8"),
    ("GatherND", [(2, 3), TensorType("int64", (2, 3))], {}, "tuples of 1 to 2"),
    ("ScatterND", [(2, 3), TensorType("int64", (1, 1)), (2, 3)], {}, "equal sizes"),
    ("ScatterElements", [(2, 3), TensorType("int64", (1, 1)), (1, 2)], {}, "equal sizes"),
    ("NonZero", [(2,)], {}, "depends on its values"),
    ("TopK", [(2, 3), [4]], {}, "one k in"),
    ("Resize", [(1, 1, 4, 4), None, None, [1, 1, 1 << 40, 4]], {}, "sizes of at most"),
    ("ReduceSum", [(2, 3), [2]], {}, "an axis in"),
    ("ReduceSum", [(2, 3), I64], {}, "constant axes"),
    ("ArgMax", [(0, 3)], {}, "something to choose"),
])  # fmt: skip
def test_refusals(op: str, ins: list[Any], attrs: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        infer(op, ins, outputs=2 if op == "TopK" else 1, **attrs)


def test_infinite_range() -> None:
    consts = [np.array(v, np.float32) for v in (0, np.inf, 1)]
    types = [TensorType("float32", ())] * 3
    with pytest.raises(UnsupportedError, match="finite Range"):
        OPERATORS["Range"].infer(Node("Range", ("a", "b", "c"), ("y",)), types, consts)
