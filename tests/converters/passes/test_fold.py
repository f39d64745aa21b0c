"""Constants, shapes, batch norms and affine steps fold away and the network computes the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgert.converters.passes import fold_constants
from edgert.converters.passes.fold_affine import fold_affine
from edgert.converters.report import count_operators
from edgert.graph.ir import Graph, Node


def test_batch_norm_folds_into_every_linear_operator(net: Any, optimized: Any) -> None:
    x = net.bn(net.conv("x", 8, 12, 3, bias=True), 12)
    x = net.bn(net.conv(x, 12, 12, 3, group=4), 12)
    w = net.const(net.rng.standard_normal((12, 3, 2, 2)))
    x = net.bn(net.op("ConvTranspose", x, w, group=2, strides=[2, 2]), 6)
    x = net.op("Flatten", net.op("GlobalAveragePool", x))
    w = net.const(net.rng.standard_normal((6, 5)))
    y = net.bn(net.op("Gemm", x, w, net.const(net.rng.standard_normal(5)), alpha=0.5, beta=2.0), 5)
    counts = count_operators(optimized(net, y))
    assert counts == {
        "Conv": 6, "Concat": 1, "DepthToSpace": 1, "GlobalAveragePool": 1, "Flatten": 1, "Gemm": 1,
    }  # fmt: skip


def test_batch_norm_alone_becomes_arithmetic(net: Any, optimized: Any) -> None:
    y = net.op("Relu", net.bn("x", 8))
    assert count_operators(optimized(net, y)) == {"Mul": 1, "Add": 1}  # Relu is part of the Add


def test_batch_norm_stays_where_the_convolution_is_read_twice(net: Any, optimized: Any) -> None:
    c = net.conv("x", 8, 8, 3)
    y = net.op("Mul", net.bn(c, 8), c)
    assert count_operators(optimized(net, y)) == {"Conv": 1, "Mul": 2, "Add": 1}


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("left", [True, False])
def test_affine_steps_fold(net: Any, optimized: Any, op: str, left: bool) -> None:
    c, k = net.conv("x", 8, 6, 3, bias=True), net.const(net.rng.uniform(0.5, 2, (1, 6, 1, 1)))
    y = net.op(op, *((c, k) if left or op == "Div" else (k, c)))
    assert count_operators(optimized(net, y)) == {"Conv": 1}


def test_a_constant_divided_by_a_convolution_stays(net: Any) -> None:
    from edgert.converters.onnx.importer import import_onnx

    y = net.op("Div", net.const(np.ones((1, 6, 1, 1))), net.conv("x", 8, 6))
    assert count_operators(fold_affine(import_onnx(net.save(y)))) == {"Conv": 1, "Div": 1}


def test_affine_step_of_another_axis_stays(net: Any, optimized: Any) -> None:
    net.shape = (1, 8, 6, 6)
    y = net.op("Add", net.conv("x", 8, 6), net.const(net.rng.standard_normal((6, 1))))
    assert count_operators(optimized(net, y)) == {"Conv": 1, "Add": 1}


def test_constants_fold(net: Any, optimized: Any) -> None:
    w = net.op("Transpose", net.const(net.rng.standard_normal((1, 1, 8, 4))), perm=[3, 2, 0, 1])
    y = net.op("Conv", "x", net.op("Mul", w, net.const(0.5)), kernel_shape=[1, 1])
    graph = optimized(net, y)
    assert count_operators(graph) == {"Conv": 1}
    assert len(graph.constants) == 1


def test_large_expansions_stay_out_of_the_file(net: Any, optimized: Any) -> None:
    big = net.op("Expand", net.const([[[[1.5]]]]), net.const([1, 8, 100, 100], np.int64))
    net.shape = (1, 8, 100, 100)
    graph = optimized(net, net.op("Max", "x", big))
    assert sum(value.nbytes for value in graph.constants.values()) < 1000


def test_flatten_written_with_shapes_folds(net: Any, optimized: Any) -> None:
    net.shape = ("N", 8, 4, 4)
    first = net.op("Gather", net.op("Shape", "x"), net.const(0, np.int64), axis=0)
    target = net.op(
        "Concat",
        net.op("Unsqueeze", first, net.const([0], np.int64)),
        net.op("Unsqueeze", net.const(-1, np.int64), net.const([0], np.int64)),
        axis=0,
    )
    y = net.op("MatMul", net.op("Reshape", "x", target), net.const(net.rng.standard_normal((128, 3))))
    graph = optimized(net, y)
    assert count_operators(graph) == {"Reshape": 1, "Gemm": 1}


def test_static_shape_arithmetic_folds(net: Any, optimized: Any) -> None:
    rows = net.op("Slice", net.op("Shape", "x"), net.const([1], np.int64), net.const([3], np.int64))
    target = net.op("Concat", net.const([1, -1], np.int64), net.op("Mul", rows, rows), axis=0)
    doubled = net.op("Concat", "x", "x", axis=0)
    for _ in range(5):
        doubled = net.op("Concat", doubled, doubled, axis=1)
    y = net.op("Reshape", doubled, target)
    net.shape = (1, 2, 4, 4)
    assert "Shape" not in count_operators(optimized(net, y))


@pytest.mark.parametrize(
    ("op", "inputs"),
    [
        ("Tile", [np.ones(4, np.float32), np.array([1 << 40])]),
        ("Expand", [np.ones(1, np.float32), np.array([1 << 40])]),
        ("Range", [np.array(0), np.array(1 << 40), np.array(1)]),
        ("ConstantOfShape", [np.array([1 << 40])]),
        ("Mul", [np.ones((1 << 10, 1), np.float32), np.ones((1, 1 << 10), np.float32)]),
    ],
)
def test_what_would_grow_is_not_even_computed(op: str, inputs: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A few bytes ask for terabytes, and nobody has to make them in order to leave them out."""
    graph = Graph("g", outputs=["y"])
    names = tuple(graph.add_constant(f"c{i}", value) for i, value in enumerate(inputs))
    graph.nodes = [Node(op, names, ("t",), {}, "n"), Node("Identity", ("t",), ("y",), {}, "i")]
    monkeypatch.setattr(fold_constants, "constant_values", None)
    assert [node.op for node in fold_constants.fold_constants(graph).nodes] == [op, "Identity"]
