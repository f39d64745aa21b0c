"""The AMX convolution: bit for bit on a software model of the tiles, its instructions, and on silicon where there is.

The model needs a machine of level x86-64-v4-vnni; compiling for AMX needs none.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import harness
import numpy as np
import pytest
from lower import run_rule
from networks import Network, expected, image
from test_conv import DENSE, PAD1, Case, make

from edgert.errors import KernelError
from edgert.format.model import StoredTensor
from edgert.graph.infer import infer_types
from edgert.graph.ir import Node, Quantization, TensorType
from edgert.kernels_cpu import jit, levels
from edgert.kernels_cpu.levels import LEVELS, Level, host_levels, prepare_level
from edgert.kernels_cpu.library import JitLibrary
from edgert.kernels_cpu.reference import Quant, evaluate
from edgert.plan.cost import DEFAULT_PEAKS, predict_us
from edgert.plan.lowering import conv, conv_amx
from edgert.plan.lowering.api import Offer, Refusal, Site
from edgert.plan.planner import make_plan
from edgert.runtime.executable import Executable

KERNEL = "conv2d_q8_k4p_amx"
AMX, VNNI = LEVELS["x86-64-amx"], LEVELS["x86-64-v4-vnni"]
CASES = [
    *DENSE,
    # around 16 cells (64 channels) and 16, 20, 32, 36 filters; odd and even vectors; rows of 14 and of 17 pixels
    Case(64, 16, (6, 8)), Case(68, 20, (5, 9)), Case(160, 36, (4, 8)), Case(132, 32, (7, 7), residual=True, batch=2),
    Case(72, 33, (14, 14), (3, 3), PAD1, residual=True), Case(64, 64, (9, 17), (3, 3), {**PAD1, "activation": "Relu"}),
    Case(80, 24, (15, 15), (3, 3), {**PAD1, "strides": [2, 2]}), Case(160, 48, (7, 9), (1, 1), {"group": 2}),
    Case(136, 72, (6, 20), (3, 1), {"group": 2, "pads": [1, 0, 1, 0]}, batch=2, residual=True),
    Case(72, 20, (97,), (5,)), Case(512, 70, (7, 7), residual=True),  # the last in slices of output channels
]  # fmt: skip


def int8(case: Case) -> tuple[Node, list[np.ndarray], list[Quantization | None], TensorType, StoredTensor]:
    """A QLinearConv with extreme values among its inputs: node, inputs, their quantization, output, weights."""
    rng = np.random.default_rng(2)
    node, floats = make(case, rng)
    x = rng.choice(np.array([0, 1, 127, 128, 255, 77], np.uint8), floats[0].shape)
    w = rng.integers(-127, 128, floats[1].shape).astype(np.int8)
    w[0] = -127
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
    weights = StoredTensor.pack_q8("w", w, wq.scale, "n4k4")
    return Node("QLinearConv", node.inputs, node.outputs, node.attrs, "conv"), inputs, quants, kind, weights


def check(case: Case) -> None:
    node, inputs, quants, kind, weights = int8(case)
    triples = [Quant(q.scale, q.zero_point, q.axis) for q in quants if q is not None]
    out = kind.quant
    assert out is not None
    quant = Quant(out.scale, out.zero_point)
    expected = evaluate("QLinearConv", inputs, node.attrs, triples, [quant], ("uint8",))[0]
    for threads, order in ((1, "forward"), (4, "backward")):
        result = run_rule(conv_amx.conv_q8_amx, node, list(inputs), quants, kind, AMX, {1: weights}, threads, order)
        if isinstance(result, Refusal):
            assert "output pixels" in result.why, result
            return
        assert result[1].kernel == KERNEL
        np.testing.assert_array_equal(result[0], expected)


@pytest.fixture(scope="module")
def modelled() -> dict[str, JitLibrary]:
    return {}


@pytest.mark.skipif(VNNI not in host_levels(), reason="the model is compiled for x86-64-v4-vnni")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_model_equals_the_reference(
    case: Case, modelled: dict[str, JitLibrary], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGERT_AMX_MODEL", "1")
    monkeypatch.setattr(harness, "_libraries", modelled)
    check(case)


@pytest.mark.skipif(AMX not in host_levels(), reason="this machine has no AMX, or the system refuses its tiles")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_silicon_equals_the_reference(case: Case) -> None:
    check(case)


@pytest.mark.skipif(VNNI not in host_levels(), reason="the model is compiled for x86-64-v4-vnni")
def test_a_planned_network_equals_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planner, verifier, engine and kernel together; the first convolution has too few channels for tiles."""
    monkeypatch.setenv("EDGERT_AMX_MODEL", "1")
    net = Network(3)
    x = net.node("QuantizeLinear", net.input("image", (1, 3, 12, 12)), quant=(0.03, 120))
    a = net.conv_q8(x, 3, 72, 3)
    b = net.conv_q8(a, 72, 72, 3)
    c = net.conv_q8(net.node("QLinearAdd", a, b, quant=(0.06, 128)), 72, 40, 1)
    model, feeds = net.model(net.node("DequantizeLinear", c, out="features")), image()
    peaks = DEFAULT_PEAKS[AMX.name]
    plan = make_plan(infer_types(model.graph), model.tensors, level=AMX, threads=1, peaks=peaks)
    assert [s.kernel for s in plan.steps if s.op == "QLinearConv"] == ["conv2d_q8_k4p_avx512vnni", KERNEL, KERNEL]
    library = JitLibrary(AMX, harness.CACHE)
    library.prepare(plan.program.kernels)
    answer = Executable(plan, library, None).run(feeds)
    np.testing.assert_array_equal(answer["features"], expected(model, feeds)["features"])


