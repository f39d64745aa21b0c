"""Twins of the kernels of float networks, and of those that serve every network: their table rows."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import isqrt, prod

from edgert.kernels_cpu.elementwise import CAST_TYPES
from edgert.kernels_gpu.table import Case, Grid, Twin, flat

GROUP = 64
"""Work-items of a group."""
FEW, SOME = 8, 512
"""Values of a row that one work-item reduces alone, and that 16 do."""
STACKED = (3, 5)
"""Depthwise kernels with a form of their own, at strides 1 and 2."""
CONV_TILES = (
    {"WIDE": 4, "VECTORS": 1, "GROUPS": 1},
    {"WIDE": 4, "VECTORS": 2, "GROUPS": 1},
    {"WIDE": 16, "VECTORS": 1, "GROUPS": 2},
)
DEPTHWISE_TILES = ({"WIDE": 4, "ROWS": 1}, {"WIDE": 4, "ROWS": 4}, {"WIDE": 16, "ROWS": 4})
GEMM_TILES = (
    {"WIDE": 4, "ROWS": 4, "SPLIT": 1, "LINES": 16},
    {"WIDE": 4, "ROWS": 1, "SPLIT": 8, "LINES": 8},
    {"WIDE": 16, "ROWS": 4, "SPLIT": 1, "LINES": 4},
    {"WIDE": 16, "ROWS": 1, "SPLIT": 4, "LINES": 4},
)
TOP_TILES = ({"WIDE": 4, "SPREAD": 16}, {"WIDE": 4, "SPREAD": 4}, {"WIDE": 16, "SPREAD": 4})
"""SPREAD: columns that a row is looked at as, for each value that is wanted."""
MOST_SELECTED = 1024
"""Values of a row that are selected: columns are compared with each other, at least 4 for each value."""
VECTOR_TILES = ({"WIDE": 4}, {"WIDE": 16})


def _up(a: int, b: int) -> int:
    return -(-a // b)


def _fits_registers(case: Case) -> bool:
    """Processors compute in vectors, whose widest tiles are theirs; elsewhere the others are."""
    return (case.tile["WIDE"] == 16) == (case.device.vector_floats >= 8)


def _plane(columns: int, *others: int, group: int = GROUP) -> tuple[Grid, ...]:
    """A launch of columns x others. A group is a row, a square or a column: some drivers compile each on its own, so
    there are few."""
    side = isqrt(group)
    if not others or columns >= 4 * side:
        shape = (group, 1, 1)
    else:
        shape = (side, side, 1) if columns >= side // 2 else (1, group, 1)
    return (Grid((columns, *others), shape[: 1 + len(others)]),)


def _values_of_rows(case: Case) -> tuple[Grid, ...]:
    return _plane(case["count"], case["size0"] * case["size1"])


def _vectors(case: Case) -> tuple[Grid, ...]:
    wide = case.tile["WIDE"]
    return flat(_up(case["count"], wide), 4 * GROUP // wide)


# ---- convolutions
def _convolution(case: Case) -> tuple[Grid, ...]:
    wide = case.tile["WIDE"]
    spans = _up(case["row_bytes"] // 4, wide * case.tile["VECTORS"]) * max(1, case["vectors"] // case["per_row"])
    images = _up(case.nbytes["y"], case["y_batch"])
    channels = _up(case["channels"], 4 * case.tile["GROUPS"])
    return _plane(spans, channels, images, group=4 * GROUP // wide)


def _sparse(rows: int, case: Case) -> tuple[Grid, ...]:
    """Blocks of `rows` output channels; single ones go in pairs."""
    wide = case.tile["WIDE"]
    spans = _up(case["row_bytes"] // 4, wide) * max(1, case["vectors"] // case["per_row"])
    groups, images = _up(case["channels"], max(rows, 2)), _up(case.nbytes["y"], case["y_batch"])
    return _plane(spans, groups, images, group=4 * GROUP // wide)


def _block(rows: int, case: Case) -> Mapping[str, int]:
    return {"BLOCK": rows}


def _planes(case: Case) -> int:
    """Channel planes of all images."""
    return case.nbytes["y"] // case["y_plane"]


def _spans(case: Case, columns: int, rows: int) -> tuple[Grid, ...]:
    """A launch of tiles of a plane; the second dimension counts planes."""
    wide = case.tile["WIDE"]
    spans = _up(columns, wide) * _up(rows, case.tile["ROWS"])
    return (Grid((spans, _planes(case)), (4 * GROUP // wide, 1)),)


def _depthwise(case: Case) -> tuple[Grid, ...]:
    if case["stack"]:
        return _spans(case, case["out_width"], case["out_height"])
    return (Grid((case["out_width"] * case["out_height"], _planes(case)), (GROUP, 1)),)


def _depthwise_constants(case: Case) -> Mapping[str, int]:
    return {"KERNEL_SIZE": case["stack"], "STRIDE": case["stride_w"] if case["stack"] else 1}


def _pool(case: Case) -> tuple[Grid, ...]:
    return _plane(case["out_width"] * case["out_height"], case["planes"])


# ---- matrix products
def _gemm(case: Case) -> tuple[Grid, ...]:
    tile = case.tile
    batch = _up(case.nbytes["y"], case["y_batch"]) if case["x_batch"] or case["w_batch"] else 1
    columns, rows = _up(case["columns"], tile["WIDE"]), _up(case["rows"], tile["ROWS"])
    return (Grid((columns, rows * tile["SPLIT"], batch), (tile["LINES"], tile["SPLIT"], 1)),)


# ---- rows that work-items share
def _lanes(case: Case) -> int:
    """Work-items that share a row."""
    return 1 if case["count"] <= FEW else 16 if case["count"] <= SOME else GROUP


def _lane_constants(case: Case) -> Mapping[str, int]:
    return {"LANES": _lanes(case), "GROUP": GROUP}


def _shared_rows(case: Case) -> tuple[Grid, ...]:
    lanes = _lanes(case)
    return (Grid((lanes, case["rows"]), (lanes, GROUP // lanes)),)


def _places(case: Case) -> tuple[Grid, ...]:
    return _plane(case["count"], case["outer"])


# ---- the largest of rows, see top_k_f32_row.cl
def _columns(case: Case) -> int:
    spread = case.tile.get("SPREAD", 1)  # the search asks for the source without a tile
    return 64 * _up(min(case["count"], spread * max(case["k"], 64)), 64)


def _left(case: Case) -> int:
    """Values of the columns that are left."""
    return case["k"] * _up(case["count"], _columns(case))


def _selection(case: Case) -> tuple[Grid, ...]:
    sizes = (_up(_columns(case), case.tile["WIDE"]), _columns(case), _left(case), _left(case))
    return tuple(Grid((size, case["rows"]), (16 if i == 0 else GROUP, 1)) for i, size in enumerate(sizes))


def _too_many(case: Case) -> str:
    return f"{case['k']} values of a row, and it finds up to {MOST_SELECTED}" if case["k"] > MOST_SELECTED else ""


def _selection_memory(case: Case) -> int:
    words = 16 + 2 * _columns(case) + 16 * _up(case["k"], 16) + 2 * 16 * _up(_left(case), 16)
    return 4 * case["rows"] * words


# ---- layout
def _together(case: Case) -> bool:
    """Whether the last axis of a copy is a run of at least 16 bytes on both sides."""
    element = case["element"]
    return case["x_stride7"] == case["y_stride7"] == element and case["size7"] * element >= 16


def _copy(case: Case) -> tuple[Grid, ...]:
    row = _up(case["size7"] * case["element"], 16) if _together(case) else case["size7"]
    return _plane(row * case["size6"], prod(case[f"size{axis}"] for axis in range(6)))


TWINS = (
    Twin("fill_row", lambda case: flat(-(-case["nbytes"] // 4)), exact=True),
    Twin("binary_f32", _values_of_rows, floats="low high"),
    Twin(
        "unary_f32", _vectors, uses="vectors.cl", floats="alpha beta", tiles=VECTOR_TILES, suits=_fits_registers,
        defines=lambda case: {"OP": case["op"]},
    ),
    Twin(
        "conv2d_f32_kp", _convolution, uses="vectors.cl halves.cl conv_finish.cl", floats="low high",
        tiles=CONV_TILES, suits=_fits_registers, halves=True,
    ),
    *(
        Twin(
            f"conv2d_b{rows}x1_kp", partial(_sparse, rows), "conv2d_sparse_f32_kp.cl",
            uses="vectors.cl halves.cl conv_finish.cl", floats="low high", tiles=VECTOR_TILES, suits=_fits_registers,
            defines=partial(_block, rows), halves=True,
        )
        for rows in (4, 2, 1)
    ),
    Twin(
        "depthwise_f32_kp", _depthwise, uses="vectors.cl halves.cl depthwise.cl", floats="low high",
        tiles=DEPTHWISE_TILES, suits=_fits_registers, defines=_depthwise_constants, halves=True,
    ),
    Twin(
        "depthwise3_f32_kp", lambda case: _spans(case, case["width"], case["pixels"] // case["width"]),
        uses="vectors.cl halves.cl depthwise.cl", floats="low high", tiles=DEPTHWISE_TILES, suits=_fits_registers,
        defines=lambda case: {"KERNEL_SIZE": 3, "STRIDE": 1}, halves=True,
    ),
    Twin("pool_max_f32_kp", _pool, "pool_window_f32.cl", uses="extremes.cl", defines=lambda case: {"AVERAGE": 0}),
    Twin("pool_average_f32_kp", _pool, "pool_window_f32.cl", defines=lambda case: {"AVERAGE": 1}),
    Twin(
        "gemm_f32_n16k1", _gemm, uses="vectors.cl halves.cl", floats="low high", tiles=GEMM_TILES,
        suits=_fits_registers, halves=True,
    ),
    Twin("reduce_f32_row", _shared_rows, uses="extremes.cl lanes.cl", defines=_lane_constants),
    Twin("reduce_rows_f32", _places, uses="extremes.cl"),
    Twin("softmax_f32_row", _shared_rows, uses="extremes.cl lanes.cl", defines=_lane_constants),
    Twin("softmax_f32_kp", lambda case: _plane(case["plane"] // 4, case["batch"]), uses="extremes.cl"),
    Twin("arg_extreme_f32", _places, uses="arg_wins.cl", exact=True),
    Twin("arg_extreme_f32_row", _shared_rows, uses="arg_wins.cl", defines=_lane_constants, exact=True),
    Twin(
        "top_k_f32_row", _selection, functions="top_k_columns top_k_left top_k_survivors top_k_order",
        uses="vectors.cl", writes="y places", tiles=TOP_TILES, suits=_fits_registers, workspace=_selection_memory,
        refuses=_too_many, exact=True,
    ),
    Twin("resample_rows_f32", lambda case: _plane(case["count"], case["outer"] * case["out"])),
    Twin("resample_columns_f32", lambda case: _plane(case["out"], case["outer"] * case["count"])),
    Twin(
        "copy_strided_row", _copy, exact=True,
        defines=lambda case: {"ELEMENT": case["element"], "RUN": int(_together(case))},
    ),
    Twin("gather_row", lambda case: _plane(_up(case["inner"], 4), case["outer"] * case["places"]), exact=True),
    Twin(
        "where_row", _values_of_rows, uses="broadcast.cl", exact=True,
        defines=lambda case: {"ELEMENT": case["element"]},
    ),
    Twin("compare_row", _values_of_rows, uses="broadcast.cl", exact=True, defines=lambda case: {"KIND": case["kind"]}),
    Twin(
        "cast_row", lambda case: flat(case["count"]), exact=True,
        defines=lambda case: {
            "SOURCE": case["op"] // len(CAST_TYPES), "TARGET": case["op"] % len(CAST_TYPES)
        },
    ),
)  # fmt: skip
