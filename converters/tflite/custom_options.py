"""Options of custom operators: flexbuffer maps of numbers and lists of integers, checked as they are read.
What they mean is in the lifts that ask for them."""

from __future__ import annotations

from typing import Any

from edgert.converters.tflite.builder import Refused
from edgert.converters.tflite.model import TfliteOperator

MAX_BYTES = 1 << 16
"""Options seen have at most some hundred bytes."""


def options_of(op: TfliteOperator) -> dict[str, Any]:
    """The map in the custom options of `op`. Raises Refused when they are none."""
    from flatbuffers import flexbuffers

    if len(op.custom_options) > MAX_BYTES:
        raise Refused("custom_options", f"expected at most {MAX_BYTES} bytes, found {len(op.custom_options)}")
    try:
        found = flexbuffers.Loads(op.custom_options)
    except Exception as error:  # the flexbuffer reader checks nothing: any error may come out of damaged bytes
        raise Refused("custom_options", f"expected a flexbuffer map, found something else ({error})") from None
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise Refused("custom_options", f"expected a flexbuffer map, found {type(found).__name__}")
    return found


def numbers_of(op: TfliteOperator) -> dict[str, int | float]:
    """The numbers in the custom options of `op`; other values are left out."""
    return {key: value for key, value in options_of(op).items() if isinstance(value, int | float)}


def integers_of(op: TfliteOperator, key: str) -> list[int]:
    """The list of integers under `key`. Raises Refused when there is none."""
    value = options_of(op).get(key)
    if not isinstance(value, list) or not all(isinstance(v, int) for v in value):
        raise Refused("custom_options", f"expected a list of integers as {key}, found {type(value).__name__}")
    return value
