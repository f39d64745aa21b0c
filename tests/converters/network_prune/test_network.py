"""A small network pruned by every method: the pattern holds, and what later layers make good shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgert.converters.network_prune.layers import to_matrix, to_weight
from edgert.converters.network_prune.network import PrunedNetwork, prune_network
from edgert.converters.network_prune.options import NetworkPruning
from edgert.converters.network_prune.prune_layer import matched, moments, pruned_matrix, restored, row_scale
from edgert.converters.network_prune.windows import walk, windows
from edgert.converters.prune.dsnot import refine
from edgert.converters.prune.patterns import BLOCK_4X4, UNSTRUCTURED, parse_pattern
from edgert.converters.quantize.post_training import post_training
from edgert.graph.execute import run_graph
from edgert.graph.infer import infer_types
from edgert.graph.ir import Graph
from edgert.kernels_cpu.reference import evaluate

HALF = NetworkPruning("magnitude", BLOCK_4X4, 0.5)


@pytest.fixture
def network(net: Any, optimized: Callable[..., Graph]) -> tuple[Graph, list[dict[str, np.ndarray]]]:
    """Convolutions 3x3 and pointwise with a residual, on [N, 8, 10, 10]; samples of correlated channels."""
    net.shape = ("N", 8, 10, 10)
    x = net.op("Relu", net.conv("x", 8, 24, 3, bias=True))
    y = net.op("Relu", net.conv(x, 24, 40, 3, bias=True, strides=[2, 2]))
    y = net.op("Relu", net.conv(y, 40, 24, bias=True))
    z = net.op("Add", net.conv(net.op("Relu", net.conv(y, 24, 48, bias=True)), 48, 24), y)
    graph = infer_types(optimized(net, net.conv(z, 24, 5)))
    mixed = net.rng.standard_normal((8, 8)) * np.linspace(0.2, 2, 8)
    return graph, [{"x": np.einsum("cd,bdhw->bchw", mixed, net.feeds()["x"]).astype(np.float32)} for _ in range(12)]


def weight_of(graph: Graph, name: str) -> np.ndarray:
    node = next(node for node in graph.nodes if node.outputs[0] == name)
    return graph.constants[node.inputs[1]]


def kept(graph: Graph, name: str) -> int:
    return int(np.count_nonzero(weight_of(graph, name)))


def relative_error(wanted: Graph, found: Graph, samples: list[dict[str, np.ndarray]]) -> float:
    name = wanted.outputs[0]
    pairs = [(run_graph(wanted, feeds)[name], run_graph(found, feeds)[name]) for feeds in samples]
    return float(sum(((a - b) ** 2).sum() for a, b in pairs) / sum((a**2).sum() for a, _ in pairs))


def test_windows_are_what_a_convolution_sees(net: Any) -> None:
    weight = net.rng.standard_normal((5, 6, 3, 3)).astype(np.float32)
    x = net.rng.standard_normal((2, 6, 9, 7)).astype(np.float32)
    attrs = {"pads": [1, 0, 2, 1], "strides": [2, 1], "kernel_shape": [3, 3]}
    from edgert.graph.ir import Node

    rows = windows(Node("Conv", ("x", "w"), ("y",), attrs), x, weight.shape, 1000)
    y = evaluate("Conv", [x, weight], attrs)[0]
    np.testing.assert_allclose(
        (rows @ to_matrix(weight).T).reshape(2, -1, 5), y.reshape(2, 5, -1).swapaxes(1, 2), rtol=1e-4, atol=1e-5
    )
    fewer = windows(Node("Conv", ("x", "w"), ("y",), attrs), x, weight.shape, 4)
    assert len(fewer) == 8
    assert all((rows == row).all(1).any() for row in fewer)


def test_walk_sees_what_was_replaced(network: Any) -> None:
    graph, samples = network
    names = [node.outputs[0] for node in graph.nodes[1:]]
    pruned = graph.copy()
    for i, seen in enumerate(walk(graph, pruned, names, samples)):
        assert (seen.pruned is seen.dense) == (i == 0)
        halved = graph.constants[seen.node.inputs[1]] / 2
        seen.node.inputs = (seen.node.inputs[0], pruned.add_constant("half", halved), *seen.node.inputs[2:])
    assert i == len(names) - 1
    np.testing.assert_array_equal(seen.dense.shape, seen.pruned.shape)


@pytest.mark.parametrize("criterion", ["magnitude", "wanda", "sparsegpt"])
@pytest.mark.parametrize("text", ["4x4", "1x4", "unstructured"])
def test_every_method_and_pattern(network: Any, criterion: Any, text: str) -> None:
    graph, samples = network
    pruning = replace(HALF, criterion=criterion, pattern=parse_pattern(text, BLOCK_4X4))
    result = prune_network(graph, pruning, samples)
    assert len(result.chosen.sparsities) == 4
    infer_types(result.graph)
    for name in result.chosen.sparsities:
        assert kept(result.graph, name) <= 0.51 * kept(graph, name)  # some zeros left with dead channels
        if text == "4x4":
            matrix = to_matrix(weight_of(result.graph, name))
            blocks = matrix.reshape(len(matrix) // 4, 4, -1, 4)
            assert (blocks != 0).all(axis=(1, 3)).sum() == blocks.any(axis=(1, 3)).sum()
    assert set(result.errors) == set(result.chosen.sparsities)
    assert relative_error(graph, result.original, samples[:3]) < 1e-8
    assert relative_error(graph, result.graph, samples[:3]) < 0.7


def test_what_helps(network: Any) -> None:
    """Order, sums made good, and outputs restored each lower the error of the network's output."""
    graph, samples = network

    def error(restore: bool = True, **options: Any) -> float:
        result = prune_network(graph, replace(HALF, **options), samples, restore=restore)
        return relative_error(graph, result.graph, samples)

    plain = error()
    assert plain < error(restore=False)
    assert plain < error(permute=False)
    assert error(criterion="sparsegpt") < 0.8 * plain


