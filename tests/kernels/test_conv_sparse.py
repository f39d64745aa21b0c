"""Convolutions that skip blocks of zeros: the bits of the reference and of the dense kernel, and what they cost."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from harness import LEVELS, library
from lower import run_rule
from networks import Network, expected
from test_conv import DENSE, PAD1, Case, make

from edgert.format.model import StoredTensor
from edgert.graph.infer import infer_types
from edgert.graph.ir import Node, Quantization, TensorType
from edgert.kernels_cpu.levels import LEVELS as ALL_LEVELS
from edgert.kernels_cpu.levels import Level, host_levels
from edgert.kernels_cpu.reference import Quant, evaluate
from edgert.plan.cost import DEFAULT_PEAKS, predict_us
from edgert.plan.lowering import conv, conv_sparse
from edgert.plan.lowering.api import Offer, Refusal, Site
from edgert.plan.planner import make_plan
from edgert.runtime.executable import Executable
from edgert.runtime.pool import WorkerPool

LAYOUTS = tuple(conv_sparse.ROWS)
DENSITIES = (0.3, 0.6, 1.0, 0.0, 0.1)
FEW = [
    Case(10, 7, (5, 6)), Case(12, 6, (9, 9), (3, 3), PAD1, residual=True),
    Case(8, 8, (10, 10), (3, 3), {**PAD1, "group": 2}),
]  # fmt: skip


def blocks(values: np.ndarray, layout: str, density: float, rng: np.random.Generator) -> np.ndarray:
    """int8 [N, C, ...] with this share of its blocks of the layout; 0 < density < 1 leaves at least one block, and at
    least one row of blocks with none."""
    rows = conv_sparse.ROWS[layout]
    count, channels = values.shape[:2]
    grid = (-(-count // rows), -(-channels // 4), *values.shape[2:])
    keep = rng.random(grid) < density
    if 0 < density < 1:
        keep[rng.integers(grid[0])] = False
        keep[0].flat[-1] = True
    return np.where(keep.repeat(rows, 0)[:count].repeat(4, 1)[:, :channels], values, 0).astype(np.int8)


def pruned(
    case: Case, layout: str, density: float, seed: int = 3
) -> tuple[Node, list[np.ndarray], list[Quantization | None], TensorType, StoredTensor]:
    """A QLinearConv with extreme values: node, inputs, their quantization, output, weights in blocks."""
    rng = np.random.default_rng(seed)
    node, floats = make(case, rng)
    x = rng.choice(np.array([0, 1, 127, 128, 255, 77], np.uint8), floats[0].shape)
    w = blocks(rng.choice(np.array([-127, 127, 3, -50], np.int8), floats[1].shape), layout, density, rng)
    xq = Quantization(np.float32(0.02), np.int32(113))
    wq = Quantization(rng.uniform(0.0005, 0.005, case.filters).astype(np.float32), np.zeros(case.filters, np.int32), 0)
    inputs, quants = [x, w], [xq, wq]
    if case.bias:
        inputs.append(rng.integers(-20000, 20000, case.filters).astype(np.int32))
        quants.append(Quantization(xq.scale * wq.scale, np.zeros(case.filters, np.int32), 0))
    if case.residual:
        inputs.append(rng.integers(0, 256, floats[-1].shape).astype(np.uint8))
        quants.append(Quantization(np.float32(0.03), np.int32(140)))
    shape = evaluate("Conv", floats[:2], {k: v for k, v in node.attrs.items() if k != "residual"})[0].shape
    kind = TensorType("uint8", shape, Quantization(np.float32(0.013), np.int32(97)))
    stored = StoredTensor.pack_block("w", w, wq.scale, layout)
    return Node("QLinearConv", node.inputs, node.outputs, node.attrs, "conv"), inputs, quants, kind, stored


def check(case: Case, layout: str, density: float, level: Level) -> None:
    node, inputs, quants, kind, stored = pruned(case, layout, density)
    triples = [Quant(q.scale, q.zero_point, q.axis) for q in quants if q is not None]
    out = kind.quant
    assert out is not None
    quant = Quant(out.scale, out.zero_point)
    expected = evaluate("QLinearConv", inputs, node.attrs, triples, [quant], ("uint8",))[0]
    for threads, order in ((1, "forward"), (4, "backward")):
        result = run_rule(
            conv_sparse.conv_q8_sparse, node, list(inputs), quants, kind, level, {1: stored}, threads, order
        )
        assert not isinstance(result, Refusal), result
        assert result[1].kernel == f"conv2d_{layout}_k4p"
        np.testing.assert_array_equal(result[0], expected)
    twin = run_rule(conv.conv_q8, node, list(inputs), quants, kind, level, {1: stored.expanded()})
    assert not isinstance(twin, Refusal), twin
    np.testing.assert_array_equal(twin[0], expected)


@pytest.mark.parametrize("level", LEVELS, ids=lambda v: v.name)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", DENSE, ids=str)
def test_equals_reference_and_dense_twin(case: Case, layout: str, level: Level) -> None:
    check(case, layout, DENSITIES[DENSE.index(case) % 2], level)


@pytest.mark.parametrize("level", LEVELS, ids=lambda v: v.name)
@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_density(layout: str, density: float, level: Level) -> None:
    """From no block at all to all of them; channels and filters that are no multiples of 4, and groups."""
    for case in FEW:
        check(case, layout, density, level)


@pytest.mark.parametrize("level", LEVELS, ids=lambda v: v.name)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_block(layout: str, level: Level) -> None:
    check(Case(20, 21, (4, 9)), layout, 1e-9, level)


def offer_of(case: Case, layout: str, density: float, level: Level, threads: int = 1) -> tuple[Offer, Offer]:
    """What the sparse and the dense rule say."""
    node, inputs, quants, kind, stored = pruned(case, layout, density)
    types = tuple(TensorType(a.dtype.name, a.shape, q) for a, q in zip(inputs, quants, strict=True))
    site = Site(node, types, (kind,), (None, stored, None), (None, None, inputs[2]), level, threads)
    dense = Site(node, types, (kind,), (None, stored.expanded(), None), (None, None, inputs[2]), level, threads)
    found = conv_sparse.conv_q8_sparse(site), conv.conv_q8(dense)
    assert isinstance(found[0], Offer) and isinstance(found[1], Offer)
    return found[0], found[1]


def gain(case: Case, layout: str, density: float, level: Level) -> float:
    """Predicted time of the dense kernel by that of the sparse one."""
    sparse, dense = (predict_us(o, DEFAULT_PEAKS[level.name], 1) for o in offer_of(case, layout, density, level))
    return dense / sparse


@pytest.mark.parametrize("level", ALL_LEVELS.values(), ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_predicted_gain(layout: str, level: Level) -> None:
    """The more blocks are absent the more, next to nothing where all are there."""
    case = Case(240, 80, (14, 14))
    gains = [gain(case, layout, density, level) for density in (1.0, 0.7, 0.5, 0.3, 0.1)]
    assert gains[0] < 1.1 < gains[3] and gains == sorted(gains)


def test_blocks_of_more_channels_gain_more() -> None:
    level = ALL_LEVELS["x86-64-v4-vnni"]
    gains = [gain(Case(240, 80, (14, 14)), layout, 0.5, level) for layout in ("b4x4", "b2x4", "b1x4")]
    assert gains == sorted(gains, reverse=True)


def test_the_offer_names_the_pattern() -> None:
    sparse, _ = offer_of(Case(16, 16, (14, 14)), "b2x4", 1.0, LEVELS[0])
    assert sparse.sparse == "2x4 0 %"


def test_other_encodings_are_left_to_others() -> None:
    node, inputs, quants, kind, stored = pruned(Case(8, 8, (3, 3)), "b4x4", 0.5)
    types = tuple(TensorType(a.dtype.name, a.shape, q) for a, q in zip(inputs, quants, strict=True))
    site = Site(node, types, (kind,), (None, stored.expanded(), None), (None, None, inputs[2]), LEVELS[0], 1)
    assert conv_sparse.conv_q8_sparse(site) == []


@pytest.mark.parametrize("slices", [1, 2, 3, 7])
def test_slices_have_equal_work(slices: int) -> None:
    """Blocks are all in the first channels: so are most of the bounds."""
    work = np.where(np.arange(64) < 16, 30.0, 2.0)
    bounds = conv_sparse.equal_slices(work, slices)
    assert bounds[0] == 0 and bounds[-1] == 64 and (np.diff(bounds) >= 0).all()
    shares = [work[a:b].sum() for a, b in pairwise(bounds)]
    assert max(shares) - min(shares) <= 2 * work.max()


@pytest.mark.parametrize(("threads", "sparse"), [(1, "auto"), (2, "always"), (2, "never")])
def test_a_planned_network_equals_the_reference(threads: int, sparse: str) -> None:
    """Planner, verifier, engine and kernels together: the same bits with the zeros skipped and without."""
    level = host_levels()[-1]
    net = Network(3)
    x = net.node("QuantizeLinear", net.input("image", (1, 3, 20, 20)), quant=(0.03, 120))
    for layout, channels, filters in (("", 3, 40), ("b4x4", 40, 120), ("b2x4", 120, 48), ("b1x4", 48, 160)):
        x = net.conv_q8(x, channels, filters, 3)
        if layout:
            name = net.graph.nodes[-1].inputs[1]
            dense = net.tensors[name]
            values = blocks(dense.dense(), layout, 0.2, net.rng)
            net.store(StoredTensor.pack_block(name, values, np.asarray(dense.parts["scale"]), layout))
    model = net.model(net.node("DequantizeLinear", x, out="features"))
    feeds = {"image": net.rng.standard_normal((1, 3, 20, 20)).astype(np.float32)}
    plan = make_plan(
        infer_types(model.graph), model.tensors, level=level, threads=threads, peaks=DEFAULT_PEAKS[level.name],
        sparse=sparse,
    )  # fmt: skip
    steps = [step for step in plan.steps if step.op == "QLinearConv"]
    assert [s.kernel.rsplit("_", 1)[0] for s in steps[1:]] == [
        "conv2d_q8_k4p" if sparse == "never" else f"conv2d_{layout}_k4p" for layout in LAYOUTS
    ]
    lib = library(level)
    lib.prepare(plan.program.kernels)
    pool = WorkerPool(lib, threads) if threads > 1 else None
    answer = Executable(plan, lib, pool).run(feeds)
    np.testing.assert_array_equal(answer["features"], expected(model, feeds)["features"])
    if pool is not None:
        pool.close()
