"""Kernels of the pool family: their table rows. Sources are the sibling files, imported by the compiler only."""

from __future__ import annotations

from edgert.kernels_cpu.spec import KernelSpec

_FOLDER = "edgert.kernels_cpu.pool"
_WINDOW = (
    "planes height width out_height out_width kernel_h kernel_w stride_h stride_w dilation_h dilation_w top left "
    "reach x_plane y_plane"
)

KERNELS: tuple[KernelSpec, ...] = (
    KernelSpec(
        name="pool_max_q8_k4p",
        module=f"{_FOLDER}.window",
        function="max_q8",
        operands="x table y",
        params=f"{_WINDOW} identity",
        summary="max pooling of bytes, four channels to a pixel: rows first, then columns",
    ),
    KernelSpec(
        name="pool_max_f32_kp",
        module=f"{_FOLDER}.window",
        function="max_f32",
        operands="x table y",
        params=f"{_WINDOW} identity",
        summary="max pooling of float planes: rows first, then columns",
    ),
    KernelSpec(
        name="pool_average_f32_kp",
        module=f"{_FOLDER}.window",
        function="average_f32",
        operands="x table y",
        params=f"{_WINDOW} identity",
        summary="average pooling of float planes; table holds what each sum is divided by",
    ),
    KernelSpec(
        name="pool_average_q8_k4p",
        module=f"{_FOLDER}.average_q8",
        function="average_q8",
        operands="x table y",
        params=f"{_WINDOW} x_zero zero_point low high",
        summary="average pooling of bytes by exact sums; table holds what each sum is multiplied by",
    ),
    KernelSpec(
        name="pool_global_average_q8_k4p",
        module=f"{_FOLDER}.global_average_q8",
        function="global_average_q8",
        operands="x y",
        params="planes groups channels pixels x_plane y_plane y_image total_zero multiplier zero_point low high flip",
        summary="mean of each channel's bytes by exact sums, to k4p or row",
    ),
)
