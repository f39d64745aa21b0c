"""Products with weights of which some numbers are kept, on AMX tiles: the bits of their dense twins, on a software
model of the tiles (which needs a machine of level x86-64-v4-vnni), and on silicon where there is."""

from __future__ import annotations

from dataclasses import replace

import harness
import numpy as np
import pytest
from grouped_model import product, site_for
from offers import offers_for, run_offer
from test_bitmap import ENCODINGS, weights

from edgert.kernels_cpu.levels import LEVELS, host_levels
from edgert.kernels_cpu.library import JitLibrary
from edgert.kernels_cpu.reference.g32 import G32, quantize_g32, quantize_g32x2

AMX, VNNI = LEVELS["x86-64-amx"], LEVELS["x86-64-v4-vnni"]
SIZES = [(16, 31, 16, 1.0), (17, 64, 15, 0.0), (31, 95, 33, 0.5), (18, 704, 40, 0.3)]
"""Rows, depth, columns, share of the numbers that are kept; the last in several passes over k."""


@pytest.fixture(scope="module")
def modelled() -> dict[str, JitLibrary]:
    return {}


@pytest.fixture
def model(modelled: dict[str, JitLibrary], monkeypatch: pytest.MonkeyPatch) -> None:
    if VNNI not in host_levels():
        pytest.skip("the model is compiled for x86-64-v4-vnni")
    monkeypatch.setenv("EDGERT_AMX_MODEL", "1")
    monkeypatch.setattr(harness, "_libraries", modelled)


def check(encoding: str, rows: int, depth: int, columns: int, density: float, rng: np.random.Generator) -> None:
    stored = weights(encoding, columns, depth, density, rng)
    x, bias, residual = (rng.standard_normal(s).astype(np.float32) for s in ((rows, depth), columns, (rows, columns)))
    want = product(quantize_g32(x), stored.expanded(), bias, residual)
    for threads, order in ((1, "forward"), (4, "backward")):
        site, inputs = site_for(stored, x, bias, residual, AMX, threads)
        (offer,) = [o for o in offers_for(site)[0] if o.kernel.endswith("_amx")]
        (got,), _ = run_offer(offer, site, inputs, order)
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(("rows", "depth", "columns", "density"), SIZES)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_model(
    encoding: str, rows: int, depth: int, columns: int, density: float, model: None, rng: np.random.Generator
) -> None:
    check(encoding, rows, depth, columns, density, rng)


@pytest.mark.skipif(AMX not in host_levels(), reason="no AMX here, or the system refuses its tiles")
@pytest.mark.parametrize(("rows", "depth", "columns", "density"), SIZES)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_silicon(encoding: str, rows: int, depth: int, columns: int, density: float, rng: np.random.Generator) -> None:
    check(encoding, rows, depth, columns, density, rng)


def test_two_terms(model: None, rng: np.random.Generator) -> None:
    """Activations as int16."""
    stored, x = weights("bitmap4", 33, 704, 0.5, rng), rng.standard_normal((17, 704)).astype(np.float32)
    first, second = (G32.of(part) for part in np.split(quantize_g32x2(x), 2, axis=-1))
    site, inputs = site_for(stored, x, None, None, AMX)
    site = replace(site, activations="int16")
    (offer,) = [o for o in offers_for(site)[0] if o.kernel.endswith("_amx")]
    (got,), _ = run_offer(offer, site, inputs, "forward")
    np.testing.assert_array_equal(got, product(first, stored.expanded(), second=second))


def test_too_few_rows_and_levels_without_tiles_are_refused(rng: np.random.Generator) -> None:
    stored = weights("bitmap8", 16, 64, 0.5, rng)
    for level, rows, word in ((AMX, 15, "16"), (VNNI, 16, "no AMX")):
        site, _ = site_for(stored, np.zeros((rows, 64), np.float32), None, None, level)
        (refused,) = [r for r in offers_for(site)[1] if r.kernel == "gemm_bitmap8_n16k64_amx"]
        assert word in refused.why
