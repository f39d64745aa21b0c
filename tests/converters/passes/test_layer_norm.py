"""Layer normalization in its written-out forms becomes one operator, and what only looks like it stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgert.converters.report import count_operators


def written_out(net: Any, x: str, width: int, *, square: str = "Pow", bias: bool = True, axis: int = -1) -> str:
    """Opset 17: axes are attributes of ReduceMean."""
    centred = net.op("Sub", x, net.op("ReduceMean", x, axes=[axis]))
    squared = net.op("Pow", centred, net.const(2.0)) if square == "Pow" else net.op("Mul", centred, centred)
    variance = net.op("ReduceMean", squared, axes=[axis])
    root = net.op("Sqrt", net.op("Add", variance, net.const(1e-5)))
    y = net.op("Mul", net.op("Div", centred, root), net.const(net.rng.uniform(0.5, 1.5, width)))
    return str(net.op("Add", net.const(net.rng.standard_normal(width)), y)) if bias else str(y)


@pytest.mark.parametrize("square", ["Pow", "Mul"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("axis", [-1, 2])
def test_it_is_recognised(net: Any, optimized: Any, square: str, bias: bool, axis: int) -> None:
    net.shape = (2, 5, 12)
    graph = optimized(net, written_out(net, "x", 12, square=square, bias=bias, axis=axis))
    assert count_operators(graph) == {"LayerNormalization": 1}
    (node,) = graph.nodes
    assert len(node.inputs) == (3 if bias else 2)
    assert node.attr_float("epsilon", 0.0) == pytest.approx(1e-5)


def test_another_axis_stays(net: Any, optimized: Any) -> None:
    net.shape = (2, 12, 12)
    assert "LayerNormalization" not in count_operators(optimized(net, written_out(net, "x", 12, axis=1)))


def test_the_square_of_something_else_stays(net: Any, optimized: Any) -> None:
    net.shape = (2, 5, 12)
    centred = net.op("Sub", "x", net.op("ReduceMean", "x", axes=[-1]))
    variance = net.op("ReduceMean", net.op("Mul", "x", "x"), axes=[-1])
    root = net.op("Sqrt", net.op("Add", variance, net.const(1e-5)))
    y = net.op("Mul", net.op("Div", centred, root), net.const(np.ones(12)))
    assert "LayerNormalization" not in count_operators(optimized(net, y))


def test_a_division_that_is_read_elsewhere_stays(net: Any, optimized: Any) -> None:
    net.shape = (2, 5, 12)
    y = written_out(net, "x", 12)
    divided = next(node.output[0] for node in net.nodes if node.op_type == "Div")
    assert "LayerNormalization" not in count_operators(optimized(net, y, net.op("Relu", divided)))
