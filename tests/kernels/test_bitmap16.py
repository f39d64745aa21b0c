"""Products with half-precision weights of which some are kept, on every ISA level: the bits of their dense twins."""

from __future__ import annotations

import numpy as np
import pytest
from grouped_model import fma, site_for
from harness import ARM_LEVELS, LEVELS, Output, call_kernel, place
from offers import offers_for, run_offer

from edgert.format.model import StoredTensor

SIZES = [  # rows, depth, columns, share of the numbers that are kept
    (1, 1, 1, 1.0), (1, 31, 15, 0.5), (2, 63, 16, 0.0), (1, 64, 17, 0.02), (3, 65, 33, 0.5), (5, 192, 48, 0.3),
    (13, 130, 70, 0.5), (2, 700, 20, 0.5),
]  # fmt: skip


def weights(columns: int, depth: int, density: float, rng: np.random.Generator) -> StoredTensor:
    values = rng.standard_normal((columns, depth)).astype(np.float32)
    values[rng.random((columns, depth)) >= density] = 0
    return StoredTensor.pack_bitmap16("w", values)


@pytest.mark.parametrize("added", ["", "bias residual Relu"])
@pytest.mark.parametrize(("rows", "depth", "columns", "density"), SIZES)
def test_kept_halves(rows: int, depth: int, columns: int, density: float, added: str, rng: np.random.Generator) -> None:
    """Few rows and many. What lies behind a row of x is never multiplied by the zeros of padding: it may be NaN."""
    stored = weights(columns, depth, density, rng)
    x, bias, residual = (rng.standard_normal(s).astype(np.float32) for s in ((rows, depth), columns, (rows, columns)))
    dense, want = stored.dense(), np.zeros((rows, columns), np.float32)
    for k in range(depth):
        want = fma(x[:, k, None], dense[None, :, k], want)
    if added:
        want = np.maximum(want + bias + residual, 0)
    for level in LEVELS:
        for threads, order in ((4, "backward"),) if level in ARM_LEVELS else ((1, "forward"), (4, "backward")):
            given = (bias, residual) if added else (None, None)
            attrs = {"activation": "Relu"} if added else {}
            site, inputs = site_for(stored, x, *given, level, threads, **attrs)
            offers = offers_for(site)[0]
            assert [offer.kernel for offer in offers] == ["matvec_bitmap16_n16k64", "gemm_bitmap16_n16k64"]
            for offer in offers:
                assert (offer.in_layouts[0], offer.unit) == ("row", "fma32")
                assert offer.sparse == f"bitmap16 {round(100 * (1 - stored.density))} %"
                (got,), _ = run_offer(offer, site, inputs, order)
                np.testing.assert_array_equal(got, want, f"{offer.kernel}, {level.name}, {threads} threads")


def test_what_lies_behind_a_row_is_not_multiplied(rng: np.random.Generator) -> None:
    stored = weights(20, 65, 0.5, rng)
    x = np.full((1, 128), np.nan, np.float32)
    x[0, :65] = rng.standard_normal(65)
    expected = x[:, :65].astype(np.float64) @ stored.dense().astype(np.float64).T
    params: dict[str, dict[str, int | float]] = {
        "matvec": {}, "gemm": {"units": 2, "row_parts": 1, "column_parts": 1, "terms": 1},
    }  # fmt: skip
    for level in LEVELS:
        for kind, own in params.items():
            y = Output((1, 20), np.float32)
            operands = {
                "x": place(x), "w": place(np.asarray(stored.parts["data"])), "bias": None, "residual": None,
                "y": y.array, "rows_at": None, "start": place(np.asarray(stored.parts["start"])),
            }  # fmt: skip
            if kind == "matvec":
                operands["bounds"] = place(np.array([0, 1], np.uint32))
            known = {"rows": 1, "columns": 20, "depth": 65, "low": -np.inf, "high": np.inf}
            call_kernel(level, f"{kind}_bitmap16_n16k64", operands, known | own, scratch=32 << 10)
            y.check_guards()
            np.testing.assert_allclose(y.array, expected, 1e-5, 1e-5)


def test_rows_that_are_absent_are_not_touched(rng: np.random.Generator) -> None:
    stored = weights(40, 64, 0.5, rng)
    x = rng.standard_normal((3, 64)).astype(np.float32)
    for level in LEVELS:
        for present, expected in ((0, 0), (2, 2), (9, 3)):
            y = Output((3, 40), np.float32)
            operands = {
                "x": place(x), "w": place(np.asarray(stored.parts["data"])), "bias": None, "residual": None,
                "y": y.array, "rows_at": place(np.array([present], np.int32)),
                "start": place(np.asarray(stored.parts["start"])), "bounds": place(np.array([0, 2], np.uint32)),
            }  # fmt: skip
            params = {"rows": 3, "columns": 40, "depth": 64, "low": -np.inf, "high": np.inf}
            call_kernel(level, "matvec_bitmap16_n16k64", operands, params, scratch=8 << 10)
            y.check_guards()
            untouched = (y.array.view(np.uint32) == 0xA5A5A5A5).all(axis=1)
            np.testing.assert_array_equal(untouched, np.arange(3) >= expected)


def test_refusals_say_what_is_wrong(rng: np.random.Generator) -> None:
    site, _ = site_for(weights(16, 64, 0.5, rng), np.zeros((1, 64), np.float32), None, None, LEVELS[0], alpha=2.0)
    offers, refusals = offers_for(site)
    assert not offers
    refused = [r for r in refusals if "bitmap16" in r.kernel]
    assert len(refused) == 2 and all("alpha" in r.why for r in refused)
