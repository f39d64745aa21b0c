"""Shape arithmetic of exporters is gone after import, whatever size the named dimensions turn out to have."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgert.converters.report import count_operators


@pytest.fixture
def named(net: Any) -> Any:
    net.shape = ("N", 8, 10, 10)
    return net


def ints(net: Any, *values: int) -> str:
    return str(net.const(values, np.int64))


def test_flatten_as_exported(named: Any, optimized: Any) -> None:
    net = named
    batch = net.op("Gather", net.op("Shape", "x"), net.const(0, np.int64), axis=0)
    target = net.op("Concat", net.op("Unsqueeze", batch, ints(net, 0)), ints(net, -1), axis=0)
    assert count_operators(optimized(net, net.op("Reshape", "x", target))) == {"Reshape": 1}


def test_sizes_multiplied_and_divided(named: Any, optimized: Any) -> None:
    net = named
    shape = net.op("Shape", net.op("Relu", "x"))
    batch, channels = (net.op("Slice", shape, ints(net, i), ints(net, i + 1)) for i in (0, 1))
    half = net.op("Div", channels, ints(net, 2))
    rows = net.op("Mul", batch, half)
    target = net.op("Concat", rows, net.op("Sub", ints(net, 3), ints(net, 1)), ints(net, 100), axis=0)
    assert count_operators(optimized(net, net.op("Reshape", "x", target))) == {"Reshape": 1}


def test_expand_to_a_shape_with_minus_one(named: Any, optimized: Any) -> None:
    """What PyTorch writes for x.expand(-1, -1, 10, 10)."""
    net = named
    pooled = net.op("GlobalAveragePool", "x")
    batch = net.op("Slice", net.op("Shape", "x"), ints(net, 0), ints(net, 1))
    wanted = net.op("Concat", batch, ints(net, -1, 10, 10), axis=0)
    ones = net.op("Expand", net.const([1], np.int64), ints(net, 4))
    unknown = net.op("Equal", wanted, net.op("Mul", ones, net.const(-1, np.int64)))
    y = net.op("Expand", pooled, net.op("Where", unknown, ones, wanted))
    assert count_operators(optimized(net, y)) == {"GlobalAveragePool": 1, "Expand": 1}


def test_what_depends_on_a_size_twice_stays(named: Any, optimized: Any) -> None:
    net = named
    batch = net.op("Slice", net.op("Shape", "x"), ints(net, 0), ints(net, 1))
    y = net.op("Reshape", "x", net.op("Concat", ints(net, 800), batch, ints(net, 1), axis=0))
    counts = count_operators(optimized(net, net.op("Mul", y, net.op("Cast", batch, to=1))))
    assert counts["Shape"] == 1 and counts["Cast"] == 1
