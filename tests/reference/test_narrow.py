"""Narrow element types have the values that ml_dtypes gives them, and RoundTo rounds as it does."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from edgert.errors import UnsupportedError
from edgert.graph.infer import infer_types
from edgert.graph.ir import Graph, Node, TensorType
from edgert.kernels_cpu.reference import evaluate
from edgert.kernels_cpu.reference.narrow import FLOATS, INTEGERS, decode, held

THEIRS = {
    "bfloat16": "bfloat16", "float8e4m3fn": "float8_e4m3fn", "float8e4m3fnuz": "float8_e4m3fnuz",
    "float8e5m2": "float8_e5m2", "float8e5m2fnuz": "float8_e5m2fnuz", "float6e2m3": "float6_e2m3fn",
    "float6e3m2": "float6_e3m2fn", "float4e2m1": "float4_e2m1fn", "float8e8m0": "float8_e8m0fnu",
}  # fmt: skip


def theirs(name: str) -> np.dtype:
    return np.dtype(getattr(ml_dtypes, THEIRS.get(name, name)))


def rounded(x: np.ndarray, to: str, **attrs: int | str) -> np.ndarray:
    return evaluate("RoundTo", [x], {"to": to, **attrs})[0]


def borders(name: str, rng: np.random.Generator) -> np.ndarray:
    """Every value of the type, every middle between two, values beside those, and what is out of range."""
    codes = np.arange(1 << (16 if name == "bfloat16" else 8), dtype=np.uint16 if name == "bfloat16" else np.uint8)
    with np.errstate(invalid="ignore"):  # signalling NaNs
        values = decode(codes, name).astype(np.float64)
    values = np.unique(values[np.isfinite(values)])
    middles = (values[1:] + values[:-1]) / 2
    near = [np.nextafter(middles.astype(np.float32), np.float32(way)) for way in (-np.inf, np.inf)]
    largest = FLOATS[name].largest
    far = largest * np.array([1.01, 1.04, 1.0625, 1.1, 1.25, 1.3, 3])
    mixed = rng.standard_normal(100) * np.exp(rng.uniform(-20, 20, 100))
    with np.errstate(over="ignore"):
        parts = [values, middles, *near, far, -far, mixed, [np.inf, -np.inf, np.nan, 0.0, -0.0, 1e-45]]
        return np.concatenate(parts).astype(np.float32)


@pytest.mark.parametrize("name", [*FLOATS, "float8e8m0", *INTEGERS])
def test_codes_have_the_values_of_ml_dtypes(name: str) -> None:
    kind = theirs(name)
    count = 1 << (16 if name == "bfloat16" else 4 if name == "float4e2m1" else 6 if "float6" in name else 8)
    if name in INTEGERS:
        count = INTEGERS[name][1] - INTEGERS[name][0] + 1
    codes = np.arange(count, dtype=np.uint16 if kind.itemsize == 2 else np.uint8)
    values = decode(codes, name)
    assert values.dtype == held(name)
    np.testing.assert_array_equal(values, codes.view(kind).astype(held(name)))


@pytest.mark.parametrize("name", FLOATS)
def test_rounds_to_nearest_even(name: str, rng: np.random.Generator) -> None:
    x = borders(name, rng)
    with np.errstate(all="ignore"):
        expected = x.astype(theirs(name)).astype(np.float32)
    np.testing.assert_array_equal(rounded(x, name, saturate=0), expected)
    signs = ~np.isnan(expected) & ~np.isnan(x)
    np.testing.assert_array_equal(np.signbit(rounded(x, name, saturate=0))[signs], np.signbit(expected)[signs])


@pytest.mark.parametrize("name", [name for name in FLOATS if name.startswith("float8")])
def test_saturates(name: str, rng: np.random.Generator) -> None:
    x, largest = borders(name, rng), FLOATS[name].largest
    expected = np.clip(x, -largest, largest).astype(theirs(name)).astype(np.float32)
    np.testing.assert_array_equal(rounded(x, name), expected)


def test_float64_is_rounded_once() -> None:
    above = np.array([1 + 2.0**-8 + 2.0**-40])  # in float32 it would be a tie, and go down
    assert rounded(above, "bfloat16")[0] == 1 + 2.0**-7


@pytest.mark.parametrize("name", INTEGERS)
def test_integers_wrap(name: str) -> None:
    x = np.arange(-40, 40)
    expected = x.astype(np.int8).astype(theirs(name)).astype(held(name))
    for dtype in (np.int64, np.float32, np.int8):
        np.testing.assert_array_equal(rounded(x.astype(dtype), name), expected)


@pytest.mark.parametrize(
    ("mode", "saturate", "expected"),
    [
        ("up", 1, [2.0**-127, 2.0**-127, 1, 2, 2, 2, 2.0**127, np.nan]),
        ("down", 1, [2.0**-127, 2.0**-127, 1, 1, 1, 1, 2.0**127, np.nan]),
        ("nearest", 0, [np.nan, np.nan, 1, 1, 2, 2, np.nan, np.nan]),
    ],
)
def test_powers_of_two(mode: str, saturate: int, expected: list[float]) -> None:
    x = np.array([0, 1e-40, 1, 1.25, 1.5, 1.75, np.inf, np.nan], np.float32)
    got = rounded(x, "float8e8m0", round_mode=mode, saturate=saturate)
    np.testing.assert_array_equal(got, np.array(expected, np.float32))


def test_shape_function() -> None:
    graph = Graph(inputs=["x"], outputs=["y"], nodes=[Node("RoundTo", ("x",), ("y",), {"to": "uint4"})])
    graph.types["x"] = TensorType("float32", ("N", 3))
    assert infer_types(graph).types["y"] == TensorType("uint8", ("N", 3))
    graph.nodes[0].attrs["to"] = "float5"
    with pytest.raises(UnsupportedError, match="float8e4m3fn"):
        infer_types(graph)
