"""Kernels of the layout family: their table rows. Sources are the sibling files, imported by the compiler only."""

from __future__ import annotations

from edgert.kernels_cpu.spec import KernelSpec

_FOLDER = "edgert.kernels_cpu.layout"
_AXES = range(8)

KERNELS: tuple[KernelSpec, ...] = (
    KernelSpec(
        name="quantize_f32_k4p",
        module=f"{_FOLDER}.quantize_k4p",
        function="quantize_k4p",
        operands="x y",
        params="planes groups channels pixels x_plane y_plane scale zero_point",
        summary="float planes (kp or row) to bytes, four channels to a pixel: saturate(round(x / scale) + zero_point)",
    ),
    KernelSpec(
        name="dequantize_q8_k4p",
        module=f"{_FOLDER}.dequantize_k4p",
        function="dequantize_k4p",
        operands="x y",
        params="planes groups channels pixels y_pixels x_plane y_plane scale zero_point",
        summary="k4p bytes to float planes (kp or row): (x - zero_point) * scale",
    ),
    KernelSpec(
        name="quantize_f32_row",
        module=f"{_FOLDER}.quantize_row",
        function="quantize_row",
        operands="x y",
        params="count scale zero_point flip",
        summary="floats to unsigned bytes in their order: saturate(round(x / scale) + zero_point)",
    ),
    KernelSpec(
        name="dequantize_q8_row",
        module=f"{_FOLDER}.dequantize_row",
        function="dequantize_row",
        operands="x y",
        params="count scale zero_point",
        summary="unsigned bytes to floats in their order: (x - zero_point) * scale",
    ),
    KernelSpec(
        name="quantize_f32_g32",
        module=f"{_FOLDER}.quantize_g32",
        function="quantize_g32",
        operands="x y rows_at",
        params="rows count blocks x_row y_row",
        summary="rows of floats to int8 in groups of 32, each with its scale and its sum",
    ),
    KernelSpec(
        name="quantize_f32_g32x2",
        module=f"{_FOLDER}.quantize_g32x2",
        function="quantize_g32x2",
        operands="x y rows_at",
        params="rows count blocks x_row y_row",
        summary="rows of floats to two terms of int8 in groups of 32, the second of what the first left over",
    ),
    KernelSpec(
        name="interleave_q8_k4p",
        module=f"{_FOLDER}.interleave_k4p",
        function="interleave_k4p",
        operands="x y",
        params="planes groups channels pixels y_plane flip",
        summary="byte planes to k4p: four channels to a pixel",
    ),
    KernelSpec(
        name="deinterleave_q8_k4p",
        module=f"{_FOLDER}.deinterleave_k4p",
        function="deinterleave_k4p",
        operands="x y",
        params="planes groups channels pixels x_plane flip",
        summary="k4p to byte planes",
    ),
    KernelSpec(
        name="gather_row",
        module=f"{_FOLDER}.gather_places",
        function="gather_places",
        operands="x indices y",
        params="outer places table inner wide",
        summary="runs of bytes by their numbers: Gather along any axis from activations",
    ),
    KernelSpec(
        name="copy_strided_row",
        module=f"{_FOLDER}.copy_strided",
        function="copy_strided",
        operands="x y",
        params=" ".join(["element", *(f"{f}{i}" for f in ("size", "x_stride", "y_stride") for i in _AXES)]),
        summary="elements of 1, 2, 4 or 8 bytes over up to 8 axes with any strides: Transpose, Slice, Concat, Expand",
    ),
    KernelSpec(
        name="fill_row",
        module=f"{_FOLDER}.fill",
        function="fill",
        operands="y",
        params="nbytes pattern",
        summary="four bytes repeated: what Pad puts around",
    ),
    *(
        KernelSpec(
            name=f"gather_{encoding}_n16k64",
            module=f"{_FOLDER}.gather_groups",
            function=f"gather_{encoding}",
            operands="x indices y rows_at",
            params="rows table columns wide",
            summary=f"rows of a table of {numbers}, by their numbers, as floats",
        )
        for encoding, numbers in (
            ("q4", "4-bit numbers in groups"),
            ("q4m", "4-bit numbers in groups with minima"),
            ("q8g", "8-bit numbers in groups"),
        )
    ),
    *(
        KernelSpec(
            name=f"gather_{encoding}",
            module=f"{_FOLDER}.gather_rows",
            function=f"gather_{encoding}",
            operands="x indices y rows_at",
            params="rows table columns wide block lane step",
            summary=f"rows of a table of {numbers}, in rows or in lines of 16, by their numbers, as floats",
        )
        for encoding, numbers in (("f16", "halves"), ("f32", "floats"))
    ),
    KernelSpec(
        name="gather_q8",
        module=f"{_FOLDER}.gather_q8",
        function="gather_q8",
        operands="x scale indices y rows_at",
        params="rows table columns wide",
        summary="rows of a table of int8, each with a scale, by their numbers, as floats",
    ),
)
