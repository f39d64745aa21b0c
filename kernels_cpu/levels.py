"""ISA levels: what each is called, what it is compiled for, and which of them this machine can run.

Nothing here imports LLVM: the gate comes before compilation, since a missing instruction aborts the process.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from edgert.errors import KernelError


@dataclass(frozen=True)
class Level:
    """One compilation target. `needs` are CPU flags as the kernel reports them (cpuinfo / HWCAP names)."""

    name: str
    arch: str
    triple: str
    cpu: str
    llvm_features: str
    features: frozenset[str]
    """What kernel sources may ask: avx2, fma, vnni, avx512, expand (bytes and words by a mask), amx, neon (of
    AArch64), dotprod, i8mm, neon32 (of 32-bit ARM), simd128 (of WebAssembly)."""
    vector_bytes: int
    needs: frozenset[str]
    symbol: str
    """Suffix of kernel names in lists and traces: the instructions of a kernel that needs no feature."""

    @property
    def act_signed(self) -> bool:
        """8-bit activations are held as value-128 (signed) where the dot product is signed x signed (ARM)."""
        return self.arch != "x86_64"


def _level(name: str, triple: str, cpu: str, llvm: str, features: str, vector: int, needs: str, symbol: str) -> Level:
    arch = triple.split("-")[0]  # as host_arch() names them
    return Level(name, arch, triple, cpu, llvm, frozenset(features.split()), vector, frozenset(needs.split()), symbol)


_X86 = "x86_64-unknown-linux-gnu"
_ARM64 = "aarch64-unknown-linux-gnu"
_ARM32 = "armv7-unknown-linux-gnueabihf"
_V3 = "avx2 fma f16c bmi1 bmi2 popcnt"
_V4 = _V3 + " avx512f avx512bw avx512vl avx512dq avx512_vnni avx512vbmi avx512_vbmi2"
LEVELS: dict[str, Level] = {
    level.name: level
    for level in (
        _level("x86-64", _X86, "x86-64", "", "portable", 16, "sse2", "portable"),
        _level("x86-64-v3", _X86, "x86-64-v3", "", "avx2 fma", 32, _V3, "avx2"),
        _level(
            "x86-64-v3-vnni", _X86, "x86-64-v3", "+avxvnni", "avx2 fma vnni", 32, _V3 + " avx_vnni", "avxvnni",
        ),
        _level(
            "x86-64-v4-vnni", _X86, "x86-64-v4", "+avx512vnni,+avx512vbmi,+avx512vbmi2,-prefer-256-bit",
            "avx2 fma avx512 vnni expand", 64, _V4, "avx512vnni",
        ),
        _level(
            "x86-64-amx", _X86, "x86-64-v4",
            "+avx512vnni,+avx512vbmi,+avx512vbmi2,+amx-tile,+amx-int8,-prefer-256-bit",
            "avx2 fma avx512 vnni expand amx", 64, _V4 + " amx_tile amx_int8", "avx512vnni",
        ),
        _level("armv8-a", _ARM64, "generic", "+reserve-x18", "neon fma", 16, "asimd", "neon"),
        _level(
            "armv8.2-dotprod", _ARM64, "generic", "+v8.2a,+dotprod,+fullfp16,+reserve-x18",
            "neon fma dotprod", 16, "asimd asimddp asimdhp atomics", "dotprod",
        ),
        _level(
            "armv8.6-i8mm", _ARM64, "generic", "+v8.2a,+dotprod,+fullfp16,+i8mm,+reserve-x18",
            "neon fma dotprod i8mm", 16, "asimd asimddp asimdhp atomics i8mm", "dotprod",
        ),
        # Android's armv7 libraries pass floats otherwise, but kernels take integers alone: this one serves there too.
        _level("armv7-neon", _ARM32, "cortex-a7", "+neon,+vfp4", "neon32 fma", 16, "neon vfpv4 idiva", "portable"),
        _level("wasm32-simd128", "wasm32-unknown-unknown", "generic", "+simd128", "simd128", 16, "", "portable"),
    )
}  # fmt: skip
"""From the plainest to the widest within an architecture; the last one that runs is the default."""
_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XFEATURE_XTILEDATA = 158, 0x1023, 18
"""Of Linux on x86-64: the system call, its request, and the state component of the tiles."""


_AT_HWCAP, _AT_HWCAP2 = 16, 26
_HWCAP_BITS = {
    "aarch64": {
        _AT_HWCAP: {"asimd": 1, "atomics": 8, "asimdhp": 10, "asimddp": 20},
        _AT_HWCAP2: {"i8mm": 13},
    },
    "armv7": {_AT_HWCAP: {"neon": 12, "vfpv4": 16, "idiva": 17}},
}
"""Architecture -> entry of the auxiliary vector -> name in /proc/cpuinfo -> bit (Linux, arch/arm*/include/uapi)."""


def _hwcap_features(arch: str) -> set[str]:
    """ARM features from the auxiliary vector: unlike /proc/cpuinfo it is right under emulation."""
    getauxval = ctypes.CDLL(None).getauxval
    getauxval.restype, getauxval.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
    words = {entry: getauxval(entry) for entry in _HWCAP_BITS[arch]}
    return {name for entry, bits in _HWCAP_BITS[arch].items() for name, bit in bits.items() if words[entry] >> bit & 1}


@cache
def host_flags() -> frozenset[str]:
    """CPU flags of this machine, by their /proc/cpuinfo or HWCAP names; empty where unknown."""
    if host_arch() in _HWCAP_BITS:
        return frozenset(_hwcap_features(host_arch()))
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("flags"):
                return frozenset(line.split(":", 1)[1].split())
    except OSError:
        pass
    return frozenset()


def host_arch() -> str:
    """x86_64, aarch64, armv7, or what else the system calls it. A 32-bit Python on a 64-bit kernel is 32-bit."""
    machine = platform.machine().lower()
    machine = {"amd64": "x86_64", "arm64": "aarch64", "armv7l": "armv7", "armv8l": "armv7"}.get(machine, machine)
    if sys.maxsize < 2**32:
        return {"x86_64": "i686", "aarch64": "armv7"}.get(machine, machine)
    return machine


def amx_model() -> bool:
    """Whether AMX kernels are compiled to a software model of the tiles (EDGERT_AMX_MODEL=1), for tests."""
    return os.environ.get("EDGERT_AMX_MODEL", "") == "1"


@cache
def _tile_permission() -> int:
    """Asks Linux, once per process, for the memory that AMX tiles take in every thread; 0 or the errno."""
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    syscall.restype, syscall.argtypes = ctypes.c_long, [ctypes.c_long] * 3
    return 0 if syscall(_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XFEATURE_XTILEDATA) == 0 else ctypes.get_errno()


def prepare_level(level: Level) -> None:
    """What a process must do before it runs code of `level`. Raises KernelError when the system refuses."""
    if "amx" not in level.features or amx_model():
        return
    if error := _tile_permission():
        raise KernelError(
            f"{level.name} needs AMX tiles, which the system refuses ({os.strerror(error)}): "
            "expected Linux 5.16 or newer without a filter on arch_prctl; set EDGERT_ISA to another level"
        )


def _runs(level: Level) -> bool:
    if level.arch != host_arch() or not level.needs <= host_flags():
        return False
    return "amx" not in level.features or _tile_permission() == 0


@cache
def host_levels() -> tuple[Level, ...]:
    """Levels this machine can execute, plainest first."""
    found = host_flags()
    levels = tuple(v for v in LEVELS.values() if _runs(v))
    if not levels:
        raise KernelError(
            f"no ISA level fits this machine: expected one of {', '.join(LEVELS)}, found {platform.machine()} "
            f"with flags {sorted(found)[:8]}"
        )
    return levels


def level_named(name: str) -> Level:
    if name not in LEVELS:
        raise KernelError(f"unknown ISA level {name!r}; expected one of {', '.join(LEVELS)}")
    return LEVELS[name]


def active_level() -> Level:
    """The level sessions use: EDGERT_ISA when set (it must run here), else the widest that runs."""
    wanted = os.environ.get("EDGERT_ISA", "")
    if not wanted:
        return host_levels()[-1]
    level = level_named(wanted)
    if level not in host_levels():
        missing = sorted(level.needs - host_flags())
        if level.arch == host_arch() and not missing:
            prepare_level(level)  # says why not
        raise KernelError(
            f"EDGERT_ISA={wanted} cannot run on this machine: missing {', '.join(missing) or level.arch}; "
            f"it can run {', '.join(v.name for v in host_levels())}"
        )
    return level
