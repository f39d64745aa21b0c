"""How reference operators and shape functions are held against ONNX Runtime.

The cases are in the test files, one per family of operators.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgert.graph.ir import DTYPES, Node, TensorType
from edgert.graph.operators import OPERATORS
from edgert.graph.registry import Operator
from edgert.kernels_cpu.reference import evaluate

NUMBERS = {name: helper.np_dtype_to_tensor_dtype(dtype) for name, dtype in DTYPES.items()}


def run_onnxruntime(op: str, inputs: Sequence[Any], attrs: dict[str, Any], outputs: int, opset: int) -> list[Any]:
    """The outputs of a model of one node; None is an absent input."""
    names = ["" if x is None else f"in{i}" for i, x in enumerate(inputs)]
    results = [f"out{i}" for i in range(outputs)]
    graph = helper.make_graph(
        [helper.make_node(op, names, results, **attrs)],
        "one_node",
        [
            helper.make_tensor_value_info(n, NUMBERS[x.dtype.name], x.shape)
            for n, x in zip(names, inputs, strict=True)
            if x is not None
        ],
        [helper.make_tensor_value_info(r, TensorProto.UNDEFINED, None) for r in results],
    )
    for value in graph.output:  # of any type and shape
        value.ClearField("type")
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    model = onnx.shape_inference.infer_shapes(model)
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, {n: x for n, x in zip(names, inputs, strict=True) if x is not None}))


def to_ir(attrs: dict[str, Any]) -> dict[str, Any]:
    """Attributes as the graph has them: a tensor becomes its number and dtype."""
    result: dict[str, Any] = {}
    for key, value in attrs.items():
        if isinstance(value, onnx.TensorProto):
            array = numpy_helper.to_array(value)
            result |= {key: array.item(), "dtype": array.dtype.name}
        else:
            result[key] = value
    return result


@pytest.fixture
def agrees() -> Callable[..., None]:
    """agrees(op, inputs, attrs, outputs=1, opset=21, rtol=..., expected=None): the shape function, the
    reference and ONNX Runtime (or `expected`) tell the same."""

    def compare(
        op: str,
        inputs: Sequence[Any],
        attrs: dict[str, Any] | None = None,
        outputs: int = 1,
        opset: int = 21,
        rtol: float = 1e-5,
        expected: Sequence[Any] | None = None,
    ) -> None:
        attrs, inputs = attrs or {}, [None if x is None else np.asarray(x) for x in inputs]
        if expected is None:
            expected = run_onnxruntime(op, inputs, attrs, outputs, opset)
        types = [None if x is None else TensorType(x.dtype.name, x.shape) for x in inputs]
        names = tuple("" if x is None else f"in{i}" for i, x in enumerate(inputs))
        node = Node(op, names, tuple(f"out{i}" for i in range(outputs)), to_ir(attrs), "node")
        operator: Operator = OPERATORS[op]
        assert operator.min_inputs <= len(inputs) <= (operator.max_inputs or len(inputs))
        inferred = operator.infer(node, types, list(inputs))
        found = evaluate(op, inputs, node.attrs, dtype_out=[t.dtype for t in inferred])
        assert len(found) == len(inferred) == outputs
        for want, got, kind in zip(expected, found, inferred, strict=True):
            assert (kind.dtype, kind.shape) == (want.dtype.name, want.shape), "inferred"
            assert (got.dtype, got.shape) == (want.dtype, want.shape), "computed"
            if want.dtype.kind == "f":
                wide = want.astype(np.float64)
                tolerance = rtol if want.dtype.itemsize > 2 else 2e-3
                np.testing.assert_allclose(got.astype(np.float64), wide, rtol=tolerance, atol=tolerance * 0.1)
            else:
                np.testing.assert_array_equal(got, want)

    return compare
