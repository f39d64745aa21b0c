"""Products with weights of which some numbers are kept, on every ISA level: the bits of their dense twins."""

from __future__ import annotations

import ctypes
import mmap
import os
from dataclasses import replace

import numpy as np
import pytest
from grouped_model import product, site_for
from harness import ARM_LEVELS, DEVICE_LEVELS, KERNEL, LEVELS, Output, call_kernel, library, place
from offers import offers_for, run_offer

from edgert.format.model import StoredTensor
from edgert.kernels_cpu.levels import LEVELS as ALL_LEVELS
from edgert.kernels_cpu.levels import Level
from edgert.kernels_cpu.record import pack_record
from edgert.kernels_cpu.reference.g32 import G32, quantize_g32, quantize_g32x2
from edgert.plan.cost import DEFAULT_PEAKS, predict_us
from edgert.plan.lowering.sparse_bitmap import BLOCK_PANEL, COPY

ENCODINGS = ("bitmap8", "bitmap4", "nm8", "nm4")
SIZES = [  # rows, depth, columns, share of the numbers that are kept
    (1, 1, 1, 1.0), (1, 31, 15, 0.5), (2, 32, 16, 0.0), (1, 63, 17, 0.02), (3, 64, 16, 1.0), (1, 65, 33, 0.5),
    (4, 192, 40, 0.3), (5, 576, 33, 0.5), (13, 160, 70, 0.1), (6, 1500, 20, 0.5),
]  # fmt: skip
ADDED = ["", "bias", "residual", "bias residual Relu"]
PATTERNS = [(2, 4), (4, 8), (6, 8), (5, 16), (31, 32), (1, 2)]
DEEP = 2112
"""Several passes over k at every level."""


