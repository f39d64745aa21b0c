"""Convolution kernels: their table rows. Sources are the sibling files, imported by the compiler only."""

from __future__ import annotations

from edgert.kernels_cpu.spec import KernelSpec

_ROWS = "vectors per_row row_last row_bytes x_pitch y_plane x_batch y_batch parts"
KERNELS: tuple[KernelSpec, ...] = (
    KernelSpec(
        name="conv2d_q8_k4p",
        module="edgert.kernels_cpu.conv.conv2d_q8",
        function="conv2d_q8",
        operands="x taps w bias scale y residual",
        params=f"blocks packed groups4 slices {_ROWS} zero_point low high residual_zero residual_scale",
        summary="int8 convolution, pixels as vectors, 4 output channels x T vectors per tile",
    ),
    KernelSpec(
        name="conv2d_q8_k4p_amx",
        module="edgert.kernels_cpu.conv.conv2d_q8_amx",
        function="conv2d_q8_amx",
        operands="x taps w bias scale y residual config",
        params=f"blocks x_plane groups4 slices {_ROWS} zero_point low high residual_zero residual_scale",
        summary="the same on AMX tiles, 32 output channels x 32 pixels per block",
        needs="amx",
    ),
    *(
        KernelSpec(
            name=f"conv2d_{block}_k4p",
            module=f"edgert.kernels_cpu.conv.conv2d_{block}",
            function=f"conv2d_{block}",
            operands="x taps index w channels bounds y residual",
            params=f"slices {_ROWS} zero_point low high residual_zero residual_scale",
            summary=f"int8 convolution that skips zeros, weights in blocks of {shape} channels, k x k or pointwise",
        )
        for block, shape in (
            ("b4x4", "4 output x 4 input"),
            ("b2x4", "2 output x 4 input"),
            ("b1x4", "1 output x 4 input"),
        )
    ),
    KernelSpec(
        name="conv2d_b64x4_k4p",
        module="edgert.kernels_cpu.conv.conv2d_b64x4",
        function="conv2d_b64x4",
        operands="x taps start w bias scale y residual",
        params=f"groups4 slices {_ROWS} zero_point low high residual_zero residual_scale",
        summary="int8 convolution by the cells that 64 output channels share, output channels as vectors: few pixels",
    ),
    KernelSpec(
        name="conv2d_b64x4_k4p_amx",
        module="edgert.kernels_cpu.conv.conv2d_b64x4_amx",
        function="conv2d_b64x4_amx",
        operands="x taps w bias scale y residual config",
        params=f"groups4 panel slices {_ROWS} zero_point low high residual_zero residual_scale",
        summary="the same on AMX tiles, the cells gathered once for 64 output channels x 32 pixels",
        needs="amx",
    ),
    KernelSpec(
        name="conv2d_f32_kp",
        module="edgert.kernels_cpu.conv.conv2d_f32",
        function="conv2d_f32",
        operands="x taps w bias y residual",
        params=f"blocks channels slices leftover slopes {_ROWS} low high",
        summary="float convolution over channel planes, pixels as vectors, 4 output channels x T vectors per tile",
    ),
    *(
        KernelSpec(
            name=f"conv2d_{block}_kp",
            module=f"edgert.kernels_cpu.conv.conv2d_{block}",
            function=f"conv2d_{block}",
            operands="x taps index start w bias y residual",
            params=f"channels slices leftover slopes {_ROWS} low high",
            summary=f"float convolution that skips zeros, {shape}, k x k or pointwise",
        )
        for block, shape in (
            ("b4x1", "weights in blocks of 4 output channels"),
            ("b2x1", "weights in blocks of 2 output channels"),
            ("b1x1", "single weights, output channels in pairs"),
        )
    ),
    KernelSpec(
        name="planes_x4",
        module="edgert.kernels_cpu.conv.planes",
        function="planes_x4",
        operands="x y",
        params="height width top left stride_h stride_w rows columns border x_plane y_plane",
        summary="padded input split into stride phases, 4-byte cells: what k x k and strided convolutions read",
    ),
    KernelSpec(
        name="depthwise_q8_k4p",
        module="edgert.kernels_cpu.conv.depthwise_q8",
        function="depthwise_q8",
        operands="x w bias scale y",
        params="groups4 height width out_height out_width top left stride kernel_rows blocks pitch band_rows border "
        "x_plane y_plane zero_point low high",
        summary="int8 depthwise convolution, stride 1 or 2, horizontal taps by lane transposes",
    ),
    KernelSpec(
        name="depthwise_f32_kp",
        module="edgert.kernels_cpu.conv.depthwise_f32",
        function="depthwise_f32",
        operands="x taps w bias y",
        params="channels multiplier height width out_height out_width top left stride_h stride_w kernel taps_rows "
        "columns band_rows per_row stack parts x_plane y_plane low high",
        summary="float depthwise convolution over channel planes, any kernel, stride and dilation",
    ),
    KernelSpec(
        name="depthwise3_f32_kp",
        module="edgert.kernels_cpu.conv.depthwise3_f32",
        function="depthwise3_f32",
        operands="x w bias y",
        params="channels width pixels second parts x_plane y_plane low high",
        summary="float depthwise convolution 3x3 with a border of one and stride 1, on planes as they lie",
    ),
)
