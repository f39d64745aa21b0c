"""int8 convolutions by patterns that 64 output channels share, on vectors of channels and on AMX tiles: the bits of
the reference and of the dense kernel, and which of them the planner takes."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import harness
import numpy as np
import pytest
from harness import LEVELS
from lower import run_rule
from networks import Network, expected, image
from test_conv import DENSE, PAD1, Case, make

from edgert.format.model import StoredTensor
from edgert.graph.infer import infer_types
from edgert.graph.ir import Graph, Node, Quantization, TensorType
from edgert.kernels_cpu.levels import LEVELS as ALL_LEVELS
from edgert.kernels_cpu.levels import Level, host_levels
from edgert.kernels_cpu.library import JitLibrary
from edgert.kernels_cpu.reference import Quant, evaluate
from edgert.plan.cost import DEFAULT_PEAKS, predict_us
from edgert.plan.lowering import conv, conv_lines, conv_sparse_amx
from edgert.plan.lowering.api import Offer, Refusal, Rule, Site
from edgert.plan.offers import options_of
from edgert.plan.planner import make_plan
from edgert.runtime.executable import Executable

VNNI, AMX = ALL_LEVELS["x86-64-v4-vnni"], ALL_LEVELS["x86-64-amx"]
CHANNELS = 64
DENSITIES = (0.5, 1.0, 0.0, 0.1)
WIDE = [
    # around 64 and 128 filters; 1, 4, 5 and 49 pixels, and 65, which is more than a band of 64
    Case(16, 128, (7, 7)), Case(20, 72, (7, 7), residual=True), Case(32, 64, (1, 1)),
    Case(12, 65, (1, 5), residual=True),
    Case(8, 60, (5, 13)), Case(6, 130, (8, 17), batch=2), Case(33, 130, (3, 7), (3, 3), PAD1, batch=2, residual=True),
    Case(64, 65, (9, 17), (3, 3), {**PAD1, "activation": "Relu"}), Case(40, 192, (14, 14), (3, 3), {"strides": [2, 2]}),
    Case(72, 68, (40,), (5,), {"dilations": [3]}), Case(256, 192, (7, 7), residual=True),
]  # fmt: skip
CASES = [*(c for c in DENSE if "group" not in c.attrs), *WIDE]


@dataclass(frozen=True)
class Pruned:
    """A QLinearConv with extreme values among its inputs and weights in 64x4 patterns."""

    node: Node
    inputs: list[np.ndarray]
    quants: list[Quantization | None]
    kind: TensorType
    stored: StoredTensor

    @classmethod
    def of(cls, case: Case, density: float) -> Pruned:
        rng = np.random.default_rng(5)
        node, floats = make(case, rng)
        x = rng.choice(np.array([0, 1, 127, 128, 255, 77], np.uint8), floats[0].shape)
        w = rng.choice(np.array([-127, 127, 3, -50], np.int8), floats[1].shape)
        count, channels = w.shape[:2]
        keep = rng.random((-(-count // CHANNELS), -(-channels // 4), *w.shape[2:])) < density
        w = np.where(keep.repeat(CHANNELS, 0)[:count].repeat(4, 1)[:, :channels], w, 0).astype(np.int8)
        xq = Quantization(np.float32(0.02), np.int32(113))
        wq = Quantization(rng.uniform(5e-4, 5e-3, count).astype(np.float32), np.zeros(count, np.int32), 0)
        inputs, quants = [x, w], [xq, wq]
        if case.bias:
            inputs.append(rng.integers(-20000, 20000, count).astype(np.int32))
            quants.append(Quantization(xq.scale * wq.scale, np.zeros(count, np.int32), 0))
        if case.residual:
            inputs.append(rng.integers(0, 256, floats[-1].shape).astype(np.uint8))
            quants.append(Quantization(np.float32(0.03), np.int32(140)))
        shape = evaluate("Conv", floats[:2], {k: v for k, v in node.attrs.items() if k != "residual"})[0].shape
        kind = TensorType("uint8", shape, Quantization(np.float32(0.013), np.int32(97)))
        node = Node("QLinearConv", node.inputs, node.outputs, node.attrs, "conv")
        return cls(node, inputs, quants, kind, StoredTensor.pack_block("w", w, wq.scale, "b64x4"))

    def expected(self) -> np.ndarray:
        triples = [Quant(q.scale, q.zero_point, q.axis) for q in self.quants if q is not None]
        out = self.kind.quant
        assert out is not None
        return evaluate(
            "QLinearConv", self.inputs, self.node.attrs, triples, [Quant(out.scale, out.zero_point)], ("uint8",)
        )[0]

    def run(self, rule: Rule, level: Level, stored: StoredTensor, threads: int = 1, order: str = "forward"):  # type: ignore[no-untyped-def]
        return run_rule(rule, self.node, list(self.inputs), self.quants, self.kind, level, {1: stored}, threads, order)

    def site(self, level: Level) -> Site:
        kinds = tuple(TensorType(a.dtype.name, a.shape, q) for a, q in zip(self.inputs, self.quants, strict=True))
        stored = (None, self.stored) + (None,) * (len(kinds) - 2)
        values = tuple(a if i == 2 and a.ndim == 1 else None for i, a in enumerate(self.inputs))
        return Site(self.node, kinds, (self.kind,), stored, values, level, 1)


def check(case: Case, density: float, level: Level, rule: Rule, kernel: str) -> None:
    pruned = Pruned.of(case, density)
    wanted = pruned.expected()
    for threads, order in ((1, "forward"), (4, "backward")):
        result = pruned.run(rule, level, pruned.stored, threads, order)
        if kernel.endswith("amx") and isinstance(result, Refusal):
            assert "output pixels" in result.why, result
            return
        assert not isinstance(result, Refusal), result
        assert result[1].kernel == kernel
        np.testing.assert_array_equal(result[0], wanted)


@pytest.mark.parametrize("level", LEVELS, ids=lambda v: v.name)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_lines_equal_the_reference(case: Case, level: Level) -> None:
    check(case, 0.5, level, conv_lines.conv_b64x4, "conv2d_b64x4_k4p")


@pytest.mark.parametrize("level", LEVELS, ids=lambda v: v.name)
@pytest.mark.parametrize("density", DENSITIES)
def test_any_density(density: float, level: Level) -> None:
    """From no cell at all to all of them."""
    for case in WIDE[:7]:
        check(case, density, level, conv_lines.conv_b64x4, "conv2d_b64x4_k4p")


def test_lines_equal_the_dense_kernel() -> None:
    pruned = Pruned.of(Case(72, 96, (7, 7), (3, 3), PAD1, residual=True), 0.4)
    sparse = pruned.run(conv_lines.conv_b64x4, LEVELS[0], pruned.stored)
    dense = pruned.run(conv.conv_q8, LEVELS[0], pruned.stored.expanded())
    np.testing.assert_array_equal(sparse[0], dense[0])


@pytest.fixture(scope="module")
def modelled() -> dict[str, JitLibrary]:
    return {}


@pytest.mark.skipif(VNNI not in host_levels(), reason="the model is compiled for x86-64-v4-vnni")
@pytest.mark.parametrize("density", [0.5, 0.1])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_tiles_equal_the_reference(
    case: Case, density: float, modelled: dict[str, JitLibrary], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the software model of AMX."""
    monkeypatch.setenv("EDGERT_AMX_MODEL", "1")
    monkeypatch.setattr(harness, "_libraries", modelled)
    check(case, density, AMX, conv_sparse_amx.conv_b64x4_amx, "conv2d_b64x4_k4p_amx")


