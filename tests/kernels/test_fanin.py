"""Products with weights of constant fan-in, on every ISA level: the bits of the stated sum, near the dense twin's."""

from __future__ import annotations

import numpy as np
import pytest
from grouped_model import fma, site_for
from harness import ARM_LEVELS, LEVELS, Output, call_kernel, place
from offers import offers_for, run_offer

from edgert.format.model import StoredTensor
from edgert.plan.lowering.api import Offer, Site

SIZES = [  # rows, depth, columns, kept: around lines of 16 outputs and tiles of 4 rows
    (1, 1, 1, 1), (1, 40, 15, 3), (2, 100, 16, 10), (4, 300, 17, 25), (9, 64, 33, 64), (1, 50, 20, 0),
]  # fmt: skip


def weights(columns: int, depth: int, kept: int, rng: np.random.Generator) -> StoredTensor:
    values = np.zeros((columns, depth), np.int8)
    for row in values:
        row[rng.choice(depth, kept, replace=False)] = rng.choice([-127, -5, -1, 1, 3, 126, 127], kept)
    return StoredTensor.pack_fanin("w", values, rng.uniform(0.001, 0.02, columns).astype(np.float32))


def model(x: np.ndarray, stored: StoredTensor) -> np.ndarray:
    """float32 [T, N]: for each output one sum, its weights in their order, times its scale."""
    columns = stored.shape[0]
    index, data = (np.concatenate(np.asarray(stored.parts[role]), axis=1)[:, :columns].T for role in ("index", "data"))
    y = np.zeros((len(x), columns), np.float32)
    for j in range(index.shape[1]):
        y = fma(data[None, :, j].astype(np.float32), x[:, index[:, j]], y)
    return y * np.asarray(stored.parts["scale"])


def fanin(site: Site) -> Offer:
    found = [offer for offer in offers_for(site)[0] if offer.kernel == "matvec_fanin_n16"]
    assert len(found) == 1, offers_for(site)[1]
    return found[0]


@pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.name)
def test_the_stated_sum(level, rng: np.random.Generator) -> None:  # type: ignore[no-untyped-def]
    for number, (rows, depth, columns, kept) in enumerate(SIZES):
        stored = weights(columns, depth, kept, rng)
        x, bias, residual = (
            rng.standard_normal(s).astype(np.float32) for s in ((rows, depth), columns, (rows, columns))
        )
        given = bias if number % 2 else None, residual if number % 3 else None
        want = model(x, stored)
        np.testing.assert_allclose(want, x @ stored.dense().T, rtol=1e-4, atol=1e-4)
        for added in given:
            want = want if added is None else want + added
        want = np.clip(want, -1.0, 2.0) if number % 2 else want
        attrs = {"activation": "Clip", "clip_min": -1.0, "clip_max": 2.0} if number % 2 else {}
        for threads, order in ((4, "backward"),) if level in ARM_LEVELS else ((1, "forward"), (4, "backward")):
            site, inputs = site_for(stored, x, *given, level, threads, **attrs)
            (got,), _ = run_offer(fanin(site), site, inputs, order)
            np.testing.assert_array_equal(got, want, f"{rows}x{depth}x{columns} {kept} kept, {threads} threads")


def test_rows_that_are_absent_are_not_touched(rng: np.random.Generator) -> None:
    stored, x = weights(20, 64, 7, rng), rng.standard_normal((3, 64)).astype(np.float32)
    scale = np.zeros(32, np.float32)
    scale[:20] = stored.parts["scale"]
    for level in LEVELS:
        for present, expected in ((0, 0), (2, 2), (9, 3)):
            y = Output((3, 20), np.float32)
            operands = {
                "x": place(x), "w": place(np.asarray(stored.parts["data"])), "bias": None, "residual": None,
                "y": y.array, "rows_at": place(np.array([present], np.int32)),
                "index": place(np.asarray(stored.parts["index"])), "scale": place(scale),
            }  # fmt: skip
            params = {"rows": 3, "columns": 20, "depth": 64, "kept": 7, "low": -np.inf, "high": np.inf}
            call_kernel(level, "matvec_fanin_n16", operands, params)
            y.check_guards()
            untouched = (y.array.view(np.uint32) == 0xA5A5A5A5).all(axis=1)
            np.testing.assert_array_equal(untouched, np.arange(3) >= expected)


def test_an_offer_says_what_is_skipped_and_the_dense_product_stays_away(rng: np.random.Generator) -> None:
    stored = weights(64, 200, 20, rng)
    site, _ = site_for(stored, np.zeros((1, 200), np.float32), None, None, LEVELS[0])
    found, refused = offers_for(site)
    assert [offer.kernel for offer in found] == ["matvec_fanin_n16"]
    assert found[0].sparse == "fanin 20 90 %" and found[0].macs == 64 * 20
    assert any(r.kernel == "gemm_f32_n16k1" for r in refused)


def test_refusals_say_what_is_wrong(rng: np.random.Generator) -> None:
    site, _ = site_for(weights(16, 64, 4, rng), np.zeros((1, 64), np.float32), None, None, LEVELS[0], transB=0)
    found, refused = offers_for(site)
    assert not found and any("transB" in r.why for r in refused if r.kernel == "matvec_fanin_n16")
