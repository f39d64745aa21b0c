"""GroupQueryAttention on every ISA level, against the reference; and that its bits do not depend on the grouping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from harness import ARM_LEVELS, LEVELS, Output, place
from offers import Runner, check, offers_for, site_of

from edgert.graph.ir import TensorType
from edgert.kernels_cpu.attention.sizes import TURNS
from edgert.kernels_cpu.levels import Level, host_levels
from edgert.kernels_cpu.reference import evaluate
from edgert.kernels_cpu.reference.attention import head_norm, rotary_table, rotate
from edgert.plan.lowering.api import Buffer, Offer, Refusal, kv_nbytes
from edgert.plan.lowering.attention import rotary_table as rotary_table_of

LAYOUTS = {"f16": "kvf16", "int8": "kvint8"}


class RowsRunner(Runner):
    """A Runner in which fewer rows than planned are present."""

    def __init__(self, level: Level, order: str, rows: int) -> None:
        super().__init__(level, order)
        self.present = rows

    def rows(self, planned: int) -> Buffer:
        return self.constant(np.array([self.present], np.int32))


@dataclass
class Attention:
    """One node: its sizes, its attributes, and the constants it reads."""

    heads: int = 2
    kv_heads: int = 1
    depth: int = 16
    context: int = 48
    rotary: int = 0
    """Pairs that are rotated; 0 for all, -1 for none."""
    norms: bool = False
    kv: str = "f16"
    attrs: dict[str, Any] = field(default_factory=dict)

    def constants(self, rng: np.random.Generator) -> dict[int, np.ndarray]:
        half = self.rotary or self.depth // 2
        found = {} if half < 0 else {4: (1000.0 ** (-np.arange(half) / half)).astype(np.float32)}
        if self.norms:
            found |= {i: rng.uniform(0.5, 2, self.depth).astype(np.float32) for i in (5, 6)}
        return found

    @property
    def all_attrs(self) -> dict[str, Any]:
        return {"num_heads": self.heads, "kv_num_heads": self.kv_heads, **self.attrs}

    def rows(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return rng.standard_normal((count, (self.heads + 2 * self.kv_heads) * self.depth)).astype(np.float32)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.kv_heads, self.context, self.depth

    def expected(self, qkv: np.ndarray, cache: Any, past: int, constants: Mapping[int, np.ndarray]) -> list[np.ndarray]:
        """By the reference; `cache` is (keys, values) as the kernels keep them, in floats."""
        positions = np.arange(past, past + len(qkv), dtype=np.int32)
        inputs = [qkv, *cache, positions, *(constants.get(i) for i in (4, 5, 6))]
        return list(evaluate("GroupQueryAttention", inputs, self.all_attrs))


class Cache:
    """Keys and values in memory, as one layout has them."""

    def __init__(self, node: Attention, fill: int = 0) -> None:
        self.node, self.layout = node, LAYOUTS[node.kv]
        nbytes = kv_nbytes(node.shape, self.layout)
        self.outputs = [Output((nbytes,), np.uint8) for _ in range(2)]
        for output in self.outputs:
            output.array[...] = fill

    @property
    def data(self) -> list[np.ndarray]:
        return [output.array for output in self.outputs]

    def views(self) -> list[tuple[np.ndarray, np.ndarray | None]]:
        """(numbers [KV, C16, d], scales [KV, C16] or None) of the keys and of the values."""
        kv_heads, context, depth = self.node.shape
        padded = -(-context // 16) * 16
        count, found = kv_heads * padded * depth, []
        for index, data in enumerate(self.data):
            dtype = np.float16 if self.layout == "kvf16" else np.int8
            flat = data.view(dtype)[:count]
            if index == 0:
                numbers = flat.reshape(kv_heads, padded // 16, depth, 16).swapaxes(2, 3)
            else:
                numbers = flat.reshape(kv_heads, padded, depth)
            scales = None
            if self.layout == "kvint8":
                scales = data[-(-count // 64) * 64 :].view(np.float32)[: kv_heads * padded].reshape(kv_heads, padded)
            found.append((numbers, scales))
        return found

    def floats(self) -> list[np.ndarray]:
        """The keys and the values [KV, C, d] that the cache stands for."""
        kv_heads, context, depth = self.node.shape
        made = []
        for numbers, scales in self.views():
            full = numbers.reshape(kv_heads, -1, depth).astype(np.float32)
            made.append((full if scales is None else full * scales[..., None])[:, :context])
        return made

    def check_guards(self) -> None:
        for output in self.outputs:
            output.check_guards()


def the_offer(
    node: Attention, level: Level, threads: int, rows: int, constants: Mapping[int, np.ndarray]
) -> tuple[Offer, list[Refusal]]:
    kinds: list[TensorType | None] = [
        TensorType("float32", (rows, (node.heads + 2 * node.kv_heads) * node.depth)),
        *[TensorType("float32", node.shape)] * 2, TensorType("int32", (rows,)),
        *(TensorType("float32", constants[i].shape) if i in constants else None for i in (4, 5, 6)),
    ]  # fmt: skip
    outs = [TensorType("float32", (rows, node.heads * node.depth)), kinds[1], kinds[2]]
    values = [None, None, None, None, *(constants.get(i) for i in (4, 5, 6))]
    site = site_of("GroupQueryAttention", values, kinds, outs, node.all_attrs, constants, level, threads)
    offers, refusals = offers_for(replace(site, kv=node.kv))
    (offer,) = offers
    assert offer.in_layouts == ("row", LAYOUTS[node.kv], LAYOUTS[node.kv], "row", None, None, None)
    assert offer.out_layouts == ("row", LAYOUTS[node.kv], LAYOUTS[node.kv])
    return offer, refusals


def run(
    node: Attention, level: Level, qkv: np.ndarray, cache: Cache, past: int, constants: Mapping[int, np.ndarray],
    *, threads: int = 1, order: str = "forward", planned: int | None = None,
) -> tuple[np.ndarray, Runner]:  # fmt: skip
    """y of one run, which goes on in `cache` at position `past`; `planned` rows in the plan, of which qkv has some."""
    present, planned = len(qkv), planned or len(qkv)
    offer, _ = the_offer(node, level, threads, planned, constants)
    runner = RowsRunner(level, order, present)
    x = np.full((planned, qkv.shape[1]), np.nan, np.float32)
    x[:present] = qkv
    positions = np.arange(past, past + planned, dtype=np.int32)
    keys, values = (runner.add("state", data) for data in cache.data)
    y = Output((planned, node.heads * node.depth), np.float32)
    buffers = (runner.add("arena", place(x)), keys, values, runner.add("arena", place(positions)), None, None, None)
    offer.emit(runner, buffers, (runner.add("arena", y.array), keys, values))
    y.check_guards()
    cache.check_guards()
    return y.array[:present].copy(), runner


CASES = [
    Attention(),
    Attention(heads=6, kv_heads=2, depth=64, context=100),
    Attention(heads=8, kv_heads=1, depth=32, context=70, norms=True),
    Attention(heads=3, kv_heads=3, depth=96, rotary=16, context=40),
    Attention(heads=2, kv_heads=2, depth=128, rotary=-1, attrs={"softcap": 3.0}),
    Attention(heads=4, kv_heads=2, depth=80, rotary=5, context=80, norms=True, attrs={"local_window_size": 7}),
    Attention(heads=7, kv_heads=1, depth=48, context=64, attrs={"rotary_scale": 1.2, "scale": 0.1}),
    Attention(heads=4, kv_heads=1, depth=256, context=33, attrs={"softcap": 50.0, "local_window_size": 17}),
]


@pytest.mark.parametrize("kv", ["f16", "int8"])
@pytest.mark.parametrize("case", range(len(CASES)))
def test_equals_the_reference(case: int, kv: str, rng: np.random.Generator) -> None:
    node = replace(CASES[case], kv=kv)
    constants = node.constants(rng)
    for level in LEVELS:
        for threads, order in ((4, "backward"),) if level in ARM_LEVELS else ((1, "forward"), (4, "backward")):
            cache, past = Cache(node), 0
            for count in (1, 2, 13, 1, 15, 1):
                qkv = node.rows(rng, count)
                before = cache.floats()
                y, _ = run(node, level, qkv, cache, past, constants, threads=threads, order=order)
                what = f"{level.name}, {threads} threads, rows {past}..{past + count - 1}"
                _, keys, values = node.expected(qkv, before, past, constants)
                stored = cache.floats()
                for kind, want, got in (("keys", keys, stored[0]), ("values", values, stored[1])):
                    bound = np.abs(want).max(axis=2, keepdims=True) * (2**-10 if kv == "f16" else 0.51 / 127) + 1e-6
                    assert (np.abs(got - want) <= bound).all(), f"{what}: {kind}"
                    np.testing.assert_array_equal(got[:, past + count :], before[kind == "values"][:, past + count :])
                # What is attended is what the cache holds: the rounding of the cache is not an error of the kernel.
                want = attended(node, qkv, stored, past, constants)
                np.testing.assert_allclose(y, want, rtol=2e-5, atol=2e-5, err_msg=what)
                past += count


def attended(
    node: Attention, qkv: np.ndarray, stored: list[np.ndarray], past: int, constants: Mapping[int, np.ndarray]
) -> np.ndarray:
    """y by the reference over a cache that already holds the keys and values of the run, rounded."""
    raw = qkv.reshape(len(qkv), -1, node.depth)[:, : node.heads]
    query = head_norm(raw, constants.get(5), node.attrs.get("qk_norm_epsilon", 1e-6))
    if 4 in constants:
        at = np.arange(past, past + len(qkv))
        query = rotate(query, *rotary_table(at, constants[4], node.attrs.get("rotary_scale", 1.0)))
    rows = np.concatenate([query.reshape(len(qkv), -1)] + [
        kind[:, past : past + len(qkv)].swapaxes(0, 1).reshape(len(qkv), -1) for kind in stored
    ], axis=1)  # fmt: skip
    plain = replace(node, norms=False)
    return plain.expected(rows, stored, past, {})[0]


@pytest.mark.parametrize("kv", ["f16", "int8"])
@pytest.mark.parametrize(
    ("heads", "kv_heads", "depth", "window"), [(6, 2, 64, 0), (8, 1, 32, 0), (2, 2, 48, 0), (3, 1, 96, 90)]
)
def test_bits_do_not_depend_on_the_grouping(
    heads: int, kv_heads: int, depth: int, window: int, kv: str, rng: np.random.Generator
) -> None:
    """One chunk, other chunks and single rows, beside rows that came later, on one thread and on four."""
    node = Attention(heads, kv_heads, depth, 1100, norms=True, kv=kv, attrs={"local_window_size": window})
    constants, total = node.constants(rng), 590
    for level in LEVELS:
        total = 40 if level in ARM_LEVELS else 590
        qkv, whole = node.rows(rng, total), Cache(node, fill=0xFF)
        y, _ = run(node, level, qkv, whole, 0, constants)
        parts, at, made = Cache(node, fill=0xFF), 0, []
        for end in (1, 8, 33, 40, 257, 513, 590):
            count = min(end, total) - at
            if count > 0:
                got, _ = run(
                    node, level, qkv[at : at + count], parts, at, constants, threads=4, order="backward", planned=300
                )
                made.append(got)
            at += max(count, 0)
        np.testing.assert_array_equal(np.concatenate(made), y, f"chunks, {level.name}")
        for mine, other in zip(whole.views(), parts.views(), strict=True):
            for a, b in zip(mine, other, strict=True):
                flat = [None if v is None else v.reshape(kv_heads, -1, *v.shape[2 + (v.ndim == 4) :]) for v in (a, b)]
                if flat[0] is not None and flat[1] is not None:
                    np.testing.assert_array_equal(flat[0][:, :total], flat[1][:, :total])
        before = [data.copy() for data in whole.data]
        for t in sorted(
            {0, 1, 15, 16, 39, min(64, total - 1), *(min(p, total - 1) for p in (255, 256, 511, 512, 589))}
        ):
            for threads in (1, 4):
                row, runner = run(node, level, qkv[t : t + 1], whole, t, constants, threads=threads, order="backward")
                np.testing.assert_array_equal(row[0], y[t], f"row {t}, {threads} threads, {level.name}")
                splits = threads > 1 and kv_heads < 16
                assert [name for name, _ in runner.ops[2:]] == ["attention_merge_f32_row"] * splits
        for data, old in zip(whole.data, before, strict=True):
            np.testing.assert_array_equal(data, old)


@pytest.mark.parametrize("kv", ["f16", "int8"])
def test_a_single_row_is_shared_by_threads(kv: str, rng: np.random.Generator) -> None:
    """Its numbers are those of a run of several rows; small enough for Oclgrind."""
    node = Attention(heads=2, kv_heads=1, depth=16, context=280, kv=kv)
    constants = node.constants(rng)
    for level in LEVELS:
        qkv, cache = node.rows(rng, 8), Cache(node)
        y, _ = run(node, level, qkv, cache, 255, constants)
        for threads in (1, 4):
            row, runner = run(node, level, qkv[7:], cache, 262, constants, threads=threads)
            np.testing.assert_array_equal(row[0], y[7], f"{threads} threads, {level.name}")
            assert ("attention_merge_f32_row" in dict(runner.ops)) == (threads > 1)


def test_a_long_context_is_shared_by_position(rng: np.random.Generator) -> None:
    node = Attention(heads=9, kv_heads=3, depth=64, context=131072)
    constants = node.constants(rng)
    offer, _ = the_offer(node, host_levels()[-1], 4, 1, constants)
    assert offer.kernel == "attention_f32_kvf16"
    level, past = host_levels()[-1], 2050
    cache = Cache(node)
    for (numbers, _), scale in zip(cache.views(), (1, 1), strict=True):
        flat = rng.standard_normal((3, past, 64)).astype(np.float16) * scale
        for p in range(past):
            if numbers.ndim == 4:
                numbers[:, p // 16, p % 16] = flat[:, p]
            else:
                numbers[:, p] = flat[:, p]
    qkv = node.rows(rng, 1)
    y, runner = run(node, level, qkv, cache, past, constants, threads=4)
    one, _ = run(node, level, qkv, cache, past, constants)
    np.testing.assert_array_equal(y, one)
    want = attended(node, qkv, cache.floats(), past, constants)
    np.testing.assert_allclose(y, want, rtol=2e-5, atol=2e-5)
    chunks = dict(runner.ops)["attention_f32_kvf16"]
    assert 16 <= chunks <= 64, "chunks are shares of what is present, however long the context may become"


@pytest.mark.parametrize("kv", ["f16", "int8"])
def test_rows_that_are_absent(kv: str, rng: np.random.Generator) -> None:
    node = Attention(heads=4, kv_heads=2, depth=32, context=64, kv=kv)
    constants = node.constants(rng)
    for level in LEVELS:
        qkv, one, other = node.rows(rng, 5), Cache(node), Cache(node)
        y, _ = run(node, level, qkv, one, 20, constants)
        padded, _ = run(node, level, qkv, other, 20, constants, planned=33, threads=4)
        np.testing.assert_array_equal(padded, y)
        before = [data.copy() for data in one.data]
        none, _ = run(node, level, qkv[:0], one, 25, constants, planned=3)
        assert none.shape == (0, 128)
        for data, old, again in zip(one.data, before, other.data, strict=True):
            np.testing.assert_array_equal(data, old)
            np.testing.assert_array_equal(data, again)


@pytest.mark.parametrize("past", [-1, 60, 2**31 - 8])
def test_a_run_outside_of_the_cache_touches_nothing(past: int, rng: np.random.Generator) -> None:
    node = Attention(heads=4, kv_heads=2, depth=32, context=64)
    for level in host_levels():
        cache = Cache(node, fill=0x11)
        run(node, level, node.rows(rng, 5), cache, past, node.constants(rng), threads=4)
        assert all((data == 0x11).all() for data in cache.data)


def test_halves_saturate(rng: np.random.Generator) -> None:
    node = Attention(heads=1, kv_heads=1, depth=16, context=16, rotary=-1)
    qkv = np.zeros((2, 48), np.float32)
    qkv[0, 16:32], qkv[0, 32:], qkv[1, 32:] = 1e6, -1e6, 7.0
    for level in LEVELS:
        cache = Cache(node)
        y, _ = run(node, level, qkv, cache, 0, {})
        np.testing.assert_array_equal(cache.floats()[0][0, 0], np.full(16, 65504))
        np.testing.assert_array_equal(y[0], np.full(16, -65504))


@pytest.mark.parametrize("rows", [1, 2, 15, 16, 17, 48, 63, 64, 65, 130, 513])
@pytest.mark.parametrize("causal", [0, 1])
def test_without_a_cache(rows: int, causal: int, rng: np.random.Generator) -> None:
    heads, depth = (12, 32) if rows < 100 else (2, 64)
    qkv = rng.standard_normal((rows, 3 * heads * depth)).astype(np.float32)
    attrs = {"num_heads": heads, "kv_num_heads": heads, "causal": causal}
    levels = LEVELS if rows in (1, 17, 65) else host_levels()
    (offer, *_) = check("GroupQueryAttention", [qkv], attrs=attrs, rtol=1e-5, atol=1e-5, levels=levels)
    assert offer.kernel == "attention_f32_kvf32"


def test_rotation_without_a_cache(rng: np.random.Generator) -> None:
    qkv = rng.standard_normal((200, 5 * 48)).astype(np.float32)
    frequency = (100.0 ** (-np.arange(20) / 20)).astype(np.float32)
    inputs = [qkv, None, None, None, frequency]
    attrs = {"num_heads": 3, "kv_num_heads": 1, "causal": 0}
    check("GroupQueryAttention", inputs, attrs=attrs, constants={4: frequency}, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(("node", "why"), [
    (Attention(depth=24), "multiple of 16 numbers up to 256, found 24"),
    (Attention(depth=272), "multiple of 16 numbers up to 256, found 272"),
    (Attention(), "kv cache asked for as f16"),
    (Attention(kv="int8"), "kv cache asked for as int8"),
])  # fmt: skip
def test_refusals(node: Attention, why: str, rng: np.random.Generator) -> None:
    kinds: list[TensorType | None] = [
        TensorType("float32", (1, 4 * node.depth)), *[TensorType("float32", node.shape)] * 2, TensorType("int32", (1,))
    ]  # fmt: skip
    outs = [TensorType("float32", (1, 2 * node.depth)), kinds[1], kinds[2]]
    site = site_of("GroupQueryAttention", [None] * 4, kinds, outs, node.all_attrs, {}, host_levels()[-1], 1)
    _, refusals = offers_for(replace(site, kv=node.kv))
    assert any(why in refusal.why for refusal in refusals), refusals


def test_the_table_of_angles_is_exact_to_two_roundings(rng: np.random.Generator) -> None:
    """An angle is the sum of a coarse and a fine one, whose cosines and sines multiply as complex numbers."""
    frequency = (10000.0 ** (-np.arange(32) / 32)).astype(np.float32)
    table = rotary_table_of(frequency.tobytes(), 1.0, 131072)
    assert table.nbytes < 1 << 19
    position = rng.integers(0, 131072, 4000)
    coarse, fine = table[position // TURNS], table[len(table) - TURNS + position % TURNS]
    cos = coarse[:, 0] * fine[:, 0] - coarse[:, 1] * fine[:, 1]
    sin = coarse[:, 1] * fine[:, 0] + coarse[:, 0] * fine[:, 1]
    angle = position[:, None] * frequency.astype(np.float64)
    assert max(np.abs(cos - np.cos(angle)).max(), np.abs(sin - np.sin(angle)).max()) < 2.5e-7
