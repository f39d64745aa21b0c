"""An AArch64 machine inside the test process (unicorn): loads a freestanding kernel library and calls into it.

Memory is copied in and out. Used for ARM levels by the kernel tests and by the whole-model test.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from unicorn import UC_ARCH_ARM64, UC_MODE_ARM, Uc
from unicorn.arm64_const import (
    UC_ARM64_REG_CPACR_EL1,
    UC_ARM64_REG_SP,
    UC_ARM64_REG_X0,
    UC_ARM64_REG_X30,
    UC_CPU_ARM64_MAX,
)  # fmt: skip

BASE, STACK, RETURN, HEAP = 0x1000_0000, 0x2000_0000, 0x3000_0000, 0x4000_0000
STACK_BYTES, PAGE = 1 << 20, 1 << 14


class Arm64:
    """One core with the library at `path` mapped."""

    def __init__(self, path: Path, heap_bytes: int = 64 << 20, cpu: int = UC_CPU_ARM64_MAX) -> None:
        elf = path.read_bytes()
        self.uc = Uc(UC_ARCH_ARM64, UC_MODE_ARM)
        self.uc.ctl_set_cpu_model(cpu)
        (table,) = struct.unpack_from("<Q", elf, 32)
        size, count = struct.unpack_from("<HH", elf, 54)
        headers = [struct.unpack_from("<IIQQQQQQ", elf, table + i * size) for i in range(count)]
        end = max(h[3] + h[6] for h in headers if h[0] == 1)
        self.uc.mem_map(BASE, -(-end // PAGE) * PAGE)
        dynamic: dict[int, int] = {}
        for kind, _, offset, address, _, in_file, _, _ in headers:
            if kind == 1:
                self.uc.mem_write(BASE + address, elf[offset : offset + in_file])
            elif kind == 2:
                dynamic = dict(struct.iter_unpack("<QQ", elf[offset : offset + in_file]))
        image = bytes(self.uc.mem_read(BASE, end))
        self._relocate(image, dynamic)
        (chains,) = struct.unpack_from("<I", image, dynamic[4] + 4)
        self.symbols: dict[str, int] = {}
        for i in range(1, chains):
            name, _, _, _, value, _ = struct.unpack_from("<IBBHQQ", image, dynamic[6] + 24 * i)
            start = dynamic[5] + name
            self.symbols[image[start : image.index(b"\0", start)].decode()] = BASE + value
        self.uc.mem_map(STACK, STACK_BYTES)
        self.uc.mem_map(RETURN, PAGE)
        self.uc.mem_map(HEAP, heap_bytes)
        self.uc.reg_write(UC_ARM64_REG_CPACR_EL1, 3 << 20)  # floating point and SIMD on
        self.heap_bytes, self.top = heap_bytes, HEAP

    def _relocate(self, image: bytes, dynamic: dict[int, int]) -> None:
        """R_AARCH64_RELATIVE: addresses inside the library."""
        for at in range(dynamic.get(7, 0), dynamic.get(7, 0) + dynamic.get(8, 0), 24):
            place, info, addend = struct.unpack_from("<QQq", image, at)
            assert info & 0xFFFFFFFF == 1027, f"unexpected relocation type {info & 0xFFFFFFFF}"
            self.uc.mem_write(BASE + place, struct.pack("<q", BASE + addend))

    def reset(self) -> None:
        """Frees everything that was pushed."""
        self.top = HEAP

    def push(self, data: bytes, guard: int = 1024) -> int:
        """Copies bytes in, 64-byte aligned, with a gap of `guard` bytes of 0xA5 around; returns the address."""
        address = self.top + guard
        end = address + -(-len(data) // 64) * 64 + guard
        assert end <= HEAP + self.heap_bytes, "the emulator's heap is full"
        self.uc.mem_write(self.top, b"\xa5" * guard + data + b"\xa5" * (end - address - len(data)))
        self.top = end
        return address

    def pull(self, address: int, nbytes: int) -> np.ndarray:
        return np.frombuffer(bytes(self.uc.mem_read(address, nbytes)), np.uint8)

    def call(self, address: int, *arguments: int) -> None:
        """Calls a function of up to 8 integer arguments."""
        for i, value in enumerate(arguments):
            self.uc.reg_write(UC_ARM64_REG_X0 + i, value & (2**64 - 1))
        self.uc.reg_write(UC_ARM64_REG_SP, STACK + STACK_BYTES - 4096)
        self.uc.reg_write(UC_ARM64_REG_X30, RETURN)
        self.uc.emu_start(address, RETURN)
