"""Sparse tensors read as docs/format.md says (F47 to F53), number by number, refusing to look outside a part.

What a kernel does with parts that passed, written again without NumPy's help; nothing of edgert.format is used.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


class Bytes:
    """The bytes of a part, read by place."""

    def __init__(self, part: Array) -> None:
        self.data = part.tobytes()

    def take(self, kind: str, at: int) -> Any:
        assert 0 <= at <= len(self.data) - struct.calcsize(kind), f"byte {at} of {len(self.data)}"
        return struct.unpack_from("<" + kind, self.data, at)[0]

    def bits(self, count: int, at: int) -> list[int]:
        return [self.take("B", at + bit // 8) >> bit % 8 & 1 for bit in range(count)]


def read(encoding: str, layout: str, shape: tuple[int, ...], parts: Mapping[str, Array]) -> Array:
    """The values in float64 (block: as they are); numbers of groups are multiplied by their scales."""
    content = {role: Bytes(part) for role, part in parts.items()}
    if encoding in ("block", "block16"):
        return block(layout, shape, content, parts["data"].dtype.char, parts["index"].dtype.char)
    real = np.zeros(shape)
    if encoding == "fanin":
        count = parts["index"].shape[1]
        for row in range(shape[0]):
            for i in range(count):
                place = (row // 16 * count + i) * 16 + row % 16
                k = content["index"].take("H", 2 * place)
                assert k < shape[1]
                real[row, k] = content["scale"].take("f", 4 * row) * content["data"].take("b", place)
    elif encoding == "group4":
        group4(real, content["mask"], content["data"])
    else:
        at, size = 0, parts["data"].shape[-1]
        for row in range(0, shape[0], 16):
            if "start" in content:
                at = 8 * content["start"].take("I", row // 16 * 4)
            for left in range(0, shape[1], 64):
                end = rowgroup4(real, row, left, content["data"], at) if encoding == "rowgroup4" else masked(
                    real, row, left, content["data"], at, encoding
                )  # fmt: skip
                at = end if "start" in content else at + size
    return real


def put(real: Array, row: int, k: int, value: float) -> None:
    """Beyond the matrix a number is nothing."""
    if row < real.shape[0] and k < real.shape[1]:
        real[row, k] = value
    else:
        assert value == 0


def masked(real: Array, row: int, left: int, data: Bytes, at: int, encoding: str) -> int:
    """One block with masks; the byte after it."""
    step = 1 if encoding == "bitmap16" else 4
    head = 128 if encoding == "bitmap16" else 192
    count = 0
    for place, bit in enumerate(data.bits(1024, at)):
        if not bit:
            continue
        line, r, b = place // (16 * step), place // step % 16, place % step
        k = step * line + b
        if encoding in ("bitmap8", "nm8"):
            number = data.take("b", at + head + count)
        elif encoding == "bitmap16":
            number = data.take("e", at + head + 2 * count)
        else:
            number = (data.take("B", at + head + count // 2) >> 4 * (count % 2) & 15) - 8
        scale = 1.0 if head == 128 else data.take("e", at + 128 + 2 * (k // 32 * 16 + r))
        put(real, row + r, left + k, number * scale)
        count += 1
    bits = {"bitmap16": 16, "bitmap4": 4, "nm4": 4}.get(encoding, 8)
    return at + head + -(-count * bits // 64) * 8


def rowgroup4(real: Array, row: int, left: int, data: Bytes, at: int) -> int:
    kept = [[r for r in range(16) if data.take("H", at + 2 * g) >> r & 1] for g in range(2)]
    total, words, scales = sum(map(len, kept)), at + 8, 0
    for g, rows in enumerate(kept):
        for i, r in enumerate(rows):
            scale = data.take("e", at + 8 + 16 * total + 2 * (scales + i))
            for j in range(4):
                for b in range(4):
                    byte = data.take("B", words + 4 * (j * len(rows) + i) + b)
                    put(real, row + r, left + 32 * g + 4 * j + b, scale * ((byte & 15) - 8))
                    put(real, row + r, left + 32 * g + 16 + 4 * j + b, scale * ((byte >> 4) - 8))
        words, scales = words + 16 * len(rows), scales + len(rows)
    return at + 8 + -(-18 * total // 8) * 8


def group4(real: Array, mask: Bytes, data: Bytes) -> None:
    groups = -(-real.shape[1] // 64) * 2
    for tall in range(-(-real.shape[0] // 32)):
        for group in range(groups):
            at, g = (tall * (groups // 2) + group // 2) * 576, group % 2
            rows = [r for r in range(32) if mask.take("I", 4 * (tall * groups + group)) >> r & 1]
            assert len(rows) == 16
            for i, r in enumerate(rows):
                scale = data.take("e", at + 512 + 2 * (16 * g + i))
                for j in range(4):
                    for b in range(4):
                        byte = data.take("B", at + 64 * (4 * g + j) + 4 * i + b)
                        put(real, 32 * tall + r, 32 * group + 4 * j + b, scale * ((byte & 15) - 8))
                        put(real, 32 * tall + r, 32 * group + 16 + 4 * j + b, scale * ((byte >> 4) - 8))


def block(layout: str, shape: tuple[int, ...], content: Mapping[str, Bytes], kind: str, wide: str) -> Array:
    rows, columns = map(int, layout[1:].split("x"))
    taps, across = int(np.prod(shape[2:])), -(-shape[1] // columns)
    real = np.zeros((shape[0], shape[1], taps))
    size = struct.calcsize(kind)

    def cell(row: int, number: int, item: int) -> None:
        tap, left = number // across, number % across * columns
        assert tap < taps
        for b in range(columns):
            value = content["data"].take(kind, size * (item * columns + b))
            if row < shape[0] and left + b < shape[1]:
                real[row, left + b, tap] += value
            else:
                assert value == 0

    def number(i: int) -> int:
        return int(content["index"].take(wide, struct.calcsize(wide) * i))

    if rows == 1:
        for pair in range(-(-shape[0] // 2)):
            both, first, second, item = (content["start"].take("I", 4 * (4 * pair + i)) for i in range(4))
            end = content["start"].take("I", 4 * (4 * pair + 4))
            for i in range(both, end):
                wanted = [2 * pair, 2 * pair + 1] if i < first else [2 * pair + (i >= second)]
                for row in wanted:
                    cell(row, number(i), item)
                    item += 1
            assert item == content["start"].take("I", 4 * (4 * pair + 7))
    else:
        for group in range(-(-shape[0] // rows)):
            start, end = (content["start"].take("I", 4 * (group + i)) for i in range(2))
            for i in range(start, end):
                for r in range(rows):
                    cell(group * rows + r, number(i), i * rows + r)
    return real.reshape(shape)
