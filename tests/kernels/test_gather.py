"""Rows of tables by their numbers, on every ISA level: the very values that the stored tensor stands for."""

from __future__ import annotations

import numpy as np
import pytest
from grouped_model import ENCODINGS, weights
from harness import LEVELS, Output, call_kernel, place
from offers import check, offers_for, run_offer, site_of

from edgert.format.model import StoredTensor
from edgert.graph.ir import TensorType

SHAPES = [(1, 1), (5, 31), (16, 32), (17, 33), (40, 64), (33, 100), (50, 576)]


def table(encoding: str, shape: tuple[int, int], rng: np.random.Generator) -> StoredTensor:
    """f16 and f32 may have their layout behind a dash."""
    name, _, layout = encoding.partition("-")
    if name in ENCODINGS:
        return weights(name, *shape, rng)
    values = rng.standard_normal(shape).astype(np.float32)
    if name == "f16":
        return StoredTensor.pack_f16("w", values, layout)
    if name == "q8":
        scale = rng.uniform(0.01, 1, shape[0]).astype(np.float32)
        return StoredTensor.pack_q8("w", rng.integers(-127, 128, shape, np.int8), scale, dtype="float32")
    return StoredTensor.pack_dense("w", values, layout)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("encoding", [*ENCODINGS, "f16-row", "f16-n16k1", "f32-row", "f32-n16k1", "q8"])
def test_rows(encoding: str, shape: tuple[int, int], rng: np.random.Generator) -> None:
    stored = table(encoding, shape, rng)
    for dtype in (np.int32, np.int64):
        indices = rng.integers(-shape[0], shape[0], 13).astype(dtype)
        indices[:2] = (0, shape[0] - 1)
        check("Gather", [stored.dense(), indices], constants={0: stored}, out_dtype="float32")
    check("Gather", [stored.dense(), indices], constants={0: stored, 1: indices}, out_dtype="float32")


def test_any_rank_of_indices_and_of_a_dense_table(rng: np.random.Generator) -> None:
    values = rng.standard_normal((7, 3, 5)).astype(np.float32)
    for shape in ((), (4,), (2, 3)):
        indices = rng.integers(0, 7, shape).astype(np.int64)
        check("Gather", [values, indices], constants={0: values}, out_dtype="float32")
    line = rng.standard_normal(9).astype(np.float32)
    check("Gather", [line, np.array([[8, 0], [3, 3]])], constants={0: line}, out_dtype="float32")


def test_all_halves_widen_exactly() -> None:
    """Subnormal and infinite ones too; what is not a number stays so."""
    bits = np.arange(1 << 16, dtype=np.uint16).reshape(64, 1024)
    values = bits.view(np.float16)
    for layout in ("row", "n16k1"):
        stored = StoredTensor.pack_f16("w", values, layout)
        check("Gather", [values.astype(np.float32), np.arange(64)], constants={0: stored}, out_dtype="float32")


@pytest.mark.parametrize("encoding", [*ENCODINGS, "f16-row", "f32-n16k1", "q8"])
def test_a_number_out_of_range_reads_inside_the_table(encoding: str, rng: np.random.Generator) -> None:
    stored = table(encoding, (20, 40), rng)
    for dtype in (np.int32, np.int64):
        info = np.iinfo(dtype)
        indices = np.array([20, -21, info.max, info.min, 5], dtype)
        kinds = [TensorType("float32", (20, 40)), TensorType(indices.dtype.name, (5,))]
        for level in LEVELS:
            out = [TensorType("float32", (5, 40))]
            site = site_of("Gather", [stored.dense(), indices], kinds, out, {}, {0: stored}, level, 1)
            (offer,), _ = offers_for(site)
            (got,), _ = run_offer(offer, site, [None, indices], "forward")
            np.testing.assert_array_equal(got, stored.dense()[[19, 0, 19, 0, 5]], level.name)


@pytest.mark.parametrize("encoding", ["q4", "f16-row"])
def test_rows_that_are_absent_are_not_written(encoding: str, rng: np.random.Generator) -> None:
    stored = table(encoding, (20, 40), rng)
    params: dict[str, int | float] = {"rows": 4, "table": 20, "columns": 40, "wide": 0}
    if encoding == "f16-row":
        params |= {"block": 16 * 80, "lane": 80, "step": 2}
    for level in LEVELS:
        y = Output((4, 40), np.float32)
        operands = {
            "x": place(np.asarray(stored.parts["data"])), "indices": place(np.array([3, 4, 5, 6], np.int32)),
            "y": y.array, "rows_at": place(np.array([2], np.int32)),
        }  # fmt: skip
        call_kernel(level, "gather_f16" if "f16" in encoding else "gather_q4_n16k64", operands, params, 2, 128)
        np.testing.assert_array_equal(y.array[:2], stored.dense()[3:5])
        assert (y.array[2:].view(np.uint32) == 0xA5A5A5A5).all()
        y.check_guards()


def test_refusals_say_what_is_wrong(rng: np.random.Generator) -> None:
    values = rng.standard_normal((4, 5)).astype(np.float32)
    kinds = [TensorType("float32", (4, 5)), TensorType("int64", (2,))]
    for attrs, constants, word in (({"axis": 1}, {0: values}, "axis 0"), ({}, {}, "constant table")):
        out = [TensorType("float32", (2, 5))]
        site = site_of("Gather", [values, None], kinds, out, attrs, constants, LEVELS[0], 1)
        offers, refusals = offers_for(site)
        assert {offer.kernel for offer in offers} == {"gather_row"}  # which takes activations, and any axis
        assert word in refusals[0].why
    large = np.zeros((200, 100), np.float32)
    kinds = [TensorType("float32", large.shape), TensorType("int64", (2,))]
    site = site_of(
        "Gather", [large, None], kinds, [TensorType("float32", (200, 2))], {"axis": 1}, {0: large}, LEVELS[0], 1
    )
    offers, refusals = offers_for(site)
    assert not offers
    assert "a constant table of 80000 bytes" in refusals[1].why


@pytest.mark.parametrize("dtype", ["float32", "int64", "uint8"])
@pytest.mark.parametrize(("shape", "axis"), [((5, 3), 0), ((5, 3), 1), ((2, 7, 40), 1), ((2, 3, 9, 5), -1), ((6,), 0)])
def test_from_activations(dtype: str, shape: tuple[int, ...], axis: int, rng: np.random.Generator) -> None:
    x, size = rng.integers(0, 100, shape).astype(dtype), shape[axis]
    for indices in (rng.integers(-size, size, (2, 5)), np.array([0, -1], np.int32), np.array(1)):
        offers = check("Gather", [x, indices], attrs={"axis": axis})
        assert offers[0].kernel == "gather_row"
        check("Gather", [x, indices], attrs={"axis": axis}, constants={1: indices})


def test_an_activation_by_an_index_beyond_it() -> None:
    """Takes the first or last place: nothing outside is read."""
    from edgert.kernels_cpu.levels import host_levels

    x, indices = np.arange(12, dtype=np.float32).reshape(3, 4), np.array([9, -9, 1], np.int64)
    kinds = [TensorType("float32", (3, 4)), TensorType("int64", (3,))]
    site = site_of("Gather", [x, indices], kinds, [TensorType("float32", (3, 4))], {}, {}, host_levels()[-1], 1)
    (offer,), _ = offers_for(site)
    (y,), _ = run_offer(offer, site, [x, indices], "forward")
    np.testing.assert_array_equal(y, x[[2, 0, 1]])
