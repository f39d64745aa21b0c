"""Weights that branches of control flow have in common are stored once, and both branches compute with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgert.converters.convert import convert
from edgert.format import read_model
from edgert.runtime.session import Session

FLOAT, BOOL = TensorProto.FLOAT, TensorProto.BOOL


def branch(name: str, op: str) -> onnx.GraphProto:
    nodes = [helper.make_node("MatMul", ["x", "w"], [f"{name}p"]), helper.make_node(op, [f"{name}p"], [name])]
    return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(name, FLOAT, None)])


def test_weights_of_branches_are_stored_once(tmp_path: Path) -> None:
    w = np.random.default_rng(0).standard_normal((256, 256)).astype(np.float32)
    nodes = [
        helper.make_node(
            "If", ["b"], [f"y{i}"], then_branch=branch(f"t{i}", "Relu"), else_branch=branch(f"e{i}", "Abs")
        )
        for i in range(3)
    ]
    ends = [helper.make_tensor_value_info(f"y{i}", FLOAT, None) for i in range(3)]
    starts = [helper.make_tensor_value_info("x", FLOAT, [2, 256]), helper.make_tensor_value_info("b", BOOL, [])]
    graph = helper.make_graph(nodes, "g", starts, ends, [numpy_helper.from_array(w, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(tmp_path / "m.onnx"))
    convert(tmp_path / "m.onnx", tmp_path / "m.edge")
    assert (tmp_path / "m.edge").stat().st_size < 2 * w.nbytes  # six branches
    x = np.random.default_rng(1).standard_normal((2, 256)).astype(np.float32)
    with Session(read_model(tmp_path / "m.edge")) as session:
        for taken, function in ((True, lambda v: np.maximum(v, 0)), (False, np.abs)):
            for found in session.run(None, {"x": x, "b": np.array(taken)}):
                np.testing.assert_allclose(found, function(x @ w), rtol=1e-4, atol=1e-5)
