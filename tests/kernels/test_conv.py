"""Convolution kernels through their lowering rules, every level this machine runs, against the reference."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from harness import LEVELS
from lower import run_rule

from edgert.format.model import StoredTensor
from edgert.graph.ir import Node, Quantization, TensorType
from edgert.kernels_cpu.levels import Level
from edgert.kernels_cpu.reference import Quant, evaluate
from edgert.plan.lowering import conv, conv_float
from edgert.plan.lowering.api import Refusal


@dataclass(frozen=True)
class Case:
    channels: int
    filters: int
    size: tuple[int, ...]
    kernel: tuple[int, ...] = (1, 1)
    attrs: dict[str, Any] = field(default_factory=dict)
    batch: int = 1
    bias: bool = True
    residual: bool = False
    slope: bool = False

    def __str__(self) -> str:
        extra = "".join(f"-{k}{v}".replace(" ", "") for k, v in self.attrs.items())
        size, kernel = "x".join(map(str, self.size)), "x".join(map(str, self.kernel))
        fused = "-res" * self.residual + "-slope" * self.slope
        return f"{self.batch}x{self.channels}x{size}-{self.filters}-{kernel}{extra}{fused}"


PAD1, PAD2 = {"pads": [1, 1, 1, 1]}, {"pads": [2, 2, 2, 2]}
DENSE = [
    Case(4, 4, (1, 1)), Case(3, 5, (1, 1), bias=False), Case(8, 8, (3, 5)), Case(5, 6, (4, 4)), Case(16, 12, (15, 17)),
    Case(33, 9, (16, 16)), Case(12, 4, (7, 7), batch=3), Case(4, 8, (20, 20), residual=True),
    Case(4, 8, (97,), (1,)), Case(4, 8, (33,), (5,), {"pads": [2, 1], "strides": [2]}),
    Case(3, 8, (9, 9), (3, 3), PAD1), Case(4, 4, (7, 7), (3, 3), PAD1, residual=True, batch=2),
    Case(8, 7, (14, 14), (3, 3), {**PAD1, "strides": [2, 2]}),
    Case(3, 16, (33, 35), (3, 3), {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    Case(4, 8, (18, 31), (5, 3), {"pads": [2, 1, 0, 1], "dilations": [2, 1]}),
    Case(5, 4, (16, 20), (1, 1), {"strides": [2, 2]}), Case(4, 4, (11, 40), (3, 3), {**PAD1, "strides": [1, 3]}),
    Case(8, 8, (10, 10), (3, 3), {**PAD1, "group": 2}), Case(8, 16, (5, 5), (1, 1), {"group": 2}, batch=2),
    Case(4, 8, (12, 12), (3, 3), {**PAD1, "activation": "Relu"}),
    Case(4, 8, (12, 12), (1, 1), {"activation": "Clip", "clip_min": -0.25, "clip_max": 0.5}, residual=True),
    Case(512, 38, (7, 7), residual=True),  # few pixels, much work: chunks are slices of the output channels
    Case(16, 8, (17, 1), (3, 1), {"pads": [1, 0, 1, 0]}), Case(4, 4, (2, 2), (3, 3), PAD2),
    # windows that do not overlap, or one row of them: all pixels of a tap are one run
    Case(8, 9, (8, 8), (2, 2), {"strides": [2, 2]}), Case(4, 8, (14, 14), (2, 2), {"strides": [2, 2]}, residual=True),
    Case(6, 8, (20, 22), (2, 2), {"strides": [2, 2]}, batch=2), Case(3, 8, (9, 9), (3, 3), {"strides": [3, 3]}),
    Case(8, 5, (3, 3), (3, 3)), Case(4, 8, (3, 40), (3, 5), {"strides": [1, 2]}, batch=2),
    Case(16, 4, (14, 14), (1, 1), {"strides": [2, 2]}, residual=True),
    Case(228, 4, (5, 6), (3, 3), PAD1),  # more blocks than a tile copies together, and an odd number
    Case(28, 8, (13, 13)), Case(20, 8, (7, 28), residual=True), Case(24, 4, (5, 5)),
]  # fmt: skip
DEPTHWISE = [
    Case(c, c, size, (k, k), {"group": c, "pads": [k // 2] * 4, "strides": [s, s], **extra}, batch)
    for c, size, k, s, extra, batch in (
        (4, (1, 1), 3, 1, {}, 1), (4, (3, 3), 3, 1, {}, 1),
        (5, (7, 7), 5, 1, {"activation": "Relu"}, 2), (8, (14, 14), 3, 2, {}, 1),
        (16, (15, 16), 3, 1, {}, 1), (4, (17, 33), 5, 2, {}, 1), (12, (31, 48), 3, 1, {}, 1),
        (4, (20, 20), 7, 1, {}, 1), (3, (27, 18), 5, 1, {}, 2), (3, (23, 12), 5, 1, {}, 1), (3, (29, 50), 5, 2, {}, 2),
        (3, (90, 70), 5, 1, {"activation": "Clip", "clip_min": -0.5, "clip_max": 0.25}, 1), (4, (8, 3), 5, 1, {}, 1),
        (4, (130, 140), 3, 1, {}, 1), (4, (7, 7), 5, 2, {}, 1), (2, (3, 2), 3, 2, {}, 1), (4, (16, 19), 1, 1, {}, 1),
    )
]  # fmt: skip
SAME = [
    Case(4, 4, (15, 15), (5, 5), {"group": 4, "auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    Case(8, 8, (1, 59), (1, 9), {"group": 8, "auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    Case(5, 5, (3, 40), (2, 13), {"group": 5, "pads": [0, 6, 1, 6]}),
    Case(4, 4, (12, 13), (3, 4), {"group": 4}),
    Case(4, 4, (11, 16), (5, 7), {"group": 4, "pads": [2, 3, 2, 3]}),
    Case(4, 4, (13, 14), (3, 4), {"group": 4, "strides": [2, 2]}),
    Case(4, 4, (12, 16), (5, 6), {"group": 4, "strides": [2, 2]}),
]
FLOAT_ONLY = [
    Case(4, 8, (9, 9), (3, 3), {"group": 4, **PAD1}),
    Case(4, 4, (20, 21), (3, 3), {"group": 4, "dilations": [2, 2], "pads": [2, 2, 2, 2]}),
    Case(3, 3, (21, 20), (3, 5), {"group": 3, "strides": [1, 3], "pads": [1, 2, 1, 2]}),
    Case(6, 8, (9, 9), (3, 3), {"group": 2, **PAD1}),
    # a fused PRelu, over one pixel, rows narrower than a vector, the odd pixel of 7 x 7, a residual, groups
    Case(4, 6, (1, 1), slope=True), Case(4, 9, (33, 9), slope=True), Case(6, 8, (7, 7), residual=True, slope=True),
    Case(3, 6, (5, 3), (3, 3), PAD1, residual=True, slope=True), Case(6, 8, (9, 9), (3, 3), {"group": 2}, slope=True),
    Case(3, 8, (20, 40), (3, 3), {**PAD1, "strides": [2, 2]}, batch=2, residual=True, slope=True),
]  # fmt: skip


def make(case: Case, rng: np.random.Generator) -> tuple[Node, list[np.ndarray]]:
    """A float node and its inputs: x, w[, bias][, residual]."""
    group = int(case.attrs.get("group", 1))
    x = rng.standard_normal((case.batch, case.channels, *case.size)).astype(np.float32)
    w = rng.standard_normal((case.filters, case.channels // group, *case.kernel)).astype(np.float32)
    inputs = [x, w * np.float32(1 / np.sqrt(w[0].size))]
    if case.bias:
        inputs.append(rng.standard_normal(case.filters).astype(np.float32))
    attrs: dict[str, Any] = {"residual": 1} if case.residual else {}
    if case.slope:
        attrs["activation"] = "PRelu"
    node = Node("Conv", (), ("y",), {**case.attrs, **attrs}, "conv")
    if case.residual:
        shape = evaluate("Conv", inputs, {**case.attrs}, dtype_out=("float32",))[0].shape
        inputs.append(rng.standard_normal(shape).astype(np.float32))
    if case.slope:
        inputs.append(rng.standard_normal(case.filters).astype(np.float32))
    return Node(node.op, tuple(f"i{i}" for i in range(len(inputs))), ("y",), node.attrs, "conv"), inputs


def slopes(case: Case, inputs: list[np.ndarray]) -> dict[int, StoredTensor]:
    """The stored tensor of a fused PRelu, by its place among the inputs."""
    return {len(inputs) - 1: StoredTensor.pack_dense("slope", inputs[-1], "row")} if case.slope else {}


@pytest.mark.parametrize("level", LEVELS, ids=lambda v: v.name)
@pytest.mark.parametrize("case", [*DENSE, *DEPTHWISE, *SAME, *FLOAT_ONLY], ids=str)
def test_float(case: Case, level: Level) -> None:
    node, inputs = make(case, np.random.default_rng(0))
    expected = evaluate("Conv", inputs, node.attrs, dtype_out=("float32",))[0]
    depthwise = node.attr_int("group", 1) == case.channels > 1
    weights = StoredTensor.pack_dense("w", inputs[1], "row" if depthwise else "n4k1")
    stored = {1: weights, **slopes(case, inputs)}
    rule = conv_float.depthwise_f32 if depthwise else conv_float.conv_f32
    kind = TensorType("float32", expected.shape)
    for threads, order in ((1, "forward"), (4, "backward")):
        result = run_rule(rule, node, list(inputs), [None] * len(inputs), kind, level, stored, threads, order)
        assert not isinstance(result, Refusal), result
        np.testing.assert_allclose(result[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("level", LEVELS, ids=lambda v: v.name)
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(
    "size", [(1, 1), (1, 9), (5, 1), (2, 2), (6, 6), (7, 7), (12, 12), (3, 40), (24, 24), (33, 17), (48, 48), (50, 130)]
)
def test_depthwise3_reads_planes_as_they_lie(size: tuple[int, int], batch: int, level: Level) -> None:
    """Rows shorter and longer than a vector; an infinity at the end of a row stays out of the next."""
    case = Case(5, 5, size, (3, 3), {"group": 5, **PAD1}, batch=batch)
    node, inputs = make(case, np.random.default_rng(2))
    inputs[0][:, 2, 0, -1] = np.inf
    weights = StoredTensor.pack_dense("w", inputs[1], "row")
    expected = evaluate("Conv", inputs, node.attrs, dtype_out=("float32",))[0]
    kind = TensorType("float32", expected.shape)
    for threads, order in ((1, "forward"), (4, "backward")):
        result = run_rule(
            conv_float.depthwise3_f32,
            node,
            list(inputs),
            [None] * len(inputs),
            kind,
            level,
            {1: weights},
            threads,
            order,
        )
        assert not isinstance(result, Refusal), result
        np.testing.assert_allclose(result[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("level", LEVELS, ids=lambda v: v.name)
@pytest.mark.parametrize("case", [*DENSE, *DEPTHWISE, *SAME], ids=str)
def test_int8_equals_reference(case: Case, level: Level) -> None:
    rng = np.random.default_rng(1)
    node, floats = make(case, rng)
    x = rng.integers(0, 256, floats[0].shape).astype(np.uint8)
    w = rng.integers(-127, 128, floats[1].shape).astype(np.int8)
    xq = Quantization(np.float32(0.02), np.int32(113))
    wq = Quantization(rng.uniform(0.001, 0.01, case.filters).astype(np.float32), np.zeros(case.filters, np.int32), 0)
    yq = Quantization(np.float32(0.013), np.int32(97))
    quants: list[Quantization | None] = [xq, wq]
    inputs: list[np.ndarray] = [x, w]
    if case.bias:
        inputs.append(rng.integers(-20000, 20000, case.filters).astype(np.int32))
        quants.append(Quantization(xq.scale * wq.scale, np.zeros(case.filters, np.int32), 0))
    if case.residual:
        inputs.append(rng.integers(0, 256, floats[-1].shape).astype(np.uint8))
        quants.append(Quantization(np.float32(0.03), np.int32(140)))
    node = Node("QLinearConv", node.inputs, node.outputs, node.attrs, "conv")
    triples = [None if q is None else Quant(q.scale, q.zero_point, q.axis) for q in quants]
    expected = evaluate("QLinearConv", inputs, node.attrs, triples, [Quant(yq.scale, yq.zero_point)], ("uint8",))[0]
    depthwise = node.attr_int("group", 1) == case.channels > 1
    weights = StoredTensor.pack_q8("w", w, wq.scale, "dw4" if depthwise else "n4k4")
    rule = conv.depthwise_q8 if depthwise else conv.conv_q8
    kind = TensorType("uint8", expected.shape, yq)
    for threads, order in ((1, "forward"), (4, "backward")):
        result = run_rule(rule, node, list(inputs), quants, kind, level, {1: weights}, threads, order)
        assert not isinstance(result, Refusal), result
        np.testing.assert_array_equal(result[0], expected)


@pytest.mark.parametrize("level", LEVELS, ids=lambda v: v.name)
@pytest.mark.parametrize("stored", [0, 255])
@pytest.mark.parametrize("weight", [-127, 127])
@pytest.mark.parametrize(
    "case", [Case(24, 4, (5, 5)), Case(4, 4, (9, 9), (3, 3), {"group": 4, **PAD1}),
             Case(4, 4, (9, 9), (5, 5), {"group": 4, **PAD2})], ids=str,
)  # fmt: skip
def test_sums_of_the_largest_products_are_exact(case: Case, weight: int, stored: int, level: Level) -> None:
    node, floats = make(case, np.random.default_rng(0))
    x, w = np.full(floats[0].shape, stored, np.uint8), np.full(floats[1].shape, weight, np.int8)
    bias = np.zeros(case.filters, np.int32)
    xq = Quantization(np.float32(0.02), np.int32(128))
    wq = Quantization(np.full(case.filters, 0.003, np.float32), np.zeros(case.filters, np.int32), 0)
    bq = Quantization(xq.scale * wq.scale, wq.zero_point, 0)
    yq = Quantization(np.float32(1.7), np.int32(128))
    triples = [Quant(q.scale, q.zero_point, q.axis) for q in (xq, wq, bq)]
    expected = evaluate("QLinearConv", [x, w, bias], node.attrs, triples, [Quant(yq.scale, yq.zero_point)], ("uint8",))
    depthwise = "group" in case.attrs
    weights = StoredTensor.pack_q8("w", w, wq.scale, "dw4" if depthwise else "n4k4")
    rule = conv.depthwise_q8 if depthwise else conv.conv_q8
    kind = TensorType("uint8", expected[0].shape, yq)
    result = run_rule(rule, node, [x, w, bias], [xq, wq, bq], kind, level, {1: weights}, 1, "forward")
    assert not isinstance(result, Refusal), result
    np.testing.assert_array_equal(result[0], expected[0])
