"""Casts go where nothing is lost on the way, and stay where something is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgert.converters.passes.fold_casts import fold_casts, holds
from edgert.converters.passes.pipeline import optimize
from edgert.converters.report import count_operators
from edgert.graph.infer import infer_types
from edgert.graph.ir import Graph, Node, TensorType


def chain(first: str, *to: str) -> Graph:
    """x of type `first`, cast to each of `to` in turn."""
    names = [f"c{i}" for i in range(len(to))]
    nodes = [
        Node("Cast", (source,), (name,), {"to": kind}, name)
        for source, name, kind in zip(["x", *names], names, to, strict=False)
    ]
    nodes.append(Node("Identity", (names[-1],), ("y",), {}, "y"))
    return infer_types(Graph("g", ["x"], ["y"], nodes, {"x": TensorType(first, (3,))}))


@pytest.mark.parametrize(
    ("first", "to", "left"),
    [
        ("float32", ("float64", "float32"), 0),
        ("float16", ("float32", "float64", "int32"), 1),
        ("int32", ("float64", "int32"), 0),
        ("int32", ("float32", "int32"), 2),
        ("int64", ("float64", "int64"), 2),
        ("float32", ("float16", "float32"), 2),
        ("bool", ("int64", "float32"), 1),
        ("int64", ("bool", "float32"), 2),
        ("uint8", ("int32", "float16"), 1),
    ],
)
def test_chains(first: str, to: tuple[str, ...], left: int) -> None:
    assert count_operators(optimize(fold_casts(chain(first, *to)))).get("Cast", 0) == left


def test_cast_like_becomes_cast(net: Any, optimized: Any) -> None:
    net.opset = 19
    y = net.op("CastLike", net.op("Relu", "x"), net.const(np.array([1, 2]), np.int32))
    assert count_operators(optimized(net, net.op("Cast", y, to=1)))["Cast"] == 2


def test_types_that_hold_others() -> None:
    assert holds("float64", "int32") and holds("float32", "uint16") and holds("float16", "int8")
    assert not holds("float32", "int32") and not holds("float64", "int64") and not holds("int16", "uint16")
