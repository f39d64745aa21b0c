"""A quick check that the native kernels of this machine compute what the reference says, for `edgert doctor`.

The real tests are in tests/; this one needs nothing but an installation.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgert.format import Model, StoredTensor
from edgert.graph.execute import run_graph
from edgert.graph.ir import Array, Graph, Node, Quantization, TensorType
from edgert.kernels_cpu.library import Progress
from edgert.runtime.session import Session

TOLERANCE = 1e-5
"""Relative to the largest value: float sums in another order."""


def self_test(on_compile: Progress | None = None) -> list[str]:
    """What is wrong, in words; empty if float and int8 convolutions agree with the reference, alone and in a pool."""
    faults = []
    for name, model, feeds in (("float", *_float_case()), ("int8", *_int8_case())):
        expected = run_graph(model.unpacked_graph(), feeds)
        for threads in (1, 2):
            with Session(model, threads=threads, on_compile=on_compile) as session:
                faults += _differences(f"{name}, {threads} threads", session.run(feeds), expected)
    return faults


def _differences(name: str, found: Mapping[str, Array], expected: Mapping[str, Array]) -> list[str]:
    faults = []
    for key, right in expected.items():
        error = float(np.abs(found[key].astype(np.float64) - right).max())
        limit = 0.0 if right.dtype.kind in "iu" else TOLERANCE * float(np.abs(right).max())
        if not error <= limit:
            faults.append(f"{name}: {key} differs by {error:g} from the reference, at most {limit:g} expected")
    return faults


def _float_case() -> tuple[Model, dict[str, Array]]:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((1, 33, 41, 37)).astype(np.float32)  # large enough for two threads
    weights = StoredTensor.pack_dense("w", rng.standard_normal((35, 33, 3, 3)).astype(np.float32), "n4k1")
    node = Node("Conv", ("x", "w"), ("y",), {"pads": [1, 1, 1, 1], "activation": "Relu"}, "conv")
    kind, out = TensorType("float32", x.shape), TensorType("float32", (1, 35, 41, 37))
    graph = Graph("self-test", ["x"], ["y"], [node], {"x": kind, "w": weights.type, "y": out})
    return Model(graph, {"w": weights}), {"x": x}


def _int8_case() -> tuple[Model, dict[str, Array]]:
    rng = np.random.default_rng(2)
    x = rng.integers(0, 256, (1, 6, 13, 11)).astype(np.uint8)
    quant_x = Quantization(np.array(0.05, np.float32), np.array(120, np.int32))
    quant_y = Quantization(np.array(0.9, np.float32), np.array(3, np.int32))
    scale = rng.uniform(0.005, 0.01, 8).astype(np.float32)
    weights = StoredTensor.pack_q8("w", rng.integers(-127, 128, (8, 6, 3, 3)).astype(np.int8), scale, "n4k4")
    quant_b = Quantization(np.float32(0.05) * scale, np.zeros(8, np.int32), 0)
    bias = StoredTensor.pack_dense("b", rng.integers(-500, 500, 8).astype(np.int32), quant=quant_b)
    node = Node("QLinearConv", ("x", "w", "b"), ("y",), {"pads": [1, 1, 1, 1]}, "conv")
    types = {
        "x": TensorType("uint8", x.shape, quant_x), "w": weights.type, "b": bias.type,
        "y": TensorType("uint8", (1, 8, 13, 11), quant_y),
    }  # fmt: skip
    graph = Graph("self-test", ["x"], ["y"], [node], types, {"b": bias.parts["data"]})
    return Model(graph, {"w": weights, "b": bias}), {"x": x}
