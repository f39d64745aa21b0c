"""`--device auto`: which side each op runs on, by what it takes there and what handing bytes over costs.

Times on the device are measured by others; what follows from them for memory is devices.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgert.plan.devices import Choose
from edgert.plan.emitter import ARENA
from edgert.plan.plan import NativeRun, Plan, Slot
from edgert.program import Op


@dataclass(frozen=True)
class Crossing:
    """What the other side costs: microseconds to wait for it, and for each byte that is copied (0 in one memory)."""

    wait_us: float
    byte_us: float


@dataclass(frozen=True)
class _Item:
    """An op, or a node in NumPy (op None), with its microseconds on each side and the bytes that it reads."""

    op: int | None
    host_us: float
    device_us: float
    nbytes: int


def cheapest(plan: Plan, device_us: Sequence[float], crossing: Crossing, reasons: Sequence[str]) -> Choose:
    """The division of `plan` that is predicted to take the least. device_us: of each op, infinite where `reasons` says
    why it can not run there. The times of the processor are the plan's. Inputs and outputs are the processor's."""
    items = _items(plan, device_us)
    results = sum(s.type.nbytes for s in plan.outputs.values() if isinstance(s, Slot))
    host, device = 0.0, math.inf
    came: list[tuple[bool, bool]] = []  # for each item: whether the best way to it on (host, device) was on the device
    for item in items:
        over = crossing.wait_us + crossing.byte_us * item.nbytes
        from_device, stays = device + over < host, device <= host + over
        came.append((from_device, stays))
        host, device = min(host, device + over) + item.host_us, min(device, host + over) + item.device_us
    at_device = device + crossing.wait_us + crossing.byte_us * results < host
    chosen: dict[int, bool] = {}
    for item, (from_device, stays) in zip(reversed(items), reversed(came), strict=True):
        if item.op is not None:
            chosen[item.op] = at_device
        at_device = stays if at_device else from_device
    by_op = {item.op: item for item in items}

    def choose(index: int, op: Op) -> str:
        if reasons[index] or chosen[index]:
            return reasons[index]
        item = by_op[index]
        return (
            f"predicted {item.device_us:.1f} us on the device and {item.host_us:.1f} us here, "
            f"{crossing.wait_us:.0f} us to change sides"
        )

    return choose


def _items(plan: Plan, device_us: Sequence[float]) -> list[_Item]:
    host_us: dict[int, float] = {}
    for step in plan.steps:
        for op in range(step.first_op, step.first_op + step.ops):
            host_us[op] = step.predicted_us / step.ops
    items = []
    for call in plan.schedule:
        if not isinstance(call, NativeRun):
            items.append(_Item(None, plan.steps[call.step].predicted_us, math.inf, 0))
            continue
        for op in range(call.first, call.first + call.count):
            operands = plan.program.ops[op].operands.values()
            nbytes = sum(o.nbytes for o in operands if o is not None and o.segment == ARENA)
            items.append(_Item(op, host_us[op], device_us[op], nbytes))
    return items
