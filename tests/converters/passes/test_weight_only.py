"""int8 weights that the exporter casts and scales when the model runs are recognised, whatever reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgert.converters.onnx.importer import import_onnx
from edgert.converters.passes.recognise_weight_only import recognise_weight_only
from edgert.converters.report import count_operators
from edgert.graph.execute import run_graph

FLOAT = 1


def weight(net: Any, shape: tuple[int, ...], scale: Any, *, left: bool = False) -> str:
    numbers = net.const(net.rng.integers(-127, 128, shape), np.int8)
    parts = [net.op("Cast", numbers, to=FLOAT), net.const(scale)]
    return str(net.op("Mul", *(parts[::-1] if left else parts)))


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("scale", [0.01, [0.02], np.linspace(0.01, 0.03, 5), np.linspace(0.01, 0.03, 10)[:, None]])
def test_a_product_with_scaled_weights_is_a_gemm(net: Any, optimized: Any, scale: Any, left: bool) -> None:
    """The optimized graph is checked against ONNX Runtime; scales may be per tensor, column or row."""
    net.shape = (3, 10)
    y = net.op("MatMul", "x", weight(net, (10, 5), scale, left=left))
    graph = optimized(net, y)
    assert count_operators(graph) == {"Gemm": 1}
    assert all(value.dtype == np.float32 for value in graph.constants.values())


def test_the_numbers_and_their_scales_are_kept(net: Any) -> None:
    net.shape = (3, 10)
    scale = np.linspace(0.01, 0.03, 5)[None].astype(np.float32)
    y = net.op("MatMul", "x", weight(net, (10, 5), scale))
    before = import_onnx(net.save(y))
    after = recognise_weight_only(before)
    assert count_operators(after) == {"DequantizeLinear": 1, "MatMul": 1}
    (stored,) = after.constants
    quant = after.types[stored].quant
    assert quant is not None
    assert (after.constants[stored].dtype, quant.axis) == (np.int8, 1)
    np.testing.assert_array_equal(quant.scale, scale[0])
    feeds = net.feeds()
    for wanted, found in zip(run_graph(before, feeds).values(), run_graph(after, feeds).values(), strict=True):
        np.testing.assert_array_equal(wanted, found)


@pytest.mark.parametrize("scale", [-0.01, 0.0, np.full((10, 5), 0.01), np.full((2, 10, 5), 0.01)])
def test_other_factors_stay(net: Any, scale: Any) -> None:
    """Negative or zero, one for every number, or of more axes."""
    net.shape = (3, 10)
    y = net.op("MatMul", "x", weight(net, (10, 5), scale))
    assert "DequantizeLinear" not in count_operators(recognise_weight_only(import_onnx(net.save(y))))
