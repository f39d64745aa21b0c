"""What a lowering rule sees and gives: Site (a node with everything known about it) -> Offer or Refusal.

Rules live in the sibling files, one per kernel family. The planner asks every rule of an operator, keeps the
refusals as reasons, and takes the offer with the least predicted time, layout conversions included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Protocol

from edgert.format.model import StoredTensor
from edgert.graph.ir import Array, Node, TensorType
from edgert.kernels_cpu.levels import Level

LAYOUTS = ("row", "kp", "k4p", "g32", "g32x2", "kvf16", "kvint8")
"""Activation layouts, see docs/kernels.md: row-major; float planes of 16-pixel multiples; NC4HW4 bytes; rows of int8
in groups of 32 with a scale and a sum each, and such rows of two terms, the second of what the first left over; and
what a key-value cache of half or of int8 numbers lies in."""
ACTIVATIONS = {"int8": "g32", "int16": "g32x2"}
"""What activations become before they meet weights in groups, and the layout that is. int16 are two terms of int8:
nothing is lost that a float32 product would keep, at up to twice the work."""
KV = ("f16", "int8")
"""What the numbers of a key-value cache may be."""
SPARSE = ("auto", "always", "never")
"""Whether kernels that skip zeros run where the weights have them: where predicted faster, or not a matter of time."""
GROUP = 32
"""Values that share a scale in g32 and in the weight encodings it meets."""
BLOCK_K = 64
"""g32 rows and grouped weights are padded to two groups: one block of weights has 64 k."""


@dataclass(frozen=True)
class Site:
    """A node with its static types. `stored[i]` / `values[i]` are set where input i is a constant (values only for
    dense row-major ones)."""

    node: Node
    inputs: tuple[TensorType | None, ...]
    outputs: tuple[TensorType, ...]
    stored: tuple[StoredTensor | None, ...]
    values: tuple[Array | None, ...]
    level: Level
    threads: int
    kv: str = "f16"
    """How a key-value cache keeps its numbers: 'f16' or 'int8'."""
    activations: str = "int8"
    """What meets weights in groups: a key of ACTIVATIONS."""


@dataclass(frozen=True)
class Buffer:
    """A place in the arena or among the constants; what operands refer to. `nbytes` is all that may be touched."""

    segment: str
    """'arena', 'weights' (mapped from the file), 'constants' (made at planning), 'state' (lives from run to run) or
    'registers' (set before each run)."""
    key: int
    nbytes: int


class Emitter(Protocol):
    """Where an offer writes its ops, in order, once it has been chosen."""

    def op(
        self,
        kernel: str,
        operands: Mapping[str, Buffer | None],
        params: Mapping[str, int | float],
        *,
        chunks: int,
        scratch: int = 0,
        offsets: Mapping[str, int] | None = None,
    ) -> None:
        """Appends a record. `offsets` moves an operand's address into its buffer; scratch is bytes per thread."""
        ...  # fmt: skip

    def weights(self, stored: StoredTensor, role: str) -> Buffer:
        """A part of a stored tensor, as mapped from the file."""
        ...

    def lookup(
        self, stored: StoredTensor, role: str, indices: Buffer, *, count: int, lines: int
    ) -> tuple[Buffer, Buffer] | None:
        """(rows, int32 indices into them) of a table that is not kept in memory: before the node runs, the rows at
        `indices`, int32 or int64 [count] in the arena, are read from the file, `lines` rows at a time, which lie
        together there. None where the table is among the weights."""
        ...

    def select(self, stored: StoredTensor, role: str, listed: Buffer, *, count: int, nbytes: int) -> Buffer | None:
        """Where the neurons `listed` (see kernels_cpu/neurons, `count` at most) of a part are that is not kept in
        memory whole, `nbytes` bytes each: int32 slots, counted from the address of weights(stored, role). Those that
        are missing are read between the ops before and after this. None where the part is in memory."""
        ...

    def constant(self, value: Array) -> Buffer:
        """A small array made at planning (tap tables, effective biases); 64-byte aligned, zero padded to 64."""
        ...

    def workspace(self, nbytes: int) -> Buffer:
        """Arena memory that lives for this node only."""
        ...

    def rows(self, planned: int) -> Buffer:
        """One int32: how many of the `planned` rows a run has. A register where that varies, else a constant."""
        ...


