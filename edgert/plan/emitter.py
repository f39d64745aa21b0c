"""Collects what chosen offers emit: ops, arena blocks, constants and mapped weights; then makes them a Program.

Which offers are chosen is decided before, in planner.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import gcd

import numpy as np
import numpy.typing as npt

from edgert.errors import KernelError
from edgert.format.encodings.f16 import F16
from edgert.format.model import StoredTensor
from edgert.format.parts import FilePart, Parts
from edgert.graph.ir import Array
from edgert.plan.lowering.api import Buffer
from edgert.plan.memory import READ_AROUND, Arrangement, Block, arrange, round_up
from edgert.program import Op, Operand, Program, Segment

ARENA, CONSTANTS, REGISTERS, STATE, FIRST_WEIGHTS = 0, 1, 2, 3, 4
"""Segment numbers of a program."""
ROWS = 0
"""The register that has the number of rows of a run. Registers are int32, REGISTER_BYTES in all."""
REGISTER_BYTES = 64
WIDENING = "gather_f16"
"""The kernel that makes floats of halves."""
WIDENED_ROWS = 16
"""Rows that streamed halves are widened in, or a divisor: so many threads can share it."""
SHARED_HALVES = 1 << 16
"""So many are worth sharing."""
LOOKUP_BYTES = 1 << 20
"""Tables of less are weights like others where weights are streamed: reading rows of them one by one gains nothing."""


@dataclass
class _Span:
    """An arena block whose lifetime still grows."""

    nbytes: int
    first: int
    last: int


@dataclass(frozen=True)
class _RawOp:
    kernel: str
    operands: dict[str, tuple[Buffer, int] | None]
    params: dict[str, int | float]
    chunks: int
    scratch: int
    node: str


@dataclass(frozen=True)
class Lookup:
    """A LookupCall before its arena memory has a place. step: of the op that takes what was read."""

    step: int
    part: FilePart
    rows: int
    lines: int
    nbytes: int
    indices: Buffer
    window: Buffer
    places: Buffer


@dataclass(frozen=True)
class Selection:
    """A NeuronCall before its arena memory has a place. op: the first that needs the neurons."""

    step: int
    op: int
    part: FilePart
    nbytes: int
    listed: Buffer
    slots: Buffer


class PlanEmitter:
    """The Emitter that offers see. `step` and `node` say for whom they emit; the planner moves them on. stream: parts
    that lie in a file are only noted, so that none is read. neurons: those of them that are made of neurons are read
    neuron by neuron."""

    def __init__(self, *, varying_rows: bool = False, stream: bool = False, neurons: bool = False) -> None:
        self.varying_rows, self.stream, self.neurons = varying_rows, stream, neurons
        self.step = 0
        self.node = ""
        self.ops: list[_RawOp] = []
        self.lookups: list[Lookup] = []
        self.selections: list[Selection] = []
        self._spans: list[_Span] = []
        self._constants: list[bytes] = []
        self._constant_offsets: list[int] = []
        self._constant_keys: dict[bytes, Buffer] = {}
        self._constant_bytes = 0
        self._weights: list[tuple[str, Array | FilePart]] = []
        self._weight_keys: dict[tuple[str, str, int | FilePart], Buffer] = {}
        self._states = Arrangement((), 0, 0)

    def place_states(self, sizes: Sequence[int]) -> list[Buffer]:
        """Memory that lives from run to run, one place after the other: the same for the same sizes, so that several
        plans can share it."""
        ends = list(accumulate(map(round_up, sizes), initial=READ_AROUND if sizes else 0))
        total = ends[-1] + READ_AROUND if sizes else 0
        self._states = Arrangement(tuple(ends[:-1]), total, total)
        return [Buffer("state", index, round_up(size)) for index, size in enumerate(sizes)]

    def op(
        self, kernel: str, operands: Mapping[str, Buffer | None], params: Mapping[str, int | float], *,
        chunks: int, scratch: int = 0, offsets: Mapping[str, int] | None = None,
    ) -> None:  # fmt: skip
        """See lowering/api.py. Raises KernelError for an offset of an absent operand."""
        places: dict[str, tuple[Buffer, int] | None] = {
            name: None if buffer is None else (buffer, 0) for name, buffer in operands.items()
        }
        for name, offset in (offsets or {}).items():
            buffer = operands.get(name)
            if buffer is None:
                raise KernelError(f"{kernel} for node {self.node!r}: offset of the absent operand {name}")
            places[name] = (buffer, offset)
        self.ops.append(_RawOp(kernel, places, dict(params), chunks, scratch, self.node))

    def weights(self, stored: StoredTensor, role: str) -> Buffer:
        """See lowering/api.py. The part is checked against its checksum here, when it is first taken, or, where
        weights are streamed, by those who read it. Streamed halves are widened in each run, just before their use."""
        if self.stream and stored.narrow is not None and stored.narrow.encoding == F16.name:
            return self._widened(self.weights(stored.narrow, role), stored.specs[0].nbytes // 4)
        place = self._place(stored, role)
        part = stored.parts[role] if place is None else place
        key = (stored.name, role, id(part) if place is None else place)
        if key not in self._weight_keys:
            self._weight_keys[key] = Buffer("weights", len(self._weights), part.nbytes)
            held = np.ascontiguousarray(part) if isinstance(part, np.ndarray) else part
            self._weights.append((f"weights:{stored.name}.{role}", held))
        return self._weight_keys[key]

    def _widened(self, halves: Buffer, count: int) -> Buffer:
        """`count` halves as floats, for this step: the rows of a table, all of them in order."""
        rows = gcd(count, WIDENED_ROWS)
        columns = count // rows
        params = {
            "rows": rows, "table": rows, "columns": columns, "wide": 0, "block": 32 * columns, "lane": 2 * columns,
            "step": 2,
        }  # fmt: skip
        floats, order = self.workspace(4 * count), self.constant(np.arange(WIDENED_ROWS, dtype=np.int32))
        operands = {"x": halves, "indices": order, "y": floats, "rows_at": None}
        self.op(WIDENING, operands, params, chunks=rows if count >= SHARED_HALVES else 1)
        return floats

    def lookup(
        self, stored: StoredTensor, role: str, indices: Buffer, *, count: int, lines: int
    ) -> tuple[Buffer, Buffer] | None:
        """See lowering/api.py."""
        part = self._place(stored, role)
        if part is None or part.nbytes < LOOKUP_BYTES:
            return None
        nbytes = part.nbytes // -(-stored.shape[0] // lines)
        window, places = self.workspace(count * nbytes), self.workspace(4 * count)
        self.lookups.append(Lookup(self.step, part, stored.shape[0], lines, nbytes, indices, window, places))
        return window, places

    def select(self, stored: StoredTensor, role: str, listed: Buffer, *, count: int, nbytes: int) -> Buffer | None:
        """See lowering/api.py."""
        part = self._place(stored, role)
        if part is None or not self.neurons:
            return None
        slots = self.workspace(4 * count)
        self.selections.append(Selection(self.step, len(self.ops), part, nbytes, listed, slots))
        return slots

    def _place(self, stored: StoredTensor, role: str) -> FilePart | None:
        return stored.parts.place(role) if self.stream and isinstance(stored.parts, Parts) else None

    def constant(self, value: Array) -> Buffer:
        """See lowering/api.py. Equal bytes are kept once."""
        data = np.ascontiguousarray(value).tobytes()
        data += bytes(round_up(max(len(data), 1)) - len(data))
        if data not in self._constant_keys:
            self._constant_keys[data] = Buffer("constants", len(self._constants), len(data))
            self._constants.append(data)
            self._constant_offsets.append(self._constant_bytes)
            self._constant_bytes += len(data)
        return self._constant_keys[data]

    def workspace(self, nbytes: int) -> Buffer:
        """See lowering/api.py."""
        return self.block(nbytes, self.step)

    @property
    def state_nbytes(self) -> int:
        return self._states.nbytes

    def state_offset(self, buffer: Buffer) -> int:
        """Where a state lies in segment 'state'."""
        return self._states.offsets[buffer.key]

    def rows(self, planned: int) -> Buffer:
        """See lowering/api.py."""
        if self.varying_rows:
            return Buffer("registers", 4 * ROWS, REGISTER_BYTES)
        return self.constant(np.array([planned], np.int32))

    def block(self, nbytes: int, last: int) -> Buffer:
        """Arena memory from the current step to step `last`."""
        self._spans.append(_Span(nbytes, self.step, last))
        return Buffer("arena", len(self._spans) - 1, round_up(nbytes))

    def extend(self, buffer: Buffer, last: int) -> None:
        """Keeps an arena block until step `last` at least."""
        span = self._spans[buffer.key]
        span.last = max(span.last, last)

    @property
    def weight_parts(self) -> tuple[Array | FilePart, ...]:
        return tuple(part for _, part in self._weights)

    def constant_bytes(self) -> npt.NDArray[np.uint8]:
        """The content of segment 'constants'."""
        return np.frombuffer(b"".join(self._constants), np.uint8)

    def finish(self) -> tuple[Program, Arrangement]:
        """The program, its operands at their final places, and where the arena's blocks lie."""
        arrangement = arrange([Block(span.nbytes, span.first, span.last) for span in self._spans])

        def operand(place: tuple[Buffer, int] | None) -> Operand | None:
            if place is None:
                return None
            buffer, offset = place
            if buffer.segment == "arena":
                segment, base = ARENA, arrangement.offsets[buffer.key]
            elif buffer.segment == "constants":
                segment, base = CONSTANTS, self._constant_offsets[buffer.key]
            elif buffer.segment == "registers":
                segment, base = REGISTERS, buffer.key
            elif buffer.segment == "state":
                segment, base = STATE, self._states.offsets[buffer.key]
            else:
                segment, base = FIRST_WEIGHTS + buffer.key, 0
            return Operand(segment, base + offset, buffer.nbytes - offset)

        ops = tuple(
            Op(
                op.kernel, {name: operand(place) for name, place in op.operands.items()}, op.params,
                op.chunks, op.scratch, op.node,
            )
            for op in self.ops
        )  # fmt: skip
        segments = (
            Segment("arena", arrangement.nbytes),
            Segment("constants", self._constant_bytes),
            Segment("registers", REGISTER_BYTES),
            Segment("state", self._states.nbytes),
            *(Segment(name, part.nbytes) for name, part in self._weights),
        )
        return Program(ops, segments), arrangement
