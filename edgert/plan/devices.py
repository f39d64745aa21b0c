"""Which ops of a plan run on an OpenCL device, and which bytes change hands between it and the processor, when.

The ops, their order and the places of all tensors are those of the plan; nothing runs here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from edgert.errors import UnsupportedError
from edgert.kernels_gpu.device import Capabilities
from edgert.kernels_gpu.table import refusal, twins
from edgert.plan.emitter import ARENA, STATE
from edgert.plan.lowering.strided import KERNEL as COPY
from edgert.plan.lowering.strided import reach_back
from edgert.plan.plan import HostCall, NativeRun, Plan, Slot, Step
from edgert.plan.ranges import Range, Ranges, common, size, united, without
from edgert.program import Op

SEGMENTS = (ARENA, STATE)
"""What both sides write. Constants and weights are placed on the device once, registers at the start of a run."""

IN_HALVES = "products in halves, as precision fp16 asks for"
"""What a step says."""

Bytes = Mapping[int, Ranges]
"""Segment -> ranges of it."""

Choose = Callable[[int, Op], str]
"""(index, op) -> why it runs on the processor, '' if it runs on the device."""


@dataclass(frozen=True)
class Part:
    """A part of the run on one side: ops `first` .. `first + count` - 1 on the device, or `calls` on the processor.

    arrives: bytes that the other side has changed since, and this one reads. touches: bytes of the processor's part.
    """

    on_device: bool
    first: int
    count: int
    calls: tuple[NativeRun | HostCall, ...]
    arrives: Bytes
    touches: Bytes


@dataclass(frozen=True)
class Placement:
    """A plan for a device and its processor. returns: bytes of the outputs that the device made. settles: bytes of
    states that the processor wrote last: between runs, which may be of other plans, the device has the states.

    plan: its steps say where they run and, where that is the processor, why. reasons: op -> why it is not on the
    device, '' where it is.
    """

    plan: Plan
    parts: tuple[Part, ...]
    returns: Bytes
    settles: Bytes
    reasons: tuple[str, ...]

    @property
    def ops_on_device(self) -> int:
        return sum(not reason for reason in self.reasons)

    @property
    def crossings(self) -> int:
        """How many times a run waits for the other side to be handed bytes."""
        return sum(not part.on_device for part in self.parts) + any(self.returns.values())

    @property
    def transferred(self) -> int:
        """Bytes that change hands in a run, inputs and outputs included; copied only where memory is not unified."""
        moved = [*(part.arrives for part in self.parts), self.returns, self.settles]
        return sum(size(ranges) for bytes_ in moved for ranges in bytes_.values())


def wherever_possible(device: Capabilities, signed: bool) -> Choose:
    """Every op runs on the device that has a twin which takes it. signed: how 8-bit activations are held."""

    def choose(index: int, op: Op) -> str:
        nbytes = {name: operand.nbytes for name, operand in op.operands.items() if operand is not None}
        return refusal(op.kernel, op.params, nbytes, device, signed)

    return choose


def place(plan: Plan, choose: Choose, halves: bool = False) -> Placement:
    """`plan` divided between a device and its processor. halves: whether products of floats are made in halves there,
    which steps then say. Raises UnsupportedError for plans that stream weights."""
    reasons = tuple(choose(index, op) for index, op in enumerate(plan.program.ops))
    cut = [_Piece(on_device, first, count, calls) for on_device, first, count, calls in _pieces(plan, reasons)]
    ledger = _Ledger()
    arrivals: list[Bytes] = []
    returns: Bytes = {}
    settles: Bytes = {}
    # What a run leaves behind is the beginning of the next: the second round is how every later one goes.
    for _ in range(2):
        ledger.device_writes({STATE: united([(0, plan.memory.state)])})
        ledger.host_writes({ARENA: united(_slots(plan.inputs.values()))})
        arrivals = []
        for piece in cut:
            touched, written = piece.bytes(plan)
            arrivals.append(ledger.device(touched, written) if piece.on_device else ledger.host(touched, written))
        outputs: Bytes = {ARENA: united(_slots(plan.outputs.values()))}
        returns = ledger.host(outputs, {})
        settles = ledger.device({STATE: united([(0, plan.memory.state)])}, {})
    parts = tuple(
        Part(p.on_device, p.first, p.count, p.calls, arrives, {} if p.on_device else p.bytes(plan)[0])
        for p, arrives in zip(cut, arrivals, strict=True)
    )
    steps = tuple(_placed(step, reasons[step.first_op : step.first_op + step.ops], plan, halves) for step in plan.steps)
    return Placement(replace(plan, steps=steps), parts, returns, settles, reasons)


def _placed(step: Step, reasons: Sequence[str], plan: Plan, halves: bool) -> Step:
    """The step as its ops are placed."""
    if not reasons:
        return step
    kept = tuple(dict.fromkeys(reason for reason in reasons if reason))
    ops = plan.program.ops[step.first_op : step.first_op + step.ops]
    halved = halves and any(twins()[op.kernel].halves for op, why in zip(ops, reasons, strict=True) if not why)
    if halved:
        step = replace(step, reason=f"{step.reason}; {IN_HALVES}")
    if not kept:
        name = ops[0].kernel if len(ops) == 1 else step.kernel.rpartition("_")[0]
        kind = "opencl" if step.kind == "native" else step.kind
        return replace(step, kind=kind, kernel=f"{name}{'_fp16' if halved else ''}_opencl")
    return replace(step, reason=f"{step.reason}; on the processor: {', '.join(kept)}")


@dataclass(frozen=True)
class _Piece:
    on_device: bool
    first: int
    count: int
    calls: tuple[NativeRun | HostCall, ...]

    def bytes(self, plan: Plan) -> tuple[Bytes, Bytes]:
        """(touched, written) by this piece."""
        touched: list[tuple[int, Range]] = []
        written: list[tuple[int, Range]] = []
        for call in self.calls or (NativeRun(self.first, self.count),):
            if isinstance(call, HostCall):
                made = [(ARENA, r) for r in _slots(call.outputs)]
                touched += [(ARENA, r) for r in _slots(call.inputs)] + made
                written += made
                continue
            for op in plan.program.ops[call.first : call.first + call.count]:
                twin = twins().get(op.kernel)
                # What a kernel without a twin writes is not known here: any of its operands.
                writes = set(twin.writes.split()) if twin else set(op.operands)
                for name, operand in op.operands.items():
                    if operand is not None and operand.segment in SEGMENTS:
                        before = reach_back(op.params, name) if op.kernel == COPY else 0
                        place = (operand.segment, (operand.offset - before, operand.offset + operand.nbytes))
                        touched.append(place)
                        written += [place] if name in writes else []
        return _by_segment(touched), _by_segment(written)


def _by_segment(places: Iterable[tuple[int, Range]]) -> Bytes:
    found = list(places)
    return {segment: united(r for at, r in found if at == segment) for segment in SEGMENTS}


def _slots(sources: Iterable[object]) -> list[Range]:
    return [(s.offset, s.offset + s.type.nbytes) for s in sources if isinstance(s, Slot)]


def _pieces(
    plan: Plan, reasons: Sequence[str]
) -> list[tuple[bool, int, int, tuple[NativeRun | HostCall, ...]]]:  # fmt: skip
    """(on the device, first op, ops, calls of the processor) in the order of the run."""
    calls: list[tuple[bool, NativeRun | HostCall]] = []
    for call in plan.schedule:
        if isinstance(call, NativeRun):
            indices = range(call.first, call.first + call.count)
            for on_device, group in groupby(indices, lambda index: not reasons[index]):
                run = list(group)
                calls.append((on_device, NativeRun(run[0], len(run))))
        elif isinstance(call, HostCall):
            calls.append((False, call))
        else:
            raise UnsupportedError("weights are not streamed to an OpenCL device; use --device cpu, or more ram")
    pieces: list[tuple[bool, int, int, tuple[NativeRun | HostCall, ...]]] = []
    for on_device, group_of in groupby(calls, lambda entry: entry[0]):
        members = [call for _, call in group_of]
        runs = [call for call in members if isinstance(call, NativeRun)]
        if on_device:
            pieces.append((True, runs[0].first, sum(run.count for run in runs), ()))
        else:
            pieces.append((False, 0, 0, tuple(members)))
    return pieces


class _Ledger:
    """Which bytes of each segment only one side has."""

    def __init__(self) -> None:
        self._only_host: dict[int, Ranges] = dict.fromkeys(SEGMENTS, ())
        self._only_device: dict[int, Ranges] = dict.fromkeys(SEGMENTS, ())

    def host_writes(self, written: Bytes) -> None:
        _write(written, self._only_host, self._only_device)

    def device_writes(self, written: Bytes) -> None:
        _write(written, self._only_device, self._only_host)

    def host(self, touched: Bytes, written: Bytes) -> Bytes:
        """What must come to the host before it touches and writes these bytes."""
        return _turn(touched, written, self._only_host, self._only_device)

    def device(self, touched: Bytes, written: Bytes) -> Bytes:
        """What must come to the device."""
        return _turn(touched, written, self._only_device, self._only_host)


def _turn(touched: Bytes, written: Bytes, mine: dict[int, Ranges], others: dict[int, Ranges]) -> Bytes:
    arrives = {segment: common(ranges, others[segment]) for segment, ranges in touched.items()}
    for segment, ranges in arrives.items():
        others[segment] = without(others[segment], ranges)
    _write(written, mine, others)
    return {segment: ranges for segment, ranges in arrives.items() if ranges}


def _write(written: Bytes, mine: dict[int, Ranges], others: dict[int, Ranges]) -> None:
    for segment, ranges in written.items():
        mine[segment] = united(mine[segment], ranges)
        others[segment] = without(others[segment], ranges)
