"""Element types that NumPy lacks: constants are read exactly, and what is computed in them is rounded to them."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgert.converters.onnx.importer import import_onnx
from edgert.converters.onnx.reader import read_onnx
from edgert.converters.onnx.tensors import NARROW_TYPES, to_array
from edgert.errors import FormatError, UnsupportedError
from edgert.graph.execute import run_graph
from edgert.kernels_cpu.reference.narrow import held

BF16 = TensorProto.BFLOAT16


def tensor(number: int, count: int, rng: np.random.Generator) -> TensorProto:
    """`count` values with random bits."""
    kind = helper.tensor_dtype_to_np_dtype(number)
    if NARROW_TYPES[number] in ("int4", "uint4", "int2", "uint2"):
        info = ml_dtypes.iinfo(kind)
        values = rng.integers(info.min, info.max + 1, count).astype(kind)
    elif NARROW_TYPES[number] == "float4e2m1":
        values = rng.integers(0, 16, count).astype(np.uint8).view(kind)
    else:
        values = rng.integers(0, 64, count * kind.itemsize).astype(np.uint8).view(kind)
    return numpy_helper.from_array(values, "t")


@pytest.mark.parametrize("count", [0, 1, 5, 8])
@pytest.mark.parametrize("number", NARROW_TYPES)
def test_constants(number: int, count: int, rng: np.random.Generator) -> None:
    proto = tensor(number, count, rng)
    expected = numpy_helper.to_array(proto).astype(held(NARROW_TYPES[number]))
    np.testing.assert_array_equal(to_array(proto, None), expected)
    data = np.frombuffer(proto.raw_data, "<u2" if number == BF16 else "u1")
    if "float6" in NARROW_TYPES[number]:  # packed in raw_data alone
        data = numpy_helper.to_array(proto).view(np.uint8)
    proto.ClearField("raw_data")
    proto.int32_data.extend(data.tolist())
    got = to_array(proto, None)
    np.testing.assert_array_equal(got, expected)
    assert got.dtype == held(NARROW_TYPES[number])


@pytest.mark.parametrize("number", NARROW_TYPES)
def test_sizes_are_checked(number: int, rng: np.random.Generator) -> None:
    proto = tensor(number, 8, rng)
    proto.raw_data = proto.raw_data[:-1]
    with pytest.raises(FormatError, match="bytes for tensor"):
        to_array(proto, None)


def network(path: Path, nodes: list[onnx.NodeProto], opset: int = 23, **constants: np.ndarray) -> Path:
    x, y = (helper.make_tensor_value_info(name, BF16, ["N", 4]) for name in "xy")
    values = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", [x], [y], values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    path.write_bytes(model.SerializeToString())
    return path


def test_arithmetic_is_rounded_and_moves_are_not(tmp_path: Path, rng: np.random.Generator) -> None:
    w = rng.standard_normal((4, 4)).astype(ml_dtypes.bfloat16)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Transpose", ["b"], ["c"], perm=[0, 1]), helper.make_node("Add", ["c", "x"], ["y"]),
    ]  # fmt: skip
    graph = import_onnx(network(tmp_path / "m.onnx", nodes, w=w))
    assert [node.op for node in graph.nodes] == ["MatMul", "RoundTo", "Relu", "Transpose", "Add", "RoundTo"]
    x = rng.standard_normal((3, 4)).astype(ml_dtypes.bfloat16)
    product = (x.astype(np.float32) @ w.astype(np.float32)).astype(ml_dtypes.bfloat16)
    expected = np.maximum(product, ml_dtypes.bfloat16(0)) + x
    np.testing.assert_array_equal(run_graph(graph, {"x": x.astype(np.float32)})["y"], expected.astype(np.float32))


def test_cast_like_a_narrow_constant(tmp_path: Path) -> None:
    one = np.ones(1, ml_dtypes.float8_e4m3fn)
    nodes = [helper.make_node("CastLike", ["x", "one"], ["f"]), helper.make_node("Cast", ["f"], ["y"], to=BF16)]
    graph = import_onnx(network(tmp_path / "m.onnx", nodes, one=one))
    x = np.array([[0.3, 500, -1e9, 1.0]], np.float32)
    np.testing.assert_array_equal(run_graph(graph, {"x": x})["y"], [[0.3125, 448, -448, 1]])


def test_types_of_constants_are_kept(tmp_path: Path) -> None:
    zero = np.zeros((), ml_dtypes.int4)
    node = helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(np.ones(1, ml_dtypes.float8_e5m2)))
    path = network(tmp_path / "m.onnx", [node, helper.make_node("CastLike", ["x", "k"], ["y"])], zero=zero)
    assert read_onnx(path).narrow == {"zero": "int4", "k": "float8e5m2"}


def test_strings_are_refused(tmp_path: Path) -> None:
    node = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.STRING)
    with pytest.raises(UnsupportedError, match="numeric type"):
        import_onnx(network(tmp_path / "m.onnx", [node]))


def test_bodies_of_control_flow(tmp_path: Path, rng: np.random.Generator) -> None:
    def branch(name: str, op: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info(name, BF16, None)
        return helper.make_graph([helper.make_node(op, ["x", "x"], [name])], name, [], [out])

    nodes = [helper.make_node("If", ["c"], ["y"], then_branch=branch("t", "Mul"), else_branch=branch("e", "Add"))]
    graph = import_onnx(network(tmp_path / "m.onnx", nodes, c=np.array(True)))
    x = rng.standard_normal((3, 4)).astype(ml_dtypes.bfloat16)
    got = run_graph(graph, {"x": x.astype(np.float32)})["y"]
    np.testing.assert_array_equal(got, (x * x).astype(np.float32))
