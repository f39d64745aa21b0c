"""Grouped weights on AMX tiles: bit for bit the arithmetic of the other kernels, on a software model of the tiles, on
silicon where there is, and the instructions.

The model needs a machine of level x86-64-v4-vnni; compiling for AMX needs none.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import harness
import numpy as np
import pytest
from grouped_model import ENCODINGS, product, weights
from harness import Output, call_kernel, place
from offers import offers_for, run_offer
from test_grouped_gemm import site_for

from edgert.kernels_cpu.levels import LEVELS, host_levels
from edgert.kernels_cpu.library import JitLibrary
from edgert.kernels_cpu.reference.g32 import G32, quantize_g32, quantize_g32x2
from edgert.plan.cost import DEFAULT_PEAKS, predict_us
from edgert.plan.lowering.api import Offer
from edgert.plan.lowering.grouped_amx import AMX_SCRATCH

AMX, VNNI = LEVELS["x86-64-amx"], LEVELS["x86-64-v4-vnni"]
SIZES = [(16, 32, 16), (17, 64, 15), (31, 95, 33), (32, 160, 47), (18, 704, 40)]
"""Rows, depth, columns: whole tiles and what is left, panels of 32 columns; the last in several passes over k."""
on_silicon = pytest.mark.skipif(AMX not in host_levels(), reason="no AMX here, or the system refuses its tiles")


@pytest.fixture(scope="module")
def modelled() -> dict[str, JitLibrary]:
    return {}


@pytest.fixture
def model(modelled: dict[str, JitLibrary], monkeypatch: pytest.MonkeyPatch) -> None:
    if VNNI not in host_levels():
        pytest.skip("the model is compiled for x86-64-v4-vnni")
    monkeypatch.setenv("EDGERT_AMX_MODEL", "1")
    monkeypatch.setattr(harness, "_libraries", modelled)


def check(encoding: str, rows: int, depth: int, columns: int, rng: np.random.Generator) -> None:
    stored = weights(encoding, columns, depth, rng)
    x, bias, residual = (rng.standard_normal(s).astype(np.float32) for s in ((rows, depth), columns, (rows, columns)))
    want = product(quantize_g32(x), stored, bias, residual)
    for threads, order in ((1, "forward"), (4, "backward")):
        site, inputs = site_for(stored, x, bias, residual, AMX, threads)
        (offer,) = [o for o in offers_for(site)[0] if o.kernel.endswith("_amx")]
        (got,), _ = run_offer(offer, site, inputs, order)
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(("rows", "depth", "columns"), SIZES)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_model(encoding: str, rows: int, depth: int, columns: int, model: None, rng: np.random.Generator) -> None:
    check(encoding, rows, depth, columns, rng)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_two_terms(encoding: str, model: None, rng: np.random.Generator) -> None:
    """Activations as int16."""
    stored, x = weights(encoding, 33, 704, rng), rng.standard_normal((17, 704)).astype(np.float32)
    first, second = (G32.of(part) for part in np.split(quantize_g32x2(x), 2, axis=-1))
    site, inputs = site_for(stored, x, None, None, AMX)
    site = replace(site, activations="int16")
    (offer,) = [o for o in offers_for(site)[0] if o.kernel.endswith("_amx")]
    (got,), _ = run_offer(offer, site, inputs, "forward")
    np.testing.assert_array_equal(got, product(first, stored, second=second))


@on_silicon
@pytest.mark.parametrize(("rows", "depth", "columns"), SIZES)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_silicon(encoding: str, rows: int, depth: int, columns: int, rng: np.random.Generator) -> None:
    check(encoding, rows, depth, columns, rng)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("present", [0, 1, 5, 15, 16, 19])
def test_rows_that_are_absent_are_neither_read_nor_written(
    encoding: str, present: int, model: None, rng: np.random.Generator
) -> None:
    stored, x = weights(encoding, 20, 64, rng), rng.standard_normal((20, 64)).astype(np.float32)
    g32, y = quantize_g32(x), Output((20, 20), np.float32)
    rows = g32.rows()
    rows[present:] = 0xFF  # scales that are not numbers
    operands = {
        "x": place(rows), "w": place(np.asarray(stored.parts["data"])), "bias": None, "residual": None, "y": y.array,
        "rows_at": place(np.array([present], np.int32)),
    }  # fmt: skip
    params: dict[str, int | float] = {
        "rows": 20, "columns": 20, "units": 1, "row_parts": 2, "column_parts": 1, "low": -np.inf, "high": np.inf,
        "terms": 1,
    }  # fmt: skip
    call_kernel(AMX, f"gemm_{encoding}_n16k64_amx", operands, params, chunks=2, scratch=AMX_SCRATCH)
    y.check_guards()
    np.testing.assert_array_equal(y.array[:present], product(g32, stored)[:present])
    assert (y.array[present:].view(np.uint32) == 0xA5A5A5A5).all()


@harness.needs_compiler
def test_the_instructions(tmp_path: Path) -> None:
    """Compiles for real: tiles are configured once, first, and released."""
    kernel = "gemm_q4m_n16k64_amx"
    arguments = ["--level", AMX.name, "--out", str(tmp_path), "--assembly", kernel]
    subprocess.run([sys.executable, "-m", "edgert.kernels_cpu.compiler", *arguments], check=True, timeout=120)
    words = re.findall(r"^\s+(ldtilecfg|tile\w+|tdp\w+)", (tmp_path / f"{kernel}.s").read_text(), re.M)
    assert set(words) == {"ldtilecfg", "tilezero", "tileloadd", "tdpbssd", "tilestored", "tilerelease"}
    assert words.count("ldtilecfg") == words.count("tilerelease") == 1
    assert words[0] == "ldtilecfg"


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_tiles_are_chosen_for_whole_tiles_of_rows(encoding: str, rng: np.random.Generator) -> None:
    stored = weights(encoding, 576, 576, rng)

    def best(rows: int) -> str:
        site, _ = site_for(stored, np.zeros((rows, 576), np.float32), None, None, AMX)
        offers: list[Offer] = offers_for(site)[0]
        return min(offers, key=lambda offer: predict_us(offer, DEFAULT_PEAKS[AMX.name], 1)).kernel

    assert best(256).endswith("_amx")
    assert best(1).startswith("matvec")


def test_refusals(rng: np.random.Generator) -> None:
    stored = weights("q4", 16, 64, rng)
    for rows, level, word in ((15, AMX, "15 rows"), (64, VNNI, "no AMX tiles")):
        site, _ = site_for(stored, np.zeros((rows, 64), np.float32), None, None, level)
        (refused,) = [r for r in offers_for(site)[1] if r.kernel.endswith("_amx")]
        assert word in refused.why