def test_magnitude_needs_no_data(network: Any) -> None:
    graph, _ = network
    result = prune_network(graph, HALF)
    assert result.errors == {}
    for name, sparsity in result.chosen.sparsities.items():
        assert kept(result.graph, name) == pytest.approx((1 - sparsity) * kept(graph, name), rel=0.02)


def test_shared_by_sensitivity(network: Any) -> None:
    graph, samples = network
    result = prune_network(graph, replace(HALF, allocation="sensitivity"), samples)
    shares = result.chosen.sparsities
    sizes = {n.outputs[0]: graph.constants[n.inputs[1]].size for n in graph.nodes if n.outputs[0] in shares}
    assert len(set(shares.values())) > 1
    total = sum(shares[name] * size for name, size in sizes.items()) / sum(sizes.values())
    assert total == pytest.approx(0.5, abs=0.01)


def test_kept_weights_are_on_the_int8_grid(network: Any) -> None:
    """SparseGPT rounds as it prunes; quantization then changes no weight, and zeros stay zeros."""
    graph, samples = network
    result = prune_network(graph, replace(HALF, criterion="sparsegpt"), samples, int8=True)
    assert set(result.grids) == set(result.chosen.sparsities)
    int8 = post_training(result.graph, samples, equalized=False, grids=result.grids).graph
    stored = {node.outputs[0].removesuffix("_quantized"): node for node in int8.nodes}
    for node in result.graph.nodes:
        if node.outputs[0] not in result.grids:
            continue
        grid = result.grids[node.outputs[0]].reshape(-1, 1, 1, 1)
        weight = result.graph.constants[node.inputs[1]]
        twin = stored[node.outputs[0]]
        values = int8.constants[twin.inputs[1]]
        assert np.abs(weight / grid - np.rint(weight / grid)).max() < 1e-3
        np.testing.assert_array_equal(values, np.rint(weight / grid))


