"""Options of custom operators: numbers and lists of them, and flexbuffers that would never end."""

from __future__ import annotations

import contextlib

import pytest
from flatbuffers import flexbuffers

from edgert.converters.tflite.builder import Refused
from edgert.converters.tflite.custom_options import MAX_BYTES, MAX_ITEMS, integers_of, numbers_of
from edgert.converters.tflite.model import TfliteOperator


def op(options: bytes) -> TfliteOperator:
    return TfliteOperator(0, "Custom", True, 1, (), (), {}, options)


def packed(value: object) -> bytes:
    return bytes(flexbuffers.Dumps(value))


def test_numbers_and_lists() -> None:
    options = op(packed({"a": 3, "b": 0.5, "c": True, "d": "text", "e": [4, 5], "f": [1, "x"], "g": [0.5]}))
    assert numbers_of(options) == {"a": 3, "b": 0.5, "c": True}
    assert integers_of(options, "e") == [4, 5]
    for key in ("a", "d", "f", "g", "none"):
        with pytest.raises(Refused, match="list of integers"):
            integers_of(options, key)


def test_what_is_no_map_is_refused() -> None:
    for options in (b"", b"\x00", packed([1, 2]), packed(3), packed({"a": 1})[:-2], bytes(MAX_BYTES + 1)):
        with pytest.raises(Refused, match=r"flexbuffer|bytes"):
            numbers_of(op(options))


def test_long_lists_are_refused() -> None:
    with pytest.raises(Refused, match=f"{MAX_ITEMS + 1} elements"):
        integers_of(op(packed({"a": [1] * (MAX_ITEMS + 1)})), "a")


def test_every_cut_and_flip_ends_in_an_answer_or_is_refused() -> None:
    whole = packed({"a": 3, "e": [4, 5], "m": {"n": [1.5, 2]}})
    for at in range(len(whole)):
        for value in (0x00, 0x7F, 0xFF):
            damaged = whole[:at] + bytes([value]) + whole[at + 1 :]
            for read in (numbers_of, lambda o: integers_of(o, "e")):
                with contextlib.suppress(Refused):
                    read(op(damaged))


def nested(levels: int, width: int) -> bytes:
    """{"a": a list of `width` times one list, of `width` times one list, ...}: width ** levels elements in all."""
    out = bytearray()

    def number(value: int) -> None:
        out.extend(value.to_bytes(2, "little"))

    def repeated(target: int | None, kind: int) -> int:
        out.extend(bytes(len(out) % 2))
        number(width)
        start = len(out)
        for _ in range(width):
            number(7 if target is None else len(out) - target)
        out.extend(bytes([kind]) * width)
        return start

    integer, vector, table = 1 << 2 | 1, 10 << 2 | 1, 9 << 2 | 1  # each of two bytes
    inner = repeated(None, integer)
    for _ in range(levels):
        inner = repeated(inner, vector)
    key = len(out)
    out.extend(b"a\0" + bytes(len(out) % 2))
    number(1)
    keys = len(out)
    number(len(out) - key)
    for value in (len(out) - keys, 2, 1):  # where the keys are, their width, and how many
        number(value)
    start = len(out)
    number(len(out) - inner)
    out.extend(bytes([vector]) + bytes(1 - len(out) % 2))
    number(len(out) - start)
    return bytes(out) + bytes([table, 2])


def test_lists_of_one_list_are_not_written_out() -> None:
    assert flexbuffers.Loads(nested(1, 2)) == {"a": [[7, 7], [7, 7]]}
    assert integers_of(op(nested(0, 3)), "a") == [7, 7, 7]
    bomb = op(nested(8, 200))  # 200 ** 9 numbers in 6 KB
    assert numbers_of(bomb) == {}
    with pytest.raises(Refused, match="list of integers"):
        integers_of(bomb, "a")
