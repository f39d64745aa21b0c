"""The vocabulary kernels are written in: vectors, loads, dot products, packs, tiles, for the level being compiled.

Imported by kernel sources in a compiler process only (it needs Numba and EDGERT_KERNEL_LEVEL).
"""

from __future__ import annotations

from numba import njit

from edgert.kernels_cpu.simd.arith import (
    absolute, bits_f32, bits_i8, bits_i32, fma, iota_i32, maximum, maximum_u8, minimum, minimum_u8, reduce_add,
    reduce_max, reduce_min, round_i32, scalar_bits_f32, select_gt, select_nan, shift_left, shift_right,
    shift_right_signed, sqrt, to_f32, trunc_i32, udiv, urem,
)  # fmt: skip
from edgert.kernels_cpu.simd.bytes8 import (
    add_saturate_i16, byte0, byte1, byte2, byte3, clamp_act, dot4, max_act, min_act, pack_act, pack_i16, requantize,
    transpose4x4, widen_high_i16, widen_low_i16,
)  # fmt: skip
from edgert.kernels_cpu.simd.memory import (
    broadcast_f32, broadcast_i8x4, broadcast_i32, broadcast_lane_f32, broadcast_lane_i8, extract_i32, load_even_lanes_i8, load_f32,
    load_f32v, load_i8, load_i8v, load_i16, load_i16v, load_i32, load_i32v, load_i64, load_u8, load_u16, load_u32,
    prefetch, splat_f32, splat_i8, splat_i16, splat_i32, store_f32, store_f32v, store_i8, store_i8v, store_i16,
    store_i16v, store_i32, store_i32v, store_i64,
)  # fmt: skip
from edgert.kernels_cpu.simd.partial import (
    keep_first, share, store_first_f32v, store_first_i8v, store_first_i32v,
)  # fmt: skip
from edgert.kernels_cpu.simd.permute import (
    HAS_LOOKUP, load_every_f32, load_every_i32, load_interleaved_i8, load_strided_f32, load_strided_i32, load_u8_i32,
    lookup_256, sequence_packed, store_plane_i8,
)  # fmt: skip
from edgert.kernels_cpu.simd.target import ACT_SIGNED, ARCH, LANES, LEVEL, REGISTERS, VECTOR_BYTES, has
from edgert.kernels_cpu.simd.tile import (
    row_addresses, tile_init, tile_step, tile_store_f32, tile_store_q8,
)  # fmt: skip
from edgert.kernels_cpu.simd.types import Vec, f32v, i8v, i16v, i32v

helper = njit(forceinline=True, error_model="numpy", boundscheck=False)
"""Decorates functions that kernels call; always inlined."""

__all__ = [
    "ACT_SIGNED", "ARCH", "HAS_LOOKUP", "LANES", "LEVEL", "REGISTERS", "VECTOR_BYTES", "Vec", "absolute",
    "add_saturate_i16", "bits_f32", "bits_i32", "bits_i8", "broadcast_f32", "broadcast_i32", "broadcast_i8x4",
    "broadcast_lane_f32", "broadcast_lane_i8", "byte0", "byte1", "byte2", "byte3", "clamp_act", "dot4",
    "f32v", "fma", "has", "helper", "i16v", "i32v", "i8v", "iota_i32", "keep_first", "load_even_lanes_i8",
    "load_every_f32", "load_every_i32", "load_f32", "load_f32v", "load_i16", "load_i16v", "load_i32",
    "load_i32v", "load_i64", "load_i8", "load_i8v", "load_interleaved_i8", "load_strided_f32",
    "load_strided_i32", "load_u16", "load_u32", "load_u8", "load_u8_i32", "lookup_256", "max_act", "maximum",
    "maximum_u8", "min_act", "minimum", "minimum_u8", "pack_act", "pack_i16", "prefetch", "reduce_add",
    "reduce_max", "reduce_min", "requantize", "round_i32", "row_addresses", "scalar_bits_f32", "select_gt", "select_nan",
    "sequence_packed", "share", "shift_left", "shift_right", "shift_right_signed", "splat_f32", "splat_i16",
    "splat_i32", "splat_i8", "sqrt", "store_f32", "store_f32v", "store_first_f32v", "store_first_i32v",
    "store_first_i8v", "store_i16", "store_i16v", "store_i32", "store_i32v", "store_i64", "store_i8",
    "store_i8v", "store_plane_i8", "tile_init", "tile_step_f32", "tile_step_q8", "tile_store_f32",
    "tile_store_q8", "tile_store_q8_residual", "to_f32", "transpose4x4", "trunc_i32", "udiv", "urem",
    "widen_high_i16", "widen_low_i16",
]  # fmt: skip
