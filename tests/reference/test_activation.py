"""Activations and the softmax family against ONNX Runtime."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgert.errors import UnsupportedError
from edgert.kernels_cpu.reference import evaluate

rng = np.random.default_rng(3)

UNARY: list[tuple[str, dict[str, Any]]] = [
    ("Relu", {}), ("LeakyRelu", {}), ("LeakyRelu", {"alpha": 0.3}), ("ThresholdedRelu", {"alpha": 0.7}),
    ("Sigmoid", {}), ("HardSigmoid", {}), ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}), ("HardSwish", {}),
    ("Mish", {}), ("Tanh", {}), ("Erf", {}), ("Gelu", {}), ("Gelu", {"approximate": "tanh"}),
    ("Softplus", {}), ("Softsign", {}), ("Elu", {}), ("Elu", {"alpha": 0.5}), ("Celu", {"alpha": 2.0}),
    ("Selu", {}), ("Selu", {"alpha": 1.5, "gamma": 0.9}),
]  # fmt: skip


@pytest.mark.parametrize(("op", "attrs"), UNARY)
@pytest.mark.parametrize("shape", [(2, 3, 5), (1,), (), (0, 4)])
def test_unary(agrees: Callable[..., None], op: str, attrs: dict[str, Any], shape: tuple[int, ...]) -> None:
    agrees(op, [(rng.standard_normal(shape) * 4).astype(np.float32)], attrs)


@pytest.mark.parametrize("op", ["Sigmoid", "Softplus", "Tanh", "Elu", "Selu", "Gelu", "Mish"])
def test_large_values_stay_finite(op: str) -> None:
    (y,) = evaluate(op, [np.array([-200, -90, 0, 90, 200], np.float32)])
    assert np.isfinite(y).all()


@pytest.mark.parametrize("alpha", [1.0, 1.702])
def test_swish(agrees: Callable[..., None], alpha: float) -> None:
    x = np.linspace(-5, 5, 21, dtype=np.float32)
    want = np.array([v / (1 + math.exp(-alpha * v)) for v in x.tolist()], np.float32)
    agrees("Swish", [x], {"alpha": alpha}, expected=[want])


@pytest.mark.parametrize("dtype", ["float32", "int32", "uint8"])
@pytest.mark.parametrize("bounds", [(None, None), (2, None), (None, 5), (2, 5), (6, 3)])
def test_clip(agrees: Callable[..., None], dtype: str, bounds: tuple[Any, Any]) -> None:
    x = rng.integers(0, 10, (3, 7)).astype(dtype)
    given = [None if b is None else np.asarray(b, dtype) for b in bounds]
    while given and given[-1] is None:
        given.pop()
    agrees("Clip", [x, *given])


@pytest.mark.parametrize("slope", [(3, 1, 1), (1,), (3, 4, 5), (5,)])
def test_prelu(agrees: Callable[..., None], slope: tuple[int, ...]) -> None:
    x, a = (rng.standard_normal(s).astype(np.float32) for s in ((2, 3, 4, 5), slope))
    agrees("PRelu", [x, a])


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax", "Hardmax"])
@pytest.mark.parametrize("axis", [-1, 0, 1, 2])
@pytest.mark.parametrize("shape", [(2, 5, 4), (1, 1, 1), (3, 0, 2), (2, 7, 33)])
def test_softmax(agrees: Callable[..., None], op: str, axis: int, shape: tuple[int, ...]) -> None:
    agrees(op, [(rng.standard_normal(shape) * 10).astype(np.float32)], {"axis": axis}, rtol=1e-5)


def test_softmax_of_large_values_and_ties(agrees: Callable[..., None]) -> None:
    agrees("Softmax", [np.array([[1e4, 1e4, -1e4]], np.float32)])
    agrees("Hardmax", [np.array([[1, 3, 3, 2]], np.float32)])


def test_dropout_is_identity(agrees: Callable[..., None]) -> None:
    x = rng.standard_normal((3, 4)).astype(np.float32)
    (y,) = evaluate("Dropout", [x, np.float32(0.5)], dtype_out=["float32"])
    np.testing.assert_array_equal(y, x)
    agrees("Dropout", [x, np.asarray(0.5, np.float32)], outputs=2)
    with pytest.raises(UnsupportedError, match="inference"):
        evaluate("Dropout", [x, np.float32(0.5), np.array(True)])


def test_float16_is_computed_in_float32() -> None:
    x = np.linspace(-8, 8, 101).astype(np.float16)
    for op, attrs in UNARY:
        (got,), (want,) = evaluate(op, [x], attrs), evaluate(op, [x.astype(np.float32)], attrs)
        assert got.dtype == np.float16
        np.testing.assert_array_equal(got, want.astype(np.float16), err_msg=op)
