"""The table of lifts, TFLite operator -> function that writes it into the graph.
The functions are in the `lift_*` modules, one per family; `importer.py` calls them in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from edgert.converters.tflite.builder import Builder
from edgert.converters.tflite.model import TfliteOperator

LiftFn: TypeAlias = Callable[[Builder, TfliteOperator], None]
"""Raises Refused for a form edgert cannot take."""

LIFTS: dict[str, LiftFn] = {}
"""Operators on floats, integers and bools; also on quantized tensors where nothing but places change."""

QUANTIZED_LIFTS: dict[str, LiftFn] = {}
"""The same operators where the first output (or, without one, the first input) is quantized to 8 or 16 bits.
An operator that is missing here goes to LIFTS: it moves values and keeps their quantization."""


def lift(*ops: str) -> Callable[[LiftFn], LiftFn]:
    """Registers the decorated function as the lift of each operator in `ops`."""

    def register(function: LiftFn) -> LiftFn:
        for op in ops:
            if op in LIFTS:
                raise AssertionError(f"operator {op} has two lifts")
            LIFTS[op] = function
        return function

    return register


def quantized_lift(*ops: str) -> Callable[[LiftFn], LiftFn]:
    """Registers the decorated function as the lift of each operator in `ops` on quantized tensors."""

    def register(function: LiftFn) -> LiftFn:
        for op in ops:
            if op in QUANTIZED_LIFTS:
                raise AssertionError(f"operator {op} has two quantized lifts")
            QUANTIZED_LIFTS[op] = function
        return function

    return register


def lift_of(builder: Builder, op: TfliteOperator) -> LiftFn | None:
    """The lift for `op` as its tensors are; None when edgert has none."""
    deciding = op.outputs[:1] or op.inputs[:1]
    if any(builder.is_quantized(i) for i in deciding) and op.op in QUANTIZED_LIFTS:
        return QUANTIZED_LIFTS[op.op]
    return LIFTS.get(op.op)
