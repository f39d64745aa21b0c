"""Kernels of the matmul family: their table rows. Sources are the sibling files, imported by the compiler only."""

from __future__ import annotations

from edgert.kernels_cpu.spec import KernelSpec

_FOLDER = "edgert.kernels_cpu.matmul"

KERNELS: tuple[KernelSpec, ...] = (
    KernelSpec(
        name="gemm_q8_n16k4",
        module=f"{_FOLDER}.gemm_q8",
        function="gemm_q8",
        operands="x w bias scale y",
        params="rows columns steps row_parts column_parts x_row x_step y_row zero_point low high x_flip y_flip",
        summary="bytes times int8 weights in lines of 16 columns x 4 k, one scale per column, requantized",
    ),
    KernelSpec(
        name="gemm_f32_n16k1",
        module=f"{_FOLDER}.gemm_f32",
        function="gemm_f32",
        operands="x w bias residual y rows_at",
        params="rows columns steps row_parts column_parts x_row w_step w_block y_row x_batch w_batch y_batch low high",
        summary="floats times lines of 16 columns, packed weights or the rows of another activation; batched",
    ),
    *(
        KernelSpec(
            name=f"matvec_{encoding}_n16k64",
            module=f"{_FOLDER}.matvec_groups",
            function=f"matvec_{encoding}",
            operands="x w bias residual y rows_at",
            params="rows columns blocks terms low high",
            summary=f"a few rows of int8 in groups of 32 times {numbers}, weights streamed once",
        )
        for encoding, numbers in (
            ("q4", "4-bit weights in groups"),
            ("q4m", "4-bit weights in groups with minima"),
            ("q8g", "8-bit weights in groups"),
        )
    ),
    KernelSpec(
        name="matvec_f16_n16k1",
        module=f"{_FOLDER}.matvec_f16",
        function="matvec_f16",
        operands="x w bias residual y rows_at",
        params="rows columns depth low high",
        summary="a few rows of floats times half-precision weights in lines of 16 columns, streamed once",
    ),
    *(
        KernelSpec(
            name=f"gemm_{encoding}_n16k64",
            module=f"{_FOLDER}.gemm_group",
            function=f"gemm_{encoding}",
            operands="x w bias residual y rows_at",
            params="rows columns units row_parts column_parts low high terms",
            summary=f"many rows of int8 in groups of 32 times {numbers}, unpacked panel by panel",
        )
        for encoding, numbers in (
            ("q4", "4-bit weights in groups"),
            ("q4m", "4-bit weights in groups with minima"),
            ("q8g", "8-bit weights in groups"),
        )
    ),
    KernelSpec(
        name="gemm_f16_n16k1",
        module=f"{_FOLDER}.gemm_group_f16",
        function="gemm_f16",
        operands="x w bias residual y rows_at",
        params="rows columns units row_parts column_parts low high terms",
        summary="many rows of floats times half-precision weights in lines of 16 columns, widened panel by panel",
    ),
    *(
        KernelSpec(
            name=f"gemm_{encoding}_n16k64_amx",
            module=f"{_FOLDER}.gemm_group_amx",
            function=f"gemm_{encoding}_amx",
            operands="x w bias residual y rows_at",
            params="rows columns units row_parts column_parts low high terms",
            summary=f"many rows of int8 in groups of 32 times {numbers}, on matrix tiles",
            needs="amx",
        )
        for encoding, numbers in (
            ("q4", "4-bit weights in groups"),
            ("q4m", "4-bit weights in groups with minima"),
            ("q8g", "8-bit weights in groups"),
        )
    ),
    *(
        KernelSpec(
            name=f"matvec_{encoding}_n16k64",
            module=f"{_FOLDER}.matvec_bitmap",
            function=f"matvec_{encoding}",
            operands="x w bias residual y rows_at start bounds",
            params="rows columns blocks terms low high",
            summary=f"a few rows of int8 in groups of 32 times the kept ones of {numbers}, streamed once",
        )
        for encoding, numbers in (
            ("bitmap8", "8-bit weights in groups"),
            ("bitmap4", "4-bit weights in groups"),
        )
    ),
    *(
        KernelSpec(
            name=f"gemm_{encoding}_n16k64",
            module=f"{_FOLDER}.gemm_bitmap",
            function=f"gemm_{encoding}",
            operands="x w bias residual y rows_at start",
            params="rows columns units row_parts column_parts low high terms",
            summary=f"many rows of int8 in groups of 32 times the kept ones of {numbers}, expanded panel by panel",
        )
        for encoding, numbers in (
            ("bitmap8", "8-bit weights in groups"),
            ("bitmap4", "4-bit weights in groups"),
        )
    ),
    *(
        KernelSpec(
            name=f"gemm_{encoding}_n16k64_amx",
            module=f"{_FOLDER}.gemm_bitmap_amx",
            function=f"gemm_{encoding}_amx",
            operands="x w bias residual y rows_at start",
            params="rows columns units row_parts column_parts low high terms",
            summary=f"many rows of int8 in groups of 32 times the kept ones of {numbers}, on matrix tiles",
            needs="amx",
        )
        for encoding, numbers in (
            ("bitmap8", "8-bit weights in groups"),
            ("bitmap4", "4-bit weights in groups"),
        )
    ),
    KernelSpec(
        name="matvec_bitmap16_n16k64",
        module=f"{_FOLDER}.matvec_bitmap16",
        function="matvec_bitmap16",
        operands="x w bias residual y rows_at start bounds",
        params="rows columns depth low high",
        summary="a few rows of floats times the kept ones of half-precision weights, streamed once",
    ),
    KernelSpec(
        name="gemm_bitmap16_n16k64",
        module=f"{_FOLDER}.gemm_bitmap16",
        function="gemm_bitmap16",
        operands="x w bias residual y rows_at start",
        params="rows columns units row_parts column_parts low high terms depth",
        summary="many rows of floats times the kept ones of half-precision weights, expanded panel by panel",
    ),
    KernelSpec(
        name="matvec_group4_n32k64",
        module=f"{_FOLDER}.matvec_sparse_groups",
        function="matvec_group4",
        operands="x w bias residual y rows_at mask",
        params="rows columns blocks terms low high",
        summary="a few rows of int8 in groups of 32 times 4-bit groups, of 32 rows the 16 that are kept, streamed once",
    ),
    KernelSpec(
        name="matvec_rowgroup4_n16k64",
        module=f"{_FOLDER}.matvec_sparse_groups",
        function="matvec_rowgroup4",
        operands="x w bias residual y rows_at start bounds",
        params="rows columns blocks terms low high",
        summary="a few rows of int8 in groups of 32 times the 4-bit groups that are kept, streamed once",
    ),
    KernelSpec(
        name="gemm_group4_n32k64",
        module=f"{_FOLDER}.gemm_sparse_groups",
        function="gemm_group4",
        operands="x w bias residual y rows_at mask",
        params="rows columns units row_parts column_parts low high terms",
        summary="many rows of int8 in groups of 32 times 4-bit groups, 16 of 32 rows kept, unpacked panel by panel",
    ),
    KernelSpec(
        name="gemm_rowgroup4_n16k64",
        module=f"{_FOLDER}.gemm_sparse_groups",
        function="gemm_rowgroup4",
        operands="x w bias residual y rows_at start",
        params="rows columns units row_parts column_parts low high terms",
        summary="many rows of int8 in groups of 32 times the 4-bit groups that are kept, unpacked panel by panel",
    ),
    KernelSpec(
        name="gemm_group4_n32k64_amx",
        module=f"{_FOLDER}.gemm_sparse_groups_amx",
        function="gemm_group4_amx",
        operands="x w bias residual y rows_at mask",
        params="rows columns units row_parts column_parts low high terms",
        summary="many rows of int8 in groups of 32 times 4-bit groups, 16 of 32 rows kept, on matrix tiles",
        needs="amx",
    ),
    KernelSpec(
        name="gemm_rowgroup4_n16k64_amx",
        module=f"{_FOLDER}.gemm_sparse_groups_amx",
        function="gemm_rowgroup4_amx",
        operands="x w bias residual y rows_at start",
        params="rows columns units row_parts column_parts low high terms",
        summary="many rows of int8 in groups of 32 times the 4-bit groups that are kept, on matrix tiles",
        needs="amx",
    ),
    KernelSpec(
        name="matvec_fanin_n16",
        module=f"{_FOLDER}.fanin",
        function="matvec_fanin",
        operands="x w bias residual y rows_at index scale",
        params="rows columns depth kept low high",
        summary="rows of floats times int8 weights of constant fan-in, each output taking the inputs of its indices",
    ),
)
