"""Counting n-grams: TfIdfVectorizer over token numbers.
Strings have no place in a graph: their tokens are numbers before it begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgert.errors import UnsupportedError
from edgert.kernels_cpu.reference.registry import Array, Call, reference

MODES = ("TF", "IDF", "TFIDF")


def grams(attrs: Mapping[str, Any]) -> tuple[int, list[tuple[Array, int]]]:
    """(columns of the output, (n-gram int64 [n], its column) for each n-gram of a length that counts).

    `ngram_counts` holds where the n-grams of each length n = 1, 2, ... begin in `pool_int64s`. Raises
    UnsupportedError for attributes that do not fit together.
    """
    pool = np.array(attrs.get("pool_int64s", []), np.int64)
    starts, columns = [int(v) for v in attrs.get("ngram_counts", [])], [int(v) for v in attrs.get("ngram_indexes", [])]
    shortest, longest = int(attrs.get("min_gram_length", 1)), int(attrs.get("max_gram_length", 1))
    ends = [*starts[1:], pool.size]
    lengths = [end - start for start, end in zip(starts, ends, strict=True)]
    total = sum(size // n for n, size in enumerate(lengths, 1))
    fits = bool(starts) and starts[0] == 0 and all(size >= 0 and size % n == 0 for n, size in enumerate(lengths, 1))
    if not (fits and total == len(columns) and min(columns, default=-1) >= 0 and 1 <= shortest <= longest):
        raise UnsupportedError(
            f"expected pool_int64s of whole n-grams at ngram_counts with one of ngram_indexes each, found "
            f"{pool.size} numbers, ngram_counts {starts} and {len(columns)} ngram_indexes"
        )
    found, at = [], 0
    for n, start, size in zip(range(1, len(starts) + 1), starts, lengths, strict=True):
        for gram in pool[start : start + size].reshape(-1, n):
            if shortest <= n <= longest:
                found.append((gram, columns[at]))
            at += 1
    return max(columns) + 1, found


@reference("TfIdfVectorizer")
def tfidf_vectorizer(call: Call, x: Array) -> Array:
    """float32 [*, columns]: how often each n-gram occurs in x [*, C] with 0 to max_skip_count tokens left out
    between its tokens (TF), times its weight (TFIDF), or its weight where it occurs (IDF). Source: ONNX
    TfIdfVectorizer-9."""
    columns, known = grams(call.attrs)
    weights = np.ones(columns, np.float32)
    if call.attrs.get("weights"):
        weights[call.attr_ints("ngram_indexes", [])] = call.attrs["weights"]
    rows = x.reshape(-1, x.shape[-1])
    counts = np.zeros((len(rows), columns), np.float32)
    for gram, column in known:
        reach = len(gram) - 1
        for skip in range(call.attr_int("max_skip_count", 0) + 1 if reach else 1):
            places = rows.shape[1] - reach * (skip + 1)
            if places > 0:
                hits = [rows[:, i * (skip + 1) :][:, :places] == token for i, token in enumerate(gram)]
                counts[:, column] += np.logical_and.reduce(hits).sum(axis=1)
    mode = call.attr_str("mode", "TF")
    y = counts if mode == "TF" else weights * (counts if mode == "TFIDF" else counts > 0)
    return y.reshape(*x.shape[:-1], columns)
