"""Runs one node through its lowering rule and kernels, without planner or engine, for the kernel tests."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np
from harness import Output, aligned, call_kernel, place

from edgert.format.model import StoredTensor
from edgert.graph.ir import Array, Node, Quantization, TensorType
from edgert.kernels_cpu.levels import Level
from edgert.kernels_cpu.reference.g32 import G32, quantize_g32, quantize_g32x2
from edgert.plan.lowering.api import Buffer, Offer, Refusal, Rule, Site, layout_nbytes, plane_pixels


def to_layout(array: Array, layout: str, level: Level) -> Array:
    """A row-major activation in arena layout; padding is filled with junk."""
    if layout == "row":
        return array
    if layout == "g32":
        return quantize_g32(array).rows()
    if layout == "g32x2":
        return quantize_g32x2(array)
    batch, channels = array.shape[:2]
    pixels = prod(array.shape[2:])
    padded = plane_pixels(pixels)
    if layout == "kp":
        out = np.full((batch, channels, padded), 7e7, np.float32)
        out[:, :, :pixels] = array.reshape(batch, channels, pixels)
        return out
    groups = -(-channels // 4)
    out8 = np.full((batch, groups * 4, padded), 0x5A, np.uint8)
    out8[:, :channels, :pixels] = array.reshape(batch, channels, pixels)
    if level.act_signed:
        out8 ^= 0x80
    return out8.reshape(batch, groups, 4, padded).transpose(0, 1, 3, 2).copy()


def from_layout(data: Array, kind: TensorType, layout: str, level: Level) -> Array:
    """The row-major array in a buffer of raw bytes."""
    shape = kind.static_shape
    if layout == "row":
        return data[: kind.nbytes].view(kind.np_dtype).reshape(shape)
    if layout == "g32":
        return G32.of(data.reshape(*shape[:-1], -1)).dense()[..., : shape[-1]]
    batch, channels, pixels = shape[0], shape[1], prod(shape[2:])
    padded = plane_pixels(pixels)
    if layout == "kp":
        return data.view(np.float32).reshape(batch, channels, padded)[:, :, :pixels].reshape(shape)
    groups = -(-channels // 4)
    value = data.view(np.uint8).reshape(batch, groups, padded, 4).transpose(0, 1, 3, 2)
    value = value.reshape(batch, groups * 4, padded)[:, :channels, :pixels].reshape(shape)
    return value ^ 0x80 if level.act_signed else value


class DirectEmitter:
    """Runs every op as it is emitted."""

    def __init__(self, level: Level, order: str) -> None:
        self.level, self.order, self.memory = level, order, []
        self.kernels: list[str] = []

    def add(self, array: Array) -> Buffer:
        self.memory.append(place(np.ascontiguousarray(array).view(np.uint8).reshape(-1)))
        return Buffer("test", len(self.memory) - 1, array.nbytes)

    def weights(self, stored: StoredTensor, role: str) -> Buffer:
        return self.add(np.asarray(stored.parts[role]))

    def constant(self, value: Array) -> Buffer:
        return self.add(value)

    def rows(self, planned: int) -> Buffer:
        return self.add(np.array([planned], np.int32))

    def workspace(self, nbytes: int) -> Buffer:
        self.memory.append(aligned(nbytes)[1])
        return Buffer("test", len(self.memory) - 1, nbytes)

    def op(self, kernel, operands, params, *, chunks, scratch=0, offsets=None) -> None:  # type: ignore[no-untyped-def]
        offsets = offsets or {}
        views: Mapping[str, Array | None] = {
            name: None if b is None else self.memory[b.key][offsets.get(name, 0) :] for name, b in operands.items()
        }
        self.kernels.append(kernel)
        call_kernel(self.level, kernel, views, params, chunks, scratch, self.order)


def run_rule(
    rule: Rule, node: Node, inputs: list[Array | None], quants: list[Quantization | None], out: TensorType,
    level: Level,
    stored: dict[int, StoredTensor], threads: int = 1, order: str = "forward",
) -> tuple[Array, Offer] | Refusal:  # fmt: skip
    """The node's output by the rule's first offer, as a row-major array; inputs in `stored` are constants."""
    kinds = tuple(
        None if a is None else TensorType(a.dtype.name, a.shape, q) for a, q in zip(inputs, quants, strict=True)
    )
    values = tuple(
        a if i in stored or (a is not None and i == 2 and a.ndim == 1) else None for i, a in enumerate(inputs)
    )
    site = Site(node, kinds, (out,), tuple(stored.get(i) for i in range(len(inputs))), values, level, threads)
    offer = rule(site)
    if isinstance(offer, list):
        offer = next((o for o in offer if isinstance(o, Offer)), offer[0])
    if isinstance(offer, Refusal):
        return offer
    emitter = DirectEmitter(level, order)
    buffers = tuple(
        None if a is None or layout is None else emitter.add(to_layout(a, layout, level))
        for a, layout in zip(inputs, offer.in_layouts, strict=True)
    )
    result = Output((layout_nbytes(out, offer.out_layouts[0]),), np.uint8)
    emitter.memory.append(result.array)
    offer.emit(emitter, buffers, (Buffer("test", len(emitter.memory) - 1, result.array.nbytes),))
    result.check_guards()
    return from_layout(result.array, out, offer.out_layouts[0], level), offer
