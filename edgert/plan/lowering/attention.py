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
    merge_scratch,
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
    def x_key(self) -> int:
        """Where the keys of a packed row begin, in bytes."""
        return 4 * self.depth * self.heads

    @property
    def x_value(self) -> int:
        return 4 * self.depth * (self.heads + self.kv_heads)

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


@dataclass(frozen=True)
class _Shared:
    """What the ops of one node have in common."""

    operands: dict[str, Buffer | None]
    params: dict[str, int | float]
    key: Buffer | None
    value: Buffer | None


def _emit(
    site: Site, layout: str, sizes: _Heads, emitter: Emitter, inputs: tuple[Buffer | None, ...], y: Buffer
) -> None:
    shared = _shared(site, layout, sizes, emitter, inputs)
    _emit_rope(site, layout, sizes, emitter, shared)
    partial = _partial_bytes(sizes) if layout != "kvf32" and _splits(sizes, site.threads) else 0
    sums = emitter.workspace(partial) if partial else y
    _emit_attention(site, layout, sizes, emitter, shared, sums, partial > 0)
    if partial:
        operands = {name: shared.operands[name] for name in ("positions", "rows_at")}
        params: dict[str, int | float] = {
            "rows": sizes.rows, "context": sizes.context, "group": sizes.group, "kv_heads": sizes.kv_heads,
            "depth": sizes.depth, "window": sizes.window, "y_row": 4 * sizes.heads * sizes.depth,
        }  # fmt: skip
        chunks = split(site.threads, sizes.rows * sizes.heads, partial)
        emitter.op(
            "attention_merge_f32_row", {"x": sums, "y": y, **operands}, params, chunks=chunks,
            scratch=merge_scratch(sizes.depth),
        )  # fmt: skip


def _shared(site: Site, layout: str, sizes: _Heads, emitter: Emitter, inputs: tuple[Buffer | None, ...]) -> _Shared:
    element, cached, scaled = ELEMENT_BYTES[layout], layout != "kvf32", layout == "kvint8"
    rotary, fine, table = 0, 0, None
    frequencies = site.values[_FREQUENCIES] if _given(site, _FREQUENCIES) else None
    if frequencies is not None:
        rotary = frequencies.size
        inverse = np.ascontiguousarray(frequencies, np.float32).tobytes()
        packed = rotary_table(inverse, site.node.attr_float("rotary_scale", 1.0), sizes.context)
        table, fine = emitter.constant(packed), packed[0].nbytes * (len(packed) - TURNS)
    head = element * sizes.padded * sizes.depth
    params: dict[str, int | float] = {
        "rows": sizes.rows, "context": sizes.context, "kv_heads": sizes.kv_heads, "depth": sizes.depth,
        "x_row": 4 * sizes.depth * (sizes.heads + 2 * sizes.kv_heads), "key_head": head,
        "key_group": element * GROUP * sizes.depth, "value_head": head if cached else 4 * sizes.depth,
        "scales": -(-sizes.kv_heads * head // 64) * 64 if scaled else 0,
        "scale_head": 4 * sizes.padded if scaled else 0, "rotary": rotary, "half": -(-rotary // GROUP) * GROUP,
        "fine": fine, "epsilon": site.node.attr_float("qk_norm_epsilon", 1e-6),
    }  # fmt: skip
    operands = {
        "x": inputs[_QKV], "positions": inputs[_POSITIONS] if cached else None, "rows_at": emitter.rows(sizes.rows),
        "table": table,
    }  # fmt: skip
    if cached:
        return _Shared(operands, params, inputs[_KEY], inputs[_VALUE])
    return _Shared(operands, params, emitter.workspace(sizes.kv_heads * head), None)


def _emit_rope(site: Site, layout: str, sizes: _Heads, emitter: Emitter, shared: _Shared) -> None:
    groups = sizes.kv_heads * ((sizes.rows + GROUP - 2) // GROUP + 1)
    moved = 8 * (4 + ELEMENT_BYTES[layout]) * sizes.rows * sizes.kv_heads * sizes.depth
    emitter.op(
        f"rope_f32_{layout}",
        {**shared.operands, "norm": _norm(site, emitter, _K_NORM), "key": shared.key, "value": shared.value},
        {**shared.params, "x_key": sizes.x_key, "x_value": sizes.x_value},
        chunks=split(site.threads, groups, moved), scratch=rope_scratch(sizes.depth, ELEMENT_BYTES[layout]),
    )  # fmt: skip


def _emit_attention(
    site: Site, layout: str, sizes: _Heads, emitter: Emitter, shared: _Shared, sums: Buffer, splits: bool
) -> None:
    scale, softcap = _scales(site.node, sizes.depth)
    cached = shared.value is not None
    params: dict[str, int | float] = {
        "tile_rows": sizes.tile_rows, "split": int(splits), "group": sizes.group, "window": sizes.window,
        "causal": site.node.attr_int("causal", 1), "scale": scale, "softcap": softcap,
        "value_row": ELEMENT_BYTES[layout] * sizes.depth if cached else shared.params["x_row"],
        "y_row": 4 * sizes.heads * sizes.depth,
    }  # fmt: skip
    units = sizes.tiles * (sizes.splits if splits else 1)
    emitter.op(
        f"attention_f32_{layout}",
        {**shared.operands, "norm": _norm(site, emitter, _Q_NORM), "key": shared.key,
         "value": shared.value if cached else shared.operands["x"], "y": sums},
        {**shared.params, **params},
        chunks=min(units, 2 * CHUNKS_PER_THREAD * site.threads) if site.threads > 1 else 1,
        scratch=tile_scratch(sizes.tile_rows), offsets=None if cached else {"value": sizes.x_value},
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
