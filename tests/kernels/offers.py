"""Runs every offer that the lowering rules make for one node, on guarded buffers, and compares with the reference.

The planner is not involved: this is what holds the rules and the kernels together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from harness import ARM_LEVELS, DEVICE_LEVELS, LEVELS, Output, call_kernel, place
from lower import from_layout, to_layout
from twins import NoTwin

from edgert.format.model import StoredTensor
from edgert.graph.ir import Node, Quantization, TensorType
from edgert.kernels_cpu.levels import Level
from edgert.kernels_cpu.reference import evaluate
from edgert.kernels_cpu.reference.registry import Quant
from edgert.plan.lowering import load_rules
from edgert.plan.lowering.api import Buffer, Offer, Refusal, Site, layout_nbytes


def quantization(scale: float, zero_point: int) -> Quantization:
    return Quantization(np.float32(scale), np.int32(zero_point))


def as_quant(kind: TensorType | None) -> Quant | None:
    quant = kind.quant if kind is not None else None
    return None if quant is None else Quant(quant.scale, quant.zero_point, quant.axis)


class Runner:
    """An Emitter that runs every op as it comes: each chunk once, forwards or backwards."""

    def __init__(self, level: Level, order: str) -> None:
        self.level, self.order = level, order
        self.memory: dict[int, np.ndarray] = {}
        self.ops: list[tuple[str, int]] = []

    def add(self, segment: str, array: np.ndarray) -> Buffer:
        key = len(self.memory)
        self.memory[key] = array
        return Buffer(segment, key, array.nbytes)

    def op(
        self, kernel: str, operands: Mapping[str, Buffer | None], params: Mapping[str, int | float], *,
        chunks: int, scratch: int = 0, offsets: Mapping[str, int] | None = None,
    ) -> None:  # fmt: skip
        views = {
            name: None if buffer is None else self.memory[buffer.key].reshape(-1).view(np.uint8)
            for name, buffer in operands.items()
        }
        self.ops.append((kernel, chunks))
        call_kernel(self.level, kernel, views, params, chunks, scratch, self.order, offsets)

    def weights(self, stored: StoredTensor, role: str) -> Buffer:
        return self.add("weights", place(np.asarray(stored.parts[role])))

    def lookup(
        self, stored: StoredTensor, role: str, indices: Buffer, *, count: int, lines: int
    ) -> tuple[Buffer, Buffer] | None:
        return None

    def select(self, stored: StoredTensor, role: str, listed: Buffer, *, count: int, nbytes: int) -> Buffer | None:
        return None

    def rows(self, planned: int) -> Buffer:
        return self.constant(np.array([planned], np.int32))

    def constant(self, value: np.ndarray) -> Buffer:
        padded = np.zeros(-(-value.nbytes // 64) * 64, np.uint8)
        padded[: value.nbytes] = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
        return self.add("constants", place(padded))

    def workspace(self, nbytes: int) -> Buffer:
        _, inside = Output((nbytes,), np.uint8), np.full(nbytes, 0xC3, np.uint8)
        return self.add("arena", place(inside))


def site_of(
    op: str, inputs: Sequence[np.ndarray | None], kinds: Sequence[TensorType | None], outs: Sequence[TensorType],
    attrs: dict[str, Any], constants: Mapping[int, StoredTensor | np.ndarray], level: Level, threads: int,
) -> Site:  # fmt: skip
    names = tuple("" if kind is None else f"x{i}" for i, kind in enumerate(kinds))
    node = Node(op, names, tuple(f"y{i}" for i in range(len(outs))), attrs, op.lower())
    stored: list[StoredTensor | None] = [None] * len(kinds)
    values: list[np.ndarray | None] = [None] * len(kinds)
    for i, constant in constants.items():
        if isinstance(constant, StoredTensor):
            stored[i] = constant
        else:
            kind = kinds[i]
            stored[i] = StoredTensor.pack_dense(f"x{i}", constant, quant=kind.quant if kind else None)
        if stored[i].encoding == "dense" and stored[i].layout == "row":
            values[i] = np.asarray(inputs[i])
    return Site(node, tuple(kinds), tuple(outs), tuple(stored), tuple(values), level, threads)


def offers_for(site: Site) -> tuple[list[Offer], list[Refusal]]:
    found: list[Offer | Refusal] = []
    for rule in load_rules().get(site.node.op, []):
        made = rule(site)
        found += made if isinstance(made, list) else [made]
    return [f for f in found if isinstance(f, Offer)], [f for f in found if isinstance(f, Refusal)]


def run_offer(
    offer: Offer, site: Site, inputs: Sequence[np.ndarray | None], order: str
) -> tuple[list[np.ndarray], Runner]:
    """The outputs of one offer as ordinary arrays, and what it ran."""
    runner = Runner(site.level, order)
    buffers: list[Buffer | None] = []
    for value, layout in zip(inputs, offer.in_layouts, strict=True):
        raw = None if value is None or layout is None else place(to_layout(value, layout, site.level))
        buffers.append(None if raw is None else runner.add("arena", raw))
    results = [Output((layout_nbytes(k, at),), np.uint8) for k, at in zip(site.outputs, offer.out_layouts, strict=True)]
    offer.emit(runner, tuple(buffers), tuple(runner.add("arena", out.array) for out in results))
    for out in results:
        out.check_guards()
    made = [
        from_layout(out.array, kind, at, site.level)
        for out, kind, at in zip(results, site.outputs, offer.out_layouts, strict=True)
    ]
    return made, runner


def check(
    op: str,
    inputs: Sequence[np.ndarray | None],
    outs: Sequence[TensorType] | None = None,
    attrs: dict[str, Any] | None = None,
    quants: Mapping[int, Quantization] | None = None,
    constants: Mapping[int, StoredTensor | np.ndarray] | None = None,
    out_quant: Quantization | None = None,
    out_dtype: str | None = None,
    rtol: float = 0.0,
    atol: float = 0.0,
    least: int = 1,
    levels: Sequence[Level] = LEVELS,
) -> list[Offer]:
    """Every offer at every level, with one and with four threads' chunks in both orders, equals the reference.

    rtol = atol = 0 demands equality, bit for bit; integers always do. At least `least` offers must come.
    """
    attrs, quants, constants = attrs or {}, quants or {}, constants or {}
    kinds = [None if v is None else TensorType(v.dtype.name, v.shape, quants.get(i)) for i, v in enumerate(inputs)]
    dtype = out_dtype or str(inputs[0].dtype.name)
    count = len(outs) if outs else 1
    quant_out = as_quant(TensorType(dtype, (), out_quant))
    expected = evaluate(op, inputs, attrs, [as_quant(k) for k in kinds], [quant_out] * count, [dtype] * count)
    types = list(outs) if outs else [TensorType(dtype, expected[0].shape, out_quant)]
    offers: list[Offer] = []
    passed: NoTwin | None = None
    ran = 0
    for level in levels:
        once = level in ARM_LEVELS or level in DEVICE_LEVELS
        for threads, order in ((4, "backward"),) if once else ((1, "forward"), (4, "backward")):
            site = site_of(op, inputs, kinds, types, attrs, constants, level, threads)
            offers, refusals = offers_for(site)
            assert len(offers) >= least, [r.why for r in refusals]
            for offer in offers:
                try:
                    made, _ = run_offer(offer, site, inputs, order)
                except NoTwin as reason:
                    passed = reason
                    continue
                ran += 1
                for got, want in zip(made, expected, strict=False):
                    what = f"{offer.kernel} {offer.in_layouts}->{offer.out_layouts}, {level.name}, {threads} threads"
                    assert got.dtype == want.dtype and got.shape == want.shape, what
                    if offer.out_layouts == ("g32",):  # how its bits come about is in test_g32.py
                        np.testing.assert_allclose(got, want, 0, np.abs(want).max() / 250, err_msg=what)
                        continue
                    if want.dtype.kind != "f" or (rtol == 0 and atol == 0):
                        np.testing.assert_array_equal(got, want, what)
                    else:
                        np.testing.assert_allclose(got, want, rtol, atol, err_msg=what)
    if passed and not ran:
        raise passed
    return offers
