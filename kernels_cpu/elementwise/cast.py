"""Cast, flat over a buffer in row layout.

Source: ONNX Cast-23; what overflows is settled as in kernels_cpu/reference/elementwise.py.
"""

from __future__ import annotations

from edgert.kernels_cpu.elementwise import CAST_TYPES
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import LANES, helper, load_i32, load_i64, share, udiv
from edgert.kernels_cpu.simd.casting import cast

F = record_fields("cast_row")
SIZES = {"float32": 4, "int64": 8, "int32": 4, "uint8": 1, "int8": 1, "bool": 1}
PAIRS = [(source, target) for source in CAST_TYPES for target in CAST_TYPES]
"""By `op`."""


def _chain(number):  # type: ignore[no-untyped-def]
    """A function that casts pair `number` when `op` says so, and asks the chain of those after it when not."""
    source, target = PAIRS[number]
    convert, read, written = cast(source, target), SIZES[source] * LANES, SIZES[target] * LANES

    @helper
    def loop(x, y, start, stop, count):  # type: ignore[no-untyped-def]
        for i in range(start, stop):
            convert(x + read * i, y + written * i, count - LANES * i)

    if number + 1 == len(PAIRS):

        @helper
        def last(op, x, y, start, stop, count):  # type: ignore[no-untyped-def]
            loop(x, y, start, stop, count)

        return last
    rest = _chain(number + 1)

    @helper
    def choose(op, x, y, start, stop, count):  # type: ignore[no-untyped-def]
        if op == number:
            loop(x, y, start, stop, count)
        else:
            rest(op, x, y, start, stop, count)

    return choose


_apply = _chain(0)


def cast_row(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of vectors of LANES values."""
    count = load_i32(record + F.count)
    vectors = udiv(count + LANES - 1, LANES)
    start, stop = share(record, vectors, chunk), share(record, vectors, chunk + 1)
    _apply(load_i32(record + F.op), load_i64(record + F.x), load_i64(record + F.y), start, stop, count)
