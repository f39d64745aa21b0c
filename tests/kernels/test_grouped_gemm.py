"""Products of many rows with weights in groups or halves, on every ISA level: the bits of the arithmetic in NumPy, and
those of the kernels for few rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from grouped_model import ENCODINGS, fma, product, site_for, weights
from harness import ARM_LEVELS, LEVELS, Output, call_kernel, place
from offers import offers_for, run_offer

from edgert.format.model import StoredTensor
from edgert.kernels_cpu.levels import LEVELS as ALL_LEVELS
from edgert.kernels_cpu.levels import Level
from edgert.kernels_cpu.reference.g32 import quantize_g32
from edgert.plan.cost import DEFAULT_PEAKS, predict_us
from edgert.plan.lowering.api import Offer, Site
from edgert.plan.lowering.grouped_gemm import SCRATCH, parts

SIZES = [  # rows, depth, columns: around tiles of 2 to 6 rows, groups, blocks, panels of 16 to 64 columns
    (1, 1, 1), (2, 33, 15), (3, 64, 16), (4, 95, 17), (5, 128, 31), (6, 32, 33), (7, 192, 47), (12, 576, 48),
    (13, 160, 65), (6, 1500, 40), (31, 96, 100),
]  # fmt: skip
ADDED = ["", "bias", "residual", "bias residual Relu"]
DEEP = 2112
"""Several passes over k at every level."""


def gemm(site: Site) -> Offer:
    """The offer of the kernels for many rows."""
    (found,) = [offer for offer in offers_for(site)[0] if offer.kernel.startswith("gemm")]
    return found


def ways(level: Level) -> tuple[tuple[int, str], ...]:
    """Threads whose chunks to run, and their order."""
    return ((4, "backward"),) if level in ARM_LEVELS else ((1, "forward"), (4, "backward"))


@pytest.mark.parametrize(("rows", "depth", "columns"), SIZES)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_groups(encoding: str, rows: int, depth: int, columns: int, rng: np.random.Generator) -> None:
    """Each encoding meets each of ADDED at several sizes."""
    added = ADDED[(SIZES.index((rows, depth, columns)) + ENCODINGS.index(encoding)) % len(ADDED)]
    stored = weights(encoding, columns, depth, rng)
    x, bias, residual = (rng.standard_normal(s).astype(np.float32) for s in ((rows, depth), columns, (rows, columns)))
    bias_in, residual_in = bias if "bias" in added else None, residual if "residual" in added else None
    want = product(quantize_g32(x), stored, bias_in, residual_in)
    if "Relu" in added:
        want = np.maximum(want, 0)
    for level in LEVELS:
        for threads, order in ways(level):
            attrs = {"activation": "Relu"} if "Relu" in added else {}
            site, inputs = site_for(stored, x, bias_in, residual_in, level, threads, **attrs)
            offer = gemm(site)
            assert offer.in_layouts[0] == "g32" and offer.unit == "dot8"
            (got,), _ = run_offer(offer, site, inputs, order)
            np.testing.assert_array_equal(got, want, f"{encoding}, {level.name}, {threads} threads")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_largest_values_do_not_overflow(encoding: str, rng: np.random.Generator) -> None:
    stored = weights(encoding, 20, 256, rng)  # row 0 has the largest magnitudes throughout, the last one zeros
    x = np.repeat(np.array([127.0, -127.0, 127.0], np.float32)[:, None], 256, axis=1)
    want = product(quantize_g32(x), stored)
    for level in LEVELS:
        site, inputs = site_for(stored, x, None, None, level)
        (got,), _ = run_offer(gemm(site), site, inputs, "forward")
        np.testing.assert_array_equal(got, want, level.name)


@pytest.mark.parametrize("layout", ["row", "n16k1"])
@pytest.mark.parametrize(("rows", "depth", "columns"), SIZES)
def test_halves(rows: int, depth: int, columns: int, layout: str, rng: np.random.Generator) -> None:
    w, x = (rng.standard_normal(s).astype(np.float32) for s in ((columns, depth), (rows, depth)))
    stored = StoredTensor.pack_f16("w", w, layout)
    bias, residual = (rng.standard_normal(s).astype(np.float32) for s in (columns, (rows, columns)))
    dense, want = stored.dense(), np.zeros((rows, columns), np.float32)
    for k in range(depth):
        want = fma(x[:, k, None], dense[None, :, k], want)
    want = want + bias + residual
    for level in LEVELS:
        site, inputs = site_for(stored, x, bias, residual, level, 4)
        offer = gemm(site)
        assert (offer.in_layouts[0], offer.unit) == ("row", "fma32")
        assert ("packed when planned" in offer.reason) == (layout == "row")
        (got,), _ = run_offer(offer, site, inputs, "backward")
        np.testing.assert_array_equal(got, want, level.name)


@pytest.mark.parametrize("encoding", [*ENCODINGS, "f16"])
def test_a_row_has_the_bits_of_a_row_alone_by_the_kernel_for_few(encoding: str, rng: np.random.Generator) -> None:
    """Several passes over k, a residual that the last one adds, and chunks of rows."""
    halves = encoding == "f16"
    w = rng.standard_normal((40, DEEP))
    stored = StoredTensor.pack_f16("w", w, "n16k1") if halves else weights(encoding, 40, DEEP, rng)
    x, residual = (rng.standard_normal(s).astype(np.float32) for s in ((53, DEEP), (53, 40)))
    for level in LEVELS:
        site, inputs = site_for(stored, x, None, residual, level, threads=4)
        (got,), runner = run_offer(gemm(site), site, inputs, "backward")
        assert runner.ops[0][1] > 1
        for row in (0, 30, 52):
            alone, given = site_for(stored, x[row : row + 1], None, residual[row : row + 1], level)
            offer = next(o for o in offers_for(alone)[0] if o.kernel.startswith("matvec"))
            (want,), _ = run_offer(offer, alone, given, "forward")
            np.testing.assert_array_equal(got[row : row + 1].view(np.uint32), want.view(np.uint32), level.name)


@pytest.mark.parametrize("kernel", ["gemm_q4_n16k64", "gemm_f16_n16k1"])
@pytest.mark.parametrize("row_parts", [1, 3])
def test_rows_that_are_absent_are_not_touched(kernel: str, row_parts: int, rng: np.random.Generator) -> None:
    grouped = kernel.endswith("k64")
    stored = weights("q4", 40, 64, rng) if grouped else StoredTensor.pack_f16("w", rng.random((40, 64)), "n16k1")
    x = rng.standard_normal((7, 64)).astype(np.float32)
    params: dict[str, int | float] = {
        "rows": 7, "columns": 40, "units": 1 if grouped else 64, "row_parts": row_parts, "column_parts": 1,
        "low": -np.inf, "high": np.inf, "terms": 1,
    }  # fmt: skip
    for level in LEVELS:
        for present, expected in ((0, 0), (1, 1), (5, 5), (9, 7)):
            y = Output((7, 40), np.float32)
            operands = {
                "x": place(quantize_g32(x).rows() if grouped else x), "w": place(np.asarray(stored.parts["data"])),
                "bias": None, "residual": None, "y": y.array, "rows_at": place(np.array([present], np.int32)),
            }  # fmt: skip
            call_kernel(level, kernel, operands, params, chunks=row_parts, scratch=SCRATCH)
            y.check_guards()
            untouched = (y.array.view(np.uint32) == 0xA5A5A5A5).all(axis=1)
            np.testing.assert_array_equal(untouched, np.arange(7) >= expected)


@pytest.mark.parametrize("level", ALL_LEVELS.values(), ids=lambda level: level.name)
@pytest.mark.parametrize("encoding", [*ENCODINGS, "f16"])
def test_many_rows_prefer_these_kernels_and_one_row_the_others(
    encoding: str, level: Level, rng: np.random.Generator
) -> None:
    w = rng.standard_normal((576, 576))
    stored = StoredTensor.pack_f16("w", w, "n16k1") if encoding == "f16" else weights(encoding, 576, 576, rng)
    default = DEFAULT_PEAKS[level.name]
    for rows, chosen in ((1, "matvec"), (32, "gemm"), (256, "gemm")):
        site, _ = site_for(stored, np.zeros((rows, 576), np.float32), None, None, level)
        for peaks in (default, replace(default, bytes=20 * default.bytes)):  # of memory, and of a cache
            best = min(offers_for(site)[0], key=lambda offer: predict_us(offer, peaks, 1))
            assert best.kernel.startswith(chosen), f"{rows} rows: {best.kernel}"


def test_work_is_cut_so_that_threads_end_together() -> None:
    def cut(threads: int, rows: int, columns: int, depth: int) -> tuple[int, int]:
        return parts(threads, rows, columns, rows * columns * depth, 32)

    assert cut(1, 256, 576, 576) == (1, 3)  # strips that stay in a cache
    assert cut(2, 256, 576, 576) == (1, 6)  # 18 panels, three to a chunk
    assert cut(2, 4, 32, 64) == (1, 1)  # not worth two threads
    row_parts, column_parts = cut(4, 256, 16, 1536)
    assert (row_parts > 1, column_parts) == (True, 1)  # one panel: only rows can be shared out
    assert cut(1, 2048, 64, 576)[0] == 4


def test_refusals_say_what_is_wrong(rng: np.random.Generator) -> None:
    stored = weights("q4", 16, 64, rng)
    site, _ = site_for(stored, np.zeros((8, 64), np.float32), None, None, LEVELS[0], alpha=2.0)
    refused = [r for r in offers_for(site)[1] if r.kernel == "gemm_q4_n16k64"]
    assert len(refused) == 1 and "alpha" in refused[0].why
