"""Selections whose size depends on values, counted n-grams and caches against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgert.errors import InputError, UnsupportedError
from edgert.kernels_cpu.reference import evaluate

Agrees = Callable[..., None]

VALUES = np.array([[2, 1, 1], [3, 0, 2], [2, 1, 1], [0, 0, 1]])


@pytest.mark.parametrize("dtype", ["float32", "int64", "int8"])
@pytest.mark.parametrize("sort", [0, 1])
def test_unique(agrees: Agrees, dtype: str, sort: int) -> None:
    agrees("Unique", [VALUES.astype(dtype)], {"sorted": sort}, outputs=4)
    for axis in (0, 1, -1):
        agrees("Unique", [VALUES.astype(dtype)], {"sorted": sort, "axis": axis}, outputs=4)
    agrees("Unique", [np.zeros(0, dtype)], {"sorted": sort}, outputs=4)


def test_compress(agrees: Agrees) -> None:
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    for axis, chosen in ((1, [0, 1, 1]), (-1, [1, 0, 0, 1]), (2, [0, 1]), (0, [0, 0])):
        agrees("Compress", [x, np.array(chosen, bool)], {"axis": axis})
    agrees("Compress", [x, np.arange(17) % 3 == 0])


@pytest.mark.parametrize("mode", ["TF", "IDF", "TFIDF"])
@pytest.mark.parametrize(("least", "most", "skip"), [(1, 1, 0), (2, 2, 0), (1, 2, 3), (2, 3, 1), (1, 3, 2)])
def test_tfidf(agrees: Agrees, mode: str, least: int, most: int, skip: int) -> None:
    attrs: dict[str, Any] = {
        "mode": mode, "min_gram_length": least, "max_gram_length": most, "max_skip_count": skip,
        "ngram_counts": [0, 3, 9], "ngram_indexes": [0, 2, 1, 5, 3, 4, 6],
        "pool_int64s": [2, 3, 5, 5, 4, 5, 6, 7, 8, 1, 1, 3],
    }  # fmt: skip
    tokens = np.array([[1, 1, 3, 3, 3, 7], [8, 6, 7, 5, 6, 8], [5, 4, 5, 4, 1, 1]], np.int64)
    agrees("TfIdfVectorizer", [tokens], attrs)
    agrees("TfIdfVectorizer", [tokens[1]], attrs | {"weights": [2.0, 3.0, 0.5, 1.0, 4.0, 1.5, 2.5]})


def test_tfidf_attributes_that_do_not_fit() -> None:
    attrs = {"mode": "TF", "ngram_counts": [0, 4], "ngram_indexes": [0], "pool_int64s": [1, 2, 3]}
    with pytest.raises(UnsupportedError, match="expected pool_int64s of whole n-grams"):
        evaluate("TfIdfVectorizer", [np.arange(3)], attrs)


def test_tensor_scatter(agrees: Agrees) -> None:
    cache, update = np.zeros((2, 5, 1), np.float32), np.arange(1, 7, dtype=np.float32).reshape(2, 3, 1)
    for mode, start, rows in (
        ("linear", [1, 2], [[0, 1, 2, 3, 0], [0, 0, 4, 5, 6]]),
        ("circular", [4, 0], [[2, 3, 0, 0, 1], [4, 5, 6, 0, 0]]),
    ):
        expected = np.array(rows, np.float32)[:, :, None]
        agrees("TensorScatter", [cache, update, np.array(start)], {"mode": mode}, expected=[expected])
    with pytest.raises(InputError, match=r"expected places in \[0, 5\)"):
        evaluate("TensorScatter", [cache, update, np.array([3, 0])])


def test_det(agrees: Agrees) -> None:
    matrices = np.random.default_rng(0).standard_normal((2, 3, 4, 4)).astype(np.float32)
    agrees("Det", [matrices], opset=21, rtol=1e-4)
    agrees("Det", [matrices[0, 0]], opset=21, rtol=1e-4)


def test_cumulative_product(agrees: Agrees) -> None:
    x = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    for attrs, expected in (
        ({}, [[1, 2, 6], [4, 20, 120]]), ({"exclusive": 1}, [[1, 1, 2], [1, 4, 20]]),
        ({"reverse": 1}, [[6, 6, 3], [120, 30, 6]]), ({"reverse": 1, "exclusive": 1}, [[6, 3, 1], [30, 6, 1]]),
    ):  # fmt: skip
        agrees("CumProd", [x, np.array(1)], attrs, expected=[np.array(expected, np.float32)])


def test_bits_moved_and_reinterpreted(agrees: Agrees) -> None:
    x, by = np.array([-128, -1, 5, 127, -3], np.int8), np.array([1, 7, 8, -1, 100], np.int8)
    agrees("BitShift", [x, by], {"direction": "RIGHT"}, expected=[np.array([-64, -1, 0, 0, -1], np.int8)])
    agrees("BitShift", [x, by], {"direction": "LEFT"}, expected=[np.array([0, -128, 0, 0, 0], np.int8)])
    ones = np.array([[1.0, -2.0]], np.float32)
    agrees("BitCast", [ones], {"to": "int32"}, expected=[np.array([[0x3F800000, -(2**30)]], np.int32)])
    agrees("BitCast", [np.array([0, 1, 2], np.uint8)], {"to": "bool"}, expected=[np.array([False, True, True])])
