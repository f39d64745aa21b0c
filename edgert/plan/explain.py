"""A plan in words: the summary line, the table of `edgert inspect --plan`, and the same as JSON.

Nothing is decided here.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from edgert.device.cpu import cpu_name
from edgert.kernels_cpu.levels import host_arch
from edgert.plan.budget import show_bytes
from edgert.plan.plan import Plan, Step


def summary(plan: Plan, kernels: str = "", accelerator: str = "", note: str = "") -> str:
    """The first line of every run: device, threads, ISA level, kernels (AOT or JIT), layers, RAM plan.
    accelerator: what else runs a part of it. note: why nothing else does."""
    device = cpu_name() if plan.level.arch == host_arch() else plan.level.arch
    threads = f"{plan.threads} thread{'s' if plan.threads > 1 else ''}"
    layers = f"{plan.count('native')} layers native"
    if accelerator:
        layers = f"{plan.count('opencl')} layers on the device, {layers}"
    skipping = sum(bool(step.sparse) for step in plan.steps)
    if skipping:
        layers += f" ({skipping} sparse)"
    if plan.count("host"):
        layers += f", {plan.count('host')} on the host (NumPy)"
    if plan.count("free"):
        layers += f", {plan.count('free')} free"
    if plan.later:
        layers += f", {len(plan.later)} planned when their values are there"
    words = [*(word for word in (note, accelerator) if word), f"cpu {device}", threads, plan.level.name]
    if kernels:
        words.append(f"kernels {kernels}")
    return ", ".join([*words, layers, f"RAM {plan.memory.describe()}"])


def table(plan: Plan, kernels: str = "", accelerator: str = "", note: str = "", *, width: int = 200) -> str:
    """The summary and a line per step, with the rejected alternatives below each; lines of at most `width`."""
    lines = [summary(plan, kernels, accelerator, note)]
    lines.append(
        f"predicted {plan.predicted_us / 1000:.2f} ms ({plan.peaks} peaks); arena {show_bytes(plan.memory.arena)}, "
        f"at least {show_bytes(plan.arena_bound)} for any arrangement; {len(plan.program.ops)} ops in "
        f"{len(plan.schedule)} calls"
    )
    lines.append("")
    rows: list[tuple[str, ...]] = [("#", "node", "operator", "kernel", "layout", "us", "MMAC", "KB", "chunks", "why")]
    steps = (*plan.steps, *plan.later)
    rows += [_row(index, step) for index, step in enumerate(steps)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    widths[1], widths[3] = min(widths[1], 32), min(widths[3], 34)
    for row, step in zip(rows, [None, *steps], strict=True):
        cells = [_fit(cell, size) for cell, size in zip(row, widths, strict=False)]
        lines.append(_clip("  ".join([*cells, row[-1]]), width))
        lines += [_clip(f"      not {why}", width) for why in (step.rejected if step and step.kind != "free" else ())]
    return "\n".join(lines)


def _row(index: int, step: Step) -> tuple[str, ...]:
    layouts = "/".join(dict.fromkeys(step.in_layouts)) + ">" + "/".join(dict.fromkeys(step.out_layouts))
    return (
        str(index), step.node, step.op, step.kernel, layouts, f"{step.predicted_us:.1f}", f"{step.macs / 1e6:.2f}",
        f"{step.nbytes / 1024:.0f}", str(step.chunks or "-"), step.reason,
    )  # fmt: skip


def _fit(cell: str, size: int) -> str:
    return cell.ljust(size) if len(cell) <= size else cell[: size - 1] + "…"


def _clip(line: str, width: int) -> str:
    return line if len(line) <= width else line[: width - 1] + "…"


def as_json(plan: Plan, kernels: str = "") -> dict[str, Any]:
    """The whole plan as plain data."""
    return {
        "level": plan.level.name,
        "threads": plan.threads,
        "kernels": kernels,
        "predicted_us": plan.predicted_us,
        "peaks": plan.peaks,
        "layers": {kind: plan.count(kind) for kind in ("native", "host", "convert", "free")},
        "memory": {**asdict(plan.memory), "total": plan.memory.total, "arena_bound": plan.arena_bound},
        "steps": [asdict(step) for step in plan.steps],
        "later": [{"node": step.node, "op": step.op, "reason": step.reason} for step in plan.later],
        "ops": len(plan.program.ops),
        "calls": len(plan.schedule),
    }
