"""Feed-forward blocks with grouped weights: who makes rows of int8 in groups, and that the answers are right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from networks import Network

from edgert.format import Model, StoredTensor
from edgert.graph.execute import run_graph
from edgert.graph.infer import infer_types
from edgert.kernels_cpu.levels import LEVELS
from edgert.plan import planner
from edgert.plan.cost import DEFAULT_PEAKS
from edgert.plan.plan import Plan
from edgert.plan.planner import make_plan
from edgert.runtime.session import Session

WIDTH, INNER = 96, 160


def grouped(net: Network, name: str, rows: int, depth: int, encoding: str) -> str:
    scale = (net.rng.random((rows, -(-depth // 32))) * 0.01 + 0.01).astype(np.float16)
    if encoding == "q8g":
        values = net.rng.integers(-20, 20, (rows, depth)).astype(np.int8)
        return net.store(StoredTensor.pack_q8g(name, values, scale))
    return net.store(StoredTensor.pack_q4(name, net.rng.integers(0, 16, (rows, depth)).astype(np.uint8), scale))


def block(norm: str = "RMSNormalization", *, reused: bool = False, gated: bool = True) -> Model:
    """x [T, WIDTH] -> x + down(glu(gate_up(norm(x)))); reused: the normalized rows are an answer as well."""
    net = Network(3)
    x = net.input("x", ("T", WIDTH))
    weights = [net.constant("scale", net.rng.random(WIDTH).astype(np.float32) + 0.5)]
    if norm == "LayerNormalization":
        weights.append(net.constant("bias", net.rng.standard_normal(WIDTH).astype(np.float32)))
    n = net.node(norm, x, *weights, out="norm", axis=-1)
    up = net.node("Gemm", n, grouped(net, "up", (1 + gated) * INNER, WIDTH, "q4"), out="up.out", transB=1)
    h = net.node("GLU", up, out="gate", activation="Silu") if gated else net.node("Gelu", up, out="gate")
    down = grouped(net, "down", WIDTH, INNER, "q8g")
    y = net.node("Gemm", h, down, "", x, out="y", transB=1, residual=1)
    return net.model(y, n) if reused else net.model(y)


def plan_of(model: Model, tokens: int, level: str) -> Plan:
    graph = infer_types(model.graph, {"T": tokens})
    return make_plan(graph, model.tensors, level=LEVELS[level], threads=1, peaks=DEFAULT_PEAKS[level])


def steps(plan: Plan) -> list[str]:
    return [step.op if step.kind == "convert" else f"{step.op} {step.out_layouts[0]}" for step in plan.steps]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("tokens", [1, 64])
@pytest.mark.parametrize("norm", ["RMSNormalization", "LayerNormalization"])
def test_norms_and_gates_make_groups_for_grouped_products(level: str, tokens: int, norm: str) -> None:
    plan = plan_of(block(norm), tokens, level)
    assert steps(plan) == [f"{norm} g32", "Gemm row", "GLU g32", "Gemm row"]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("tokens", [1, 64])
def test_rows_that_someone_else_reads_are_made_and_then_converted(level: str, tokens: int) -> None:
    plan = plan_of(block(reused=True), tokens, level)
    assert steps(plan) == ["RMSNormalization row", "row -> g32", "Gemm row", "GLU g32", "Gemm row"]
    plan = plan_of(block(gated=False), tokens, level)
    assert steps(plan) == ["RMSNormalization g32", "Gemm row", "Gelu row", "row -> g32", "Gemm row"]


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("norm", ["RMSNormalization", "LayerNormalization"])
def test_answers_are_near_and_do_not_depend_on_threads_or_on_other_rows(
    norm: str, gated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner, "ONE_THREAD_US", 0.0)  # even so short a program uses all threads
    model = block(norm, gated=gated)
    x: Any = np.random.default_rng(0).standard_normal((21, WIDTH)).astype(np.float32)
    dense = model.graph.copy()
    dense.constants |= {name: tensor.dense() for name, tensor in model.tensors.items()}
    (want,) = run_graph(dense, {"x": x}).values()
    with Session(model, threads=1) as one, Session(model, threads=2) as two:
        whole = one.run(None, {"x": x})[0]
        np.testing.assert_array_equal(two.run(None, {"x": x})[0], whole)
        rows = [one.run(None, {"x": x[i : i + 1]})[0] for i in (0, 5, 20)]
    np.testing.assert_array_equal(np.concatenate(rows), whole[[0, 5, 20]])
    assert np.abs(whole - want).max() < 0.02 * np.abs(want).max()
