"""The words of amx.py as plain loops over tiles in memory: for tests on machines without AMX, never for speed.

Stricter than it must be, so that a wrong kernel gives wrong results instead of a fault: an instruction whose tiles are
not configured, or do not fit each other, fills its target with POISON.
"""

from __future__ import annotations

from edgert.kernels_cpu.simd import helper, load_i8, load_i32, load_u8, load_u16, store_i8, store_i32, store_i64

TILES, TILE_BYTES, ROW_BYTES, ROWS = 8, 1024, 64, 16
CONFIG_BYTES = 64
POISON = 0x5A


@helper
def _rows(state, tile):  # type: ignore[no-untyped-def]
    """Rows of a tile as configured; 0 without a configuration."""
    return load_u8(state + 48 + tile) if load_u8(state) == 1 else 0


@helper
def _columns(state, tile):  # type: ignore[no-untyped-def]
    """Bytes of a tile's row as configured."""
    return load_u16(state + 16 + 2 * tile) if load_u8(state) == 1 else 0


@helper
def _at(state, tile, row):  # type: ignore[no-untyped-def]
    return state + CONFIG_BYTES + TILE_BYTES * tile + ROW_BYTES * row


@helper
def _fill(state, tile, value):  # type: ignore[no-untyped-def]
    for i in range(TILE_BYTES):
        store_i8(_at(state, tile, 0) + i, value)


@helper
def configure(state, config):  # type: ignore[no-untyped-def]
    for i in range(CONFIG_BYTES):
        store_i8(state + i, load_i8(config + i))
    for tile in range(TILES):
        if _rows(state, tile) > ROWS or _columns(state, tile) > ROW_BYTES or _columns(state, tile) % 4 != 0:
            store_i64(state, 0)
    for tile in range(TILES):
        _fill(state, tile, 0)


@helper
def release(state):  # type: ignore[no-untyped-def]
    store_i64(state, 0)
    for tile in range(TILES):
        _fill(state, tile, POISON)


@helper
def zero(state, tile):  # type: ignore[no-untyped-def]
    _fill(state, tile, 0 if _rows(state, tile) > 0 else POISON)


@helper
def load(state, tile, address, stride):  # type: ignore[no-untyped-def]
    zero(state, tile)
    for row in range(_rows(state, tile)):
        for i in range(_columns(state, tile)):
            store_i8(_at(state, tile, row) + i, load_i8(address + stride * row + i))


@helper
def store(state, tile, address, stride):  # type: ignore[no-untyped-def]
    for row in range(_rows(state, tile)):
        for i in range(_columns(state, tile)):
            store_i8(address + stride * row + i, load_i8(_at(state, tile, row) + i))


def _product(load_right):  # type: ignore[no-untyped-def]
    """A function: sums += left by right, right's bytes as `load_right` reads them."""

    @helper
    def dot(state, sums, left, right):  # type: ignore[no-untyped-def]
        rows, columns, depth = _rows(state, sums), _columns(state, sums), _columns(state, left)
        fits = _rows(state, left) == rows and _columns(state, right) == columns
        if rows == 0 or not fits or 4 * _rows(state, right) != depth:
            _fill(state, sums, POISON)
            return
        for m in range(rows):
            for n in range(0, columns, 4):
                total = load_i32(_at(state, sums, m) + n)
                for k in range(depth):
                    byte = load_right(_at(state, right, k >> 2) + n + (k & 3))
                    total += load_i8(_at(state, left, m) + k) * byte
                store_i32(_at(state, sums, m) + n, total)

    return dot


dot, dot_signed = _product(load_u8), _product(load_i8)
