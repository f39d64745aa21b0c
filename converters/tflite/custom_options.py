"""Options of custom operators: flexbuffer maps of numbers and lists of integers, checked as they are read.
What they mean is in the lifts that ask for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from edgert.converters.tflite.builder import Refused
from edgert.converters.tflite.model import TfliteOperator

T = TypeVar("T")

MAX_BYTES = 1 << 16
"""Options seen have at most some hundred bytes."""

MAX_ITEMS = 1 << 10
"""Of the map and of each list; lists seen name the landmarks of a face."""


def numbers_of(op: TfliteOperator) -> dict[str, int | float]:
    """The numbers in the custom options of `op`; other values are left out. Raises Refused when they are no map."""
    return _checked(op, lambda table: {key: value.Value for key, value in table.items() if _is_number(value)})


def integers_of(op: TfliteOperator, key: str) -> list[int]:
    """The list of integers under `key`. Raises Refused when there is none."""

    def read(table: dict[str, Any]) -> list[int] | None:
        value = table.get(key)
        if value is None or not (value.IsVector or value.IsTypedVector):
            return None
        items = _items(value.AsVector if value.IsVector else value.AsTypedVector)
        return [item.AsInt for item in items] if all(item.IsInt for item in items) else None

    found = _checked(op, read)
    if found is None:
        raise Refused("custom_options", f"expected a list of integers as {key}, found none")
    return found


def _checked(op: TfliteOperator, read: Callable[[dict[str, Any]], T]) -> T:
    """What `read` makes of the map in the custom options of `op`, whose values it gets as references: lists in lists
    may hold one list many times over, and written out would never end. Raises Refused."""
    from flatbuffers import flexbuffers

    if len(op.custom_options) > MAX_BYTES:
        raise Refused("custom_options", f"expected at most {MAX_BYTES} bytes, found {len(op.custom_options)}")
    try:
        root = flexbuffers.GetRoot(op.custom_options)
        if not root.IsMap:
            raise ValueError("no map")
        keys = [key.AsKey for key in _items(root.AsMap.Keys)]
        return read(dict(zip(keys, _items(root.AsMap.Values), strict=True)))
    except Exception as error:  # the flexbuffer reader checks nothing: any error may come out of damaged bytes
        raise Refused("custom_options", f"expected a flexbuffer map, found something else ({error})") from None


def _items(vector: Any) -> list[Any]:
    """The elements of a vector that does not state more of them than there can be."""
    if len(vector) > MAX_ITEMS:
        raise ValueError(f"{len(vector)} elements")
    return [vector[i] for i in range(len(vector))]


def _is_number(value: Any) -> bool:
    return bool(value.IsInt or value.IsFloat or value.IsBool)
