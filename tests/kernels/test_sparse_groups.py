"""Products with 4-bit groups of which some are kept, on every ISA level: the bits of q4 with the zeros filled in."""

from __future__ import annotations

import ctypes
import mmap
from dataclasses import replace

import harness
import numpy as np
import pytest
from grouped_model import product, site_for
from harness import ARM_LEVELS, LEVELS, Output, call_kernel, place
from offers import offers_for, run_offer

from edgert.format.model import StoredTensor
from edgert.kernels_cpu.levels import LEVELS as ALL_LEVELS
from edgert.kernels_cpu.reference.g32 import G32, quantize_g32, quantize_g32x2
from edgert.plan.lowering.api import Offer, Site
from edgert.plan.lowering.grouped_gemm import SCRATCH
from edgert.plan.lowering.sparse_groups import COPY, CURSORS, bounds

FORMS = ("group4", "rowgroup4")
AMX, VNNI = ALL_LEVELS["x86-64-amx"], ALL_LEVELS["x86-64-v4-vnni"]
SIZES = [  # rows, depth, columns: around groups of 32, blocks of 64, of 16 and of 32 columns
    (1, 1, 1), (1, 33, 15), (1, 64, 16), (2, 95, 17), (3, 128, 33), (5, 192, 70), (1, 576, 100), (7, 1500, 40),
]  # fmt: skip
MASKS = ("half", "none", "all", "few", "lower")


