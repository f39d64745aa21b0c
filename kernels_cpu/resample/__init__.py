"""Kernels of the resample family: their table rows. Sources are the sibling files, imported by the compiler only."""

from __future__ import annotations

from edgert.kernels_cpu.spec import KernelSpec

_FOLDER = "edgert.kernels_cpu.resample"
_PARAMS = "outer count out taps pitch x_outer x_row y_outer y_row"

KERNELS: tuple[KernelSpec, ...] = (
    KernelSpec(
        name="resample_rows_f32",
        module=f"{_FOLDER}.resample",
        function="resample_rows",
        operands="x offsets weights y",
        params=_PARAMS,
        summary="whole rows of floats as weighted sums of others: Resize along any axis but the last",
    ),
    KernelSpec(
        name="resample_columns_f32",
        module=f"{_FOLDER}.resample",
        function="resample_columns",
        operands="x offsets weights y",
        params=_PARAMS,
        summary="the floats of each row as weighted sums of others of it: Resize along the last axis",
    ),
)
