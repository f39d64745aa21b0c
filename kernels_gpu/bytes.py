"""Twins of the kernels of 8-bit networks: their table rows."""

from __future__ import annotations

from edgert.kernels_gpu.table import Case, Grid, Twin, flat

GROUP = 32
"""Work-items that add up one plane."""
LINE = 64
"""Bytes that a sparse convolution has for every four output channels; one line more is at the end."""


def _four_bytes_of_rows(case: Case) -> tuple[Grid, ...]:
    return (Grid((-(-case["row_bytes"] // 4), case["rows"]), (64, 1)),)


def _grid(*items: int, deep: bool = True) -> tuple[Grid, ...]:
    """Groups as wide as there is something to do: few different sizes, since each may be compiled for. deep: whole
    groups of 64, so that a kernel asks in the second dimension too whether its place exists."""
    width = next((size for size in (64, 16) if items[0] >= size), 4)
    return (Grid(items, (width, 64 // width if deep else 1, 1)[: len(items)]),)


def _images(case: Case) -> int:
    """How many there are: of several groups of channels, a later one begins within the first image."""
    return -(-case.nbytes["y"] // case["y_batch"])


def _tiles_of_rows(case: Case) -> int:
    """Tiles of PIXELS pixels of all rows of an image."""
    return -(-case["row_bytes"] // (4 * case.tile["PIXELS"])) * (case["vectors"] // case["per_row"])


def _conv(case: Case) -> tuple[Grid, ...]:
    return _grid(_tiles_of_rows(case), -(-case["groups4"] // case.tile["CELLS"]), _images(case))


def _conv_sparse(case: Case) -> tuple[Grid, ...]:
    # How many channels there are is only known to lie in what is behind `channels`: one op of several has fewer.
    return _grid(_tiles_of_rows(case), case.nbytes["channels"] // LINE - 1, _images(case))


def _conv_shared(case: Case) -> tuple[Grid, ...]:
    return _grid(-(-case["vectors"] // case.tile["PIXELS"]), case["groups4"], _images(case))


def _planes(case: Case) -> tuple[Grid, ...]:
    cells = case["rows"] * case["columns"] * case["stride_h"] * case["stride_w"]
    return _grid(cells, case.nbytes["x"] // case["x_plane"], deep=False)


def _depthwise(case: Case) -> tuple[Grid, ...]:
    units = -(-case["out_width"] // case.tile["PIXELS"]) * case["out_height"]
    return _grid(units, case.nbytes["y"] // case["y_plane"], deep=False)


def _pixels_of_planes(case: Case) -> tuple[Grid, ...]:
    return _grid(case["pixels"], case["planes"])


def _fours(case: Case) -> tuple[Grid, ...]:
    return flat(-(-case["count"] // 4))


def _windows(case: Case) -> tuple[Grid, ...]:
    return _grid(case["out_height"] * case["out_width"], case["planes"])


def _group_of_planes(case: Case) -> tuple[Grid, ...]:
    return (Grid((GROUP, case["planes"]), (GROUP, 1)),)


def _columns(case: Case) -> tuple[Grid, ...]:
    return _grid(-(-case["columns"] // case.tile["COLUMNS"]), -(-case["rows"] // case.tile["ROWS"]))


_TILES = tuple({"PIXELS": pixels, "CELLS": cells} for pixels, cells in ((4, 1), (4, 2), (1, 1), (16, 1)))
_WIDTHS = ({"PIXELS": 4}, {"PIXELS": 1}, {"PIXELS": 16})
_PRODUCTS = tuple({"COLUMNS": columns, "ROWS": rows} for columns, rows in ((1, 1), (4, 4), (16, 1), (16, 4)))

TWINS = (
    Twin("binary_q8", _four_bytes_of_rows, floats="a_ratio b_ratio", exact=True),
    Twin("lookup_q8", _four_bytes_of_rows, uses="bytes4.cl", exact=True),
    Twin("conv2d_q8_k4p", _conv, uses="vectors_q8.cl tile_q8.cl", floats="residual_scale", tiles=_TILES, exact=True),
    *(
        Twin(
            f"conv2d_{block}_k4p", _conv_sparse, uses="vectors_q8.cl tile_q8.cl sparse_q8.cl", floats="residual_scale",
            tiles=_WIDTHS, exact=True,
        )
        for block in ("b4x4", "b2x4", "b1x4")
    ),
    Twin(
        "conv2d_b64x4_k4p", _conv_shared, uses="vectors_q8.cl tile_q8.cl", floats="residual_scale",
        tiles=({"PIXELS": 4}, {"PIXELS": 1}), exact=True,
    ),
    Twin("planes_x4", _planes, exact=True),
    Twin("depthwise_q8_k4p", _depthwise, uses="vectors_q8.cl tile_q8.cl", tiles=_WIDTHS, exact=True),
    Twin("quantize_f32_k4p", _pixels_of_planes, uses="bytes4.cl", floats="scale", exact=True),
    Twin("dequantize_q8_k4p", _pixels_of_planes, floats="scale", exact=True),
    Twin("quantize_f32_row", _fours, uses="bytes4.cl", floats="scale", exact=True),
    Twin("dequantize_q8_row", _fours, floats="scale", exact=True),
    Twin("interleave_q8_k4p", _pixels_of_planes, exact=True),
    Twin("deinterleave_q8_k4p", _pixels_of_planes, exact=True),
    Twin("gemm_q8_n16k4", _columns, uses="vectors_q8.cl", tiles=_PRODUCTS, exact=True),
    Twin("pool_max_q8_k4p", _windows, exact=True),
    Twin("pool_average_q8_k4p", _windows, exact=True),
    Twin(
        "pool_global_average_q8_k4p", _group_of_planes, uses="bytes4.cl", floats="multiplier",
        defines=lambda case: {"GROUP": GROUP}, exact=True,
    ),
)  # fmt: skip
