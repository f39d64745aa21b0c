"""Activations and residuals move into the operators before them; written-out activations are recognised."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from edgert.converters.report import count_operators


def test_mobile_network(mobile: Any, optimized: Any) -> None:
    net, y = mobile
    graph = optimized(net, y)
    assert count_operators(graph) == {"Conv": 11, "GlobalAveragePool": 1, "Flatten": 1, "Gemm": 1}
    assert sum(node.attr_int("residual", 0) for node in graph.nodes) == 2
    assert sum(node.attrs.get("activation") == "Clip" for node in graph.nodes) == 8


def test_residual_with_relu(net: Any, optimized: Any) -> None:
    a = net.op("Relu", net.conv("x", 8, 8, 3, bias=True))
    b = net.op("Relu", net.conv(a, 8, 8))
    y = net.op("Relu", net.op("Add", net.conv(b, 8, 8, 3), a))
    graph = optimized(net, y)
    assert count_operators(graph) == {"Conv": 3}
    last = graph.nodes[-1]
    assert (last.attrs["residual"], last.attrs["activation"]) == (1, "Relu")
    assert last.inputs[-1] == graph.nodes[0].outputs[0]


def test_residual_of_two_convolutions_is_added_by_the_later(net: Any, optimized: Any) -> None:
    a = net.conv(net.op("Sigmoid", "x"), 8, 8, 3)
    b = net.conv("x", 8, 8, 1)
    graph = optimized(net, net.op("Add", b, a))
    assert [node.op for node in graph.nodes] == ["Sigmoid", "Conv", "Conv"]
    assert graph.nodes[-1].inputs[-1] == graph.nodes[1].outputs[0]


def test_broadcast_addition_is_no_residual(net: Any, optimized: Any) -> None:
    pooled = net.op("GlobalAveragePool", "x")
    y = net.op("Add", net.conv("x", 8, 8), pooled)
    assert count_operators(optimized(net, y)) == {"GlobalAveragePool": 1, "Conv": 1, "Add": 1}


def test_relu_read_beside_its_input_stays(net: Any, optimized: Any) -> None:
    c = net.conv("x", 8, 8)
    assert count_operators(optimized(net, net.op("Relu", c), c)) == {"Conv": 1, "Relu": 1}


def test_clip_without_bounds(net: Any, optimized: Any) -> None:
    graph = optimized(net, net.op("Clip", net.conv("x", 8, 8), net.const(-0.5)))
    assert graph.nodes[0].attrs["clip_min"] == -0.5
    assert math.isfinite(graph.nodes[0].attrs["clip_max"])  # type: ignore[arg-type]


@pytest.mark.parametrize("order", range(3))
def test_gelu(net: Any, optimized: Any, order: int) -> None:
    half = net.const(0.5)
    scaled = net.op("Div", "x", net.const(math.sqrt(2)))
    one = net.op("Add", net.op("Erf", scaled), net.const(1.0))
    if order == 0:
        y = net.op("Mul", net.op("Mul", "x", one), half)
    elif order == 1:
        y = net.op("Mul", net.op("Mul", "x", half), one)
    else:
        y = net.op("Mul", "x", net.op("Mul", half, one))
    assert count_operators(optimized(net, y)) == {"Gelu": 1}


@pytest.mark.parametrize("power", [True, False])
def test_gelu_with_tanh(net: Any, optimized: Any, power: bool) -> None:
    cube = net.op("Pow", "x", net.const(3.0)) if power else net.op("Mul", "x", net.op("Mul", "x", "x"))
    inner = net.op("Add", "x", net.op("Mul", cube, net.const(0.044715)))
    tanh = net.op("Tanh", net.op("Mul", net.const(math.sqrt(2 / math.pi)), inner))
    y = net.op("Mul", net.op("Mul", "x", net.const(0.5)), net.op("Add", tanh, net.const(1.0)))
    graph = optimized(net, y, tolerance=1e-4)
    assert count_operators(graph) == {"Gelu": 1}
    assert graph.nodes[0].attrs["approximate"] == "tanh"


@pytest.mark.parametrize("form", ["HardSigmoid", "inside", "outside"])
def test_hard_swish(net: Any, optimized: Any, form: str) -> None:
    clip = net.relu6(net.op("Add", "x", net.const(3.0)))
    if form == "HardSigmoid":
        y = net.op("Mul", "x", net.op("HardSigmoid", "x", alpha=1 / 6, beta=0.5))
    elif form == "inside":
        y = net.op("Mul", "x", net.op("Div", clip, net.const(6.0)))
    else:
        y = net.op("Mul", net.op("Mul", "x", clip), net.const(1 / 6))
    assert count_operators(optimized(net, y)) == {"HardSwish": 1}


def test_swish_and_gates_that_are_none(net: Any, optimized: Any) -> None:
    y = net.op("Mul", "x", net.op("Sigmoid", "x"))
    z = net.op("Mul", "x", net.op("Sigmoid", net.conv("x", 8, 8)))
    assert count_operators(optimized(net, y, z)) == {"Swish": 1, "Conv": 1, "Sigmoid": 1, "Mul": 1}


@pytest.mark.parametrize("keep", [0, 1])
def test_spatial_means_are_global_pooling(net: Any, optimized: Any, keep: int) -> None:
    y = net.op("ReduceMean", "x", axes=[-1, 2], keepdims=keep)
    assert "GlobalAveragePool" in count_operators(optimized(net, y))
    z = net.op("AveragePool", "x", kernel_shape=[10, 10])
    assert count_operators(optimized(net, z)) == {"GlobalAveragePool": 1}
    other = net.op("ReduceMean", "x", axes=[1, 2], keepdims=keep)
    assert count_operators(optimized(net, other)) == {"ReduceMean": 1}


def test_matmul_with_bias_is_gemm(net: Any, optimized: Any) -> None:
    net.shape = ("N", 20)
    y = net.op("MatMul", "x", net.const(net.rng.standard_normal((20, 7))))
    y = net.op("Relu", net.op("Add", net.const(net.rng.standard_normal(7)), y))
    z = net.op("Gemm", y, net.const(net.rng.standard_normal((7, 5))), net.const([[0.5]]), alpha=0.5, beta=3.0)
    graph = optimized(net, z)
    assert count_operators(graph) == {"Gemm": 2}
    assert all(node.attrs["transB"] == 1 for node in graph.nodes)
    assert [graph.constants[node.inputs[1]].shape for node in graph.nodes] == [(7, 20), (5, 7)]
    assert [graph.constants[node.inputs[2]].shape for node in graph.nodes] == [(7,), (5,)]


def test_matmul_of_activations_stays(net: Any, optimized: Any) -> None:
    y = net.op("MatMul", "x", net.op("Transpose", "x", perm=[0, 1, 3, 2]))
    assert count_operators(optimized(net, y)) == {"Transpose": 1, "MatMul": 1}
    assert np.prod(net.shape) == 800