def test_rounding_in_the_sweep_beats_rounding_after_it(rng: np.random.Generator) -> None:
    mixing = rng.standard_normal((32, 32)) * np.geomspace(0.05, 2, 32)
    rows = (rng.standard_normal((500, 32)) @ mixing).astype(np.float32)
    weights = rng.standard_normal((16, 32)).astype(np.float32)
    coarse = row_scale(weights) * 16  # 4 bits, so that rounding shows
    pruning = replace(HALF, criterion="sparsegpt", pattern=UNSTRUCTURED)

    def error(matrix: np.ndarray) -> float:
        return float((((weights - matrix) @ rows.T) ** 2).sum())

    apart = pruned_matrix(weights, pruning, 0.5, rows)
    rounded = np.rint(apart / coarse[:, None]) * coarse[:, None]
    joint = pruned_matrix(weights, pruning, 0.5, rows, coarse)
    np.testing.assert_allclose(np.rint(joint / coarse[:, None]), joint / coarse[:, None], atol=1e-4)
    assert error(joint) < 0.95 * error(rounded)


def test_later_layers_make_good_what_earlier_ones_changed(rng: np.random.Generator) -> None:
    before = rng.standard_normal((400, 12)).astype(np.float32)
    weights = rng.standard_normal((6, 12)).astype(np.float32)
    after = (0.8 * before + 0.1 * rng.standard_normal(before.shape)).astype(np.float32)
    wanted = before @ weights.T
    found = matched(weights, before, after)
    assert ((after @ found.T - wanted) ** 2).sum() < 0.35 * ((after @ weights.T - wanted) ** 2).sum()
    assert matched(weights, before, before) is weights


def test_restored_outputs_have_their_mean_and_size(rng: np.random.Generator) -> None:
    before = (rng.standard_normal((300, 4)) * [1, 2, 3, 1] + [0, 5, -2, 1]).astype(np.float32)
    after = (before * [0.5, 1.5, 1, 0] + [3, 0, 1, 0]).astype(np.float32)
    found = restored(before, after)
    made = after * found.gain + found.shift
    np.testing.assert_allclose(made.mean(0), before.mean(0), atol=1e-4)
    np.testing.assert_allclose(made.std(0)[:3], before.std(0)[:3], rtol=1e-4)
    assert found.gain[3] == 1.0
    assert 0 < found.error < 0.5


def test_refined_masks(rng: np.random.Generator) -> None:
    """DSnoT exchanges single weights of the mask that was chosen, as its own function does."""
    rows = (rng.standard_normal((200, 16)) + rng.uniform(-2, 2, 16)).astype(np.float32)
    weights = rng.standard_normal((8, 16)).astype(np.float32)
    pruning = NetworkPruning("wanda", UNSTRUCTURED, 0.5, refine=True)
    from edgert.converters.prune.dsnot import Inputs

    plain = pruned_matrix(weights, replace(pruning, refine=False), 0.5, rows) != 0
    wanted = refine(weights, plain, Inputs(rows.mean(0), moments(rows)), UNSTRUCTURED)
    found = pruned_matrix(weights, pruning, 0.5, rows) != 0
    np.testing.assert_array_equal(found, wanted)
    assert (found != plain).any()


def test_dead_channels_leave_with_their_grids(network: Any) -> None:
    """At 90 % whole cells of channels die; what is left still runs, and so does its int8 form."""
    graph, samples = network
    pruning = NetworkPruning("sparsegpt", BLOCK_4X4, 0.9)
    result: PrunedNetwork = prune_network(graph, pruning, samples, int8=True)
    infer_types(result.graph)
    int8 = post_training(result.graph, samples[:4], equalized=False, grids=result.grids).graph
    assert run_graph(int8, samples[0])[graph.outputs[0]].shape == run_graph(graph, samples[0])[graph.outputs[0]].shape


def test_matrix_round_trip_keeps_zeros(rng: np.random.Generator) -> None:
    weight = rng.standard_normal((8, 6, 3, 3)).astype(np.float32)
    keep = BLOCK_4X4.keep(np.square(to_matrix(weight)), 0.5)
    pruned = to_weight(np.where(keep, to_matrix(weight), 0), weight.shape)
    assert (pruned == 0).mean() == pytest.approx(0.5, abs=0.2)
