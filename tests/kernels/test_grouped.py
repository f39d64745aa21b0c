"""Products of a few rows with weights in groups or halves, on every ISA level: the bits of the arithmetic in NumPy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from grouped_model import ENCODINGS, fma, product, site_for, weights
from harness import ARM_LEVELS, LEVELS, Output, call_kernel, place
from offers import check, offers_for, run_offer

from edgert.format.model import StoredTensor
from edgert.kernels_cpu.reference.g32 import G32, quantize_g32, quantize_g32x2
from edgert.plan.lowering.api import Offer, Site
from edgert.plan.lowering.grouped import STREAMING

SIZES = [  # rows, depth, columns: around groups of 32, blocks of 64 and of 16 columns
    (1, 1, 1), (1, 33, 15), (1, 64, 16), (2, 95, 17), (1, 128, 33), (3, 192, 70), (1, 576, 100), (2, 1500, 40),
]  # fmt: skip
ADDED = ["", "bias", "residual", "bias residual Relu"]


def matvec(site: Site) -> Offer:
    """The offer of the kernels for few rows."""
    found = [offer for offer in offers_for(site)[0] if offer.kernel.startswith("matvec")]
    assert len(found) == 1, offers_for(site)[1]
    return found[0]


@pytest.mark.parametrize(("rows", "depth", "columns"), SIZES)
@pytest.mark.parametrize("added", ADDED)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_groups(encoding: str, added: str, rows: int, depth: int, columns: int, rng: np.random.Generator) -> None:
    stored = weights(encoding, columns, depth, rng)
    x, bias, residual = (rng.standard_normal(s).astype(np.float32) for s in ((rows, depth), columns, (rows, columns)))
    bias_in, residual_in = bias if "bias" in added else None, residual if "residual" in added else None
    want = product(quantize_g32(x), stored, bias_in, residual_in)
    if "Relu" in added:
        want = np.maximum(want, 0)
    for level in LEVELS:
        for threads, order in ((4, "backward"),) if level in ARM_LEVELS else ((1, "forward"), (4, "backward")):
            attrs = {"activation": "Relu"} if "Relu" in added else {}
            site, inputs = site_for(stored, x, bias_in, residual_in, level, threads, **attrs)
            (got,), _ = run_offer(matvec(site), site, inputs, order)
            np.testing.assert_array_equal(got, want, f"{encoding}, {level.name}, {threads} threads")


@pytest.mark.parametrize(("rows", "depth", "columns"), [(1, 33, 15), (2, 95, 17), (9, 200, 70), (40, 576, 33)])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_two_terms(encoding: str, rows: int, depth: int, columns: int, rng: np.random.Generator) -> None:
    """Activations as int16: few rows and many have the bits of the model, near those of a float product."""
    stored, x = weights(encoding, columns, depth, rng), rng.standard_normal((rows, depth)).astype(np.float32)
    terms = np.split(quantize_g32x2(x), 2, axis=-1)
    want = product(G32.of(terms[0]), stored, second=G32.of(terms[1]))
    exact = x.astype(np.float64) @ stored.dense().astype(np.float64).T
    assert np.abs(want - exact).max() < 2e-4 * np.abs(exact).max()
    for level in LEVELS:
        site, inputs = site_for(stored, x, None, None, level, threads=2)
        site = replace(site, activations="int16")
        for offer in offers_for(site)[0]:
            (got,), _ = run_offer(offer, site, inputs, "forward")
            np.testing.assert_array_equal(got, want, f"{offer.kernel} {level.name}")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_largest_values_do_not_overflow(encoding: str, rng: np.random.Generator) -> None:
    stored = weights(encoding, 20, 256, rng)  # row 0 has the largest magnitudes throughout, the last one zeros
    for sign in (1, -1):
        x = np.full((1, 256), 127.0 * sign, np.float32)
        want = product(quantize_g32(x), stored)
        for level in LEVELS:
            site, inputs = site_for(stored, x, None, None, level)
            (got,), _ = run_offer(matvec(site), site, inputs, "forward")
            np.testing.assert_array_equal(got, want, level.name)


@pytest.mark.parametrize("layout", ["row", "n16k1"])
@pytest.mark.parametrize(("rows", "depth", "columns"), SIZES)
def test_halves(rows: int, depth: int, columns: int, layout: str, rng: np.random.Generator) -> None:
    w, x = (rng.standard_normal(s).astype(np.float32) for s in ((columns, depth), (rows, depth)))
    stored = StoredTensor.pack_f16("w", w, layout)
    dense, want = stored.dense(), np.zeros((rows, columns), np.float32)
    for k in range(depth):
        want = fma(x[:, k, None], dense[None, :, k], want)
    for level in LEVELS:
        site, inputs = site_for(stored, x, None, None, level)
        offer = matvec(site)
        assert offer.in_layouts == ("row", None)
        assert ("packed when planned" in offer.reason) == (layout == "row")
        (got,), _ = run_offer(offer, site, inputs, "backward")
        np.testing.assert_array_equal(got, want, level.name)


def test_halves_with_all_that_is_added_against_the_reference(rng: np.random.Generator) -> None:
    w = StoredTensor.pack_f16("w", rng.standard_normal((37, 50)).astype(np.float32), "n16k1")
    x, bias, residual = (rng.standard_normal(s).astype(np.float32) for s in ((3, 50), 37, (3, 37)))
    attrs = {"transB": 1, "residual": 1, "activation": "Clip", "clip_min": -2.0, "clip_max": 3.0}
    check("Gemm", [x, w.dense(), bias, residual], attrs=attrs, constants={1: w, 2: bias}, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kernel", ["matvec_q4_n16k64", "matvec_f16_n16k1"])
def test_rows_that_are_absent_are_not_touched(kernel: str, rng: np.random.Generator) -> None:
    grouped = kernel.endswith("k64")
    stored = weights("q4", 40, 64, rng) if grouped else StoredTensor.pack_f16("w", rng.random((40, 64)), "n16k1")
    x = rng.standard_normal((3, 64)).astype(np.float32)
    bounds: dict[str, int | float] = {"low": -np.inf, "high": np.inf, "rows": 3, "columns": 40}
    for level in LEVELS:
        for present, expected in ((0, 0), (2, 2), (9, 3)):
            y = Output((3, 40), np.float32)
            operands = {
                "x": place(quantize_g32(x).rows() if grouped else x), "w": place(np.asarray(stored.parts["data"])),
                "bias": None, "residual": None, "y": y.array, "rows_at": place(np.array([present], np.int32)),
            }  # fmt: skip
            call_kernel(level, kernel, operands, bounds | ({"blocks": 1, "terms": 1} if grouped else {"depth": 64}))
            y.check_guards()
            untouched = (y.array.view(np.uint32) == 0xA5A5A5A5).all(axis=1)
            np.testing.assert_array_equal(untouched, np.arange(3) >= expected)


def test_an_offer_counts_the_bytes_that_are_streamed(rng: np.random.Generator) -> None:
    stored = weights("q4", 1536, 576, rng)
    for rows in (1, 2, 4):
        site, _ = site_for(stored, np.zeros((rows, 576), np.float32), None, None, LEVELS[0])
        offer = matvec(site)
        assert offer.unit == "dot8"
        assert offer.reason == "int4 groups of 32 in lines of 16 rows, streamed once"
        assert offer.nbytes == round((stored.nbytes + rows * (720 + 4 * 1536)) / (STREAMING if rows == 1 else 1))
        assert stored.nbytes == 96 * 9 * 576


def test_a_large_product_is_cut_for_threads_and_the_residual_may_be_overwritten(rng: np.random.Generator) -> None:
    stored = weights("q8g", 1000, 576, rng)
    x, residual = rng.standard_normal((1, 576)).astype(np.float32), np.zeros((1, 1000), np.float32)
    site, inputs = site_for(stored, x, None, residual, LEVELS[0], threads=2)
    offer = matvec(site)
    assert offer.in_place == 3
    _, runner = run_offer(offer, site, inputs, "backward")
    assert runner.ops[0][1] > 1


def test_refusals_say_what_is_wrong(rng: np.random.Generator) -> None:
    stored = weights("q4", 16, 64, rng)
    x = np.zeros((1, 64), np.float32)
    for attrs, word in (({"transB": 0}, "transB"), ({"alpha": 2.0}, "alpha")):
        site, _ = site_for(stored, x, None, None, LEVELS[0], **attrs)
        offers, refusals = offers_for(site)
        assert not offers
        (refused,) = [r for r in refusals if r.kernel.startswith("matvec")]
        assert word in refused.why
