"""Matrix products on every ISA level, against the reference: bytes exactly, floats to rounding."""

from __future__ import annotations

import numpy as np
import pytest
from harness import LEVELS, Output, call_kernel, place
from offers import check, offers_for, quantization, site_of

from edgert.format.model import StoredTensor
from edgert.graph.ir import Quantization, TensorType
from edgert.kernels_cpu.levels import host_levels

SIZES = [  # rows, depth, columns: around tiles of 4 and 6 rows and lines of 16
    (1, 1, 1), (1, 3, 15), (1, 64, 16), (2, 5, 17), (3, 33, 64), (4, 16, 65), (5, 7, 33), (7, 40, 80), (13, 130, 100),
    (50, 64, 130), (1, 1280, 1000),
]  # fmt: skip
X, Y = quantization(0.02, 113), quantization(0.05, 99)


def weights_q8(columns: int, depth: int, rng: np.random.Generator) -> tuple[np.ndarray, Quantization, StoredTensor]:
    values = rng.integers(-127, 128, (columns, depth)).astype(np.int8)
    scale = (rng.random(columns) * 0.01 + 0.001).astype(np.float32)
    quant = Quantization(scale, np.zeros(columns, np.int32), 0)
    return values, quant, StoredTensor.pack_q8("w", values, scale, "n16k4")


@pytest.mark.parametrize(("rows", "depth", "columns"), SIZES)
@pytest.mark.parametrize("form", ["packed", "row", "activation"])
def test_gemm_q8(rows: int, depth: int, columns: int, form: str, rng: np.random.Generator) -> None:
    w, quant, stored = weights_q8(columns, depth, rng)
    x = rng.integers(0, 256, (rows, depth)).astype(np.uint8)
    bias = rng.integers(-5000, 5000, columns).astype(np.int32)
    attrs = {"activation": "Relu"} if form == "activation" else {}
    weights = StoredTensor.pack_dense("w", w, quant=quant) if form == "row" else stored
    offers = check(
        "QLinearGemm", [x, w, bias], attrs=attrs, quants={0: X, 1: quant}, out_quant=Y, out_dtype="uint8",
        constants={1: weights, 2: bias}, least=2,
    )  # fmt: skip
    assert {o.in_layouts[0] for o in offers} == {"row", "k4p"}


def test_gemm_q8_saturates_and_takes_no_bias(rng: np.random.Generator) -> None:
    w = np.full((20, 64), 127, np.int8)
    w[1::2] = -127
    quant = Quantization(np.full(20, 0.01, np.float32), np.zeros(20, np.int32), 0)
    x = np.full((2, 64), 255, np.uint8)
    x[1] = 0
    stored = StoredTensor.pack_q8("w", w, quant.scale, "n16k4")
    check("QLinearGemm", [x, w], quants={0: X, 1: quant}, out_quant=Y, out_dtype="uint8", constants={1: stored})


@pytest.mark.parametrize(("rows", "depth", "columns"), SIZES)
@pytest.mark.parametrize("form", ["packed", "row", "not transposed"])
def test_gemm_f32(rows: int, depth: int, columns: int, form: str, rng: np.random.Generator) -> None:
    w = rng.standard_normal((columns, depth)).astype(np.float32)
    x, bias = (rng.standard_normal(s).astype(np.float32) for s in ((rows, depth), (columns,)))
    stored = StoredTensor.pack_dense("w", w, "n16k1") if form == "packed" else StoredTensor.pack_dense("w", w)
    given = w
    if form == "not transposed":
        given = np.ascontiguousarray(w.T)
        stored = StoredTensor.pack_dense("w", given)
    check(
        "Gemm", [x, given, bias], attrs={"transB": int(form != "not transposed"), "activation": "Relu"},
        constants={1: stored, 2: bias}, rtol=1e-5, atol=1e-4,
    )  # fmt: skip


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 15), (5, 40), (13, 100), (50, 130)])
def test_gemm_f32_adds_a_residual_before_its_activation(
    rows: int, columns: int, bias: bool, rng: np.random.Generator
) -> None:
    x, w, residual = (rng.standard_normal(s).astype(np.float32) for s in ((rows, 33), (columns, 33), (rows, columns)))
    more = rng.standard_normal(columns).astype(np.float32)
    check(
        "Gemm", [x, w, more if bias else None, residual], attrs={"transB": 1, "residual": 1, "activation": "Relu"},
        constants={1: w, 2: more} if bias else {1: w}, rtol=1e-5, atol=1e-4,
    )  # fmt: skip
    if not bias:
        check("Gemm", [x, w, residual], attrs={"transB": 1, "residual": 1}, constants={1: w}, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("in_place", [False, True])
def test_gemm_f32_computes_the_rows_that_are_there(in_place: bool, rng: np.random.Generator) -> None:
    x, w, residual = (rng.standard_normal(s).astype(np.float32) for s in ((9, 8), (8, 32), (9, 20)))
    params = {
        "rows": 9, "columns": 20, "steps": 8, "row_parts": 2, "column_parts": 2, "x_row": 32, "w_step": 128,
        "w_block": 64, "y_row": 80, "x_batch": 0, "w_batch": 0, "y_batch": 0, "low": -np.inf, "high": np.inf,
    }  # fmt: skip
    for level in host_levels() if in_place else LEVELS:  # the emulator gives every operand memory of its own
        out = Output((9, 20), np.float32)
        out.array[...] = residual
        operands = {
            "x": place(x), "w": place(w), "bias": place(np.zeros(64, np.float32)), "y": out.array,
            "residual": out.array if in_place else place(residual), "rows_at": place(np.array([7], np.int32)),
        }  # fmt: skip
        call_kernel(level, "gemm_f32_n16k1", operands, params, chunks=4)
        out.check_guards()
        np.testing.assert_allclose(out.array[:7], (x @ w[:, :20] + residual)[:7], 1e-5, 1e-5, err_msg=level.name)
        np.testing.assert_array_equal(out.array[7:], residual[7:])


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((3, 5), (5, 17)), ((2, 4, 7, 16), (2, 4, 16, 33)), ((2, 3, 5), (5, 40)), ((7, 20), (2, 20, 18)),
        ((1, 13, 64), (1, 64, 64)), ((2, 1, 1), (2, 1, 1)), ((3, 12, 20), (3, 20, 70)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("constant", [False, True])
def test_matmul_f32(a: tuple[int, ...], b: tuple[int, ...], constant: bool, rng: np.random.Generator) -> None:
    x, w = (rng.standard_normal(s).astype(np.float32) for s in (a, b))
    check("MatMul", [x, w], constants={1: w} if constant else {}, rtol=1e-5, atol=1e-4)


def test_large_products_are_cut_for_threads_and_small_ones_are_not() -> None:
    def chunks(rows: int, depth: int, columns: int) -> tuple[int, int]:
        from edgert.plan.lowering.matmul import parts

        return parts(2, rows, columns, rows * depth * columns)

    assert chunks(1, 16, 10) == (1, 1)
    rows, columns = chunks(1, 1280, 1000)
    assert rows == 1
    assert columns > 1
    rows, columns = chunks(197, 768, 768)
    assert rows * columns >= 8


def test_refusals_say_what_is_wrong() -> None:
    a, b = TensorType("float32", (2, 3, 4)), TensorType("float32", (5, 4, 6))
    site = site_of("MatMul", [None, None], [a, b], [TensorType("float32", (2, 3, 6))], {}, {}, LEVELS[0], 1)
    offers, refusals = offers_for(site)
    assert not offers
    assert "batches" in refusals[0].why
