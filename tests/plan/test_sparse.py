"""Sparse weights in a plan: which side is taken and what is said of the other, budgets, and equal answers."""

from __future__ import annotations

import numpy as np
import pytest
from networks import Network

from edgert.errors import InputError
from edgert.format import Model, StoredTensor
from edgert.graph.infer import infer_types
from edgert.graph.ir import Quantization
from edgert.kernels_cpu.levels import LEVELS
from edgert.plan import explain
from edgert.plan.cost import DEFAULT_PEAKS
from edgert.plan.plan import Plan, Step
from edgert.plan.planner import make_plan
from edgert.runtime.session import Session

LEVEL = "x86-64-v4-vnni"


def convolution(zeros: float, layout: str = "b4x4") -> Model:
    """x float32 [1, 64, 14, 14] -> int8 pointwise convolution to 128 channels, that share of its blocks zero."""
    net = Network(5)
    x = net.input("x", (1, 64, 14, 14))
    q = net.node("QuantizeLinear", x, quant=(0.02, 128))
    rows = int(layout[1:].split("x")[0])
    values = net.rng.integers(-127, 128, (128, 64, 1, 1)).astype(np.int8)
    keep = net.rng.permutation(128 // rows * 16).reshape(-1, 16) >= zeros * (128 // rows * 16)
    values *= np.kron(keep, np.ones((rows, 4), np.int8))[:, :, None, None].astype(np.int8)
    scale = np.full(128, 0.01, np.float32)
    w = net.store(StoredTensor.pack_block("w", values, scale, layout))
    bias_quant = Quantization(np.float32(0.02) * scale, np.zeros(128, np.int32), 0)
    b = net.constant("b", np.zeros(128, np.int32), quant=bias_quant)
    y = net.node("QLinearConv", q, w, b, quant=(0.5, 128), kernel_shape=[1, 1])
    return net.model(net.node("DequantizeLinear", y, out="features"))


def product(zeros: float) -> Model:
    """x [T, 256] -> Gemm with 512 rows of bitmap8."""
    net = Network(6)
    x = net.input("x", ("T", 256))
    values = net.rng.integers(-127, 128, (512, 256)).astype(np.int8)
    values[net.rng.random(values.shape) < zeros] = 0
    w = net.store(StoredTensor.pack_bitmap8("w", values, np.full((512, 8), 0.01, np.float16)))
    return net.model(net.node("Gemm", x, w, out="y", transB=1))


def plan_of(model: Model, *, level: str = LEVEL, sparse: str = "auto", ram: int | None = None, **sizes: int) -> Plan:
    graph = infer_types(model.graph, sizes)
    return make_plan(
        graph, model.tensors, level=LEVELS[level], threads=1, peaks=DEFAULT_PEAKS[level], sparse=sparse, ram=ram
    )


def step(plan: Plan, op: str) -> Step:
    return next(s for s in plan.steps if s.op == op)


def test_many_zeros_are_skipped_and_the_plan_says_what_is_gained() -> None:
    plan = plan_of(convolution(0.7))
    conv = step(plan, "QLinearConv")
    assert conv.sparse == "4x4 70 %"
    assert conv.reason.startswith("sparse 4x4 70 %: ") and "x over dense;" in conv.reason
    assert float(conv.reason.split(": ")[1].split("x")[0]) > 1.5
    assert any("dense: 4x4 at 70 % would be" in why or "conv2d_q8_k4p" in why for why in conv.rejected)
    assert "(1 sparse)" in explain.summary(plan)


def test_too_few_zeros_run_dense_and_the_plan_says_why() -> None:
    conv = step(plan_of(convolution(0.02, "b1x4")), "QLinearConv")
    assert conv.sparse == ""
    assert conv.reason.startswith("dense: 1x4 at 2 % would be 0.") and "x here; expanded when planned;" in conv.reason


@pytest.mark.parametrize("model", [convolution(0.5), convolution(0.5, "b1x4"), convolution(0.5, "b64x4"), product(0.5)])
def test_both_sides_can_be_asked_for_and_give_the_same_bits(model: Model) -> None:
    op = "Gemm" if "y" in model.graph.outputs else "QLinearConv"
    sizes = {"T": 3} if op == "Gemm" else {}
    assert step(plan_of(model, sparse="always", **sizes), op).sparse
    assert not step(plan_of(model, sparse="never", **sizes), op).sparse
    kind = model.graph.types["x"]
    x = np.random.default_rng(1).standard_normal([sizes.get(str(d), d) for d in kind.shape]).astype(np.float32)
    answers = []
    for sparse in ("always", "never", "auto"):
        with Session(model, threads=2, sparse=sparse) as session:
            answers.append(session.run(None, {"x": x})[0])
    assert np.array_equal(answers[0], answers[1]) and np.array_equal(answers[0], answers[2])


def test_a_budget_without_room_for_a_dense_copy_keeps_the_weights_sparse() -> None:
    model = product(0.9)
    level = "x86-64"  # where expanding bytes does not pay
    dense, sparse = (plan_of(model, level=level, sparse=way, T=4) for way in ("never", "always"))
    assert sparse.memory.total < dense.memory.total
    assert not step(plan_of(model, level=level, T=4), "Gemm").sparse
    tight = plan_of(model, level=level, T=4, ram=(sparse.memory.total + dense.memory.total) // 2)
    assert step(tight, "Gemm").sparse


def test_plans_of_one_model_share_the_dense_copy() -> None:
    model = product(0.1)
    one, other = (plan_of(model, sparse="never", T=size) for size in (1, 8))
    assert one.weights[0] is other.weights[0]


def test_other_words_are_refused() -> None:
    with pytest.raises(InputError, match="sparse: expected one of auto, always, never"):
        Session(product(0.5), sparse="sometimes")
