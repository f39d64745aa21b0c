"""Composite operators become the operators that define them; definitions without an end are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from compare import litert
from flat_model import FlatModel
from flatbuffers import flexbuffers

from edgert.converters.tflite.importer import import_tflite
from edgert.errors import FormatError
from edgert.graph.execute import run_graph


def composite(m: FlatModel, body: FlatModel, x: int, name: str) -> int:
    attributes = list(flexbuffers.Dumps({}))
    return int(
        m.op("STABLEHLO_COMPOSITE", [x], (name, (2, 3), "float32"), name="odml.test",
             decomposition_subgraph_index=body.index, composite_attributes=attributes)
    )  # fmt: skip


def twice_and_three(m: FlatModel) -> FlatModel:
    """relu(x) * 2 + 3 as a sub-graph."""
    body = m.subgraph("body")
    y = body.op("RELU", [body.input("a", (2, 3))], ("b", (2, 3), "float32"))
    y = body.op("MUL", [y, body.constant("two", np.float32([2]))], ("c", (2, 3), "float32"))
    body.output(body.op("ADD", [y, body.constant("three", np.float32([3]))], ("d", (2, 3), "float32")))
    return body


def test_composites_are_written_out(tmp_path: Path) -> None:
    m = FlatModel()
    body = twice_and_three(m)
    outer = m.subgraph("outer")
    inner = composite(outer, body, outer.input("e", (2, 3)), "f")
    outer.output(outer.op("NEG", [inner], ("g", (2, 3), "float32")))
    y = composite(m, body, m.input("x", (2, 3)), "y")
    m.output(composite(m, outer, y, "z"))
    path = m.save(tmp_path / "m.tflite")
    graph = import_tflite(path)
    assert [node.op for node in graph.nodes] == ["Relu", "Mul", "Add"] * 2 + ["Neg"]
    x = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    got = run_graph(graph, {"x": x})["z"]
    np.testing.assert_array_equal(got, -(2 * (2 * np.maximum(x, 0) + 3) + 3))
    np.testing.assert_allclose(got, litert(path, [x])[0], rtol=1e-6)


def test_a_composite_inside_itself_is_refused(tmp_path: Path) -> None:
    m = FlatModel()
    body = m.subgraph("body")
    body.output(composite(body, body, body.input("a", (2, 3)), "b"))
    m.output(composite(m, body, m.input("x", (2, 3)), "y"))
    with pytest.raises(FormatError, match="deep"):
        import_tflite(m.save(tmp_path / "m.tflite"))


def test_a_definition_of_other_inputs_is_refused(tmp_path: Path) -> None:
    m = FlatModel()
    body = m.subgraph("body")
    a, b = body.input("a", (2, 3)), body.input("b", (2, 3))
    body.output(body.op("ADD", [a, b], ("c", (2, 3), "float32")))
    m.output(composite(m, body, m.input("x", (2, 3)), "y"))
    with pytest.raises(FormatError, match="1 inputs and 1 outputs"):
        import_tflite(m.save(tmp_path / "m.tflite"))


def test_composites_that_multiply_are_refused(tmp_path: Path) -> None:
    """Fifteen levels of eight composites each would be 8 ** 15 operators."""
    m = FlatModel()
    bodies = [twice_and_three(m)]
    for level in range(14):
        body = m.subgraph(f"level{level}")
        x = body.input("a", (2, 3))
        for i in range(8):
            x = composite(body, bodies[-1], x, f"t{i}")
        body.output(x)
        bodies.append(body)
    m.output(composite(m, bodies[-1], m.input("x", (2, 3)), "y"))
    with pytest.raises(FormatError, match="operators, composites written out"):
        import_tflite(m.save(tmp_path / "m.tflite"))


def test_many_graphs_of_many_composites_are_refused(tmp_path: Path) -> None:
    """Each graph alone would stay below the limit."""
    m = FlatModel()
    bodies = [twice_and_three(m)]
    for level in range(12):
        body = m.subgraph(f"level{level}")
        x = body.input("a", (2, 3))
        body.output(composite(body, bodies[-1], composite(body, bodies[-1], x, "t"), "u"))
        bodies.append(body)
    for i in range(20):
        body = m.subgraph(f"user{i}")
        body.output(composite(body, bodies[-1], body.input("a", (2, 3)), "t"))
    m.output(m.op("RELU", [m.input("x", (2, 3))], ("y", (2, 3), "float32")))
    with pytest.raises(FormatError, match="operators, composites written out"):
        import_tflite(m.save(tmp_path / "m.tflite"))
