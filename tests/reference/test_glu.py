"""Gated linear units against their definition."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgert.errors import UnsupportedError
from edgert.graph.ir import Node, TensorType
from edgert.graph.operators import OPERATORS
from edgert.kernels_cpu.reference import evaluate

Agrees = Callable[..., None]

EXPECTED: dict[str, Callable[[float], float]] = {
    "Sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "Silu": lambda x: x / (1 + math.exp(-x)),
    "Gelu": lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2,
    "GeluTanh": lambda x: x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
}


@pytest.mark.parametrize("kind", EXPECTED)
@pytest.mark.parametrize("shape", [(3, 10), (2,), (2, 0, 6), (1, 2, 3, 4), (2, 0)])
def test_glu(agrees: Agrees, kind: str, shape: tuple[int, ...]) -> None:
    x: Any = np.random.default_rng(0).normal(size=shape).astype(np.float32) * 3
    half = shape[-1] // 2
    gate = np.array([EXPECTED[kind](v) for v in x[..., :half].ravel().tolist()], np.float32)
    expected = gate.reshape(x[..., :half].shape) * x[..., half:]
    agrees("GLU", [x], {"activation": kind}, expected=[expected])


def test_glu_of_half_numbers(agrees: Agrees) -> None:
    x = np.random.default_rng(1).normal(size=(3, 10)).astype(np.float16)
    (wide,) = evaluate("GLU", [x.astype(np.float32)], {"activation": "Silu"})
    agrees("GLU", [x], expected=[wide.astype(np.float16)])


@pytest.mark.parametrize(("shape", "kind", "message"), [
    ((3, 5), "Silu", "an even last axis, found 5"), ((3, "N"), "Silu", "a known size of the last axis"),
    ((), "Silu", "rank 1 or more"), ((3, 4), "Relu", "Silu.*found 'Relu'"),
])  # fmt: skip
def test_what_a_glu_cannot_take(shape: tuple[int | str, ...], kind: str, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        OPERATORS["GLU"].infer(
            Node("GLU", ("x",), ("y",), {"activation": kind}, "n"), [TensorType("float32", shape)], []
        )


def test_the_reference_names_an_unknown_activation() -> None:
    with pytest.raises(UnsupportedError, match="found 'Relu'"):
        evaluate("GLU", [np.zeros((1, 2), np.float32)], {"activation": "Relu"})
