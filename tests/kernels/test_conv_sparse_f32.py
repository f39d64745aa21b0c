"""Float convolutions that skip zeros: close to the reference, the bits of the dense kernel, and what they cost."""

from __future__ import annotations

import numpy as np
import pytest
from harness import LEVELS, library
from lower import run_rule
from networks import Network, expected, image
from test_conv import DENSE, PAD1, Case, make, slopes

from edgert.format.model import StoredTensor
from edgert.graph.infer import infer_types
from edgert.graph.ir import Node, TensorType
from edgert.kernels_cpu.levels import LEVELS as ALL_LEVELS
from edgert.kernels_cpu.levels import Level, host_levels
from edgert.kernels_cpu.reference import evaluate
from edgert.plan.cost import DEFAULT_PEAKS, predict_us
from edgert.plan.lowering import conv_float, conv_sparse_f32
from edgert.plan.lowering.api import Offer, Refusal, Site
from edgert.plan.planner import make_plan
from edgert.runtime.executable import Executable

LAYOUTS = tuple(conv_sparse_f32.ROWS)
DENSITIES = (0.4, 1.0, 0.0, 0.1)
CASES = [
    *DENSE, Case(6, 8, (9, 9), (3, 3), {"group": 2, **PAD1}), Case(32, 30, (7, 7), residual=True),
    Case(20, 32, (7, 7), batch=2, residual=True), Case(20, 30, (7, 7), residual=True, slope=True),
    Case(9, 14, (12, 9), (3, 3), PAD1, slope=True),
    Case(17, 33, (12, 9), (3, 3), PAD1, batch=2, residual=True), Case(5, 3, (40, 41)),
]  # fmt: skip
FEW = [Case(10, 7, (5, 6)), Case(12, 6, (9, 9), (3, 3), PAD1, residual=True), Case(9, 9, (14, 14))]


