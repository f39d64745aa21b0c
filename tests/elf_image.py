"""A kernel library as bytes: a valid ELF file with the symbols that the loader asks for, and no code."""

from __future__ import annotations

import struct

from edgert.kernels_cpu.abi import ABI_VERSION
from edgert.kernels_cpu.elf import ARCHITECTURES
from edgert.kernels_cpu.levels import Level

MACHINES = {arch: numbers for numbers, arch in ARCHITECTURES.items()}


def image(
    level: Level,
    *,
    abi: int = ABI_VERSION,
    says: str | None = None,
    sources: str = "",
    without: str = "",
    payload: bytes = b"",
) -> bytes:
    """An ELF file that says it is of `says` (default: the name of `level`), without the symbol `without`."""
    machine, bits = MACHINES[level.arch]
    wide = bits == 64
    header, program, symbol, pair = (64, 56, 24, 16) if wide else (52, 32, 16, 8)
    values = {
        "edgert_abi_version": struct.pack("<q", abi),
        "edgert_level": (level.name if says is None else says).encode().ljust(32, b"\0"),
    }
    if sources:
        values["edgert_sources"] = sources.encode().ljust(32, b"\0")
    values.pop(without, None)
    strings = b"\0" + b"".join(name.encode() + b"\0" for name in values)
    at = {"dynamic": header + 2 * program}
    at["hash"] = at["dynamic"] + 4 * pair
    at["strings"] = at["hash"] + 8
    at["symbols"] = at["strings"] + len(strings)
    at["values"] = at["symbols"] + symbol * (1 + len(values))
    symbols, data, name = bytes(symbol), b"", 1
    for key, value in values.items():
        place = at["values"] + len(data)
        fields = (
            ("<IBBHQQ", name, 17, 0, 1, place, len(value)) if wide else ("<IIIBBH", name, place, len(value), 17, 0, 1)
        )
        symbols += struct.pack(*fields)
        data, name = data + value, name + len(key) + 1
    tags = [(4, at["hash"]), (5, at["strings"]), (6, at["symbols"]), (0, 0)]
    size = at["values"] + len(data) + len(payload)
    word = "Q" if wide else "I"
    ident = b"\x7fELF" + bytes((2 if wide else 1, 1, 1)) + bytes(9)
    start = struct.pack(f"<HHI{word}{word}{word}IHHHHHH", 3, machine, 1, 0, header, 0, 0, header, program, 2, 0, 0, 0)

    def segment(kind: int, offset: int, nbytes: int) -> bytes:
        if wide:
            return struct.pack("<IIQQQQQQ", kind, 4, offset, offset, offset, nbytes, nbytes, 16384)
        return struct.pack("<IIIIIIII", kind, offset, offset, offset, nbytes, nbytes, 4, 16384)

    segments = segment(1, 0, size) + segment(2, at["dynamic"], 4 * pair)
    dynamic = b"".join(struct.pack(f"<{word}{word}", *tag) for tag in tags)
    table = struct.pack("<II", 1, 1 + len(values))
    return ident + start + segments + dynamic + table + strings + symbols + data + payload