def kept(form: str, columns: int, groups: int, how: str, rng: np.random.Generator) -> np.ndarray:
    """Which groups are there, bool [columns, groups]; group4 takes at most 16 of 32 rows."""
    mask = np.zeros((columns, groups), bool)
    share = {"half": 0.5, "none": 0.0, "all": 1.0, "few": 0.05, "lower": 0.5}[how]
    if form == "rowgroup4":
        mask = rng.random((columns, groups)) < share
        mask[:, ::3] &= how != "lower"  # groups that no row has, and rows of blocks without any
        mask[: columns // 2] &= how != "lower"
        return mask
    for first in range(0, columns, 32):
        rows = np.arange(first, min(first + 32, columns))
        for group in range(groups):
            chosen = rows[:16] if how == "lower" else rng.permutation(rows)[:16]
            mask[chosen[: round(32 * share)], group] = True
    return mask


def weights(form: str, columns: int, depth: int, how: str, rng: np.random.Generator) -> StoredTensor:
    mask = kept(form, columns, -(-depth // 32), how, rng)
    values = rng.integers(0, 16, (columns, depth)).astype(np.uint8)
    values[0], values[-1] = 15, 0
    values[~np.repeat(mask, 32, axis=1)[:, :depth]] = 8
    scale = (rng.uniform(-0.02, 0.02, mask.shape) * mask).astype(np.float16)
    pack = StoredTensor.pack_group4 if form == "group4" else StoredTensor.pack_rowgroup4
    return pack("w", values, scale)


def offers(site: Site) -> list[Offer]:
    """Those for few rows and for many."""
    found = offers_for(site)[0]
    assert [offer.kernel.split("_")[0] for offer in found[:2]] == ["matvec", "gemm"], offers_for(site)[1]
    return found


@pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.name)
@pytest.mark.parametrize("form", FORMS)
def test_the_bits_of_the_dense_twin(form: str, level, rng: np.random.Generator) -> None:  # type: ignore[no-untyped-def]
    """Every size with a mask of its own, and every mask at one size; bias, residual and activation by turns."""
    cases = [(size, MASKS[i % len(MASKS)]) for i, size in enumerate(SIZES)] + [((2, 160, 70), how) for how in MASKS]
    for number, ((rows, depth, columns), how) in enumerate(cases):
        stored = weights(form, columns, depth, how, rng)
        x, bias, residual = (
            rng.standard_normal(s).astype(np.float32) for s in ((rows, depth), columns, (rows, columns))
        )
        given = bias if number % 2 else None, residual if number % 3 else None
        want = product(quantize_g32(x), stored.expanded(), *given)
        if number % 4 == 3:
            want = np.maximum(want, 0)
        attrs = {"activation": "Relu"} if number % 4 == 3 else {}
        for threads, order in ((4, "backward"),) if level in ARM_LEVELS else ((1, "forward"), (4, "backward")):
            site, inputs = site_for(stored, x, *given, level, threads, **attrs)
            for offer in offers(site):
                (got,), _ = run_offer(offer, site, inputs, order)
                what = f"{offer.kernel} {rows}x{depth}x{columns} {how}, {threads} threads"
                np.testing.assert_array_equal(got.view(np.uint32), want.view(np.uint32), what)


@pytest.mark.parametrize("form", FORMS)
def test_two_terms_and_several_passes(form: str, rng: np.random.Generator) -> None:
    stored, x = weights(form, 70, 2112, "half", rng), rng.standard_normal((9, 2112)).astype(np.float32)
    terms = np.split(quantize_g32x2(x), 2, axis=-1)
    want = product(G32.of(terms[0]), stored.expanded(), second=G32.of(terms[1]))
    for level in LEVELS:
        site, inputs = site_for(stored, x, None, None, level, threads=2)
        for offer in offers(replace(site, activations="int16")):
            (got,), _ = run_offer(offer, site, inputs, "backward")
            np.testing.assert_array_equal(got, want, f"{offer.kernel} {level.name}")


@pytest.mark.parametrize("form", FORMS)
def test_the_largest_values_do_not_overflow(form: str, rng: np.random.Generator) -> None:
    stored = weights(form, 32, 256, "lower", rng)
    for sign in (1, -1):
        x = np.full((1, 256), 127.0 * sign, np.float32)
        want = product(quantize_g32(x), stored.expanded())
        for level in LEVELS:
            site, inputs = site_for(stored, x, None, None, level)
            for offer in offers(site):
                (got,), _ = run_offer(offer, site, inputs, "forward")
                np.testing.assert_array_equal(got, want, f"{offer.kernel} {level.name}")


@pytest.mark.parametrize("form", FORMS)
def test_what_is_not_a_number_reaches_what_it_reaches_by_the_dense_twin(form: str, rng: np.random.Generator) -> None:
    """Outputs whose group is not kept too: 0 times NaN."""
    stored, x = weights(form, 40, 128, "half", rng), rng.standard_normal((2, 128)).astype(np.float32)
    x[1, 70] = np.nan
    for level in LEVELS:
        site, inputs = site_for(stored, x, None, None, level)
        for offer in offers(site):
            (got,), _ = run_offer(offer, site, inputs, "forward")
            assert np.isfinite(got[0]).all() and np.isnan(got[1]).all(), f"{offer.kernel} {level.name}"


def fenced(array: np.ndarray) -> tuple[np.ndarray, mmap.mmap]:
    """A copy that ends where a page ends, behind which nothing may be touched; and what keeps it."""
    page = mmap.PAGESIZE
    room = -(-array.nbytes // page) * page
    memory = mmap.mmap(-1, room + page)
    whole = np.frombuffer(memory, np.uint8)
    protect = ctypes.CDLL(None).mprotect
    protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    assert protect(whole.ctypes.data + room, page, 0) == 0
    inside = whole[room - array.nbytes : room]
    inside[...] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return inside, memory


@pytest.mark.parametrize("how", ["half", "few"])
@pytest.mark.parametrize("form", FORMS)
def test_nothing_is_read_behind_the_weights(form: str, how: str, rng: np.random.Generator) -> None:
    """Weights are mapped from a file, whose last page may be full."""
    stored = weights(form, 48, 96, how, rng)
    x = rng.standard_normal((2, 96)).astype(np.float32)
    want = product(quantize_g32(x), stored.expanded())
    parts = {role: fenced(np.asarray(stored.parts[role])) for role in stored.parts}
    params = {"rows": 2, "columns": 48, "low": -np.inf, "high": np.inf, "terms": 1}
    layout = "n32k64" if form == "group4" else "n16k64"
    for level in (level for level in LEVELS if level not in ARM_LEVELS):
        for kernel, more in (("matvec", {"blocks": 2}), ("gemm", {"units": 2, "row_parts": 1, "column_parts": 1})):
            y = Output((2, 48), np.float32)
            operands = {"x": place(quantize_g32(x).rows()), "y": y.array, "bias": None, "residual": None,
                        "rows_at": None, "w": parts["data"][0]}  # fmt: skip
            operands |= {role: part for role, (part, _) in parts.items() if role != "data"}
            if (form, kernel) == ("rowgroup4", "matvec"):
                operands["bounds"] = place(bounds(np.asarray(stored.parts["start"]), 1))
            name = f"{kernel}_{form}_{layout}"
            call_kernel(level, name, operands, params | more, scratch=SCRATCH + CURSORS + 64)
            np.testing.assert_array_equal(y.array, want, f"{name} {level.name}")
    assert COPY >= 8 + 32 * 18 + 56


@pytest.mark.parametrize("form", FORMS)
def test_rows_that_are_absent_are_not_touched(form: str, rng: np.random.Generator) -> None:
    stored, x = weights(form, 40, 64, "half", rng), rng.standard_normal((3, 64)).astype(np.float32)
    for level in LEVELS:
        site, _ = site_for(stored, x, None, None, level)
        for present, expected in ((0, 0), (2, 2), (9, 3)):
            y = Output((3, 40), np.float32)
            operands = {
                "x": place(quantize_g32(x).rows()), "w": place(np.asarray(stored.parts["data"])), "bias": None,
                "residual": None, "y": y.array, "rows_at": place(np.array([present], np.int32)),
            }  # fmt: skip
            operands |= {role: place(np.asarray(part)) for role, part in stored.parts.items() if role != "data"}
            if form == "rowgroup4":
                operands["bounds"] = place(bounds(np.asarray(stored.parts["start"]), 1))
            params = {"rows": 3, "columns": 40, "blocks": 1, "terms": 1, "low": -np.inf, "high": np.inf}
            call_kernel(level, offers(site)[0].kernel, operands, params, scratch=COPY)
            y.check_guards()
            untouched = (y.array.view(np.uint32) == 0xA5A5A5A5).all(axis=1)
            np.testing.assert_array_equal(untouched, np.arange(3) >= expected)


@pytest.mark.parametrize(("rows", "depth", "columns"), [(16, 32, 16), (31, 95, 33), (18, 1408, 70)])
@pytest.mark.parametrize("form", FORMS)
def test_the_model_of_amx_tiles(
    form: str, rows: int, depth: int, columns: int, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    """Compiled for x86-64-v4-vnni; compiling for AMX needs no machine."""
    if VNNI not in LEVELS:
        pytest.skip("the model is compiled for x86-64-v4-vnni")
    monkeypatch.setenv("EDGERT_AMX_MODEL", "1")
    monkeypatch.setattr(harness, "_libraries", {})
    stored, x = weights(form, columns, depth, "half", rng), rng.standard_normal((rows, depth)).astype(np.float32)
    want = product(quantize_g32(x), stored.expanded())
    for threads, order in ((1, "forward"), (4, "backward")):
        site, inputs = site_for(stored, x, None, None, AMX, threads)
        (offer,) = [o for o in offers(site) if o.kernel.endswith("_amx")]
        (got,), _ = run_offer(offer, site, inputs, order)
        np.testing.assert_array_equal(got, want)
    site, _ = site_for(stored, x[:15], None, None, AMX)
    assert any("a tile has 16" in r.why for r in offers_for(site)[1])


def test_chunks_have_equal_bytes() -> None:
    start = np.concatenate([[0], np.cumsum([100] * 10 + [10] * 100)]).astype(np.uint32)
    cut = bounds(start, 4)
    assert cut[0] == 0 and cut[-1] == 110
    assert np.ptp(np.diff(start[cut].astype(np.int64))) <= 100
    np.testing.assert_array_equal(bounds(np.zeros(4, np.uint32), 3), [0, 0, 0, 3])


def test_offers_say_what_is_skipped_and_streamed(rng: np.random.Generator) -> None:
    for form, said in (("group4", "group4 50 %"), ("rowgroup4", "rowgroup4 ")):
        stored = weights(form, 1536, 576, "half", rng)
        site, _ = site_for(stored, np.zeros((1, 576), np.float32), None, None, LEVELS[0])
        for offer in offers(site):
            assert offer.sparse.startswith(said) and offer.sparse.endswith(" %")
            assert offer.unit == "dot8" and stored.nbytes <= offer.streamed <= 1.4 * stored.nbytes


def test_a_large_product_is_cut_for_threads(rng: np.random.Generator) -> None:
    for form in FORMS:
        stored = weights(form, 1000, 576, "half", rng)
        x, residual = rng.standard_normal((1, 576)).astype(np.float32), np.zeros((1, 1000), np.float32)
        site, inputs = site_for(stored, x, None, residual, LEVELS[0], threads=2)
        offer = offers(site)[0]
        assert offer.in_place == 3
        _, runner = run_offer(offer, site, inputs, "backward")
        assert runner.ops[0][1] > 1


def test_refusals_say_what_is_wrong(rng: np.random.Generator) -> None:
    for form in FORMS:
        site, _ = site_for(weights(form, 16, 64, "half", rng), np.zeros((1, 64), np.float32), None, None, LEVELS[0],
                           alpha=2.0)  # fmt: skip
        found, refused = offers_for(site)
        assert not found
        assert sum("alpha" in r.why for r in refused) >= 2
