"""Rows of int8 in groups of 32: the conversion, normalizations and GLU make the same bits at every level."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from harness import LEVELS, Output, call_kernel, place
from lower import DirectEmitter
from offers import check, offers_for, run_offer, site_of

from edgert.graph.ir import TensorType
from edgert.kernels_cpu.elementwise import GLU
from edgert.kernels_cpu.levels import Level
from edgert.kernels_cpu.reference.g32 import quantize_g32, quantize_g32x2
from edgert.kernels_cpu.reference.glu import GLU_ACTIVATIONS
from edgert.plan.lowering.api import Buffer, Offer, Refusal, g32_stride, layout_nbytes
from edgert.plan.lowering.convert import conversion

SHAPES = [(1, 1), (1, 31), (2, 32), (3, 33), (1, 63), (2, 64), (5, 65), (7, 96), (1, 576), (19, 160), (2, 3, 40), (70,)]


def random(shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    """Numbers of many sizes, some of them halves of a step."""
    x = rng.standard_normal(shape) * 10.0 ** rng.integers(-3, 4, shape)
    return np.where(rng.random(shape) < 0.3, np.round(x * 2) / 2, x).astype(np.float32)


def converted(x: Any, level: Level, threads: int, order: str, layout: str = "g32") -> Any:
    """The bytes that the conversion from rows makes."""
    kind = TensorType("float32", x.shape)
    offer = conversion(kind, "row", layout, level, threads)
    assert isinstance(offer, Offer)
    emitter, rows = DirectEmitter(level, order), x.size // x.shape[-1]
    given, made = emitter.add(x), Output((rows, layout_nbytes(kind, layout) // rows), np.uint8)
    emitter.memory.append(made.array.reshape(-1))
    offer.emit(emitter, (given,), (Buffer("test", len(emitter.memory) - 1, made.array.nbytes),))
    made.check_guards()
    return made.array


@pytest.mark.parametrize("shape", SHAPES)
def test_conversion(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    x = random(shape, rng)
    want = quantize_g32(x.reshape(-1, shape[-1])).rows()
    for level in LEVELS:
        for threads, order in ((1, "forward"), (4, "backward")):
            np.testing.assert_array_equal(converted(x, level, threads, order), want, level.name)


@pytest.mark.parametrize("shape", SHAPES)
def test_conversion_to_two_terms(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    x = random(shape, rng)
    want = quantize_g32x2(x.reshape(-1, shape[-1]))
    for level in LEVELS:
        for threads, order in ((1, "forward"), (4, "backward")):
            np.testing.assert_array_equal(converted(x, level, threads, order, "g32x2"), want, level.name)


def test_groups_of_extremes(rng: np.random.Generator) -> None:
    sizes = np.array([0, 1e-45, 1e-38, 2.0**-101, 2.0**-100, 1e-20, 1, 1e20, 3.4e38], np.float32)
    x = np.zeros((len(sizes), 64), np.float32)
    x[:, :32] = sizes[:, None] * np.linspace(-1, 1, 32, dtype=np.float32)
    for level in LEVELS:
        np.testing.assert_array_equal(converted(x, level, 1, "forward"), quantize_g32(x).rows(), level.name)


def test_what_is_not_a_number_stays_in_its_group() -> None:
    x = np.ones((4, 128), np.float32)
    x[0, 3], x[1, 40], x[2, 70] = np.nan, np.inf, -np.inf
    x[3, 5] = np.array([0x7F800001 | 0x55], np.uint32).view(np.float32)[0]
    want = quantize_g32(x)
    for level in LEVELS:
        made = converted(x, level, 1, "forward")
        np.testing.assert_array_equal(made[:, :128].view(np.int8), want.values, level.name)
        np.testing.assert_array_equal(made[:, 128:144].view(np.float32), want.scale, level.name)
        np.testing.assert_array_equal(made[:, 144:].view(np.int32), want.sums, level.name)


def test_what_is_in_g32_stays_there() -> None:
    kind = TensorType("float32", (2, 64))
    for source, target in (("g32", "row"), ("g32", "kp"), ("kp", "g32"), ("row", "kvf16")):
        found = conversion(kind, source, target, LEVELS[0])
        assert isinstance(found, Refusal) and f"from {source} to {target}" in found.why
    assert isinstance(conversion(TensorType("int32", (2, 64)), "row", "g32", LEVELS[0]), Refusal)


def same_as_conversion(op: str, inputs: list[Any], attrs: dict[str, Any]) -> None:
    """The offer to g32 makes the bits that the offer to rows and then the conversion make."""
    kinds = [TensorType("float32", x.shape) for x in inputs]
    width = inputs[0].shape[-1] // (2 if op == "GLU" else 1)
    out = TensorType("float32", (*inputs[0].shape[:-1], width))
    for level in LEVELS:
        for threads, order in ((1, "forward"), (4, "backward")):
            site = site_of(op, inputs, kinds, [out], attrs, dict(enumerate(inputs[1:], 1)), level, threads)
            by_target = {offer.out_layouts[0]: offer for offer in offers_for(site)[0]}
            rows = run_offer(by_target["row"], site, inputs, order)[0][0]
            made = run_raw(by_target["g32"], site.level, order, inputs[0], width)
            np.testing.assert_array_equal(made, quantize_g32(rows.reshape(-1, width)).rows(), level.name)


def run_raw(offer: Offer, level: Level, order: str, x: Any, width: int) -> Any:
    emitter = DirectEmitter(level, order)
    given, made = emitter.add(x), Output((x.size // x.shape[-1], g32_stride(width)), np.uint8)
    emitter.memory.append(made.array.reshape(-1))
    absent = (None,) * (len(offer.in_layouts) - 1)
    offer.emit(emitter, (given, *absent), (Buffer("test", len(emitter.memory) - 1, made.array.nbytes),))
    made.check_guards()
    return made.array


@pytest.mark.parametrize("op", ["RMSNormalization", "LayerNormalization"])
@pytest.mark.parametrize("shape", SHAPES)
def test_normalizations(op: str, shape: tuple[int, ...], rng: np.random.Generator) -> None:
    x = (rng.standard_normal(shape) * 3 + 1).astype(np.float32)
    scale, bias = (rng.standard_normal(shape[-1]).astype(np.float32) for _ in range(2))
    same_as_conversion(op, [x, scale] if op == "RMSNormalization" else [x, scale, bias], {"axis": -1})


@pytest.mark.parametrize("kind", GLU)
@pytest.mark.parametrize("shape", SHAPES)
def test_glu(kind: str, shape: tuple[int, ...], rng: np.random.Generator) -> None:
    x = (rng.standard_normal((*shape[:-1], 2 * shape[-1])) * 4).astype(np.float32)
    check("GLU", [x], attrs={"activation": kind}, rtol=2e-6, atol=1e-5, least=2)
    if shape[-1] in (33, 96, 576):
        same_as_conversion("GLU", [x], {"activation": kind})


def test_activations_of_glu_are_those_of_the_reference() -> None:
    assert tuple(GLU_ACTIVATIONS) == GLU


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


GATES: dict[str, Any] = {
    "Sigmoid": sigmoid,
    "Silu": lambda x: x * sigmoid(x),
    "GeluTanh": lambda x: x * sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)),
}


@pytest.mark.parametrize("kind", GATES)
def test_gates_are_within_their_bound_and_the_same_bits_at_every_level(kind: str, rng: np.random.Generator) -> None:
    gate = np.concatenate([np.linspace(-80, 80, 40000), rng.standard_normal(20000), 10.0 ** np.linspace(-30, 1, 4000)])
    if kind == "GeluTanh":
        gate = gate[gate > -5]  # below, the rounding of its cube is what counts
    x, width = np.append(gate, np.ones(gate.size)).astype(np.float32)[None], gate.size
    want = GATES[kind](x[0, :width].astype(np.float64))
    results = []
    for level in LEVELS:
        out = Output((1, width), np.float32)
        params = {"kind": GLU.index(kind), "rows": 1, "width": width, "blocks": -(-width // 64), "y_row": 4 * width}
        call_kernel(level, "glu_f32_row", {"x": place(x), "y": out.array, "rows_at": None}, params)
        allowed = 3e-7 if kind != "GeluTanh" else 3e-6
        assert (np.abs(out.array[0] - want) <= allowed * np.abs(want)).all(), level.name
        results.append(out.array.view(np.uint32).copy())
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0], "levels differ in bits")


def test_glu_of_large_and_odd_values() -> None:
    x = np.array([[100, -100, 1e30, 0, 88, -88, -87.5, 3], [1, 1, 1, 1, 1, 1, 1, 1]], np.float32).reshape(1, 16)
    for kind in GLU:
        check("GLU", [x], attrs={"activation": kind}, rtol=2e-6, atol=1e-30, least=2)
    x[0, :2] = np.nan, np.inf
    site = site_of("GLU", [x], [TensorType("float32", (1, 16))], [TensorType("float32", (1, 8))], {}, {}, LEVELS[0], 1)
    for offer in offers_for(site)[0]:
        run_offer(offer, site, [x], "forward")


KERNELS: dict[str, dict[str, int | float]] = {
    "quantize_f32_g32": {"count": 96, "blocks": 2, "x_row": 384, "y_row": 160},
    "quantize_f32_g32x2": {"count": 96, "blocks": 2, "x_row": 384, "y_row": 320},
    "normalize_f32_g32": {"count": 96, "x_row": 384, "y_row": 160, "centre": 0, "epsilon": 1e-5},
    "normalize_f32_row": {
        "count": 96, "x_row": 384, "y_row": 384, "centre": 0, "epsilon": 1e-5, "period": 1, "channel_scale": 0
    },
    "glu_f32_row": {"kind": 1, "width": 48, "blocks": 1, "y_row": 192},
    "glu_f32_g32": {"kind": 1, "width": 48, "blocks": 1, "y_row": 80},
}  # fmt: skip


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("present", [0, 1, 4, 7, 9, -1])
def test_rows_that_are_not_there_are_not_computed(kernel: str, present: int, rng: np.random.Generator) -> None:
    x, planned, params = rng.standard_normal((7, 96)).astype(np.float32), 7, KERNELS[kernel]
    constants = {"scale": place(np.ones(96, np.float32)), "bias": place(np.zeros(96, np.float32))}
    for level in LEVELS:
        made = []
        for rows_at in (None, place(np.array([present], np.int32))):
            out = Output((planned, int(params["y_row"])), np.uint8)
            operands = {"x": place(x), "y": out.array, "rows_at": rows_at}
            operands |= constants if kernel.startswith("normalize") else {}
            call_kernel(level, kernel, operands, {**params, "rows": planned}, chunks=3, scratch=512)
            out.check_guards()
            made.append(out.array)
        whole, part = made
        done = min(max(present, 0), planned)
        np.testing.assert_array_equal(part[:done], whole[:done], level.name)
        assert (part[done:] == 0xA5).all(), f"{level.name}: rows beyond the present ones were written"
