"""Twins of the kernels of language models: their table rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from edgert.kernels_cpu.attention.sizes import SPLIT
from edgert.kernels_gpu.table import Case, Grid, Twin

GROUP = 64
"""Work-items that share a row, see group.cl."""
LANES = 16
"""Columns of a block of weights."""
FEW_ROWS = 4
"""Rows of a work-item in products of few rows, at most: their sums stay in registers."""
SHARED = 8
"""Work-items that unpack blocks of sparse weights for each other, in products of many rows."""
QUERY_ROWS = 4
"""Query rows that share the reading of keys and values, at most."""
FORMS: Mapping[str, Mapping[str, int]] = {
    "q4": {"NIBBLES": 1, "ZERO": 8, "MINIMA": 0},
    "q4m": {"NIBBLES": 1, "ZERO": 0, "MINIMA": 1},
    "q8g": {"NIBBLES": 0, "ZERO": 0, "MINIMA": 0},
}
"""How the numbers of a block lie, see groups.cl."""
CACHES = {"kvf32": 4, "kvf16": 2, "kvint8": 1}
"""Bytes of a number."""

Defines = Callable[[Case], Mapping[str, int]]


def _always(**constants: int) -> Defines:
    return lambda case: constants


# ---- rows of floats and of g32
def _blocks_of_rows(case: Case) -> tuple[Grid, ...]:
    """Four values to a work-item, 16 of them to a block of g32."""
    return (Grid((16 * case["blocks"], case["rows"]), (GROUP, 1)),)


def _groups_of_rows(case: Case) -> tuple[Grid, ...]:
    return (Grid((GROUP, case["rows"]), (GROUP, 1)),)


def _conversion(layout: str, terms: int) -> Twin:
    return Twin(
        f"quantize_f32_{layout}", _blocks_of_rows, source="quantize_f32_g32.cl", functions="quantize_f32_g32",
        uses="quantize_group.cl", defines=_always(TERMS=terms), exact=True,
    )  # fmt: skip


def _both(
    name: str, source: str, grid: Callable[[Case], tuple[Grid, ...]], floats: str = "", more: str = ""
) -> list[Twin]:
    """A kernel that makes rows of floats, and the one that makes g32. source: file and function of both; more: what
    it uses."""
    uses = f"group.cl quantize_group.cl {more}"
    return [
        Twin(f"{name}_row", grid, f"{source}.cl", source, uses, floats, defines=_always(TO_GROUPS=0)),
        Twin(f"{name}_g32", grid, f"{source}.cl", source, uses, floats, defines=_always(TO_GROUPS=1)),
    ]


# ---- tables
def _values_of_numbers(each: int, case: Case) -> tuple[Grid, ...]:
    return (Grid((-(-case["columns"] // each), case["rows"]), (GROUP, 1)),)


# ---- products
def _few_rows(case: Case) -> int:
    """Those of a work-item. What slices share is to fit the 32 KB of local memory that phones have."""
    return min(FEW_ROWS if case.tile.get("SLICES", 1) <= 4 else FEW_ROWS // 2, case["rows"])


def _few(case: Case) -> tuple[Grid, ...]:
    slices, rows = case.tile.get("SLICES", 1), -(-case["rows"] // _few_rows(case))
    if case.tile.get("WIDE"):
        return _wide(case["columns"], rows)
    if slices == 1:
        return (Grid((case["columns"], rows), (GROUP, 1)),)
    return (Grid((case["columns"], slices, rows), (LANES, slices, 1)),)


def _many(case: Case) -> tuple[Grid, ...]:
    rows, shared = -(-case["rows"] // case.tile["ROWS"]), case.tile.get("SHARED")
    if shared:
        return (Grid((case["columns"], rows), (LANES, shared)),)
    return _wide(case["columns"], rows) if case.tile.get("WIDE") else (Grid((case["columns"], rows), (GROUP, 1)),)


def _pays(case: Case) -> bool:
    """Whether there are rows for all that would share blocks."""
    return "SHARED" not in case.tile or case["rows"] >= case.tile["ROWS"] * SHARED


def _wide(columns: int, rows: int) -> tuple[Grid, ...]:
    """A work-item for every 16 columns."""
    return (Grid((-(-columns // LANES), rows), (4, 1)),)


def _few_constants(form: Mapping[str, int], case: Case) -> Mapping[str, int]:
    return {**form, "MANY": 0, "TERMS": int(case.params.get("terms", 1)), "ROWS": _few_rows(case)}


def _many_constants(form: Mapping[str, int], case: Case) -> Mapping[str, int]:
    return {**form, "MANY": 1, "TERMS": case["terms"], "SLICES": 1}


def _products(
    name: str, form: Mapping[str, int], source: str, uses: str, slices: tuple[int, ...] = (4, 1, 8),
    wide: bool = False, halves: bool = False,
) -> list[Twin]:  # fmt: skip
    """The products of few and of many rows. slices: how many work-items may share a column of few rows. wide: whether
    there is a form for devices that compute vectors. halves: see Twin."""
    plain = {"WIDE": 0} if slices else {}
    few = tuple({"SLICES": count, **plain} for count in slices)
    many = tuple({"ROWS": count, **plain} for count in (8, 4, 16))
    if wide:
        few, many = (*few, {"SLICES": 1, "WIDE": 1}), (*many, {"ROWS": 8, "WIDE": 1})
    elif "bitmap" in uses:  # the others unpack in less than they would wait
        many = (*many, {"ROWS": 4, "WIDE": 0, "SHARED": SHARED})
    return [
        Twin(f"matvec_{name}", _few, f"{source}.cl", source, f"product.cl {uses}", "low high", tiles=few or ({},),
             defines=partial(_few_constants, form), halves=halves),
        Twin(f"gemm_{name}", _many, f"{source}.cl", source, f"product.cl {uses}", "low high", tiles=many,
             suits=_pays, defines=partial(_many_constants, form), halves=halves),
    ]  # fmt: skip


def _grouped_products() -> list[Twin]:
    kinds = [(f"{encoding}_n16k64", encoding, "dense") for encoding in FORMS]
    kinds += [("group4_n32k64", "q4", "group4"), ("rowgroup4_n16k64", "q4", "rowgroup4")]
    kinds += [("bitmap8_n16k64", "q8g", "bitmap"), ("bitmap4_n16k64", "q4", "bitmap")]
    return [
        twin
        for name, form, blocks in kinds
        for twin in _products(name, FORMS[form], "product_groups", _uses(blocks), wide=blocks == "dense")
    ]


def _uses(blocks: str) -> str:
    return f"groups.cl blocks_{blocks}.cl" + (" product_wide.cl" if blocks == "dense" else "")


# ---- attention
def _query_rows(case: Case) -> int:
    """4, 2 or 1."""
    count = min(QUERY_ROWS, case["rows"] * case["group"])
    return count if count < 3 else QUERY_ROWS


def _cached_heads(case: Case) -> tuple[Grid, ...]:
    """A group for each head of each row: keys, then values where the cache has them."""
    kinds = 2 if case.has("value") else 1
    return (Grid((GROUP, case["kv_heads"], kinds * case["rows"]), (GROUP, 1, 1)),)


def _query_tiles(case: Case) -> tuple[Grid, ...]:
    rows, window = case["rows"], case["window"]
    ranges = -(-case["context"] // SPLIT) if case["split"] else 1
    if case["split"] and window:
        ranges = min(ranges, (window + rows - 2) // SPLIT + 2)
    tiles = -(-rows * case["group"] // _query_rows(case))
    return (Grid((GROUP, case["kv_heads"] * tiles, ranges), (GROUP, 1, 1)),)


def _head_constants(element: int, case: Case) -> Mapping[str, int]:
    return {
        "ELEMENT": element, "DEPTH": case["depth"], "NORMS": int(case.has("norm")), "ROTARY": case["rotary"],
    }  # fmt: skip


def _query_constants(element: int, case: Case) -> Mapping[str, int]:
    shapes = {"ROWS": _query_rows(case), "APART": int(case["split"] != 0), "SOFTCAP": int(case.params["softcap"] > 0)}
    return {**_head_constants(element, case), **shapes}


def _attention(layout: str, element: int) -> list[Twin]:
    return [
        Twin(
            f"rope_f32_{layout}", _cached_heads, source="rope.cl", functions="rope", uses="group.cl heads.cl",
            floats="epsilon", writes="key value", defines=partial(_head_constants, element),
        ),
        Twin(
            f"attention_f32_{layout}", _query_tiles, source="attention.cl", functions="attention",
            uses="group.cl heads.cl online.cl", floats="softcap scale epsilon",
            defines=partial(_query_constants, element),
        ),
    ]  # fmt: skip


TWINS: tuple[Twin, ...] = (
    _conversion("g32", 1),
    _conversion("g32x2", 2),
    *_both("normalize_f32", "normalize_rows", _groups_of_rows, "epsilon"),
    *_both("glu_f32", "glu", _blocks_of_rows, more="gates.cl"),
    *(
        Twin(
            f"gather_{encoding}_n16k64", partial(_values_of_numbers, 4), source="gather_groups.cl",
            functions="gather_groups", uses="row_number.cl groups.cl", defines=_always(**form), exact=True,
        )
        for encoding, form in FORMS.items()
    ),
    *(
        Twin(
            f"gather_{encoding}", partial(_values_of_numbers, 1), source="gather_table.cl",
            functions="gather_table", uses="row_number.cl", defines=_always(NUMBERS=bits), exact=True,
        )
        for encoding, bits in (("f16", 16), ("f32", 32), ("q8", 8))
    ),
    *_grouped_products(),
    *_products("f16_n16k1", {"BITMAP": 0}, "product_halves", "", (), halves=True),
    *_products("bitmap16_n16k64", {"BITMAP": 1}, "product_halves", "", (), halves=True),
    *(twin for layout, element in CACHES.items() for twin in _attention(layout, element)),
    Twin(
        "attention_merge_f32_row",
        lambda case: (Grid((GROUP, case["rows"] * case["group"] * case["kv_heads"]), (GROUP, 1)),),
        uses="group.cl online.cl heads.cl",
        defines=_always(ELEMENT=4, DEPTH=GROUP, NORMS=0, ROTARY=0, ROWS=1),
    ),
)  # fmt: skip
