"""Which levels a machine runs, told from what its system says of it; here other machines are made up."""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Callable, Iterator

import pytest

from edgert.errors import KernelError
from edgert.kernels_cpu import levels
from edgert.kernels_cpu.levels import LEVELS, active_level, host_arch, host_flags, host_levels

Pretend = Callable[..., None]
ARMV8, FP16, ATOMICS, DOT = 1 << 1, 1 << 10, 1 << 8, 1 << 20
"""AT_HWCAP of AArch64."""
NEON, VFPV4, IDIVA = 1 << 12, 1 << 16, 1 << 17
"""AT_HWCAP of 32-bit ARM."""
I8MM = 1 << 13
"""AT_HWCAP2 of AArch64."""


class Libc:
    """What ctypes.CDLL(None) has of libc: the auxiliary vector."""

    def __init__(self, words: dict[int, int]) -> None:
        self.words = words

    @property
    def getauxval(self) -> Callable[[int], int]:
        def read(entry: int) -> int:
            return self.words.get(entry, 0)

        return read


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pretend]:
    """pretend(machine, hwcap, hwcap2, bits): to be another machine."""

    def be(machine: str, hwcap: int = 0, hwcap2: int = 0, bits: int = 64) -> None:
        monkeypatch.setattr(platform, "machine", lambda: machine)
        monkeypatch.setattr(sys, "maxsize", 2 ** (bits - 1) - 1)
        monkeypatch.setattr(ctypes, "CDLL", lambda name: Libc({16: hwcap, 26: hwcap2}))
        monkeypatch.delenv("EDGERT_ISA", raising=False)
        host_flags.cache_clear()
        host_levels.cache_clear()

    yield be
    monkeypatch.undo()
    host_flags.cache_clear()
    host_levels.cache_clear()


@pytest.mark.parametrize(
    ("machine", "bits", "arch"),
    [
        ("x86_64", 64, "x86_64"), ("AMD64", 64, "x86_64"), ("aarch64", 64, "aarch64"), ("arm64", 64, "aarch64"),
        ("armv7l", 32, "armv7"), ("armv8l", 32, "armv7"), ("aarch64", 32, "armv7"), ("x86_64", 32, "i686"),
        ("riscv64", 64, "riscv64"),
    ],
)  # fmt: skip
def test_architectures(pretend: Pretend, machine: str, bits: int, arch: str) -> None:
    """Of the program, not of the kernel: a 32-bit Python on a 64-bit system is 32-bit."""
    pretend(machine, bits=bits)
    assert host_arch() == arch


@pytest.mark.parametrize(
    ("machine", "hwcap", "hwcap2", "expected"),
    [
        ("aarch64", ARMV8, 0, ["armv8-a"]),
        ("aarch64", ARMV8 | DOT | FP16, 0, ["armv8-a"]),
        ("aarch64", ARMV8 | DOT | FP16 | ATOMICS, 0, ["armv8-a", "armv8.2-dotprod"]),
        ("aarch64", ARMV8 | FP16 | ATOMICS, I8MM, ["armv8-a"]),
        ("arm64", ARMV8 | DOT | FP16 | ATOMICS, I8MM, ["armv8-a", "armv8.2-dotprod", "armv8.6-i8mm"]),
        ("armv7l", NEON | VFPV4 | IDIVA, 0, ["armv7-neon"]),
    ],
)
def test_levels_by_the_auxiliary_vector(
    pretend: Pretend, machine: str, hwcap: int, hwcap2: int, expected: list[str]
) -> None:
    pretend(machine, hwcap, hwcap2, bits=32 if machine == "armv7l" else 64)
    assert [level.name for level in host_levels()] == expected
    assert active_level().name == expected[-1]


def test_a_processor_too_plain_is_named_with_what_it_has(pretend: Pretend) -> None:
    """A Cortex-A8: NEON, but no fused multiply-add and no division."""
    pretend("armv7l", NEON, bits=32)
    with pytest.raises(KernelError, match=r"no ISA level fits this machine: .*found armv7l with flags \['neon'\]"):
        host_levels()


def test_a_level_that_is_asked_for_and_missing_says_what_is_missing(
    pretend: Pretend, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend("aarch64", ARMV8)
    monkeypatch.setenv("EDGERT_ISA", "armv8.2-dotprod")
    with pytest.raises(KernelError, match="missing asimddp, asimdhp, atomics; it can run armv8-a"):
        active_level()


def test_no_machine_is_a_browser(pretend: Pretend) -> None:
    assert LEVELS["wasm32-simd128"] not in host_levels()


def test_names_fit_the_symbol_that_holds_them() -> None:
    from edgert.kernels_cpu.abi import NAME_BYTES

    assert all(len(name) < NAME_BYTES for name in LEVELS)
    assert all(level.name == name for name, level in LEVELS.items())
    assert {level.arch for level in LEVELS.values()} == {"x86_64", "aarch64", "armv7", "wasm32"}
    assert levels._HWCAP_BITS.keys() == {"aarch64", "armv7"}
