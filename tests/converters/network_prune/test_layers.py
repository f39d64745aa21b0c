"""Which layers are pruned, and their weights as matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgert.converters.network_prune.layers import choose_layers, to_matrix, to_weight
from edgert.converters.network_prune.options import network_pruning
from edgert.errors import ConversionError
from edgert.graph.ir import Graph


def asked(*overrides: str, **options: Any) -> Any:
    given = {"prune": "magnitude", "pattern": None, "sparsity": None, "allocate": None, "refine": False, **options}
    return network_pruning(**given, overrides=overrides)


@pytest.fixture
def graph(net: Any, optimized: Callable[..., Graph]) -> Graph:
    x = net.op("Relu", net.conv("x", 8, 32, 3))
    x = net.op("Relu", net.conv(x, 32, 32, 3, group=32))
    x = net.op("Relu", net.conv(x, 32, 24))
    x = net.op("Relu", net.conv(x, 24, 24, group=2))
    x = net.op("Relu", net.conv(x, 24, 8))
    x = net.op("Relu", net.conv(x, 8, 16, 3))
    x = net.op("Relu", net.conv(x, 16, 16, 3))
    return optimized(net, net.conv(x, 16, 16))


def test_what_is_left_dense_and_why(graph: Graph) -> None:
    chosen = choose_layers(graph, asked(sparsity=0.6))
    names = [node.outputs[0] for node in graph.nodes]
    assert chosen.sparsities == {names[2]: 0.6, names[6]: 0.6}
    assert chosen.sharing == (names[2], names[6])
    reasons = [chosen.left[name] for name in names if name in chosen.left]
    assert reasons == [
        "the first layer", "depthwise", "grouped", "24 to 8 channels are few", "8 to 16 channels are few",
        "the last layer",
    ]  # fmt: skip


def test_overrides(graph: Graph) -> None:
    names = [node.outputs[0] for node in graph.nodes]
    chosen = choose_layers(graph, asked(f"{names[2]}=prune:none", f"{names[5]}=prune:0.25", sparsity=0.6))
    assert chosen.sparsities == {names[5]: 0.25, names[6]: 0.6}
    assert chosen.sharing == (names[6],)
    assert chosen.left[names[2]] == "left dense as asked"
    assert choose_layers(graph, asked(f"{names[1]}=prune:0.5")).left[names[1]] == "depthwise"
    with pytest.raises(ConversionError, match="nowhere"):
        choose_layers(graph, asked("nowhere=prune:0.5"))
    with pytest.raises(ConversionError, match="enough channels"):
        choose_layers(graph, asked("*=prune:none"))


@pytest.mark.parametrize("shape", [(5, 6, 3, 2), (4, 8, 1, 1), (3, 3, 5)])
def test_matrices_and_back(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    weight = rng.standard_normal(shape).astype(np.float32)
    matrix = to_matrix(weight)
    cells = -(-shape[1] // 4)
    assert matrix.shape == (shape[0], int(np.prod(shape[2:])) * cells * 4)
    by_cell = matrix.reshape(shape[0], -1, cells, 4)
    np.testing.assert_array_equal(by_cell[1, 0, 0, :3], weight.reshape(*shape[:2], -1)[1, :3, 0])
    np.testing.assert_array_equal(to_weight(matrix, shape), weight)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"prune": None, "sparsity": 0.5}, "--sparsity"),
        ({"prune": "luck"}, "magnitude"),
        ({"pattern": "nm:2:4"}, "language models"),
        ({"pattern": "5x5"}, "blocks of"),
        ({"sparsity": 1.0}, "below 1"),
        ({"allocate": "evenly"}, "uniform"),
        ({"prune": "wanda"}, "--calib"),
        ({"allocate": "sensitivity"}, "--calib"),
        ({"refine": True, "pattern": "4x4"}, "single weights"),
        ({"overrides": ["*.down=int8"]}, "prune:0.3"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], words: str) -> None:
    overrides = options.pop("overrides", [])
    with pytest.raises(ConversionError, match=words):
        asked(*overrides, **options).check(calibrated="refine" in options)


def test_no_options_no_pruning() -> None:
    assert asked(prune=None) is None
