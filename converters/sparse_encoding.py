"""Which sparse encoding holds the zeros of a weight, and whether leaving them out saves enough to be worth it.
What it does for the time is the device's plan; where the zeros come from is `prune/` or whoever trained the model."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias

import numpy as np

from edgert.errors import FormatError
from edgert.format import encodings, layouts
from edgert.format.model import StoredTensor
from edgert.graph.ir import Array

WORTH = 0.92
"""Of the dense bytes: more than this, and a smaller file is not worth a kernel that has to look where numbers are."""

TOLERANCE = 0.15
"""A pattern with faster kernels is preferred until another saves this share of its bytes."""

ALIASES = {"unstructured": "bitmap", "block": "4x4", "group": "group4", "rowgroup": "rowgroup4"}
"""What `--pattern` calls them -> what a stored tensor does."""

Fit: TypeAlias = tuple[StoredTensor | None, str]
"""The sparse tensor, or None if dense is better, and a line of words for people."""


@dataclass(frozen=True)
class Candidate:
    """A way to store a weight. pattern: as StoredTensor.pattern, but plain 'fanin'. nbytes: a close estimate."""

    pattern: str
    nbytes: float
    pack: Callable[[], StoredTensor]


def fit_conv(name: str, values: Array, scale: Array, *, groups: int = 1, pattern: str = "auto") -> Fit:
    """For int8 `values` [N, C, ...] of a convolution in `groups` with their `scale`, which are not depthwise.

    pattern: '4x4', '2x4', '1x4' or '64x4' to have this one wherever it is smaller than dense. One that is not for
    such weights, here and below, leaves the choice open as 'auto' does.
    """
    return _fit_blocks(name, values, scale, ("q8", "n4k4"), ("b4x4", "b2x4", "b1x4", "b64x4"), groups, pattern)


def fit_conv_float(name: str, array: Array, *, groups: int = 1, pattern: str = "auto", halves: bool = False) -> Fit:
    """For float32 weights [N, C, ...] of a convolution, as fit_conv; pattern: '4x1', '2x1' or '1x1'. halves: store
    them in float16."""
    dense = ("f16" if halves else "dense", "n4k1")
    return _fit_blocks(name, array, None, dense, ("b4x1", "b2x1", "b1x1"), groups, pattern)


def fit_groups(
    name: str, numbers: Array, scale: Array, encoding: Literal["q8g", "q4"], *, pattern: str = "auto"
) -> Fit:
    """For a matrix of `numbers` [N, K] and float16 `scale` [N, K/32], as the dense `encoding` takes them.

    pattern: 'bitmap', '2:4' (any n:m), or for q4 'group4' or 'rowgroup4', as in fit_conv.
    """
    zero, bits = (8, 4) if encoding == "q4" else (0, 8)
    asked = _asked(pattern, (f"bitmap{bits}", "n:m", *(("group4", "rowgroup4") if encoding == "q4" else ())))
    kept: Array = numbers != zero
    rows, blocks = -(-numbers.shape[0] // 16), -(-numbers.shape[0] // 16) * -(-numbers.shape[1] // 64)
    found: list[Candidate] = []
    if encoding == "q4":
        whole: Array = np.any(_in_spans(kept, 32), axis=2)
        if _in_spans(whole.T, 32).sum(axis=2).max(initial=0) <= 16:
            tall = -(-numbers.shape[0] // 32) * -(-numbers.shape[1] // 64)
            found.append(Candidate("group4", 584 * tall, partial(StoredTensor.pack_group4, name, numbers, scale)))
        size = 4 * rows + 12 * blocks + 18 * int(whole.sum())
        found.append(Candidate("rowgroup4", size, partial(StoredTensor.pack_rowgroup4, name, numbers, scale)))
    n, m = _n_of_m(kept, asked)
    if n < m:
        size = blocks * (192 + 128 * bits * n // m)
        found.append(Candidate(f"{n}:{m}", size, partial(StoredTensor.pack_nm, name, numbers, scale, n, m)))
    pack = StoredTensor.pack_bitmap4 if encoding == "q4" else StoredTensor.pack_bitmap8
    size = 4 * rows + 196 * blocks + int(kept.sum()) * bits // 8
    found.append(Candidate(f"bitmap{bits}", size, partial(pack, name, numbers, scale)))
    dense = _dense_bytes(encoding, "float32", numbers.shape, layouts.GROUPED)
    return _choose(found, kept, dense, asked)


def fit_f16(name: str, array: Array, *, pattern: str = "auto") -> Fit:
    """For a matrix [N, K] whose floats shall be stored in half precision; pattern: 'bitmap'."""
    kept = array != 0
    rows, blocks = -(-array.shape[0] // 16), -(-array.shape[0] // 16) * -(-array.shape[1] // 64)
    size = 4 * rows + 132 * blocks + 2 * int(kept.sum())
    found = [Candidate("bitmap16", size, partial(StoredTensor.pack_bitmap16, name, array))]
    return _choose(found, kept, _dense_bytes("f16", "float32", array.shape, "n16k1"), _asked(pattern, ("bitmap16",)))


def fit_fan_in(name: str, values: Array, scale: Array, *, pattern: str = "auto") -> Fit:
    """For a matrix of int8 `values` [N, K] with float32 `scale` [N], read in float32; pattern: 'fanin'."""
    kept = values != 0
    size = 3 * 16 * -(-len(values) // 16) * int(kept.sum(axis=1).max(initial=0)) + 4 * len(values)
    found = [Candidate("fanin", size, partial(StoredTensor.pack_fanin, name, values, scale))]
    return _choose(found, kept, _dense_bytes("dense", "float32", values.shape, "n16k1"), _asked(pattern, ("fanin",)))


def _fit_blocks(
    name: str,
    values: Array,
    scale: Array | None,
    dense: tuple[str, str],
    names: Collection[str],
    groups: int,
    pattern: str,
) -> Fit:
    found = []
    for layout in names:
        rows = layouts.BLOCKS[layout].rows
        # Blocks of outputs must not straddle groups; a filter may have more cells than an index counts.
        if groups > 1 and values.shape[0] // groups % max(rows, 4):
            continue
        if dense[0] == "f16":
            pack = partial(StoredTensor.pack_block16, name, values, layout)
        else:
            pack = partial(StoredTensor.pack_block, name, values, scale, layout)
        try:
            packed = pack()
        except FormatError:
            continue
        found.append(Candidate(packed.pattern, packed.nbytes, pack))
    size = _dense_bytes(dense[0], values.dtype.name, values.shape, dense[1])
    return _choose(found, values != 0, size, _asked(pattern, [layout[1:] for layout in names]))


def _choose(found: list[Candidate], kept: Array, dense: int, asked: str) -> Fit:
    """The first of `found`, which are in order of the speed of their kernels, that no other undercuts by far.

    asked: the pattern of the only one to consider, or 'auto'.
    """
    zeros = f"{100 * (1 - kept.mean() if kept.size else 0):.0f} % zeros"
    if asked != "auto":
        found = [candidate for candidate in found if candidate.pattern == asked]
    if not found or not dense:
        held = "no sparse encoding holds them" if asked == "auto" else f"{asked} does not hold them"
        return None, f"kept dense: {zeros}, {held}"
    least = min(candidate.nbytes for candidate in found)
    best = next(candidate for candidate in found if candidate.nbytes * (1 - TOLERANCE) <= least)
    if best.nbytes >= (WORTH if asked == "auto" else 1) * dense:
        return None, f"kept dense: {zeros}, {_words(best.pattern)} would take {100 * best.nbytes / dense:.0f} %"
    packed = best.pack()
    return packed, f"{_words(packed.pattern)}, {zeros}, {100 * packed.nbytes / dense:.0f} % of the dense bytes"


def _asked(pattern: str, kinds: Collection[str]) -> str:
    """`pattern` as one of the `kinds` that such a weight can have, 'auto' if it is none of them."""
    name = ALIASES.get(pattern, pattern).removeprefix("nm:")
    if name == "bitmap":
        return next((kind for kind in kinds if kind.startswith("bitmap")), "auto")
    if "n:m" in kinds and layouts.is_n_of_m(f"nm:{name}"):
        return name
    return name if name in kinds else "auto"


def _words(pattern: str) -> str:
    return f"{pattern} blocks" if "x" in pattern else pattern


def _n_of_m(kept: Array, asked: str) -> tuple[int, int]:
    """The least n:m that holds what is `kept` [N, K], or the one that is asked for; (1, 1) if it does not."""
    if layouts.is_n_of_m(f"nm:{asked}"):
        n, m = layouts.n_of_m(f"nm:{asked}")
        return (n, m) if _in_spans(kept, m).sum(axis=2).max(initial=0) <= n else (1, 1)
    sizes = ((max(1, int(_in_spans(kept, m).sum(axis=2).max(initial=0))), m) for m in (4, 8, 16, 32))
    return min(((n, m) for n, m in sizes if n < m), key=lambda size: size[0] / size[1], default=(1, 1))


def _in_spans(matrix: Array, span: int) -> Array:
    """bool [N, K] as [N, ceil(K / span), span], False beyond K."""
    rows, columns = matrix.shape
    spans = -(-columns // span)
    full = np.zeros((rows, spans * span), np.bool_)
    full[:, :columns] = matrix
    return full.reshape(rows, spans, span)


def _dense_bytes(encoding: str, dtype: str, shape: tuple[int, ...], layout: str) -> int:
    return sum(spec.nbytes for spec in encodings.part_specs(encoding, dtype, shape, layout))
