"""Channels in another order, and fewer of them: the network computes what it did."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgert.converters.calibrate.collect import collect_ranges
from edgert.converters.calibrate.observers import minmax
from edgert.converters.passes.channel_spaces import ChannelSpaces, renumber
from edgert.converters.passes.remove_dead_channels import count_channels, remove_dead_channels
from edgert.converters.quantize.quantize import quantize_graph
from edgert.graph.execute import run_graph
from edgert.graph.infer import infer_types
from edgert.graph.ir import Graph

Optimized = Callable[..., Graph]


def same(before: Graph, after: Graph, feeds: dict[str, np.ndarray], exact: bool = False) -> None:
    """Equal outputs, and types that inference finds again."""
    infer_types(after)
    wanted, found = run_graph(before, feeds), run_graph(after, feeds)
    for name in before.outputs:
        if exact:
            np.testing.assert_array_equal(found[name], wanted[name])
        else:
            np.testing.assert_allclose(found[name], wanted[name], rtol=1e-4, atol=1e-5 * np.abs(wanted[name]).max())


def shuffled(graph: Graph, rng: np.random.Generator) -> Graph:
    spaces = ChannelSpaces(graph)
    free = spaces.free()
    assert free
    return renumber(spaces, {space: rng.permutation(spaces.sizes[space]) for space in free})


def weights(graph: Graph) -> list[str]:
    return [node.inputs[1] for node in graph.nodes if node.op.endswith("Conv")]


def quantized(graph: Graph, feeds: dict[str, np.ndarray]) -> Graph:
    return infer_types(quantize_graph(graph, collect_ranges(graph, [feeds], minmax)))


def test_mobile_network_in_another_order(mobile: Any, optimized: Optimized, rng: np.random.Generator) -> None:
    net, y = mobile
    graph = optimized(net, y)
    feeds = net.feeds(2)
    same(graph, shuffled(graph, rng), feeds)
    stored = quantized(graph, feeds)
    same(stored, shuffled(stored, rng), feeds, exact=True)


def test_every_space_is_found(mobile: Any, optimized: Optimized) -> None:
    net, y = mobile
    spaces = ChannelSpaces(optimized(net, y))
    # Stem and three blocks: widened (with depthwise) each, the tensors a residual joins, and the head.
    assert sorted(spaces.sizes[i] for i in spaces.free()) == [8, 12, 32, 32, 32, 48]


def test_branches(net: Any, optimized: Optimized, rng: np.random.Generator) -> None:
    """Concat, constants per channel, a gate per channel, a transposed convolution, pools and pads."""
    a = net.op("Relu", net.conv("x", 8, 12, 3, bias=True))
    b = net.op("PRelu", net.conv("x", 8, 12), net.const(rng.uniform(0.1, 0.5, (12, 1, 1))))
    gate = net.op("Sigmoid", net.conv(net.op("GlobalAveragePool", a), 12, 12))
    c = net.op("Concat", net.op("Mul", a, gate), b, axis=1)
    c = net.op("MaxPool", net.op("Pad", c, net.const([0, 0, 1, 1, 0, 0, 1, 1], np.int64)), kernel_shape=[2, 2])
    d = net.conv(net.op("Relu", c), 24, 6, bias=True)
    w = net.const(rng.standard_normal((6, 5, 2, 2)) / 3)
    e = net.op("Mul", net.op("ConvTranspose", d, w), net.const(rng.uniform(1, 2, (1, 5, 1, 1))))
    y = net.conv(net.op("AveragePool", e, kernel_shape=[2, 2]), 5, 4)
    graph = optimized(net, y)
    assert len(ChannelSpaces(graph).free()) == 4
    same(graph, shuffled(graph, rng), net.feeds())


def test_what_mixes_channels_stays(net: Any, optimized: Optimized) -> None:
    a = net.op("Softmax", net.conv("x", 8, 12), axis=1)
    b = net.op("Transpose", net.conv(a, 12, 8, group=4), perm=[0, 1, 3, 2])
    graph = optimized(net, net.conv(b, 8, 4))
    assert ChannelSpaces(graph).free() == []


def kill(graph: Graph, layer: int, rows: Any, bias: float | None = None) -> None:
    """Sets whole filters to zero, in place."""
    node = [n for n in graph.nodes if n.op.endswith("Conv")][layer]
    weight = graph.constants[node.inputs[1]].copy()
    weight[rows] = 0
    graph.constants[node.inputs[1]] = weight
    if bias is not None:
        value = graph.constants[node.inputs[2]].copy()
        value[rows] = bias
        graph.constants[node.inputs[2]] = value


def widths(graph: Graph) -> list[int]:
    return [len(graph.constants[name]) for name in weights(graph)]


@pytest.mark.parametrize("int8", [False, True])
def test_dead_filters_go_with_their_constants(mobile: Any, optimized: Optimized, int8: bool) -> None:
    """The last convolution feeds a pool and a Gemm: any constant folds, and only by the cell."""
    net, y = mobile
    graph = optimized(net, y)
    feeds = net.feeds(2)
    if int8:
        graph = quantized(graph, feeds)
    before = widths(graph)
    kill(graph, -1, slice(3, 14))
    smaller = remove_dead_channels(graph)
    same(graph, smaller, feeds, exact=int8)
    assert widths(smaller) == [*before[:-1], 24]
    assert count_channels(graph) - count_channels(smaller) == 8


def test_border_of_zeros_keeps_other_constants(mobile: Any, optimized: Optimized) -> None:
    """A widened tensor goes through a depthwise convolution that pads: constants there must be zero."""
    net, y = mobile
    graph = optimized(net, y)
    before = widths(graph)
    kill(graph, 1, slice(0, 9), bias=0.5)
    assert widths(remove_dead_channels(graph)) == before
    kill(graph, 1, slice(0, 9), bias=-0.5)
    smaller = remove_dead_channels(graph)
    same(graph, smaller, net.feeds(2))
    assert widths(smaller)[1:3] == [24, 24]
    assert [n.attr_int("group", 1) for n in smaller.nodes if n.op == "Conv"][2] == 24


def test_filters_that_a_relu_always_cuts_off(net: Any, optimized: Optimized) -> None:
    a = net.op("Relu", net.conv("x", 8, 16, 3, bias=True))
    b = net.op("Relu", net.conv(a, 16, 16, 3, bias=True))
    graph = optimized(net, net.conv(b, 16, 4))
    node = graph.nodes[1]
    weight, bias = graph.constants[node.inputs[1]].copy(), graph.constants[node.inputs[2]].copy()
    weight[:8], bias[:8] = -np.abs(weight[:8]), -np.abs(bias[:8])
    graph.constants[node.inputs[1]], graph.constants[node.inputs[2]] = weight, bias
    smaller = remove_dead_channels(graph)
    same(graph, smaller, net.feeds())
    assert widths(smaller) == [16, 8, 4]


@pytest.mark.parametrize("bias", [-(1 << 24), 1 << 24])
def test_stored_values_that_no_input_moves(net: Any, optimized: Optimized, bias: int) -> None:
    """A bias beyond what 8-bit inputs can outweigh: the filter gives its lowest, or highest, byte whatever it sees."""
    a = net.op("Relu", net.conv("x", 8, 16, 3, bias=True))
    pooled = net.op("GlobalAveragePool", net.op("Relu", net.conv(a, 16, 16, bias=True)))
    feeds = net.feeds()
    graph = quantized(optimized(net, net.conv(pooled, 16, 4)), feeds)
    node = [n for n in graph.nodes if n.op == "QLinearConv"][1]
    values = graph.constants[node.inputs[2]].copy()
    values[2:10] = bias
    graph.constants[node.inputs[2]] = values
    smaller = remove_dead_channels(graph)
    same(graph, smaller, feeds, exact=True)
    assert widths(smaller) == [16, 8, 4]


def test_a_reshape_that_names_the_number_of_channels(net: Any, optimized: Optimized) -> None:
    pooled = net.op("GlobalAveragePool", net.op("Relu", net.conv("x", 8, 16, 3, bias=True)))
    flat = net.op("Reshape", pooled, net.const([0, 16], np.int64))
    graph = optimized(net, net.op("Gemm", flat, net.const(np.eye(16, 5)), net.const(np.zeros(5))))
    smaller = remove_dead_channels(graph)
    same(graph, smaller, net.feeds(2))
    assert widths(smaller) == [8]


def test_unread_channels_go_all_the_way_up(net: Any, optimized: Optimized) -> None:
    a = net.op("Relu", net.conv("x", 8, 16, 3, bias=True))
    b = net.op("Relu", net.conv(a, 16, 16, bias=True))
    graph = optimized(net, net.conv(b, 16, 4))
    last = graph.nodes[2].inputs[1]
    graph.constants[last] = graph.constants[last] * (np.arange(16) < 8).reshape(1, 16, 1, 1).astype(np.float32)
    middle = graph.nodes[1].inputs[1]
    weight = graph.constants[middle].copy()
    weight[:8, 4:12] = 0  # what only dead filters read is dead in turn
    graph.constants[middle] = weight
    smaller = remove_dead_channels(graph)
    same(graph, smaller, net.feeds())
    assert widths(smaller) == [8, 8, 4]


def test_cells_do_not_shift_under_a_pattern(net: Any, optimized: Optimized) -> None:
    """Weights pruned by 4x4 cells lose whole cells of dead channels only."""
    a = net.op("Relu", net.conv("x", 8, 16, 3, bias=True))
    graph = optimized(net, net.conv(a, 16, 16))
    kill(graph, 0, [0, 1, 2, 5, 8, 9, 10, 11], bias=-1.0)
    weight = graph.constants[graph.nodes[1].inputs[1]].copy()
    weight[:8, :4] = weight[8:, 12:] = 0
    graph.constants[graph.nodes[1].inputs[1]] = weight
    smaller = remove_dead_channels(graph)
    same(graph, smaller, net.feeds())
    kept = np.delete(weight, np.arange(8, 12), axis=1)
    np.testing.assert_array_equal(smaller.constants[smaller.nodes[1].inputs[1]], kept)


def test_nothing_to_remove(mobile: Any, optimized: Optimized, tmp_path: Path) -> None:
    graph = optimized(mobile[0], mobile[1])
    assert remove_dead_channels(graph) is graph
