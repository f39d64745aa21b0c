"""Which encoding a weight with zeros gets, when it gets none, and the words for it."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from edgert.converters.sparse_encoding import (
    TOLERANCE,
    WORTH,
    fit_conv,
    fit_conv_float,
    fit_f16,
    fit_fan_in,
    fit_groups,
)

Array = np.ndarray[Any, Any]


def cells(rows: int, columns: int, zeros: float, shape: tuple[int, ...] = (128, 64, 3, 3)) -> Array:
    """int8 weights, never 0 by chance, with a share of their blocks of rows x columns set to 0."""
    rng = np.random.default_rng(0)
    values = rng.integers(1, 128, shape).astype(np.int8)
    gone = rng.random((shape[0] // rows, shape[1] // columns, *shape[2:])) < zeros
    values[gone.repeat(rows, 0).repeat(columns, 1)] = 0
    return values


def matrix(kind: str, zeros: float, zero: int, shape: tuple[int, int] = (256, 512)) -> Array:
    rng = np.random.default_rng(1)
    numbers = rng.integers(zero + 1, zero + 7, shape)
    n, k = shape
    if kind == "any":
        gone = rng.random(shape) < zeros
    elif kind == "group":
        gone = (rng.random((n // 32, 32, k // 32)).argsort(1).argsort(1) < 16).reshape(n, k // 32).repeat(32, 1)
    elif kind == "rowgroup":
        gone = (rng.random((n, k // 32)) < zeros).repeat(32, 1)
    else:
        kept, m = map(int, kind.split(":"))
        gone = (rng.random((n, k // m, m)).argsort(2) >= kept).reshape(shape)
    return np.where(gone, zero, numbers)


@pytest.mark.parametrize(
    ("rows", "columns", "zeros", "pattern"),
    [
        (4, 4, 0.7, "4x4"), (4, 4, 0.3, "4x4"), (4, 4, 0.12, ""), (2, 4, 0.5, "2x4"), (1, 4, 0.6, "1x4"),
        (64, 4, 0.5, "4x4"),
        (1, 4, 0.1, ""), (1, 1, 0.6, ""), (4, 4, 0.0, ""),
    ],
)  # fmt: skip
def test_convolutions(rows: int, columns: int, zeros: float, pattern: str) -> None:
    values = cells(rows, columns, zeros)
    scale = np.ones(len(values), np.float32)
    stored, words = fit_conv("w", values, scale)
    share = f"{100 * (values == 0).mean():.0f} % zeros"
    assert share in words
    if not pattern:
        assert stored is None
        assert re.fullmatch(rf"kept dense: {share}, \dx4 blocks would take 1?\d\d %", words)
        return
    assert stored is not None and stored.pattern == pattern
    np.testing.assert_array_equal(stored.dense(), values)
    dense = stored.expanded().nbytes
    assert stored.nbytes < WORTH * dense
    assert words == f"{pattern} blocks, {share}, {100 * stored.nbytes / dense:.0f} % of the dense bytes"
    real, words = fit_conv_float("w", values.astype(np.float32))
    assert (real is not None) == (zeros >= 0.2) and (words.startswith("kept dense") == (real is None))


def test_the_fastest_pattern_unless_another_saves_much_more() -> None:
    """4x4 holds 1x4 too; it goes when the other takes less than 85 % of its bytes."""
    scale = np.ones(128, np.float32)
    values = cells(4, 4, 0.6)
    seen = set()
    for zeros in (0.02, 0.05, 0.1, 0.2, 0.4):
        thinner = np.where(cells(2, 4, zeros) == 0, 0, values).astype(np.int8)
        stored, _ = fit_conv("w", thinner, scale)
        (first, _), (second, _) = (fit_conv("w", thinner, scale, pattern=name) for name in ("4x4", "2x4"))
        assert stored is not None and first is not None and second is not None
        undercut = second.nbytes < (1 - TOLERANCE) * first.nbytes
        assert stored.pattern == ("2x4" if undercut else "4x4")
        seen.add(stored.pattern)
    assert seen == {"4x4", "2x4"}


def test_a_pattern_that_is_asked_for() -> None:
    values, scale = cells(64, 4, 0.5), np.ones(128, np.float32)
    for pattern in ("4x4", "2x4", "1x4", "64x4", "block"):
        stored, _ = fit_conv("w", values, scale, pattern=pattern)
        assert stored is not None and stored.pattern == {"block": "4x4"}.get(pattern, pattern)
    stored, words = fit_conv("w", cells(1, 1, 0.5), scale, pattern="4x4")
    assert stored is None and re.fullmatch(r"kept dense: 50 % zeros, 4x4 blocks would take 1\d\d %", words)
    # Little saved is enough for who asks, and what does not apply is left open.
    assert fit_conv("w", cells(4, 4, 0.15), scale)[0] is None
    assert fit_conv("w", cells(4, 4, 0.15), scale, pattern="4x4")[0] is not None
    stored, _ = fit_conv("w", values, scale, pattern="nm:2:4")
    assert stored is not None and stored.pattern == "4x4"


def test_convolutions_that_blocks_do_not_fit() -> None:
    values = cells(4, 4, 0.7, (24, 16, 1, 1))
    assert fit_conv("w", values, np.ones(24, np.float32), groups=2)[0] is not None
    assert (
        fit_conv("w", values, np.ones(24, np.float32), groups=4)[1]
        == "kept dense: 75 % zeros, no sparse encoding holds them"
    )
    assert fit_conv("w", np.zeros((4, 0, 1, 1), np.int8), np.ones(4, np.float32))[0] is None
    assert fit_conv("w", np.zeros((4, 4, 260, 260), np.int8), np.ones(4, np.float32))[0] is None
    # Blocks of 64 rows would straddle groups of 32.
    stored, _ = fit_conv("w", cells(64, 4, 0.5), np.ones(128, np.float32), groups=4, pattern="64x4")
    assert stored is None


@pytest.mark.parametrize(
    ("encoding", "kind", "zeros", "pattern"),
    [
        ("q4", "group", 0.5, "group4"), ("q4", "rowgroup", 0.3, "rowgroup4"), ("q4", "rowgroup", 0.05, ""),
        ("q4", "2:4", 0, "2:4"), ("q4", "4:8", 0, "4:8"), ("q4", "6:8", 0, ""), ("q4", "any", 0.7, "bitmap4"),
        ("q4", "any", 0.3, ""), ("q4", "7:8", 0, ""), ("q8g", "any", 0.3, "bitmap8"), ("q8g", "any", 0.1, ""),
        ("q8g", "2:4", 0, "2:4"), ("q8g", "1:16", 0, "1:16"), ("q8g", "any", 0.97, "bitmap8"),
    ],
)  # fmt: skip
def test_matrices_in_groups(encoding: Any, kind: str, zeros: float, pattern: str) -> None:
    zero = 8 if encoding == "q4" else 0
    numbers = matrix(kind, zeros, zero).astype(np.uint8 if zero else np.int8)
    scale = np.random.default_rng(2).normal(size=(256, 16)).astype(np.float16)
    stored, words = fit_groups("w", numbers, scale, encoding)
    assert f"{100 * (numbers == zero).mean():.0f} % zeros" in words
    if not pattern:
        assert stored is None and words.startswith("kept dense") and "would take" in words
        return
    assert stored is not None and stored.pattern == pattern and words.startswith(pattern + ", ")
    np.testing.assert_array_equal(stored.groups()[0], numbers)
    assert stored.nbytes < WORTH * stored.expanded().nbytes
    assert words.endswith(f"{100 * stored.nbytes / stored.expanded().nbytes:.0f} % of the dense bytes")


def test_patterns_of_matrices_that_are_asked_for() -> None:
    scale = np.ones((256, 16), np.float16)
    numbers = matrix("2:4", 0, 8).astype(np.uint8)
    for asked, pattern in {
        "nm:2:4": "2:4", "2:4": "2:4", "nm:4:8": "4:8", "5:8": "5:8", "bitmap": "bitmap4", "unstructured": "bitmap4",
        "4x4": "2:4", "auto": "2:4",
    }.items():  # fmt: skip
        stored, _ = fit_groups("w", numbers, scale, "q4", pattern=asked)
        assert stored is not None and stored.pattern == pattern
    for asked in ("1:4", "group"):
        stored, words = fit_groups("w", numbers, scale, "q4", pattern=asked)
        assert (
            stored is None and words == f"kept dense: 50 % zeros, {asked.replace('group', 'group4')} does not hold them"
        )
    stored, words = fit_groups("w", numbers, scale, "q4", pattern="rowgroup")
    assert stored is None and "rowgroup4 would take 10" in words
    assert fit_groups("w", numbers[:0], scale[:0], "q4")[0] is None


def test_half_precision_and_fan_in() -> None:
    numbers = matrix("any", 0.5, 0)
    stored, words = fit_f16("w", numbers.astype(np.float32))
    assert stored is not None and words == "bitmap16, 50 % zeros, 56 % of the dense bytes"
    stored, words = fit_f16("w", matrix("any", 0.05, 0).astype(np.float16))
    assert stored is None and words == "kept dense: 5 % zeros, bitmap16 would take 102 %"
    rows = matrix("2:8", 0, 0).astype(np.int8)
    stored, words = fit_fan_in("w", rows, np.ones(256, np.float32))
    assert stored is not None and words == "fanin 128, 75 % zeros, 19 % of the dense bytes"
    assert fit_fan_in("w", np.ones((16, 16), np.int8), np.ones(16, np.float32), pattern="fanin")[0] is not None
