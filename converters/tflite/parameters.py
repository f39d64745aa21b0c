"""Parameters that Silicon Labs' ML toolkit stores in a TFLite file: names of classes, how images are normalised.
The blob SL_PARAMSv1 is a flatbuffer of its own, a dictionary; what becomes of it is in `info.py`.

Source: SiliconLabs/mltk, dictionary.fbs, and the image classifier among its C++ examples.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from edgert.converters.tflite.flat import Flat, Table
from edgert.converters.tflite.model import TfliteModel

KEY = "SL_PARAMSv1"

MAX_ENTRIES = 1 << 12
MAX_STRINGS = 1 << 18
"""As labels in .edge files."""

Parameter: TypeAlias = bool | int | float | str | list[str]

SCALARS = {
    1: "bool", 2: "byte", 3: "ubyte", 4: "short", 5: "ushort", 6: "int", 7: "uint", 8: "long", 9: "ulong",
    10: "float", 11: "double",
}  # fmt: skip
"""Kinds of the union Value that hold one number."""

DEFAULTS = {"bool": False, "float": 0.0, "double": 0.0}

STRING, STRINGS = 12, 13
"""Those that hold text; lists of numbers and plain bytes, which nothing here asks for, are left out."""


def read_parameters(model: TfliteModel) -> dict[str, Parameter]:
    """The parameters by name; {} for a file without any. Raises FormatError when they are damaged."""
    blob = model.metadata.get(KEY)
    if blob is None:
        return {}
    flat = Flat(model.path, np.frombuffer(blob, np.uint8))
    root = Table(flat, flat.follow(0, "the root table"), "the root table")
    found: dict[str, Parameter] = {}
    for entry in root.tables(1, "parameters", MAX_ENTRIES):
        kind, value = entry.integer(1, "ubyte"), entry.table(2, "a parameter's value")
        if value is None:
            continue
        name = entry.text(0, "a parameter's name")
        if kind in SCALARS:
            found[name] = value.scalar(0, SCALARS[kind], DEFAULTS.get(SCALARS[kind], 0))
        elif kind == STRING:
            found[name] = value.text(0, "a parameter's text")
        elif kind == STRINGS:
            found[name] = list(value.texts(0, "texts of a parameter", MAX_STRINGS))
    return found
