"""The straightforward OpenCL runtime of the benchmark answers as the reference does, on tiny networks."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "llm"))

import opencl
import small_decoder
from networks import Network

from bench.gpu.naive import Naive
from edgert.errors import UnsupportedError
from edgert.format import Model
from edgert.graph.execute import run_graph
from edgert.kernels_gpu.device import choose, import_pyopencl
from edgert.llm.decoder import Decoder


def naive(model: Model, **bindings: int) -> Naive:
    opencl.provide()
    return Naive(import_pyopencl(), choose("opencl").handle, model, bindings)


def float_network() -> Model:
    """Convolutions with strides, groups and a residual, a mean and a classifier."""
    net = Network(1)
    x = net.input("x", (1, 4, 9, 7))
    a = net.conv(x, 4, 8, 3, strides=[2, 2], activation="Clip", clip_min=0.0, clip_max=6.0)
    b = net.conv(a, 1, 8, 3, group=8)
    net.conv(b, 8, 8, 1, residual=1)
    net.graph.nodes[-1].inputs += (a,)
    pooled = net.node("GlobalAveragePool", net.graph.nodes[-1].outputs[0])
    w = net.constant("w", net.rng.standard_normal((5, 8)).astype(np.float32))
    bias = net.constant("bias", net.rng.standard_normal(5).astype(np.float32))
    return net.model(net.node("Gemm", net.node("Flatten", pooled, axis=1), w, bias, transB=1, out="y"))


def int8_network() -> Model:
    net = Network(2)
    x = net.node("QuantizeLinear", net.input("x", (1, 4, 9, 7)), quant=(0.02, 128))
    a = net.conv_q8(x, 4, 8, 3, strides=[2, 2])
    b = net.conv_q8(a, 8, 8, 1, residual=1)
    net.graph.nodes[-1].inputs += (a,)
    return net.model(net.node("DequantizeLinear", b, out="y"))


@pytest.mark.parametrize("make", [float_network, int8_network])
def test_networks(make, rng: np.random.Generator) -> None:
    model = make()
    runtime = naive(model)
    for _ in range(2):
        feeds = {"x": rng.standard_normal((1, 4, 9, 7)).astype(np.float32)}
        right = run_graph(model.unpacked_graph(), feeds)["y"]
        np.testing.assert_allclose(runtime.run(feeds)["y"], right, rtol=1e-5, atol=1e-5)


def test_a_decoder() -> None:
    """Token by token, as with activations in 16 bits."""
    model = small_decoder.tiny_decoder("q4")
    runtime, right = naive(model, T=1, C=32), Decoder(model, n_ctx=32, threads=1, activations="int16")
    for position, token in enumerate([3, 14, 15, 92, 65]):
        feeds = {"tokens": np.array([token], np.int32), "positions": np.array([position], np.int32)}
        logits = right.decode(token)
        error = runtime.run(feeds)["logits"][0] - logits
        assert np.sqrt(np.mean(error**2)) < 3e-3 * logits.std()


def test_other_operators_are_named() -> None:
    net = Network()
    with pytest.raises(UnsupportedError, match=r"expected one of Conv.*found Hardmax"):
        naive(net.model(net.node("Hardmax", net.input("x", (1, 4)), out="y")))
