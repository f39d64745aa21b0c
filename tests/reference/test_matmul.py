"""Matrix products against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

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


@pytest.mark.parametrize(("equation", "shapes"), [
    ("ij,jk->ik", [(2, 3), (3, 4)]), ("ij,jk", [(2, 3), (3, 4)]), ("bij, bjk -> bik", [(2, 3, 4), (2, 4, 5)]),
    ("...ij,...jk->...ik", [(5, 3, 4), (5, 4, 2)]), ("ii->i", [(3, 3)]), ("ij->", [(2, 3)]),
    ("ij->ji", [(2, 3)]), ("i,j->ij", [(2,), (3,)]), ("...ij->...ji", [(2, 3, 4)]),
    ("bhwc,hkc->bhwk", [(2, 3, 4, 5), (3, 6, 5)]), ("ij,ij,ij->i", [(2, 3), (2, 3), (2, 3)]),
])  # fmt: skip
def test_einsum(agrees: Agrees, equation: str, shapes: list[tuple[int, ...]]) -> None:
    agrees("Einsum", [data(*s, seed=i) for i, s in enumerate(shapes)], {"equation": equation})
