"""Signal operators mean what ONNX Runtime says they mean; where it lacks a form, what NumPy says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgert.errors import UnsupportedError
from edgert.graph.ir import Node, TensorType
from edgert.graph.operators import OPERATORS
from edgert.kernels_cpu.reference import evaluate


@pytest.mark.parametrize("pair", [1, 2])
@pytest.mark.parametrize("axis", [1, -3])
@pytest.mark.parametrize("length", [None, 16, 5])
@pytest.mark.parametrize("inverse", [0, 1])
def test_dft(
    agrees: Callable[..., None], rng: np.random.Generator, pair: int, axis: int, length: int | None, inverse: int
) -> None:
    x = rng.standard_normal((2, 8, 8, pair)).astype(np.float32)
    count = None if length is None else np.array(length, np.int64)
    agrees("DFT", [x, count, np.array(axis, np.int64)], {"inverse": inverse}, opset=20, rtol=1e-4)


@pytest.mark.parametrize("length", [None, 10, 7])
def test_real_signals_and_back(rng: np.random.Generator, length: int | None) -> None:
    x = rng.standard_normal((3, 10, 1))
    given: list[Any] = [] if length is None else [np.array(length, np.int64)]
    (y,) = evaluate("DFT", [x, *given], {"onesided": 1})
    spectrum = np.fft.rfft(x[..., 0], length)
    np.testing.assert_allclose(y, np.stack([spectrum.real, spectrum.imag], -1), atol=1e-12)
    (back,) = evaluate("DFT", [y, *given], {"onesided": 1, "inverse": 1})
    np.testing.assert_allclose(back[..., 0], np.fft.irfft(spectrum, length), atol=1e-12)


@pytest.mark.parametrize("onesided", [0, 1])
@pytest.mark.parametrize("windowed", [False, True])
def test_stft(agrees: Callable[..., None], rng: np.random.Generator, onesided: int, windowed: bool) -> None:
    x = rng.standard_normal((2, 50, 1)).astype(np.float32)
    window = np.hanning(16).astype(np.float32) if windowed else None
    inputs = [x, np.array(7, np.int64), window, np.array(16, np.int64)]
    agrees("STFT", inputs, {"onesided": onesided}, opset=17, rtol=1e-4)


@pytest.mark.parametrize("name", ["HannWindow", "HammingWindow", "BlackmanWindow"])
@pytest.mark.parametrize("periodic", [0, 1])
def test_windows(agrees: Callable[..., None], name: str, periodic: int) -> None:
    agrees(name, [np.array(10, np.int64)], {"periodic": periodic, "output_datatype": 1}, opset=17)


def test_mel_weights(agrees: Callable[..., None]) -> None:
    sizes = [np.array(v, np.int64) for v in (8, 512, 16000)]
    edges = [np.array(v, np.float32) for v in (20.0, 7600.0)]
    agrees("MelWeightMatrix", [*sizes, *edges], {"output_datatype": 1}, opset=17)


def test_sizes_are_checked() -> None:
    def infer(op: str, x: TensorType, attrs: dict[str, Any], *values: Any) -> None:
        types = [x, *(TensorType("int64", np.shape(v)) for v in values)]
        node = Node(op, tuple("abc"[: len(types)]), ("y",), attrs, "n")
        OPERATORS[op].infer(node, types, [None, *(np.array(v, np.int64) for v in values)])

    with pytest.raises(UnsupportedError, match="before the last"):
        infer("DFT", TensorType("float32", (4, 2)), {}, 4, -1)
    with pytest.raises(UnsupportedError, match="frame_step >= 1"):
        infer("STFT", TensorType("float32", (1, 9, 1)), {}, 0)
    with pytest.raises(UnsupportedError, match="redundant"):
        infer("DFT", TensorType("float32", (4, 2)), {"onesided": 1})
