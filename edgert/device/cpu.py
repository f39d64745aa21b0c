"""The processor and memory of this machine, as the operating system tells; unknown things are None or ''.

ISA levels and their flags are in kernels_cpu/levels.py.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_ARM_PARTS = {
    "0xc07": "Cortex-A7", "0xc0d": "Cortex-A17", "0xc0f": "Cortex-A15",
    "0xd03": "Cortex-A53", "0xd04": "Cortex-A35", "0xd05": "Cortex-A55", "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72", "0xd09": "Cortex-A73", "0xd0a": "Cortex-A75", "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse-N1", "0xd0d": "Cortex-A77", "0xd40": "Neoverse-V1", "0xd41": "Cortex-A78",
    "0xd42": "Cortex-A78AE", "0xd44": "Cortex-X1", "0xd46": "Cortex-A510", "0xd47": "Cortex-A710",
    "0xd48": "Cortex-X2", "0xd49": "Neoverse-N2", "0xd4d": "Cortex-A715", "0xd4e": "Cortex-X3",
    "0xd4f": "Neoverse-V2", "0xd80": "Cortex-A520", "0xd81": "Cortex-A720", "0xd82": "Cortex-X4",
    "0xd83": "Neoverse-V3AE", "0xd84": "Neoverse-V3", "0xd85": "Cortex-X925", "0xd87": "Cortex-A725",
}  # fmt: skip
"""Arm Ltd. part numbers (MIDR_EL1, implementer 0x41)."""


@dataclass(frozen=True)
class Memory:
    """Bytes of main memory: all there is, and what could be had now. None where the system does not tell."""

    total: int | None
    available: int | None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def _fields(text: str, name: str) -> list[str]:
    """The values of the lines `name : value`, in their order."""
    pairs = (line.partition(":") for line in text.splitlines())
    return [value.strip() for key, _, value in pairs if key.strip() == name]


def _field(text: str, name: str) -> str:
    """The first of these values, '' if there is none."""
    return next(iter(_fields(text, name)), "")


@cache
def cpu_name() -> str:
    """The processor's name: 'AMD EPYC 9575F', 'Cortex-A55 + Cortex-A76' where cores differ, or the architecture if
    nothing better is known."""
    info = _read("/proc/cpuinfo")
    cores = dict.fromkeys(_ARM_PARTS.get(part, "") for part in _fields(info, "CPU part"))
    ours = all(maker == "0x41" for maker in _fields(info, "CPU implementer")) and all(cores)
    # The model name comes second: on ARM it tells the architecture, "ARMv7 Processor rev 4 (v7l)".
    name = (" + ".join(cores) if ours else "") or _field(info, "model name")
    return name or platform.processor() or platform.machine() or "unknown processor"


def board() -> str:
    """The board, where the firmware tells: 'Raspberry Pi 5 Model B Rev 1.0'."""
    return _read("/proc/device-tree/model").strip("\0 \n")


def usable_cores() -> int:
    """Cores this process may use: its affinity, and the CPU quota of its control group."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    quota, _, period = _read("/sys/fs/cgroup/cpu.max").partition(" ")
    if quota.strip().isdigit() and period.strip().isdigit() and int(period) > 0:
        cores = min(cores, -(-int(quota) // int(period)))
    return max(1, cores)


@cache
def private_cache() -> int:
    """Bytes of the largest cache that a core does not share with other processors' cores: 1 MiB where unknown."""
    return _largest_cache("12") or 1 << 20


@cache
def last_cache() -> int:
    """Bytes of the largest cache between a core and memory, shared or not: that of `private_cache` where unknown."""
    return _largest_cache("1234") or private_cache()


def _largest_cache(levels: str) -> int:
    """Bytes of the largest cache of processor 0 among `levels`, 0 where the system does not tell."""
    best = 0
    for index in range(8):
        folder = f"/sys/devices/system/cpu/cpu0/cache/index{index}"
        size = _read(f"{folder}/size").strip().upper()
        level = _read(f"{folder}/level").strip()
        if level and level in levels and size[:-1].isdigit() and size[-1] in "KM":
            best = max(best, int(size[:-1]) << (10 if size[-1] == "K" else 20))
    return best


def memory() -> Memory:
    """Main memory, held against the limit of this process's control group."""
    info = _read("/proc/meminfo")
    values = [_field(info, name).split() for name in ("MemTotal", "MemAvailable")]
    total, available = (int(v[0]) * 1024 if v and v[0].isdigit() else None for v in values)
    limit = _read("/sys/fs/cgroup/memory.max").strip()
    if limit.isdigit():
        total = min(total, int(limit)) if total is not None else int(limit)
        available = min(available, int(limit)) if available is not None else int(limit)
    return Memory(total, available)
