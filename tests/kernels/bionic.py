"""Loads an AArch64 library as Android's linker does, with pages of 16 KiB, into an emulated process without any libc.

Nothing is writable and executable at once, constants are read-only once relocated, either hash table finds symbols.
Source: bionic, linker/linker_phdr.cpp, linker/linker_soinfo.cpp and android-changes-for-ndk-developers.md.
"""

from __future__ import annotations

import struct

from emulator import BASE, HEAP, PAGE, STACK, STACK_BYTES, Arm64
from unicorn import UC_ARCH_ARM64, UC_MODE_ARM, UC_PROT_EXEC, UC_PROT_READ, UC_PROT_WRITE, Uc
from unicorn.arm64_const import UC_ARM64_REG_CPACR_EL1, UC_ARM64_REG_X18, UC_CPU_ARM64_A72

from edgert.kernels_cpu.elf import Elf

LOAD, RELRO = 1, 0x6474E552
HASH, STRINGS, SYMBOLS, RELA, RELA_BYTES, GNU_HASH = 4, 5, 6, 7, 8, 0x6FFFFEF5
RELATIVE = 1027
SHADOW_STACK = 0x5AFE_57AC
"""What x18 holds: Android keeps the shadow call stack's address there, and code must leave it alone."""


def pages(start: int, end: int) -> tuple[int, int]:
    """(first byte, bytes) of the pages that hold start..end."""
    first = start // PAGE * PAGE
    return first, -(-end // PAGE) * PAGE - first


class AndroidProcess(Arm64):
    """One core; `elf` is mapped by its segments' rights, heap and stack can not be executed."""

    def __init__(self, elf: Elf, heap_bytes: int = 1 << 20, cpu: int = UC_CPU_ARM64_A72) -> None:
        self.elf, self.heap_bytes, self.top = elf, heap_bytes, HEAP
        self.uc = Uc(UC_ARCH_ARM64, UC_MODE_ARM)
        self.uc.ctl_set_cpu_model(cpu)
        loads = [segment for segment in elf.segments if segment.kind == LOAD]
        for segment in loads:  # an overlap of pages is an error of mem_map
            first, nbytes = pages(segment.address, segment.address + segment.in_memory)
            self.uc.mem_map(BASE + first, nbytes, UC_PROT_READ | UC_PROT_WRITE)
            self.uc.mem_write(BASE + segment.address, elf.data[segment.offset : segment.offset + segment.in_file])
        self._relocate_all()
        for segment in loads:
            execute, write, read = (bool(segment.flags & bit) for bit in (1, 2, 4))
            rights = UC_PROT_EXEC * execute | UC_PROT_WRITE * write | UC_PROT_READ * read
            first, nbytes = pages(segment.address, segment.address + segment.in_memory)
            self.uc.mem_protect(BASE + first, nbytes, rights)
        for segment in elf.segments:
            if segment.kind == RELRO:
                first, nbytes = pages(segment.address, segment.address + segment.in_memory)
                self.uc.mem_protect(BASE + first, nbytes, UC_PROT_READ)
        for start, nbytes in ((STACK, STACK_BYTES), (HEAP, heap_bytes)):
            self.uc.mem_map(start, nbytes, UC_PROT_READ | UC_PROT_WRITE)
        self.uc.reg_write(UC_ARM64_REG_CPACR_EL1, 3 << 20)  # floating point and SIMD on
        self.uc.reg_write(UC_ARM64_REG_X18, SHADOW_STACK)

    def _memory(self, address: int, form: str) -> tuple[int, ...]:
        return struct.unpack(form, bytes(self.uc.mem_read(BASE + address, struct.calcsize(form))))

    def _relocate_all(self) -> None:
        dynamic = self.elf.dynamic
        for at in range(dynamic.get(RELA, 0), dynamic.get(RELA, 0) + dynamic.get(RELA_BYTES, 0), 24):
            place, info, addend = self._memory(at, "<QQq")
            assert info == RELATIVE, f"relocation {info:#x} needs a symbol, or another library"
            self.uc.mem_write(BASE + place, struct.pack("<Q", BASE + addend))

    # ---- symbols
    def _symbol(self, index: int) -> tuple[str, int]:
        name, _, _, section, value, _ = self._memory(self.elf.dynamic[SYMBOLS] + 24 * index, "<IBBHQQ")
        text = bytes(self.uc.mem_read(BASE + self.elf.dynamic[STRINGS] + name, 128)).split(b"\0")[0].decode()
        return text, BASE + value if section else 0

    def by_hash(self, name: str) -> int:
        """Address by DT_HASH, the only one that Android 5 knows; 0 if there is none. Source: System V ABI, 5."""
        table = self.elf.dynamic[HASH]
        buckets, _ = self._memory(table, "<II")
        value = 0
        for byte in name.encode():
            value = (value << 4) + byte
            value = (value ^ (value & 0xF000_0000) >> 24) & 0x0FFF_FFFF
        (index,) = self._memory(table + 8 + 4 * (value % buckets), "<I")
        while index:
            text, address = self._symbol(index)
            if text == name:
                return address
            (index,) = self._memory(table + 8 + 4 * (buckets + index), "<I")
        return 0

    def by_gnu_hash(self, name: str) -> int:
        """Address by DT_GNU_HASH, which Android 6 and newer use; 0 if there is none."""
        table = self.elf.dynamic[GNU_HASH]
        buckets, first, bloom, shift = self._memory(table, "<IIII")
        value = 5381
        for byte in name.encode():
            value = (value * 33 + byte) & 0xFFFF_FFFF
        (word,) = self._memory(table + 16 + 8 * (value // 64 % bloom), "<Q")
        if not word >> value % 64 & word >> (value >> shift) % 64 & 1:
            return 0
        start = table + 16 + 8 * bloom
        (index,) = self._memory(start + 4 * (value % buckets), "<I")
        while index:
            text, address = self._symbol(index)
            (chain,) = self._memory(start + 4 * (buckets + index - first), "<I")
            if chain | 1 == value | 1 and text == name:
                return address
            index = 0 if chain & 1 else index + 1
        return 0
