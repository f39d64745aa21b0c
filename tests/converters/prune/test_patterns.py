"""Every pattern on scores whose best choice is known, and the words that name them."""

from __future__ import annotations

import numpy as np
import pytest

from edgert.converters.prune.patterns import (
    FANIN,
    GROUP,
    ROWGROUP,
    UNSTRUCTURED,
    Pattern,
    largest,
    parse_pattern,
)
from edgert.errors import ConversionError


@pytest.fixture
def scores(rng: np.random.Generator) -> np.ndarray:
    return rng.random((64, 128)).astype(np.float32)


def cells(keep: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """keep [N, K] as cells; every cell must be all or nothing."""
    n, k = keep.shape
    found = keep.reshape(n // rows, rows, k // columns, columns)
    assert (found.all(axis=(1, 3)) == found.any(axis=(1, 3))).all()
    return np.asarray(found[:, 0, :, 0])


def test_unstructured(scores: np.ndarray) -> None:
    keep = UNSTRUCTURED.keep(scores, 0.7)
    assert keep.sum() == round(0.3 * scores.size)
    assert scores[keep].min() >= scores[~keep].max()


def test_by_row(scores: np.ndarray) -> None:
    scores[0] += 5
    keep = UNSTRUCTURED.keep(scores, 0.5, by_row=True)
    assert (keep.sum(axis=1) == 64).all()
    assert UNSTRUCTURED.keep(scores, 0.5)[0].all()


def test_parts(scores: np.ndarray) -> None:
    """Each part loses its own share; a part that cuts cells in two is no part."""
    scores[:16] *= 1e-3
    keep = UNSTRUCTURED.keep(scores, 0.5, (16, 48))
    assert keep[:16].mean() == keep[16:].mean() == 0.5
    block = Pattern("block", 4, 4)
    assert block.keep(scores, 0.5, (16, 48))[:16].mean() == 0.5
    assert block.keep(scores, 0.5, (18, 46))[:16].mean() == 0


@pytest.mark.parametrize(("n", "m"), [(2, 4), (4, 8), (6, 8), (3, 16), (31, 32), (1, 2)])
def test_n_of_m(n: int, m: int, scores: np.ndarray) -> None:
    keep = Pattern("nm", n=n, m=m).keep(scores, 0.0).reshape(-1, m)
    assert (keep.sum(axis=1) == n).all()
    runs = scores.reshape(-1, m)
    assert all(run[k].min() >= run[~k].max() for run, k in zip(runs, keep, strict=True))


@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (2, 4), (1, 4), (64, 4), (4, 1), (2, 1)])
def test_blocks(rows: int, columns: int, scores: np.ndarray) -> None:
    found = cells(Pattern("block", rows, columns).keep(scores, 0.75), rows, columns)
    sums = scores.reshape(64 // rows, rows, 128 // columns, columns).sum(axis=(1, 3))
    assert found.sum() == round(0.25 * found.size)
    assert sums[found].min() >= sums[~found].max()


def test_edges_of_blocks() -> None:
    """Rows and columns that no whole block covers belong to a block of their own."""
    keep = Pattern("block", 4, 4).keep(np.ones((6, 7), np.float32), 0.5)
    assert keep[:4, :4].all()
    assert keep.sum() == 4 * 4 + 4 * 3


@pytest.mark.parametrize("rows", [64, 70, 5])
def test_balanced_groups(rows: int, rng: np.random.Generator) -> None:
    keep = GROUP.keep(rng.random((rows, 96)).astype(np.float32), 0.5)
    for start in range(0, rows, 32):
        part = keep[start : start + 32].reshape(-1, 3, 32)
        assert (part.all(axis=2) == part.any(axis=2)).all()
        assert (part[:, :, 0].sum(axis=0) == min(16, len(part))).all()


def test_row_groups(scores: np.ndarray) -> None:
    found = cells(ROWGROUP.keep(scores, 0.5), 1, 32)
    sums = scores.reshape(64, 4, 32).sum(axis=2)
    assert sums[found].min() >= sums[~found].max()
    assert found.mean() == 0.5


def test_constant_fan_in(scores: np.ndarray) -> None:
    assert (FANIN.keep(scores, 0.9).sum(axis=1) == 13).all()


def test_equal_scores_are_no_reason_to_keep_more() -> None:
    keep = UNSTRUCTURED.keep(np.ones((4, 8), np.float32), 0.5)
    assert keep.sum() == 16
    assert largest(np.array([[1.0, 2, 2, 2, 0]]), 2).tolist() == [[False, True, True, False, False]]
    assert largest(np.ones((1, 3)), 0).tolist() == [[False] * 3]


def test_names() -> None:
    other = Pattern("block", 2, 4)
    assert parse_pattern("auto", other) is other
    assert parse_pattern("bitmap", other) == UNSTRUCTURED == parse_pattern("unstructured", other)
    assert parse_pattern("block", other) == Pattern("block", 4, 4) == parse_pattern("4x4", other)
    for text in ("unstructured", "nm:6:8", "4x4", "64x4", "2x1", "group", "rowgroup", "fanin"):
        assert str(parse_pattern(text, other)) == text


@pytest.mark.parametrize("text", ["", "dense", "nm:4:4", "nm:2:5", "nm:0:4", "nm:2", "3x4", "4x3", "4x", "²x4"])
def test_what_is_no_pattern(text: str) -> None:
    with pytest.raises(ConversionError, match="expected"):
        parse_pattern(text, UNSTRUCTURED)


def test_sparsity() -> None:
    assert UNSTRUCTURED.sparsity(None) == 0.5
    assert UNSTRUCTURED.sparsity(0.3) == 0.3
    assert Pattern("nm", n=6, m=8).sparsity(None) == 0.25
    assert GROUP.sparsity(0.5) == 0.5
    with pytest.raises(ConversionError, match=r"nm:2:4 always has 50 % zeros, found a sparsity of 0\.3"):
        Pattern("nm", n=2, m=4).sparsity(0.3)
    with pytest.raises(ConversionError, match="from 0 to below 1"):
        UNSTRUCTURED.sparsity(1.0)
