"""An encoding and a layout for every constant: float32 that float16 can hold takes half the bytes and runs the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgert.converters.pack import pack_constant, pack_model
from edgert.format.model import ModelInfo
from edgert.graph.execute import run_graph
from edgert.graph.infer import infer_types
from edgert.graph.ir import Array, Graph, Node, TensorType
from edgert.runtime.session import Session


def weights(shape: tuple[int, ...], halves: bool) -> Array:
    values = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return values.astype(np.float16).astype(np.float32) if halves else values


@pytest.mark.parametrize(
    ("op", "shape", "attrs", "dense", "half"),
    [
        ("Conv", (8, 4, 3, 3), {}, "n4k1", "n4k1"),
        ("Gemm", (8, 4), {"transB": 1}, "n16k1", "row"),
        ("MatMul", (4, 8), {}, "row", "row"),
    ],
)
def test_halves(op: str, shape: tuple[int, ...], attrs: dict[str, Any], dense: str, half: str) -> None:
    reader = Node(op, ("x", "w"), ("y",), attrs, "n")
    for halves, expected in ((False, ("dense", dense)), (True, ("f16", half))):
        value = weights(shape, halves)
        stored = pack_constant("w", value, TensorType("float32", shape), [reader])
        assert (stored.encoding, stored.layout) == expected
        np.testing.assert_array_equal(stored.dense(), value)


def test_what_others_read_stays_float32() -> None:
    value = weights((8, 4), True)
    readers = [Node("Gemm", ("x", "w"), ("y",), {"transB": 1}, "n"), Node("Sin", ("w",), ("z",), {}, "s")]
    assert pack_constant("w", value, TensorType("float32", (8, 4)), readers).encoding == "dense"
    few = pack_constant("w", value[0], TensorType("float32", (4,)), [Node("Add", ("x", "w"), ("y",), {}, "a")])
    assert few.encoding == "dense"


@pytest.mark.parametrize("op", ["Gemm", "MatMul"])
def test_products_with_halves_run_natively(op: str) -> None:
    graph = Graph("g", ["x"], ["y"], types={"x": TensorType("float32", (3, 20))})
    w = graph.add_constant("w", weights((40, 20) if op == "Gemm" else (20, 40), True))
    graph.nodes = [Node(op, ("x", w), ("y",), {"transB": 1} if op == "Gemm" else {}, "n")]
    model = pack_model(infer_types(graph, {}), ModelInfo(), {}, {})
    x = np.random.default_rng(1).standard_normal((3, 20)).astype(np.float32)
    with Session(model, threads=1) as session:
        assert {step.kind for step in session.plan().steps} == {"native"}
        np.testing.assert_allclose(session.run({"x": x})["y"], run_graph(graph, {"x": x})["y"], atol=1e-5)
