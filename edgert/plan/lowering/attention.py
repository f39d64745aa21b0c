"""GroupQueryAttention: keys and values go into the cache, then tiles of queries meet them block by block.

The layouts of caches are in docs/kernels.md. Without a cache the keys of the run are laid out in a workspace of
floats, and its values are read where they are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from edgert.graph.infer_attention import head_counts
from edgert.graph.ir import Array, Node
from edgert.kernels_cpu.attention.sizes import (
    GROUP,
    MAX_DEPTH,
    SPLIT,
    TURNS,
    partial_row,
    rope_scratch,
    tile_scratch,
)  # fmt: skip
from edgert.plan.lowering.api import Buffer, Emitter, Offer, Refusal, Site, kv_nbytes, lowers
from edgert.plan.lowering.shapes import CHUNKS_PER_THREAD, is_constant, split, too_large

TILE_ROWS = 48
"""Query rows that meet a block of keys while it is in the first-level cache."""
MAX_PARTIAL = 16 << 20
"""Bytes of partial sums, at most."""
ELEMENT_BYTES = {"kvf16": 2, "kvint8": 1, "kvf32": 4}
_QKV, _KEY, _VALUE, _POSITIONS, _FREQUENCIES, _Q_NORM, _K_NORM = range(7)


@dataclass(frozen=True)
class _Heads:
    """The sizes of one node."""

    rows: int
    heads: int
    kv_heads: int
    depth: int
    context: int
    """Positions of the cache; rows of the run where there is none."""
    window: int

    @property
    def group(self) -> int:
        """Query heads that share a kv head."""
        return self.heads // self.kv_heads

    @property
    def padded(self) -> int:
        """Positions in memory."""
        return -(-self.context // GROUP) * GROUP

    @property
    def splits(self) -> int:
        """Ranges of positions that the rows of a run may see."""
        ranges = -(-self.context // SPLIT)
        return min(ranges, (self.window + self.rows - 2) // SPLIT + 2) if self.window else ranges

    @property
    def tile_rows(self) -> int:
        return min(TILE_ROWS, self.rows * self.group)

    @property
    def tiles(self) -> int:
        """Tiles of all kv heads."""
        return self.kv_heads * -(-self.rows * self.group // self.tile_rows)


@lowers("GroupQueryAttention")
def group_query_attention(site: Site) -> list[Offer | Refusal]:
    """float32 rows; a cache of the kind the plan asks for, or none."""
    cached = len(site.inputs) > _VALUE and site.inputs[_KEY] is not None
    layout = ("kvf16" if site.kv == "f16" else "kvint8") if cached else "kvf32"
    others = [other for other in ("kvf16", "kvint8") if cached and other != layout]
    refusals = [Refusal(f"attention_f32_{other}", f"kv cache asked for as {site.kv}") for other in others]
    return [_offer(site, layout), *refusals]


def _why_not(site: Site, layout: str, sizes: _Heads) -> str | None:
    """Why no kernel runs the node."""
    if is_constant(site, _QKV):
        return "expected activations, found constants"
    if sizes.depth % GROUP or sizes.depth > MAX_DEPTH:
        return f"expected heads of a multiple of {GROUP} numbers up to {MAX_DEPTH}, found {sizes.depth}"
    if sizes.rows == 0:
        return "no rows"
    for index, name in ((_FREQUENCIES, "inv_freq"), (_Q_NORM, "q_norm"), (_K_NORM, "k_norm")):
        if _given(site, index) and site.values[index] is None:
            return f"expected a constant {name}"
    if layout == "kvf32":
        turned = _given(site, _POSITIONS) and _given(site, _FREQUENCIES)
        return "rows without a cache are numbered from 0, and positions are given" if turned else None
    constant = [i for i in (_KEY, _VALUE, _POSITIONS) if is_constant(site, i)]
    return "expected a cache and positions that vary, found constants" if constant else None


def _given(site: Site, index: int) -> bool:
    return index < len(site.inputs) and site.inputs[index] is not None


def _offer(site: Site, layout: str) -> Offer | Refusal:
    kernel, node = f"attention_f32_{layout}", site.node
    x, past = site.inputs[_QKV], site.inputs[_KEY] if layout != "kvf32" else None
    assert x is not None
    rows, width = x.static_shape
    heads, kv_heads, depth = head_counts(node, width)
    context = past.static_shape[1] if past is not None else rows
    sizes = _Heads(rows, heads, kv_heads, depth, context, node.attr_int("local_window_size", 0))
    why = _why_not(site, layout, sizes)
    if why is not None:
        return Refusal(kernel, why)
    element = ELEMENT_BYTES[layout]
    seen = context if past is None else min(sizes.window or context, (context + rows + 1) // 2)
    macs = 2 * rows * heads * depth * seen
    nbytes = 4 * rows * (width + heads * depth) + 2 * element * kv_heads * seen * depth
    cache = 4 * kv_heads * sizes.padded * depth if past is None else kv_nbytes((kv_heads, context, depth), layout)

    def emit(emitter: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        _emit(site, layout, sizes, emitter, inputs, outputs[0])

    given = (("row", layout, layout, "row") if past is not None else ("row",)) + (None,) * len(site.inputs)
    made = ("row", layout, layout) if past is not None else ("row",)
    reason = "keys 16 positions side by side, blocks of 64 with running sums" + (
        "" if past is not None else "; keys of the run in floats"
    )
    return too_large(kernel, cache, 4 * rows * width) or Offer(
        kernel, given[: len(site.inputs)], made[: len(site.outputs)], macs, nbytes, "fma32",
        0.75 if rows * sizes.group >= 3 else 0.4, reason, emit,
    )  # fmt: skip


def _emit(
    site: Site, layout: str, sizes: _Heads, emitter: Emitter, inputs: tuple[Buffer | None, ...], y: Buffer
) -> None:
    node, depth, element = site.node, sizes.depth, ELEMENT_BYTES[layout]
    cached = layout != "kvf32"
    rows_at, threads = emitter.rows(sizes.rows), site.threads
    x, positions = inputs[_QKV], inputs[_POSITIONS] if cached else None
    x_row, x_key = 4 * depth * (sizes.heads + 2 * sizes.kv_heads), 4 * depth * sizes.heads
    x_value = x_key + 4 * depth * sizes.kv_heads
    rotary, table, fine = 0, None, 0
    frequencies = site.values[_FREQUENCIES] if _given(site, _FREQUENCIES) else None
    if frequencies is not None:
        rotary = frequencies.size
        packed = rotary_table(
            np.ascontiguousarray(frequencies, np.float32).tobytes(), node.attr_float("rotary_scale", 1.0),
            sizes.context,
        )  # fmt: skip
        table, fine = emitter.constant(packed), packed[0].nbytes * (len(packed) - TURNS)
    half = -(-rotary // GROUP) * GROUP
    key_head = element * sizes.padded * depth
    cache: dict[str, int | float] = {
        "context": sizes.context, "kv_heads": sizes.kv_heads, "depth": depth, "x_row": x_row, "key_head": key_head,
        "key_group": element * GROUP * depth, "value_head": key_head if cached else 4 * depth,
        "scales": -(-sizes.kv_heads * key_head // 64) * 64 if layout == "kvint8" else 0,
        "scale_head": 4 * sizes.padded if layout == "kvint8" else 0, "rotary": rotary, "half": half, "fine": fine,
        "epsilon": node.attr_float("qk_norm_epsilon", 1e-6),
    }  # fmt: skip
    key = inputs[_KEY] if cached else emitter.workspace(sizes.kv_heads * key_head)
    groups = sizes.kv_heads * ((sizes.rows + GROUP - 2) // GROUP + 1)
    moved = (4 + element) * 2 * sizes.rows * sizes.kv_heads * depth
    emitter.op(
        f"rope_f32_{layout}",
        {"x": x, "positions": positions, "rows_at": rows_at, "table": table, "norm": _norm(site, emitter, _K_NORM),
         "key": key, "value": inputs[_VALUE] if cached else None},
        {"rows": sizes.rows, "x_key": x_key, "x_value": x_value, **cache},
        chunks=split(threads, groups, 4 * moved), scratch=rope_scratch(depth, element),
    )  # fmt: skip
    partial = _partial_bytes(sizes) if cached and _splits(sizes, threads) else 0
    parts = sizes.tiles * (sizes.splits if partial else 1)
    sums = emitter.workspace(partial) if partial else y
    scale, softcap = _scales(site.node, depth)
    operands = {
        "x": x, "positions": positions, "rows_at": rows_at, "table": table, "norm": _norm(site, emitter, _Q_NORM),
        "key": key, "value": inputs[_VALUE] if cached else x, "y": sums,
    }  # fmt: skip
    emitter.op(
        f"attention_f32_{layout}", operands,
        {"rows": sizes.rows, "tile_rows": sizes.tile_rows, "split": int(partial > 0), "group": sizes.group,
         "causal": node.attr_int("causal", 1), "window": sizes.window, "softcap": softcap, "scale": scale,
         "value_row": element * depth if cached else x_row, "y_row": 4 * sizes.heads * depth, **cache},
        chunks=min(parts, 2 * CHUNKS_PER_THREAD * threads) if threads > 1 else 1,
        scratch=tile_scratch(sizes.tile_rows), offsets=None if cached else {"value": x_value},
    )  # fmt: skip
    if partial:
        emitter.op(
            "attention_merge_f32_row", {"x": sums, "positions": positions, "rows_at": rows_at, "y": y},
            {"rows": sizes.rows, "context": sizes.context, "group": sizes.group, "kv_heads": sizes.kv_heads,
             "depth": depth, "window": sizes.window, "y_row": 4 * sizes.heads * depth},
            chunks=split(threads, sizes.rows * sizes.heads, partial), scratch=64 + 4 * depth,
        )  # fmt: skip


def _scales(node: Node, depth: int) -> tuple[float, float]:
    """(what queries are multiplied by, what a tanh of scores is multiplied by, 0 without one): weights are powers of
    two, so scores are in units of its logarithm."""
    scale, cap = node.attr_float("scale", 0.0) or 1 / math.sqrt(depth), node.attr_float("softcap", 0.0)
    return (scale / cap, cap * math.log2(math.e)) if cap else (scale * math.log2(math.e), 0.0)


def _norm(site: Site, emitter: Emitter, index: int) -> Buffer | None:
    """The weights of the norm that input `index` is."""
    value = site.values[index] if _given(site, index) else None
    return None if value is None else emitter.constant(np.ascontiguousarray(value, np.float32))


def _partial_bytes(sizes: _Heads) -> int:
    """Bytes of the sums of every query row over every range of positions."""
    return sizes.splits * sizes.rows * sizes.heads * partial_row(sizes.depth)


def _splits(sizes: _Heads, threads: int) -> bool:
    """Whether ranges of positions are summed apart: there are too few tiles to share, and sums are small."""
    few = threads > 1 and sizes.tiles < CHUNKS_PER_THREAD * threads
    return few and sizes.splits > 1 and _partial_bytes(sizes) <= MAX_PARTIAL


@lru_cache(maxsize=8)
def rotary_table(frequencies: bytes, scale: float, context: int) -> Array:
    """float32 [coarse + TURNS, 2, half]: cosines and sines of every multiple of TURNS below `context`, times `scale`,
    then of 0 .. TURNS-1. half is the number of frequencies (float32) rounded up to 16."""
    inverse = np.frombuffer(frequencies, np.float32).astype(np.float64)
    coarse = TURNS * np.arange(-(-context // TURNS))
    angle = np.concatenate([coarse, np.arange(TURNS)])[:, None] * inverse
    table = np.zeros((len(angle), 2, -(-inverse.size // GROUP) * GROUP), np.float32)
    table[:, 0, : inverse.size], table[:, 1, : inverse.size] = np.cos(angle), np.sin(angle)
    table[: len(coarse)] *= np.float32(scale)
    table.flags.writeable = False
    return table