@pytest.mark.skipif(VNNI not in host_levels(), reason="the model is compiled for x86-64-v4-vnni")
@pytest.mark.parametrize("density", [0.0, 1.0])
def test_tiles_of_any_density(density: float, modelled: dict[str, JitLibrary], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGERT_AMX_MODEL", "1")
    monkeypatch.setattr(harness, "_libraries", modelled)
    for case in WIDE[:7]:
        check(case, density, AMX, conv_sparse_amx.conv_b64x4_amx, "conv2d_b64x4_k4p_amx")


@pytest.mark.skipif(AMX not in host_levels(), reason="this machine has no AMX, or the system refuses its tiles")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_silicon_equals_the_reference(case: Case) -> None:
    check(case, 0.5, AMX, conv_sparse_amx.conv_b64x4_amx, "conv2d_b64x4_k4p_amx")


def test_tiles_hold_every_kept_cell() -> None:
    rng = np.random.default_rng(0)
    start = np.array([0, 5, 5, 38, 54])
    data = rng.integers(-127, 128, (54, 64, 4)).astype(np.int8)
    first = conv_sparse_amx.tile_starts(start)
    np.testing.assert_array_equal(first, [0, 1, 1, 4, 5])
    tiles = conv_sparse_amx.tile_weights(data, start, first)
    taps = conv_sparse_amx.tile_taps(np.arange(1, 55, dtype=np.int32), start, first)
    assert tiles.shape == (20, 16, 16, 4) and taps.shape == (80,)
    for group in range(4):
        count = first[group + 1] - first[group]
        own = tiles[4 * first[group] : 4 * first[group + 1]].reshape(4, count, 16, 16, 4)
        cells = own.transpose(1, 3, 0, 2, 4).reshape(16 * count, 64, 4)
        kept = start[group + 1] - start[group]
        np.testing.assert_array_equal(cells[:kept], data[start[group] : start[group + 1]])
        assert not cells[kept:].any()
        offsets = taps[16 * first[group] : 16 * first[group + 1]]
        np.testing.assert_array_equal(offsets[:kept], np.arange(start[group], start[group + 1]) + 1)


# ---- what is chosen, and why
def choice(case: Case, density: float, level: Level) -> Offer:
    """What the planner would take, of the kernels for the sparse weights and for the same expanded."""
    pruned = Pruned.of(case, density)
    node, names = pruned.node, pruned.node.inputs
    types = {
        name: TensorType(a.dtype.name, a.shape, q)
        for name, a, q in zip(names, pruned.inputs, pruned.quants, strict=True)
    }
    graph = Graph("g", [names[0]], ["y"], [node], {**types, "y": pruned.kind}, {names[2]: pruned.inputs[2]})
    found = options_of(node, graph, {names[1]: pruned.stored}, level, 1, DEFAULT_PEAKS[level.name])
    best, _ = min(found.options, key=lambda option: option[1])
    assert best is not None
    return best


@pytest.mark.parametrize("level", ALL_LEVELS.values(), ids=lambda v: v.name)
def test_few_pixels_take_lines(level: Level) -> None:
    """Half of the cells are there: on tiles too, 49 pixels of 192 channels are too little."""
    best = choice(Case(192, 256, (7, 7)), 0.5, level)
    assert best.sparse.startswith("64x4 ") and best.reason.startswith(f"sparse {best.sparse}: ")
    assert best.kernel in ("conv2d_b64x4_k4p", "conv2d_b64x4_k4p_amx")


def test_all_cells_of_many_pixels_are_expanded() -> None:
    best = choice(Case(96, 96, (28, 28)), 1.0, VNNI)
    assert best.kernel == "conv2d_q8_k4p" and best.reason.startswith("dense: 64x4 at 0 % would be 0.")


@pytest.mark.parametrize(
    ("channels", "density", "kernel"),
    [
        (640, 0.3, "conv2d_b64x4_k4p_amx"),  # much work: gathered tiles
        (640, 1.0, "conv2d_q8_k4p_amx"),  # nothing to skip: dense tiles
        (48, 0.1, "conv2d_b64x4_k4p"),  # next to nothing to do: vectors
    ],
)
def test_tiles_or_lines(channels: int, density: float, kernel: str) -> None:
    assert choice(Case(channels, 128, (14, 14)), density, AMX).kernel == kernel


@pytest.mark.parametrize("sparse", ["auto", "always", "never"])
@pytest.mark.parametrize("level", [*host_levels()[-1:], AMX], ids=lambda v: v.name)
def test_a_planned_network_equals_the_reference(level: Level, sparse: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planner, verifier, engine and kernels together, from a weight in the file to the answer."""
    if level == AMX and VNNI not in host_levels():
        pytest.skip("the model is compiled for x86-64-v4-vnni")
    monkeypatch.setenv("EDGERT_AMX_MODEL", "1")
    net = Network(4)
    x = net.node("QuantizeLinear", net.input("image", (1, 3, 12, 12)), quant=(0.03, 120))
    for channels, filters, kernel in ((3, 68, 3), (68, 130, 1), (130, 40, 3)):
        x = net.conv_q8(x, channels, filters, kernel)
    for name, tensor in net.tensors.items():
        if tensor.encoding == "q8":
            w = tensor.dense()
            keep = net.rng.random((-(-len(w) // CHANNELS), -(-w.shape[1] // 4), *w.shape[2:])) < 0.4
            w = w * keep.repeat(CHANNELS, 0)[: len(w)].repeat(4, 1)[:, : w.shape[1]]
            net.store(StoredTensor.pack_block(name, w, tensor.parts["scale"], "b64x4"))
    model, feeds = net.model(net.node("DequantizeLinear", x, out="features")), image()
    peaks = DEFAULT_PEAKS[level.name]
    plan = make_plan(infer_types(model.graph), model.tensors, level=level, threads=1, peaks=peaks, sparse=sparse)
    kernels = [step.kernel for step in plan.steps if step.op == "QLinearConv"]
    if sparse != "auto":
        assert {"b64x4" in kernel for kernel in kernels} == {sparse == "always"}
    library = harness.library(level)
    library.prepare(plan.program.kernels)
    answer = Executable(plan, library, None).run(feeds)
    np.testing.assert_array_equal(answer["features"], expected(model, feeds)["features"])


@pytest.mark.parametrize("level", ALL_LEVELS.values(), ids=lambda v: v.name)
def test_fewer_cells_take_less_time(level: Level) -> None:
    found = []
    for density in (1.0, 0.7, 0.5, 0.3, 0.1, 0.0):
        (offer,) = conv_lines.conv_b64x4(Pruned.of(Case(240, 128, (7, 7)), density).site(level))
        assert isinstance(offer, Offer)
        found.append(predict_us(offer, DEFAULT_PEAKS[level.name], 1))
    assert found == sorted(found, reverse=True) and found[0] > 1.5 * found[2]


def test_refusals() -> None:
    groups = Pruned.of(Case(16, 128, (5, 5), (1, 1), {"group": 2}), 0.5).site(AMX)
    for rule in (conv_lines.conv_b64x4, conv_sparse_amx.conv_b64x4_amx):
        (refusal,) = rule(groups)
        assert isinstance(refusal, Refusal) and "2 groups" in refusal.why
    (refusal,) = conv_sparse_amx.conv_b64x4_amx(Pruned.of(Case(16, 64, (7, 7)), 0.5).site(VNNI))
    assert isinstance(refusal, Refusal) and "no AMX tiles" in refusal.why
    (refusal,) = conv_sparse_amx.conv_b64x4_amx(Pruned.of(Case(17000, 4, (4, 5)), 1.0).site(AMX))
    assert isinstance(refusal, Refusal) and "bytes of gathered lines" in refusal.why


def test_other_encodings_are_left_to_others() -> None:
    pruned = Pruned.of(Case(8, 8, (3, 3)), 0.5)
    site = replace(pruned.site(AMX), stored=(None, pruned.stored.expanded(), None))
    assert conv_lines.conv_b64x4(site) == [] and conv_sparse_amx.conv_b64x4_amx(site) == []


@harness.needs_compiler
def test_the_instructions(tmp_path: Path) -> None:
    """Compiles for real: tiles are configured first and released last, and nothing is left to link."""
    kernel = "conv2d_b64x4_k4p_amx"
    arguments = ["--level", AMX.name, "--out", str(tmp_path), "--assembly", kernel]
    subprocess.run([sys.executable, "-m", "edgert.kernels_cpu.compiler", *arguments], check=True, timeout=120)
    words = re.findall(r"^\s+(call\S*|ldtilecfg|tile\w+|tdp\w+)", (tmp_path / f"{kernel}.s").read_text(), re.M)
    assert set(words) == {"ldtilecfg", "tilezero", "tileloadd", "tdpbsud", "tilestored", "tilerelease"}
    assert words.count("ldtilecfg") == words.count("tilerelease") == 1
