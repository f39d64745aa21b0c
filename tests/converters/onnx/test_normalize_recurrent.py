"""DynamicQuantizeLSTM is near what ONNX Runtime computes, which also rounds activations to 8 bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import helper

from edgert.converters.onnx.importer import import_onnx
from edgert.graph.execute import run_graph


@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_weights_become_floats(
    save: Callable[..., Any], peer: Callable[..., Any], rng: np.random.Generator, columns: bool, dtype: str
) -> None:
    hidden, width, steps = 8, 6, 4
    x = rng.standard_normal((steps, 2, width)).astype(np.float32)
    shape = (1, 4 * hidden) if columns else (1,)
    low, high, zero = (-127, 128, 0) if dtype == "int8" else (0, 256, 128)
    constants = {
        "w": rng.integers(low, high, (1, width, 4 * hidden)).astype(dtype),
        "r": rng.integers(low, high, (1, hidden, 4 * hidden)).astype(dtype),
        "b": rng.standard_normal((1, 8 * hidden)).astype(np.float32),
    }
    for name in "wr":
        constants[f"{name}s"] = rng.uniform(0.002, 0.004, shape).astype(np.float32)
        constants[f"{name}z"] = np.full(shape, zero, dtype)
    names = ["x", "w", "r", "b", "", "", "", "", "ws", "wz", "rs", "rz"]
    node = helper.make_node("DynamicQuantizeLSTM", names, ["y", "h", "c"], domain="com.microsoft", hidden_size=hidden)
    path = save([node], {"x": x}, ["y", "h", "c"], constants)
    graph = import_onnx(path)
    found = run_graph(graph, {"x": x})
    for name, want in zip(("y", "h", "c"), peer(path, {"x": x}), strict=True):
        np.testing.assert_allclose(found[name], want, atol=0.02)
