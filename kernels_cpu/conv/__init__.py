"""Convolution kernels: their table rows. Sources are the sibling files, imported by the compiler only."""

from __future__ import annotations

from edgert.kernels_cpu.spec import KernelSpec

KERNELS: tuple[KernelSpec, ...] = (
    KernelSpec(
        name="conv2d_q8_k4p",
        module="edgert.kernels_cpu.conv.conv2d_q8",
        function="conv2d_q8",
        operands="x taps w bias scale y residual",
        params="blocks groups4 vectors tiles x_bytes y_plane zero_point low high residual_plane residual_zero "
        "residual_scale batch x_batch y_batch residual_batch",
        summary="int8 convolution, pixels as vectors, 4 output channels per tile; taps gives each weight block's input",
    ),
)
