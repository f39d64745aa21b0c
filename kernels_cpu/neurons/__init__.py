"""Kernels of feed-forward layers whose neurons lie one by one: their table rows.

Sources are the sibling files, imported by the compiler only.
"""

from __future__ import annotations

from edgert.kernels_cpu.spec import KernelSpec

ACTIVATIONS = ("Sigmoid", "Silu", "Gelu", "GeluTanh", "Relu")
"""Activations of neurons_gate_f32; the position is the `kind` param."""
LISTED = 64
"""Bytes before the first number of a list of neurons; the int32 at its start is how many there are."""

_FOLDER = "edgert.kernels_cpu.neurons"


def _product(bits: int, way: str, operands: str, params: str, summary: str) -> KernelSpec:
    return KernelSpec(
        name=f"neurons_{way}{bits}_f32",
        module=f"{_FOLDER}.{way}",
        function=f"neurons_{way}{bits}",
        operands=operands,
        params=params,
        summary=f"{summary}, {bits}-bit numbers in groups",
    )


KERNELS: tuple[KernelSpec, ...] = (
    KernelSpec(
        name="neurons_gate_f32",
        module=f"{_FOLDER}.gate",
        function="neurons_gate",
        operands="x y any rows_at",
        params="kind rows width threshold",
        summary="an activation of gates, 0 where its magnitude is not above a threshold; which are not 0 in any row",
    ),
    KernelSpec(
        name="neurons_list_f32",
        module=f"{_FOLDER}.listing",
        function="neurons_list",
        operands="any listed",
        params="width",
        summary="the numbers of the neurons that are active, ascending, and how many they are",
    ),
    *(
        spec
        for bits in (4, 8)
        for spec in (
            _product(
                bits, "up", "x gate listed slots data h rows_at", "rows width blocks terms depth neuron",
                "gates times products of rows of int8 in groups of 32 with the up rows of listed neurons",
            ),
            _product(
                bits, "down", "h listed slots data residual y rows_at", "rows width columns blocks neuron",
                "sums of the down columns of listed neurons, each times its value in h",
            ),
        )
    ),
)  # fmt: skip
