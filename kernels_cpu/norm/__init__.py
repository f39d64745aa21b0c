"""Kernels of the norm family: their table rows. Sources are the sibling files, imported by the compiler only."""

from __future__ import annotations

from edgert.kernels_cpu.spec import KernelSpec

REDUCE = ("Mean", "Sum", "Max", "Min", "L1", "SumSquare", "L2")
"""Reductions of reduce_f32_row and reduce_rows_f32; the position is the `op` param."""

_FOLDER = "edgert.kernels_cpu.norm"

KERNELS: tuple[KernelSpec, ...] = (
    KernelSpec(
        name="reduce_f32_row",
        module=f"{_FOLDER}.reduce",
        function="reduce",
        operands="x y",
        params="op rows count x_row y_row",
        summary="mean, sum, maximum, minimum or norm of each row of floats, or of each plane",
    ),
    KernelSpec(
        name="reduce_rows_f32",
        module=f"{_FOLDER}.reduce_rows",
        function="reduce_rows",
        operands="x y",
        params="op outer rows count x_outer x_row y_outer",
        summary="the same over rows or planes: each place of the result from one place of all of them",
    ),
    KernelSpec(
        name="arg_extreme_f32",
        module=f"{_FOLDER}.arg_extreme",
        function="arg_extreme",
        operands="x y",
        params="smallest last outer rows count x_outer x_row",
        summary="ArgMax and ArgMin over rows or planes, int64",
    ),
    KernelSpec(
        name="arg_extreme_f32_row",
        module=f"{_FOLDER}.arg_extreme",
        function="arg_extreme_row",
        operands="x y",
        params="smallest last rows count",
        summary="ArgMax and ArgMin within each row, int64",
    ),
    KernelSpec(
        name="top_k_f32_row",
        module=f"{_FOLDER}.top_k",
        function="top_k",
        operands="x y places",
        params="rows count k",
        summary="the k largest of each row in order, and their places, int64",
    ),
    KernelSpec(
        name="softmax_f32_row",
        module=f"{_FOLDER}.softmax",
        function="softmax",
        operands="x y",
        params="rows count logarithm",
        summary="Softmax or LogSoftmax of each row",
    ),
    KernelSpec(
        name="softmax_f32_kp",
        module=f"{_FOLDER}.softmax_kp",
        function="softmax_kp",
        operands="x y",
        params="batch channels plane logarithm",
        summary="Softmax or LogSoftmax over the channels of each pixel",
    ),
    KernelSpec(
        name="normalize_f32_row",
        module=f"{_FOLDER}.normalize",
        function="normalize",
        operands="x scale bias y rows_at",
        params="rows count x_row y_row period channel_scale centre epsilon",
        summary="(x - mean) / sqrt(var + epsilon) * scale + bias of each row (Layer, RMS) or plane (Instance)",
    ),
    KernelSpec(
        name="normalize_f32_g32",
        module=f"{_FOLDER}.normalize_g32",
        function="normalize_g32",
        operands="x scale bias y rows_at",
        params="rows count x_row y_row centre epsilon",
        summary="the same of each row (Layer, RMS), straight to int8 in groups of 32",
    ),
)
