"""Matrix products against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgert.errors import UnsupportedError
from edgert.graph.ir import Node, TensorType
from edgert.graph.operators import OPERATORS
from edgert.kernels_cpu.reference import evaluate

Agrees = Callable[..., None]


def data(*shape: int, seed: int = 0) -> Any:
    return np.asarray(np.random.default_rng(seed).normal(size=shape), np.float32)


@pytest.mark.parametrize(("a", "b"), [
    ((3, 4), (4, 5)), ((4,), (4,)), ((4,), (4, 5)), ((3, 4), (4,)), ((2, 3, 4), (4, 5)), ((2, 1, 3, 4), (6, 4, 5)),
    ((4,), (2, 4, 5)), ((1, 1), (1, 1)), ((0, 4), (4, 5)), ((3, 0), (0, 5)),
])  # fmt: skip
def test_matmul(agrees: Agrees, a: tuple[int, ...], b: tuple[int, ...]) -> None:
    agrees("MatMul", [data(*a), data(*b, seed=1)])


def test_matmul_of_other_types(agrees: Agrees) -> None:
    agrees("MatMul", [np.arange(12).reshape(3, 4), np.arange(8).reshape(4, 2)])
    agrees("MatMul", [data(3, 4).astype(np.float64), data(4, 2).astype(np.float64)])
    agrees("MatMul", [data(3, 4).astype(np.float16), data(4, 2).astype(np.float16)])


@pytest.mark.parametrize("trans_a", [0, 1])
@pytest.mark.parametrize("trans_b", [0, 1])
def test_gemm(agrees: Agrees, trans_a: int, trans_b: int) -> None:
    a, b = data(3, 4), data(4, 5, seed=1)
    a, b = (a.T.copy() if trans_a else a), (b.T.copy() if trans_b else b)
    attrs = {"transA": trans_a, "transB": trans_b}
    agrees("Gemm", [a, b], attrs)
    for shape in [(5,), (3, 1), (1,), (), (3, 5)]:
        agrees("Gemm", [a, b, data(*shape, seed=2)], attrs | {"alpha": 0.5, "beta": -2.0})


def test_gemm_with_fused_activation() -> None:
    a, b, c = data(3, 4), data(4, 5, seed=1), data(5, seed=2)
    (y,) = evaluate("Gemm", [a, b, c], {"activation": "Clip", "clip_min": 0.0, "clip_max": 1.0})
    np.testing.assert_allclose(y, np.clip(a @ b + c, 0, 1), rtol=1e-6)


def test_gemm_with_residual(agrees: Agrees) -> None:
    a, b, c, r = data(3, 4), data(5, 4, seed=1), data(5, seed=2), data(3, 5, seed=3)
    attrs = {"transB": 1, "residual": 1}
    agrees("Gemm", [a, b, c, r], attrs, expected=[a @ b.T + c + r])
    for inputs in ([a, b, r], [a, b, None, r]):
        agrees("Gemm", inputs, attrs, expected=[a @ b.T + r])
    agrees("Gemm", [a, b, c, r], attrs | {"activation": "Relu"}, expected=[np.maximum(a @ b.T + c + r, 0)])


@pytest.mark.parametrize(("shapes", "residual", "message"), [
    ([(3, 4), (5, 4), (5,), (3, 4)], 1, "a residual of shape"),
    ([(3, 4), (5, 4), (5,), (3, 5)], 0, "at most one input"),
    ([(3, 4), (5, 4)], 1, "a residual as the last input"),
])  # fmt: skip
def test_residuals_that_do_not_fit(shapes: list[tuple[int, ...]], residual: int, message: str) -> None:
    names = tuple(f"in{i}" for i in range(len(shapes)))
    node = Node("Gemm", names, ("y",), {"transB": 1, "residual": residual}, "n")
    with pytest.raises(UnsupportedError, match=message):
        OPERATORS["Gemm"].infer(node, [TensorType("float32", s) for s in shapes], [None] * len(shapes))


@pytest.mark.parametrize(("equation", "shapes"), [
    ("ij,jk->ik", [(2, 3), (3, 4)]), ("ij,jk", [(2, 3), (3, 4)]), ("bij, bjk -> bik", [(2, 3, 4), (2, 4, 5)]),
    ("...ij,...jk->...ik", [(5, 3, 4), (5, 4, 2)]), ("ii->i", [(3, 3)]), ("ij->", [(2, 3)]),
    ("ij->ji", [(2, 3)]), ("i,j->ij", [(2,), (3,)]), ("...ij->...ji", [(2, 3, 4)]),
    ("bhwc,hkc->bhwk", [(2, 3, 4, 5), (3, 6, 5)]), ("ij,ij,ij->i", [(2, 3), (2, 3), (2, 3)]),
])  # fmt: skip
def test_einsum(agrees: Agrees, equation: str, shapes: list[tuple[int, ...]]) -> None:
    agrees("Einsum", [data(*s, seed=i) for i, s in enumerate(shapes)], {"equation": equation})
