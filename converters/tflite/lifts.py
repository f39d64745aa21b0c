"""The table of lifts, TFLite operator -> function that writes it into the graph, and `lift_graph`, which calls them.
The functions are in the `lift_*` modules, one per family; `importer.py` imports them all."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from edgert.converters.tflite.builder import Builder, Problem, Refused
from edgert.converters.tflite.model import TfliteOperator

LiftFn: TypeAlias = Callable[[Builder, TfliteOperator], None]
"""Raises Refused for a form edgert cannot take."""

LIFTS: dict[str, LiftFn] = {}
"""Operators on floats, integers and bools; also on quantized tensors where nothing but places change."""

QUANTIZED_LIFTS: dict[str, LiftFn] = {}
"""The same operators where the first output (or, without one, the first input) is quantized to 8 or 16 bits.
An operator that is missing here goes to LIFTS: it moves values and keeps their quantization."""

COMPLEX_LIFTS: dict[str, LiftFn] = {}
"""The same operators where a tensor is of complex numbers; none that is missing here can take them."""


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


def complex_lift(*ops: str) -> Callable[[LiftFn], LiftFn]:
    """Registers the decorated function as the lift of each operator in `ops` on complex numbers."""

    def register(function: LiftFn) -> LiftFn:
        for op in ops:
            if op in COMPLEX_LIFTS:
                raise AssertionError(f"operator {op} has two lifts of complex numbers")
            COMPLEX_LIFTS[op] = function
        return function

    return register


def lift_of(builder: Builder, op: TfliteOperator) -> LiftFn | None:
    """The lift for `op` as its tensors are; None when edgert has none."""
    if any(builder.is_complex(i) for i in (*op.inputs, *op.outputs)):
        return COMPLEX_LIFTS.get(op.op)
    deciding = op.outputs[:1] or op.inputs[:1]
    if any(builder.is_quantized(i) for i in deciding) and op.op in QUANTIZED_LIFTS:
        return QUANTIZED_LIFTS[op.op]
    return LIFTS.get(op.op)


DEFAULT_ADVICE = "convert the model to other operators, or end it before this node"

ADVICE: dict[str, str] = {
    "HASHTABLE": "look words up before the model, and feed it numbers",
    "HASHTABLE_LOOKUP": "look words up before the model, and feed it numbers",
    "RANDOM_UNIFORM": "feed the random numbers as an input",
    "RANDOM_STANDARD_NORMAL": "feed the random numbers as an input",
    "MULTINOMIAL": "end the model before it and draw in the application",
    "DILATE": "end the model before it and dilate in the application",
}


def lift_graph(builder: Builder) -> None:
    """Writes every operator of `builder.source` into its graph; those that are refused go to `builder.problems`."""
    for op in builder.source.operators:
        try:
            function = lift_of(builder, op)
            if function is None:
                kind = "custom operator" if op.custom else "operator"
                advice = ADVICE.get(op.op, DEFAULT_ADVICE)
                builder.problems.append(_problem(builder, op, "", f"edgert does not know this {kind}; {advice}"))
                continue
            function(builder, op)
        except Refused as refusal:
            builder.problems.append(_problem(builder, op, refusal.what, refusal.advice))
        except (LookupError, TypeError, ValueError, ArithmeticError) as error:
            # A file may hold any number of inputs, and constants of any shape and value.
            builder.problems.append(
                _problem(builder, op, "", f"expected inputs and options as TensorFlow Lite defines them ({error})")
            )


def _problem(builder: Builder, op: TfliteOperator, what: str, advice: str) -> Problem:
    made = next((builder.tensor(i).name for i in op.outputs), "")
    return Problem(f"{builder.scope}{op.index}: {made}", op.op, op.version, what, advice)