def pruned(case: Case, layout: str, density: float) -> tuple[Node, list[np.ndarray], StoredTensor]:
    """A Conv, its inputs, and its weights in blocks; 0 < density < 1 leaves a row of blocks with none."""
    rng = np.random.default_rng(7)
    node, inputs = make(case, rng)
    w, rows = inputs[1], conv_sparse_f32.ROWS[layout]
    keep = rng.random((-(-len(w) // rows), *w.shape[1:])) < density
    if 0 < density < 1:
        keep[rng.integers(len(keep))] = False
    inputs[1] = np.where(keep.repeat(rows, 0)[: len(w)], w, np.float32(0))
    return node, inputs, StoredTensor.pack_block("w", inputs[1], None, layout)


def check(case: Case, layout: str, density: float, level: Level) -> None:
    node, inputs, stored = pruned(case, layout, density)
    wanted = evaluate("Conv", inputs, node.attrs, dtype_out=("float32",))[0]
    kind, quants = TensorType("float32", wanted.shape), [None] * len(inputs)
    bent = slopes(case, inputs)
    constants = {1: stored.expanded(), **bent}
    dense = run_rule(conv_float.conv_f32, node, list(inputs), list(quants), kind, level, constants)
    assert not isinstance(dense, Refusal), dense
    for threads, order in ((1, "forward"), (4, "backward")):
        result = run_rule(
            conv_sparse_f32.conv_f32_sparse, node, list(inputs), list(quants), kind, level, {1: stored, **bent},
            threads, order,
        )  # fmt: skip
        assert not isinstance(result, Refusal), result
        assert result[1].kernel == f"conv2d_{layout}_kp"
        if layout == "b1x1":  # products that two channels share come first
            np.testing.assert_allclose(result[0], wanted, rtol=1e-4, atol=1e-4)
        else:
            np.testing.assert_array_equal(result[0], dense[0])
    np.testing.assert_allclose(dense[0], wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("level", LEVELS, ids=lambda v: v.name)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_equals_the_dense_kernel(case: Case, layout: str, level: Level) -> None:
    check(case, layout, 0.4, level)


@pytest.mark.parametrize("level", LEVELS, ids=lambda v: v.name)
@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_density(layout: str, density: float, level: Level) -> None:
    """From no weight at all to all of them."""
    for case in FEW:
        check(case, layout, density, level)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_threads_do_not_matter(layout: str) -> None:
    node, inputs, stored = pruned(Case(64, 46, (33, 20), residual=True), layout, 0.4)
    kind, quants = TensorType("float32", (1, 46, 33, 20)), [None] * len(inputs)
    found = [
        run_rule(
            conv_sparse_f32.conv_f32_sparse, node, list(inputs), list(quants), kind, LEVELS[0], {1: stored}, threads
        )[0]
        for threads in (1, 3)
    ]
    np.testing.assert_array_equal(found[0].view(np.uint32), found[1].view(np.uint32))


def offer_of(case: Case, layout: str, density: float, level: Level) -> tuple[Offer, Offer]:
    """What the sparse and the dense rule say."""
    node, inputs, stored = pruned(case, layout, density)
    types = tuple(TensorType("float32", a.shape) for a in inputs)
    kind = TensorType("float32", evaluate("Conv", inputs, node.attrs, dtype_out=("float32",))[0].shape)
    values = (None, None, *inputs[2:])
    site = Site(node, types, (kind,), (None, stored, None), values, level, 1)
    dense = conv_float.conv_f32(Site(node, types, (kind,), (None, stored.expanded(), None), values, level, 1))
    (sparse,) = conv_sparse_f32.conv_f32_sparse(site)
    assert isinstance(sparse, Offer) and isinstance(dense, Offer)
    return sparse, dense


@pytest.mark.parametrize("level", ALL_LEVELS.values(), ids=lambda v: v.name)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_predicted_gain(layout: str, level: Level) -> None:
    """The more weights are absent the more; with none of them absent there is nothing to win."""
    gains = []
    for density in (1.0, 0.7, 0.5, 0.3, 0.1):
        sparse, dense = (predict_us(o, DEFAULT_PEAKS[level.name], 1) for o in offer_of(
            Case(96, 64, (16, 16)), layout, density, level))  # fmt: skip
        gains.append(dense / sparse)
    assert gains[0] < 1.3 < gains[3] and gains == sorted(gains)


def test_the_offer_names_the_pattern() -> None:
    sparse, _ = offer_of(Case(16, 16, (14, 14)), "b2x1", 1.0, LEVELS[0])
    assert sparse.sparse == "2x1 0 %"


def test_activations_beyond_the_caches_come_from_memory() -> None:
    sparse, _ = offer_of(Case(4, 8, (400, 400)), "b4x1", 0.5, LEVELS[0])
    assert sparse.streamed > conv_sparse_f32.CACHED
    assert offer_of(Case(4, 8, (40, 40)), "b4x1", 0.5, LEVELS[0])[0].streamed == 0


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("sparse", ["auto", "always", "never"])
def test_a_planned_network_is_close_to_the_reference(layout: str, sparse: str) -> None:
    """Planner, verifier, engine and kernels together, from a weight in the file to the answer."""
    net, level = Network(4), host_levels()[-1]
    x = net.input("image", (1, 3, 12, 12))
    for channels, filters, kernel in ((3, 18, 3), (18, 33, 1), (33, 7, 3)):
        x = net.conv(x, channels, filters, kernel)
    for name, tensor in net.tensors.items():
        if tensor.layout == "n4k1":
            w, rows = tensor.dense(), conv_sparse_f32.ROWS[layout]
            keep = net.rng.random((-(-len(w) // rows), *w.shape[1:])) < 0.3
            w = w * keep.repeat(rows, 0)[: len(w)]
            net.store(StoredTensor.pack_block(name, w, None, layout))
    model, feeds = net.model(x), image()
    peaks = DEFAULT_PEAKS[level.name]
    plan = make_plan(infer_types(model.graph), model.tensors, level=level, threads=1, peaks=peaks, sparse=sparse)
    kernels = [step.kernel for step in plan.steps if step.op == "Conv"]
    if sparse != "auto":
        assert {layout in kernel for kernel in kernels} == {sparse == "always"}
    lib = library(level)
    lib.prepare(plan.program.kernels)
    answer = Executable(plan, lib, None).run(feeds)
    np.testing.assert_allclose(answer[x], expected(model, feeds)[x], rtol=1e-4, atol=1e-4)


def test_refusals_and_silence() -> None:
    node, inputs, stored = pruned(Case(8, 6, (3, 3), (1, 1), {"group": 2}), "b4x1", 0.5)
    types = tuple(TensorType("float32", a.shape) for a in inputs)
    site = Site(node, types, (TensorType("float32", (1, 6, 3, 3)),), (None, stored, None), (None,) * 3, LEVELS[0], 1)
    (refusal,) = conv_sparse_f32.conv_f32_sparse(site)
    assert isinstance(refusal, Refusal) and "not multiples of 4" in refusal.why
    other = Site(node, types, site.outputs, (None, stored.expanded(), None), (None,) * 3, LEVELS[0], 1)
    assert conv_sparse_f32.conv_f32_sparse(other) == []
