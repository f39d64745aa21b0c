"""Whole models: opset matrix, functions, named dimensions, and the list of everything that cannot be converted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgert.converters.onnx.importer import check_onnx, import_onnx
from edgert.errors import UnsupportedError
from edgert.graph.ir import Graph

Save, Agree = Callable[..., Path], Callable[..., Graph]


def n(op: str, inputs: str, outputs: str = "y", domain: str = "", **attrs: Any) -> Any:
    names = [name.replace("-", "") for name in inputs.split()]
    return helper.make_node(op, names, outputs.split(), domain=domain, **attrs)


def f(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def mobile_block(opset: int) -> tuple[list[Any], dict[str, np.ndarray]]:
    """Expand, depthwise, project, skip, pool, classify: as an exporter of that opset writes it."""
    constants = {"w1": f(12, 4, 1, 1), "w2": f(12, 1, 3, 3), "w3": f(4, 12, 1, 1), "fc": f(5, 4), "fb": f(5)}
    bounds: dict[str, Any] = {"min": 0.0, "max": 6.0} if opset < 11 else {}
    if opset >= 11:
        constants |= {"lo": np.float32(0).reshape(()), "hi": np.float32(6).reshape(())}

    def clip(source: str, out: str) -> Any:
        return n("Clip", source if bounds else f"{source} lo hi", out, **bounds)

    nodes = [n("Conv", "x w1", "c1")]
    for name in "sbmv":
        constants[f"bn_{name}"] = abs(f(12)) + 0.5
    nodes += [
        n("BatchNormalization", "c1 bn_s bn_b bn_m bn_v", "n1", epsilon=1e-3),
        clip("n1", "a1"),
        n("Conv", "a1 w2", "c2", group=12, auto_pad="SAME_UPPER", kernel_shape=[3, 3]),
        clip("c2", "a2"),
        n("Conv", "a2 w3", "c3"),
        n("Add", "x c3", "s"),
        n("GlobalAveragePool", "s", "g"),
    ]
    if opset < 13:
        nodes.append(n("Squeeze", "g", "v", axes=[2, 3]))
    else:
        constants["axes"] = np.array([2, 3])
        nodes.append(n("Squeeze", "g axes", "v"))
    return [*nodes, n("Gemm", "v fc fb", "l", transB=1), n("Softmax", "l", axis=1)], constants


@pytest.mark.parametrize("opset", range(7, onnx.defs.onnx_opset_version() + 1))
def test_one_network_in_every_opset(save: Save, agree: Agree, opset: int) -> None:
    from edgert.graph.execute import run_graph

    nodes, constants = mobile_block(opset)
    feeds = {"x": f(1, 4, 7, 7)}
    graph = import_onnx(save(nodes, feeds, ["y"], constants, opset))
    assert [node.op for node in graph.nodes][-3:] == ["Squeeze", "Gemm", "Softmax"]
    nodes, constants = mobile_block(17)
    same = agree(save(nodes, feeds, ["y"], constants, 17), feeds)
    np.testing.assert_array_equal(run_graph(graph, feeds)["y"], run_graph(same, feeds)["y"])


def test_named_dimensions_are_kept(tmp_path: Path) -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, "height", None])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([n("Conv", "x w")], "g", [x], [y], [numpy_helper.from_array(f(2, 3, 1, 1), "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, str(tmp_path / "m.onnx"))
    found = import_onnx(tmp_path / "m.onnx")
    assert found.types["x"].shape == ("batch", 3, "height", "x_dim3")
    assert found.types["y"].dtype == "float32" and found.types["y"].shape[:2] == ("batch", 2)


def test_local_functions_are_inlined(save: Save, agree: Agree) -> None:
    body = [helper.make_node("Mul", ["a", "a"], ["t"]), helper.make_node("Relu", ["t"], ["b"])]
    square = helper.make_function("mine", "Square", ["a"], ["b"], body, [helper.make_opsetid("", 17)])
    calls = [helper.make_node("Square", [a], [b], domain="mine") for a, b in (("a", "t"), ("t", "b"))]
    twice = helper.make_function("mine", "Twice", ["a"], ["b"], calls, [helper.make_opsetid("mine", 1)])
    feeds = {"x": f(2, 3)}
    path = save([n("Twice", "x w", domain="mine")], feeds, ["y"], {"w": f(1)}, functions=[square, twice])
    model = onnx.load(str(path))
    del model.graph.node[0].input[1:]
    model.opset_import.append(helper.make_opsetid("mine", 1))
    onnx.save(model, str(path))
    graph = agree(path, feeds)
    assert [node.op for node in graph.nodes] == ["Mul", "Relu", "Mul", "Relu"]


def test_operators_defined_by_functions_are_written_out(
    save: Save, agree: Agree, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgert.graph.operators import OPERATORS

    for name in ("Celu", "Softsign", "MeanVarianceNormalization", "CenterCropPad"):
        monkeypatch.delitem(OPERATORS, name, raising=False)
    feeds = {"x": f(2, 3, 4, 4)}
    for node, opset in (
        (n("Softsign", "x"), 9),
        (n("Celu", "x", alpha=0.5), 12),
        (n("MeanVarianceNormalization", "x", axes=[0, 2]), 13),
        (n("MeanVarianceNormalization", "x"), 18),
        (n("CenterCropPad", "x s", axes=[2, 3]), 18),
    ):
        constants = {"s": np.array([2, 6])} if node.op_type == "CenterCropPad" else {}
        report: dict[str, Any] = {}
        path = save([node], feeds, ["y"], constants, opset)
        agree(path, feeds)
        import_onnx(path, report=report)
        assert any("simpler operators" in note for note in report["notes"])


def test_check_lists_every_problem_at_once(save: Save) -> None:
    nodes = [
        n("Abs", "x", "d"),
        n("ImageDecoder", "d", "e"),
        n("Frobnicate", "x", "g"),
        n("Custom", "x", "h", domain="com.microsoft"),
        n("Softmax", "x", "i", axis=1, temperature=2.0),
        n("QuantizeLinear", "x z", "k", domain="com.microsoft"),
        n("Concat", "x x", "l"),
        n("Add", "d e"),
    ]
    constants = {"z": np.float32(-1).reshape(())}
    path = save(nodes, {"x": f(2, 3, 3)}, ["y"], constants)
    problems = check_onnx(path)
    found = [(p.op, p.domain, p.opset, p.attribute) for p in problems]
    assert found == [
        ("ImageDecoder", "", 17, ""),
        ("Frobnicate", "", 17, ""),
        ("Custom", "com.microsoft", 1, ""),
        ("Softmax", "", 17, "temperature"),
        ("QuantizeLinear", "com.microsoft", 1, ""),
        ("Concat", "", 17, "axis"),
    ]
    assert all(p.advice and p.node for p in problems)
    with pytest.raises(UnsupportedError) as caught:
        import_onnx(path)
    for problem in problems:
        assert str(problem) in str(caught.value)


def test_control_flow_is_no_problem(save: Save) -> None:
    def branch(name: str) -> onnx.GraphProto:
        y = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node("Abs", ["x"], [name])], name, [], [y])

    node = helper.make_node("If", ["c"], ["y"], then_branch=branch("t"), else_branch=branch("e"))
    assert check_onnx(save([node], {"x": f(2), "c": np.array(True)}, ["y"])) == []


def test_report_counts_operators(save: Save) -> None:
    nodes, constants = mobile_block(17)
    report: dict[str, Any] = {}
    import_onnx(save(nodes, {"x": f(1, 4, 7, 7)}, ["y"], constants), report=report)
    assert report["format"] == "onnx" and report["opsets"][""] == 17
    assert report["operators"]["Conv"] == 3 and report["notes"] == []


@pytest.mark.parametrize("form", ["qdq", "qoperator"])
@pytest.mark.parametrize("activation", ["uint8", "int8"])
def test_what_the_onnx_runtime_quantizer_writes(
    save: Save, agree: Agree, tmp_path: Path, form: str, activation: str
) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization")
    nodes, constants = mobile_block(17)
    feeds = {"x": f(1, 4, 7, 7)}
    path = save(nodes[:-1], feeds, ["l"], constants)

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.left = [{"x": f(1, 4, 7, 7) * k} for k in (0.5, 1.0, 1.2)]

        def get_next(self) -> dict[str, np.ndarray] | None:
            return self.left.pop() if self.left else None

    out = tmp_path / "quantized.onnx"
    quantization.quantize_static(
        str(path), str(out), Reader(),
        quant_format=quantization.QuantFormat.QDQ if form == "qdq" else quantization.QuantFormat.QOperator,
        activation_type=quantization.QuantType.QUInt8 if activation == "uint8" else quantization.QuantType.QInt8,
        weight_type=quantization.QuantType.QInt8, per_channel=True,
    )  # fmt: skip
    graph = agree(out, feeds, step=0.05)
    assert all(t.dtype != "int8" for name, t in graph.types.items() if name not in graph.constants)
    assert ("QLinearConv" in [node.op for node in graph.nodes]) is (form == "qoperator")


def test_check_judges_inputs_that_do_not_fit(save: Save) -> None:
    nodes = [
        n("MatMul", "x w", "a"),
        n("Add", "x v", "b"),
        n("Relu", "x", "c"),
        n("Reshape", "x s", "d"),
        n("Add", "c d"),
    ]
    constants = {"w": f(5, 2), "v": f(4), "s": np.array([3, -1])}
    problems = check_onnx(save(nodes, {"x": f(2, 3)}, ["y"], constants))
    assert [p.op for p in problems] == ["MatMul", "Add", "Add"]
