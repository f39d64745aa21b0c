"""Blocks of parallel linear branches become one convolution: RepVGG, RepMixer, ACNet, and what must stay."""

from __future__ import annotations

from typing import Any

import pytest

from edgert.converters.report import count_operators


def add(net: Any, *branches: str) -> str:
    total = branches[0]
    for branch in branches[1:]:
        total = net.op("Add", total, branch)
    return total


@pytest.mark.parametrize("groups", [1, 2])
def test_repvgg(net: Any, optimized: Any, groups: int) -> None:
    branches = [net.bn(net.conv("x", 8, 8, k, group=groups), 8) for k in (3, 1)]
    y = net.op("Relu", add(net, *branches, net.bn("x", 8)))
    graph = optimized(net, y)
    assert count_operators(graph) == {"Conv": 1}
    assert graph.nodes[0].attrs["activation"] == "Relu"
    assert graph.nodes[0].attrs["group"] == groups


@pytest.mark.parametrize("size", [10, 11])
def test_repvgg_with_stride(net: Any, optimized: Any, size: int) -> None:
    net.shape = (1, 8, size, size)
    y = add(net, *(net.bn(net.conv("x", 8, 16, k, strides=[2, 2]), 16) for k in (3, 1)))
    assert count_operators(optimized(net, y)) == {"Conv": 1}


def test_repmixer(net: Any, optimized: Any) -> None:
    """FastViT: x + layer_scale * (mixer(x) - norm(x)); the mixer has 3x3, 1x1 and identity branches."""
    before = net.conv("x", 8, 8)
    mixer = add(
        net,
        *(net.bn(net.conv(before, 8, 8, k, group=8), 8) for k in (7, 3, 1)),
        net.bn(before, 8),
    )
    change = net.op("Sub", mixer, net.bn(before, 8))
    scaled = net.op("Mul", net.const(net.rng.uniform(0.1, 1, (8, 1, 1))), change)
    y = net.op("Add", before, scaled)
    graph = optimized(net, y)
    assert count_operators(graph) == {"Conv": 2}
    assert graph.nodes[1].attrs["group"] == 8
    assert graph.nodes[1].attrs["kernel_shape"] == [7, 7]


def test_rectangular_and_dilated_branches(net: Any, optimized: Any) -> None:
    def rectangle(h: int, w: int) -> str:
        weight = net.const(net.rng.standard_normal((8, 8, h, w)))
        return net.op("Conv", "x", weight, kernel_shape=[h, w], pads=[h // 2, w // 2, h // 2, w // 2])

    y = add(net, net.conv("x", 8, 8, 3), rectangle(1, 3), rectangle(3, 1))
    assert count_operators(optimized(net, y)) == {"Conv": 1}
    dilated = net.conv("x", 8, 8, 3, dilations=[2, 2], pads=[2] * 4)
    z = add(net, dilated, net.conv("x", 8, 8, 1))
    assert count_operators(optimized(net, z)) == {"Conv": 1}


def test_auto_pad_at_stride_one(net: Any, optimized: Any) -> None:
    y = add(net, net.conv("x", 8, 8, 4, auto_pad="SAME_LOWER"), "x")
    graph = optimized(net, y)
    assert count_operators(graph) == {"Conv": 1}
    assert not graph.nodes[0].attrs.get("residual")


def test_depthwise_and_dense_stay_apart(net: Any, optimized: Any) -> None:
    """Together they would be a dense 3x3: nine times the work."""
    y = add(net, net.conv("x", 8, 8, 3, group=8), net.conv("x", 8, 8, 1))
    assert count_operators(optimized(net, y)) == {"Conv": 2}


def test_branches_read_elsewhere_stay(net: Any, optimized: Any) -> None:
    a = net.conv("x", 8, 8, 3)
    y = net.op("Mul", add(net, a, net.conv("x", 8, 8, 1)), a)
    assert count_operators(optimized(net, y)) == {"Conv": 2, "Mul": 1}


def test_different_sources_stay(net: Any, optimized: Any) -> None:
    other = net.op("Sigmoid", "x")
    y = add(net, net.conv("x", 8, 8, 3), net.conv(other, 8, 8, 1))
    assert count_operators(optimized(net, y)) == {"Sigmoid": 1, "Conv": 2}


def test_nonlinear_branch_stays(net: Any, optimized: Any) -> None:
    y = add(net, net.op("Relu", net.conv("x", 8, 8, 3)), net.conv("x", 8, 8, 1))
    assert count_operators(optimized(net, y)) == {"Conv": 2}


def test_sums_of_sums_end(net: Any, optimized: Any) -> None:
    """Every tensor read twice: written out, two to the power of forty branches. And a long chain of sums."""
    x = net.conv("x", 8, 8)
    for _ in range(40):
        x = net.op("Add", x, x)
    assert count_operators(optimized(net, x))["Conv"] == 1


def test_long_chains_of_sums_stay(net: Any, optimized: Any) -> None:
    x = net.conv("x", 8, 8)
    for _ in range(600):
        x = net.op("Add", x, net.conv("x", 8, 8, 1))
    assert count_operators(optimized(net, x))["Conv"] > 100
