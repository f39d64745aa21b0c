"""A convolution over the whole image becomes a product of one row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgert.converters.passes.whole_windows import whole_windows
from edgert.converters.report import count_operators
from edgert.graph.execute import run_graph
from edgert.graph.infer import infer_types
from edgert.graph.ir import Graph

WHOLE: dict[str, Any] = {"kernel_shape": [10, 10], "pads": [0] * 4}


@pytest.fixture
def rewritten(optimized: Any) -> Any:
    """rewritten(net, *outputs): the graph after the pass, which computes the same, in batches too."""

    def build(net: Any, *outputs: str) -> Graph:
        graph = infer_types(optimized(net, *outputs))
        made = infer_types(whole_windows(graph))
        for batch in (1, 3) if "N" in net.shape else (1,):
            feeds = net.feeds(batch)
            before, after = run_graph(graph, feeds), run_graph(made, feeds)
            for name in outputs:
                assert before[name].shape == after[name].shape
                np.testing.assert_allclose(after[name], before[name], rtol=1e-5, atol=1e-5)
        return made

    return build


@pytest.mark.parametrize("batch", [1, "N"])
@pytest.mark.parametrize("strides", [[1, 1], [10, 10]])
def test_whole_image(net: Any, rewritten: Any, batch: int | str, strides: list[int]) -> None:
    net.shape = (batch, 8, 10, 10)
    graph = rewritten(net, net.op("Relu", net.conv("x", 8, 6, 10, bias=True, strides=strides, **WHOLE)))
    assert [node.op for node in graph.nodes] == ["Flatten", "Gemm", "Reshape"]
    assert graph.nodes[1].attrs == {"transB": 1, "activation": "Relu"}


def test_what_stays(net: Any, rewritten: Any) -> None:
    """A border, a smaller window, groups, a single pixel, a residual."""
    pooled = net.op("GlobalAveragePool", "x")
    outputs = [
        net.conv("x", 8, 4, 10, pads=[1, 0, 0, 0], kernel_shape=[10, 10]), net.conv("x", 8, 4, 9, pads=[0] * 4),
        net.conv("x", 8, 4, 10, group=2, **WHOLE), net.op("Sigmoid", net.conv(pooled, 8, 9)),
        net.op("Add", net.conv("x", 8, 8, 10, **WHOLE), net.op("Sigmoid", pooled)),
    ]  # fmt: skip
    assert count_operators(rewritten(net, *outputs)).keys().isdisjoint({"Gemm", "Flatten"})