@harness.needs_compiler
def test_the_instructions(tmp_path: Path) -> None:
    """Compiles for real: tiles are configured first and released last, and nothing is left to link."""
    arguments = ["--level", AMX.name, "--out", str(tmp_path), "--assembly", KERNEL]
    subprocess.run([sys.executable, "-m", "edgert.kernels_cpu.compiler", *arguments], check=True, timeout=120)
    words = re.findall(r"^\s+(call\S*|ldtilecfg|tile\w+|tdp\w+)", (tmp_path / f"{KERNEL}.s").read_text(), re.M)
    assert set(words) == {"ldtilecfg", "tilezero", "tileloadd", "tdpbsud", "tilestored", "tilerelease"}
    assert words.count("ldtilecfg") == words.count("tilerelease") == 1
    assert words[0] == "ldtilecfg"


@harness.needs_compiler
def test_other_levels_do_not_compile_it(tmp_path: Path) -> None:
    arguments = ["--level", VNNI.name, "--out", str(tmp_path), KERNEL]
    command = [sys.executable, "-m", "edgert.kernels_cpu.compiler", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 1 and "need a level with amx" in result.stderr


@harness.needs_compiler
def test_the_model_has_its_own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = jit.cache_folder(tmp_path, AMX)
    monkeypatch.setenv("EDGERT_AMX_MODEL", "1")
    assert jit.cache_folder(tmp_path, AMX) != real


def test_a_refused_permission_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(levels, "_tile_permission", lambda: 22)
    prepare_level(VNNI)
    with pytest.raises(KernelError, match="Invalid argument"):
        prepare_level(AMX)


@pytest.mark.parametrize("cells", range(1, 70))
def test_tiles_cover_all_cells(cells: int) -> None:
    rows, starts = conv_amx.tile_starts(cells)
    assert 1 <= rows <= 16 and starts[0] == 0 and starts[-1] == cells - rows
    assert sorted({start + i for start in starts for i in range(rows)}) == list(range(cells))


def offers(channels: int, filters: int, size: int, level: Level) -> tuple[Offer | Refusal, Offer | Refusal]:
    """What the AMX rule and the vector rule say to a pointwise convolution."""
    node, inputs, quants, kind, weights = int8(Case(channels, filters, (size, size)))
    types = tuple(TensorType(a.dtype.name, a.shape, q) for a, q in zip(inputs, quants, strict=True))
    values = (None, None, inputs[2])
    site = Site(node, types, (kind,), (None, weights, None), values, level, 1)
    return conv_amx.conv_q8_amx(site), conv.conv_q8(site)


@pytest.mark.parametrize(
    ("channels", "filters", "size", "tiles"),
    [(64, 64, 28, True), (256, 64, 14, True), (512, 512, 7, True), (16, 96, 56, False), (32, 16, 56, False)],
)
def test_tiles_are_chosen_where_they_pay(channels: int, filters: int, size: int, tiles: bool) -> None:
    times = []
    for offer in offers(channels, filters, size, AMX):
        assert isinstance(offer, Offer)
        times.append(predict_us(offer, DEFAULT_PEAKS[AMX.name], 1))
    assert (times[0] < times[1]) == tiles


def test_refusals() -> None:
    few, _ = offers(64, 64, 4, AMX)
    assert isinstance(few, Refusal) and "16 output pixels" in few.why
    absent, _ = offers(64, 64, 28, VNNI)
    assert isinstance(absent, Refusal) and "no AMX tiles" in absent.why
