"""One head of a packed row made ready: normalized, rotated by its position, scaled. Also where a run begins.

What is done with the head is in rope.py (keys and values) and attention.py (queries).
"""

from __future__ import annotations

from edgert.kernels_cpu.attention.sizes import TURNS
from edgert.kernels_cpu.elementwise.functions import const
from edgert.kernels_cpu.simd import (
    LANES,
    fma,
    helper,
    load_f32v,
    load_i32,
    reduce_add,
    splat_f32,
    sqrt,
    store_f32v,
    store_first_f32v,
    udiv,
    urem,
)  # fmt: skip


@helper
def first_position(positions):  # type: ignore[no-untyped-def]
    """The int32 at `positions`, 0 without one."""
    return 0 if positions == 0 else load_i32(positions)


@helper
def angles_at(position, table, fine, half, angles):  # type: ignore[no-untyped-def]
    """Writes `half` cosines, then as many sines, of `position` to `angles`; half is a multiple of 16.

    They are products of two unit complex numbers: of the last multiple of TURNS from `table`, and of what is left
    from `fine` bytes behind it. Each entry of the table is `half` cosines and `half` sines.
    """
    row = 8 * half
    a, b = table + row * udiv(position, TURNS), table + fine + row * urem(position, TURNS)
    for i in range(0, 4 * half, 4 * LANES):
        a_cos, a_sin = load_f32v(a + i), load_f32v(a + 4 * half + i)
        b_cos, b_sin = load_f32v(b + i), load_f32v(b + 4 * half + i)
        store_f32v(angles + i, a_cos * b_cos - a_sin * b_sin)
        store_f32v(angles + 4 * half + i, a_sin * b_cos + a_cos * b_sin)


@helper
def prepare(x, y, depth, norm, epsilon, scale, angles, rotary, half):  # type: ignore[no-untyped-def]
    """y = scale * rotated(normalized(x)): `depth` floats, a multiple of 16.

    norm: address of the weights of the norm, 0 for none. rotary: how many pairs i, i + rotary are rotated by the
    angles at `angles`, of which there are `half`, padding included.
    """
    factor = splat_f32(scale)
    if norm != 0:
        total = const(0.0)
        for i in range(0, 4 * depth, 4 * LANES):
            v = load_f32v(x + i)
            total = fma(v, v, total)
        mean = splat_f32(reduce_add(total)) / splat_f32(depth)
        factor = factor / sqrt(mean + splat_f32(epsilon))
        for i in range(0, 4 * depth, 4 * LANES):
            store_f32v(y + i, load_f32v(x + i) * factor * load_f32v(norm + i))
    else:
        for i in range(0, 4 * depth, 4 * LANES):
            store_f32v(y + i, load_f32v(x + i) * factor)
    for i in range(0, rotary, LANES):
        low, high = load_f32v(y + 4 * i), load_f32v(y + 4 * (rotary + i))
        cos, sin = load_f32v(angles + 4 * i), load_f32v(angles + 4 * (half + i))
        store_first_f32v(y + 4 * i, low * cos - high * sin, rotary - i)
        store_first_f32v(y + 4 * (rotary + i), high * cos + low * sin, rotary - i)
