"""Kernels of the attention family: their table rows. Sources are the sibling files, imported by the compiler only."""

from __future__ import annotations

from edgert.kernels_cpu.spec import KernelSpec

_FOLDER = "edgert.kernels_cpu.attention"
_KINDS = {"kvf16": "f16", "kvint8": "i8", "kvf32": "f32"}
_NUMBERS = {"kvf16": "halves", "kvint8": "int8 with a scale per position and head", "kvf32": "floats"}
_CACHE = "context kv_heads depth x_row key_head key_group value_head scales scale_head rotary half fine epsilon"

KERNELS: tuple[KernelSpec, ...] = (
    *(
        KernelSpec(
            name=f"rope_f32_{layout}",
            module=f"{_FOLDER}.rope",
            function=f"rope_{element}",
            operands="x positions rows_at table norm key value",
            params=f"rows x_key x_value {_CACHE}",
            summary=f"keys and values of packed rows into a cache of {_NUMBERS[layout]}; keys normalized, rotated, "
            "transposed",
        )
        for layout, element in _KINDS.items()
    ),
    *(
        KernelSpec(
            name=f"attention_f32_{layout}",
            module=f"{_FOLDER}.attention",
            function=f"attention_{element}",
            operands="x positions rows_at table norm key value y",
            params=f"rows tile_rows split group causal window softcap scale value_row y_row {_CACHE}",
            summary=f"softmax(q k') v of packed rows over a cache of {_NUMBERS[layout]}, by tiles with running sums",
        )
        for layout, element in _KINDS.items()
    ),
    KernelSpec(
        name="attention_merge_f32_row",
        module=f"{_FOLDER}.merge",
        function="merge_splits",
        operands="x positions rows_at y",
        params="rows context group kv_heads depth window y_row",
        summary="partial sums of attention over ranges of positions, added in order",
    ),
)
