"""LSTM, GRU and RNN natively: every direction, optional input and layout, against the reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from offers import check, offers_for, site_of

import edgert
from edgert.graph.infer_recurrent import GATES, recurrent
from edgert.graph.ir import Node, TensorType
from edgert.kernels_cpu.levels import host_levels

TOLERANCE = 2e-5


def layer(
    op: str, rng: np.random.Generator, steps: int, batch: int, width: int, hidden: int, directions: int
) -> list[Any]:
    gates = GATES[op]
    scale = 1 / np.sqrt(hidden)
    shapes = [
        (steps, batch, width), (directions, gates * hidden, width), (directions, gates * hidden, hidden),
        (directions, 2 * gates * hidden), None, (directions, batch, hidden),
    ]  # fmt: skip
    if op == "LSTM":
        shapes += [(directions, batch, hidden), (directions, 3 * hidden)]
    return [None if s is None else (scale * rng.standard_normal(s)).astype(np.float32) for s in shapes]


def run(op: str, inputs: list[Any], attrs: dict[str, Any], **how: Any) -> None:
    """Weights and biases are constants; states and lengths are computed."""
    types = [None if v is None else TensorType(v.dtype.name, v.shape) for v in inputs]
    outs = recurrent(Node(op, (), (), attrs), types, [])
    constants = {i: inputs[i] for i in (1, 2, 3, 7) if i < len(inputs) and inputs[i] is not None}
    check(op, inputs, outs, attrs, constants=constants, rtol=TOLERANCE, atol=TOLERANCE, **how)


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize(("steps", "batch", "width", "hidden"), [(1, 1, 3, 5), (4, 5, 7, 16), (3, 1, 20, 37)])
def test_shapes_at_every_level(
    rng: np.random.Generator, op: str, steps: int, batch: int, width: int, hidden: int
) -> None:
    run(op, layer(op, rng, steps, batch, width, hidden, 1), {"hidden_size": hidden})


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("layout", [0, 1])
def test_directions_and_layouts(rng: np.random.Generator, op: str, direction: str, layout: int) -> None:
    inputs = layer(op, rng, 5, 3, 6, 21, 2 if direction == "bidirectional" else 1)
    inputs[4] = np.array([5, 0, 3], np.int32)
    if layout:
        inputs = [v.swapaxes(0, 1).copy() if i in (0, 5, 6) else v for i, v in enumerate(inputs)]
    run(op, inputs, {"direction": direction, "layout": layout}, levels=host_levels())


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("linear", [0, 1])
@pytest.mark.parametrize("layout", [0, 1])
def test_sequences_side_by_side(rng: np.random.Generator, op: str, linear: int, layout: int) -> None:
    inputs = layer(op, rng, 4, 6, 5, 50, 2)
    if layout:
        inputs = [v.swapaxes(0, 1).copy() if i in (0, 5, 6) else v for i, v in enumerate(inputs)]
    attrs = {"direction": "bidirectional", "layout": layout, "linear_before_reset": linear}
    run(op, inputs, attrs, levels=host_levels())


@pytest.mark.parametrize("op", GATES)
def test_nothing_optional(rng: np.random.Generator, op: str) -> None:
    run(op, layer(op, rng, 6, 1, 4, 18, 1)[:3], {}, levels=host_levels())


@pytest.mark.parametrize("op", GATES)
def test_bounded_sums(rng: np.random.Generator, op: str) -> None:
    run(op, layer(op, rng, 4, 2, 9, 18, 1), {"clip": 0.2}, levels=host_levels())


@pytest.mark.parametrize("bias", [False, True])
def test_reset_after_the_product(rng: np.random.Generator, bias: bool) -> None:
    inputs = layer("GRU", rng, 4, 2, 9, 33, 2)
    inputs[3] = inputs[3] if bias else None
    run("GRU", inputs, {"linear_before_reset": 1, "direction": "bidirectional"}, levels=host_levels())


@pytest.mark.parametrize("function", ["Relu", "Sigmoid", "tanh"])
def test_functions_of_a_plain_layer(rng: np.random.Generator, function: str) -> None:
    run("RNN", layer("RNN", rng, 4, 1, 9, 17, 1), {"activations": [function]}, levels=host_levels())


def test_a_large_layer(rng: np.random.Generator) -> None:
    run("LSTM", layer("LSTM", rng, 8, 1, 40, 200, 1), {}, levels=host_levels())


@pytest.mark.parametrize(
    ("attrs", "why"),
    [
        ({"activations": ["Sigmoid", "Relu", "Tanh"]}, "activations"),
        ({"input_forget": 1}, "input_forget"),
    ],
)
def test_what_is_refused_says_why(rng: np.random.Generator, attrs: dict[str, Any], why: str) -> None:
    inputs = layer("LSTM", rng, 2, 1, 4, 8, 1)[:4]
    types = [TensorType("float32", v.shape) for v in inputs]
    outs = recurrent(Node("LSTM", (), (), {}), types, [])
    constants = {i: inputs[i] for i in (1, 2, 3)}
    offers, refusals = offers_for(site_of("LSTM", inputs, types, outs, attrs, constants, host_levels()[0], 1))
    assert not offers and why in refusals[0].why


@pytest.mark.parametrize("op", GATES)
def test_a_model_with_it(tmp_path: Path, rng: np.random.Generator, op: str) -> None:
    """ONNX, .edge, one native op: any number of steps, as ONNX Runtime."""
    onnx = pytest.importorskip("onnx")  # devices have no converters
    from onnx import helper
    from onnxruntime import InferenceSession

    from edgert.converters.convert import convert

    x, *weights = layer(op, rng, 5, 1, 6, 20, 2)[:4]
    names = ["x", "w", "r", "b"]
    node = helper.make_node(op, names, ["y", "h"], hidden_size=20, direction="bidirectional")
    constants = [onnx.numpy_helper.from_array(v, n) for n, v in zip(names[1:], weights, strict=True)]
    ends = [helper.make_tensor_value_info(n, 1, s) for n, s in (("x", ["T", 1, 6]), ("y", None), ("h", None))]
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    convert(tmp_path / "m.onnx", tmp_path / "m.edge")
    expected = InferenceSession(tmp_path / "m.onnx").run(None, {"x": x})
    with edgert.load(tmp_path / "m.edge", threads=2) as session:
        found = session.run({"x": x})
        (step,) = session.plan({"T": 5}).steps
    assert step.kernel.startswith(f"{op.lower()}_f32_row")
    for name, want in zip(("y", "h"), expected, strict=True):
        np.testing.assert_allclose(found[name], want, rtol=1e-4, atol=1e-5)