@dataclass(frozen=True)
class Offer:
    """One way to run a node.

    kernel: main kernel's name, for plans and traces. layouts: what it wants of each input (None for constants and
    absent ones) and makes of each output.
    macs, nbytes: work and memory traffic, for the cost model. streamed: how many of nbytes are weights so large in all
    that every run reads them from memory anew. efficiency: reached share of the peak of `unit`.
    unit: 'dot8' | 'fma32' | 'bytes' (memory-bound) - which measured peak bounds it.
    reason: why this form, in words for people. in_place: index of an input whose buffer the first output may take.
    sparse: of a kernel that skips zeros, the pattern and the share of zeros in its weights: '4x4 52 %'.
    expanded: the weights are sparse in the file, and dense for this kernel.
    emit(emitter, inputs, outputs): buffers in the promised layouts.
    """

    kernel: str
    in_layouts: tuple[str | None, ...]
    out_layouts: tuple[str, ...]
    macs: int
    nbytes: int
    unit: str
    efficiency: float
    reason: str
    emit: Callable[[Emitter, tuple[Buffer | None, ...], tuple[Buffer, ...]], None] = field(repr=False)
    in_place: int | None = None
    streamed: int = 0
    sparse: str = ""
    expanded: bool = False


@dataclass(frozen=True)
class Refusal:
    """Why a kernel cannot run a node: 'depthwise_q8_k4p: kernel 7x1 wider than 5'."""

    kernel: str
    why: str


Rule = Callable[[Site], "Offer | Refusal | list[Offer | Refusal]"]
RULES: dict[str, list[Rule]] = {}


def lowers(*operators: str) -> Callable[[Rule], Rule]:
    """Registers a rule for operators (`@lowers("Conv")`)."""

    def register(rule: Rule) -> Rule:
        for operator in operators:
            RULES.setdefault(operator, []).append(rule)
        return rule

    return register


def plane_pixels(pixels: int) -> int:
    """Pixels of a plane in kp and k4p: rounded up to 16, so that planes begin on cache lines."""
    return -(-pixels // 16) * 16


def g32_depth(depth: int) -> int:
    """Values of a g32 row, padding included."""
    return -(-depth // BLOCK_K) * BLOCK_K


def g32_stride(depth: int) -> int:
    """Bytes of a g32 row of `depth` values: int8 q[K64] | float32 scale[K64/32] | int32 sum[K64/32]."""
    return g32_depth(depth) * 5 // 4


def kv_nbytes(shape: tuple[int, ...], layout: str) -> int:
    """Bytes of the keys or the values [heads, positions, depth] of a cache: whole groups of 16 positions, and in
    kvint8 a float32 scale per head and position behind them, on a cache line."""
    heads, positions, depth = shape
    rows = heads * -(-positions // 16) * 16
    if layout == "kvf16":
        return 2 * rows * depth
    return -(-rows * depth // 64) * 64 + 4 * rows


def layout_nbytes(kind: TensorType, layout: str) -> int:
    """Bytes a tensor takes in the arena. kp/k4p take rank 2 [N, C] (one pixel), 3 [N, C, W] or 4 [N, C, H, W];
    g32 and g32x2 take [..., K]; the layouts of a cache take [heads, positions, depth]."""
    if layout == "row":
        return kind.nbytes
    shape = kind.static_shape
    if layout in ("g32", "g32x2"):
        return prod(shape[:-1]) * g32_stride(shape[-1]) * (2 if layout == "g32x2" else 1)
    if layout in ("kvf16", "kvint8"):
        return kv_nbytes(shape, layout)
    batch, channels = shape[0], shape[1]
    pixels = prod(shape[2:])
    if layout == "kp":
        return batch * channels * plane_pixels(pixels) * 4
    return batch * -(-channels // 4) * plane_pixels(pixels) * 4