def weights(encoding: str, columns: int, depth: int, density: float, rng: np.random.Generator) -> StoredTensor:
    """Random weights [columns, depth], extreme numbers among them, of which a share of `density` is kept: a different
    one in every row of blocks. n:m has one of PATTERNS, and some of its kept numbers are zero."""
    scale = rng.uniform(-0.02, 0.02, (columns, -(-depth // 32))).astype(np.float16)
    if encoding.endswith("8"):
        numbers, zero = rng.integers(-128, 128, (columns, depth)).astype(np.int8), 0
        numbers[0] = -128
    else:
        numbers, zero = rng.integers(0, 16, (columns, depth)).astype(np.uint8), 8
        numbers[0], numbers[-1] = 15, 0
    if encoding.startswith("nm"):
        n, m = PATTERNS[(columns + depth) % len(PATTERNS)]
        rank = rng.random((columns, -(-depth // m), m)).argsort(axis=2).argsort(axis=2)
        numbers[(rank >= n).reshape(columns, -1)[:, :depth]] = zero
        return StoredTensor.pack_nm("w", numbers, scale, n, m)
    likely = density * (0.5 + np.arange(columns) // 16 % 2) if density < 1 else np.ones(columns)
    numbers[rng.random((columns, depth)) >= likely[:, None]] = zero
    return (StoredTensor.pack_bitmap8 if zero == 0 else StoredTensor.pack_bitmap4)("w", numbers, scale)


def ways(level: Level) -> tuple[tuple[int, str], ...]:
    """Threads whose chunks to run, and their order."""
    return ((4, "backward"),) if level in ARM_LEVELS else ((1, "forward"), (4, "backward"))


@pytest.mark.parametrize(("rows", "depth", "columns", "density"), SIZES)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_kept_numbers(
    encoding: str, rows: int, depth: int, columns: int, density: float, rng: np.random.Generator
) -> None:
    """Few rows and many; each encoding meets each of ADDED at several sizes."""
    added = ADDED[(SIZES.index((rows, depth, columns, density)) + ENCODINGS.index(encoding)) % len(ADDED)]
    stored = weights(encoding, columns, depth, density, rng)
    x, bias, residual = (rng.standard_normal(s).astype(np.float32) for s in ((rows, depth), columns, (rows, columns)))
    bias_in, residual_in = bias if "bias" in added else None, residual if "residual" in added else None
    want = product(quantize_g32(x), stored.expanded(), bias_in, residual_in)
    if "Relu" in added:
        want = np.maximum(want, 0)
    for level in LEVELS:
        for threads, order in ways(level):
            attrs = {"activation": "Relu"} if "Relu" in added else {}
            site, inputs = site_for(stored, x, bias_in, residual_in, level, threads, **attrs)
            offers = offers_for(site)[0]
            assert [offer.kernel.partition("_")[0] for offer in offers] == ["matvec", "gemm"]
            for offer in offers:
                assert offer.in_layouts[0] == "g32" and offer.unit == "dot8"
                (got,), _ = run_offer(offer, site, inputs, order)
                np.testing.assert_array_equal(got, want, f"{offer.kernel}, {level.name}, {threads} threads")


@pytest.mark.parametrize(("rows", "depth", "columns"), [(1, 33, 15), (9, 200, 70)])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_two_terms(encoding: str, rows: int, depth: int, columns: int, rng: np.random.Generator) -> None:
    stored = weights(encoding, columns, depth, 0.5, rng)
    x = rng.standard_normal((rows, depth)).astype(np.float32)
    terms = np.split(quantize_g32x2(x), 2, axis=-1)
    want = product(G32.of(terms[0]), stored.expanded(), second=G32.of(terms[1]))
    for level in LEVELS:
        site, inputs = site_for(stored, x, None, None, level, threads=2)
        site = replace(site, activations="int16")
        for offer in offers_for(site)[0]:
            (got,), _ = run_offer(offer, site, inputs, "forward")
            np.testing.assert_array_equal(got, want, f"{offer.kernel} {level.name}")


@pytest.mark.parametrize("encoding", ["bitmap8", "bitmap4"])
def test_the_largest_values_do_not_overflow(encoding: str, rng: np.random.Generator) -> None:
    stored = weights(encoding, 20, 256, 1.0, rng)  # row 0 has the largest magnitudes throughout
    x = np.repeat(np.array([127.0, -127.0, 127.0], np.float32)[:, None], 256, axis=1)
    want = product(quantize_g32(x), stored.expanded())
    for level in LEVELS:
        site, inputs = site_for(stored, x, None, None, level)
        for offer in offers_for(site)[0]:
            (got,), _ = run_offer(offer, site, inputs, "forward")
            np.testing.assert_array_equal(got, want, f"{offer.kernel} {level.name}")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_row_among_many_has_the_bits_of_a_row_alone(encoding: str, rng: np.random.Generator) -> None:
    """Several passes over k, a residual that the last one adds, and chunks of rows."""
    stored = weights(encoding, 40, DEEP, 0.4, rng)
    x, residual = (rng.standard_normal(s).astype(np.float32) for s in ((53, DEEP), (53, 40)))
    for level in LEVELS:
        site, inputs = site_for(stored, x, None, residual, level, threads=4)
        (got,), runner = run_offer(offers_for(site)[0][1], site, inputs, "backward")
        assert runner.ops[0][0].startswith("gemm") and runner.ops[0][1] > 1
        for row in (0, 52):
            alone, given = site_for(stored, x[row : row + 1], None, residual[row : row + 1], level)
            (want,), _ = run_offer(offers_for(alone)[0][0], alone, given, "forward")
            np.testing.assert_array_equal(got[row : row + 1].view(np.uint32), want.view(np.uint32), level.name)


def test_rows_that_are_absent_are_not_touched(rng: np.random.Generator) -> None:
    stored = weights("bitmap4", 40, 64, 0.5, rng)
    x = rng.standard_normal((3, 64)).astype(np.float32)
    params: dict[str, int | float] = {
        "rows": 3, "columns": 40, "low": -np.inf, "high": np.inf, "terms": 1,
    }  # fmt: skip
    own: dict[str, dict[str, int | float]] = {
        "matvec": {"blocks": 1}, "gemm": {"units": 1, "row_parts": 1, "column_parts": 1},
    }  # fmt: skip
    for level in LEVELS:
        for present, expected in ((0, 0), (2, 2), (9, 3)):
            for kind, more in own.items():
                y = Output((3, 40), np.float32)
                operands = {
                    "x": place(quantize_g32(x).rows()), "w": place(np.asarray(stored.parts["data"])), "bias": None,
                    "residual": None, "y": y.array, "rows_at": place(np.array([present], np.int32)),
                    "start": place(np.asarray(stored.parts["start"])),
                }  # fmt: skip
                if kind == "matvec":
                    operands["bounds"] = place(np.array([0, 3], np.uint32))
                call_kernel(level, f"{kind}_bitmap4_n16k64", operands, params | more, scratch=32 << 10)
                y.check_guards()
                untouched = (y.array.view(np.uint32) == 0xA5A5A5A5).all(axis=1)
                np.testing.assert_array_equal(untouched, np.arange(3) >= expected)


@pytest.mark.parametrize("level", [v for v in LEVELS if v not in (*ARM_LEVELS, *DEVICE_LEVELS)], ids=lambda v: v.name)
@pytest.mark.parametrize("encoding", ["bitmap8", "bitmap4"])
def test_nothing_is_read_behind_the_last_page_of_a_file(encoding: str, level: Level, rng: np.random.Generator) -> None:
    """Lines are read 64 bytes long, but the last part of a model may end where its file and a page do."""
    stored, page = weights(encoding, 32, 128, 0.3, rng), mmap.PAGESIZE
    data, name = np.asarray(stored.parts["data"]), f"matvec_{encoding}_n16k64"
    room = mmap.mmap(-1, 3 * page)
    whole = np.frombuffer(room, np.uint8)
    end = (whole.ctypes.data // page + 2) * page - whole.ctypes.data
    whole[end - data.size : end] = data
    y = np.zeros((1, 32), np.float32)
    operands = {
        "x": place(quantize_g32(np.ones((1, 128), np.float32)).rows()), "bias": None, "residual": None,
        "y": y, "rows_at": None, "start": place(np.asarray(stored.parts["start"])),
        "bounds": np.array([0, 2], np.uint32), "w": whole[end - data.size : end],
    }  # fmt: skip
    addresses = {key: 0 if v is None else v.__array_interface__["data"][0] for key, v in operands.items()}
    params = {"rows": 1, "columns": 32, "blocks": 2, "terms": 1, "low": -np.inf, "high": np.inf}
    record = place(np.frombuffer(pack_record(name, addresses, params, 1), np.uint8))
    scratch = place(np.zeros(COPY + BLOCK_PANEL, np.uint8))
    library(level).prepare([name])
    kernel, forbid = KERNEL(library(level).address(name)), ctypes.CDLL(None).mprotect
    forbid.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    child = os.fork()
    if child == 0:  # where reading behind the end is the end
        if forbid(whole.ctypes.data + end, page, 0) == 0:
            kernel(record.ctypes.data, 0, scratch.ctypes.data)
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    del operands, whole


def test_chunks_have_as_many_bytes_not_as_many_rows(rng: np.random.Generator) -> None:
    numbers = rng.integers(1, 128, (1024, 512)).astype(np.int8)
    numbers[256:] = 0  # a quarter of the rows has all there is
    stored = StoredTensor.pack_bitmap8("w", numbers, np.full((1024, 16), 0.01, np.float16))
    x = rng.standard_normal((1, 512)).astype(np.float32)
    want = product(quantize_g32(x), stored.expanded())
    site, inputs = site_for(stored, x, None, None, LEVELS[-1], threads=2)
    offer = offers_for(site)[0][0]
    (got,), runner = run_offer(offer, site, inputs, "backward")
    np.testing.assert_array_equal(got, want)
    chunks = runner.ops[0][1]
    tables = [m.view(np.uint32)[: chunks + 1] for m in runner.memory.values() if m.size == 64]
    (table,) = (t for t in tables if t[chunks] == 64)
    nbytes = np.diff(np.asarray(stored.parts["start"])[table])
    assert chunks > 4 and table[0] == 0 and nbytes.max() < 1.5 * nbytes.mean()
    assert np.diff(table).max() > 3 * np.diff(table).min()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_an_offer_says_what_is_kept_and_counts_the_bytes_that_are_streamed(
    encoding: str, rng: np.random.Generator
) -> None:
    stored = weights(encoding, 64, 576, 0.5, rng)
    site, _ = site_for(stored, np.zeros((1, 576), np.float32), None, None, LEVELS[0])
    few, many = offers_for(site)[0]
    share = round(100 * (1 - stored.density))
    assert few.sparse == many.sparse == f"{stored.pattern} {share} %"
    assert stored.nbytes <= few.streamed < 1.2 * stored.nbytes and few.nbytes > few.streamed
    assert few.macs == many.macs == 64 * 576


@pytest.mark.parametrize("level", ALL_LEVELS.values(), ids=lambda level: level.name)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_many_rows_prefer_panels_and_one_row_does_not(encoding: str, level: Level, rng: np.random.Generator) -> None:
    """Without vpexpandb both expand alike."""
    stored = weights(encoding, 576, 576, 0.5, rng)
    for rows, chosen in ((1, "matvec" if "expand" in level.features else ""), (64, "gemm"), (256, "gemm")):
        site, _ = site_for(stored, np.zeros((rows, 576), np.float32), None, None, level)
        peaks = DEFAULT_PEAKS[level.name]
        best = min(offers_for(site)[0], key=lambda offer: predict_us(offer, peaks, 1))
        assert best.kernel.startswith(chosen), f"{rows} rows: {best.kernel}"


def test_refusals_say_what_is_wrong(rng: np.random.Generator) -> None:
    stored = weights("bitmap8", 16, 64, 0.5, rng)
    site, _ = site_for(stored, np.zeros((1, 64), np.float32), None, None, LEVELS[0], alpha=2.0)
    offers, refusals = offers_for(site)
    assert not offers
    refused = [r for r in refusals if r.kernel.endswith("bitmap8_n16k64")]
    assert len(refused) == 2 and all("alpha" in r.why for r in refused)
