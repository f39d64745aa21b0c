"""What a kernel library must be as an ELF file, and one sentence for each thing that it is not.

It stands alone (no libc, no other library, nothing to resolve), loads anywhere (16 KiB pages, nothing writable and
executable, no relocations in code, both hash styles), and says which level it was made for.
"""

from __future__ import annotations

import re
import struct

from edgert.errors import KernelError
from edgert.kernels_cpu.abi import NAME_BYTES
from edgert.kernels_cpu.elf import Elf, read_elf
from edgert.kernels_cpu.levels import Level

PAGE_BYTES = 16384
"""Android 15 devices have 16 KiB pages; a library aligned to them loads on 4 KiB ones too."""
RELATIVE = {"x86_64": 8, "aarch64": 1027, "armv7": 23}
"""The relocation type that adds the library's own address: the only one a freestanding library needs."""
IDENTITY = ("edgert_abi_version", "edgert_level", "edgert_sources")

# Numbers of the ELF specification: kinds and rights of segments, tags of the dynamic section.
_LOAD, _INTERPRETER, _THREAD_LOCAL, _STACK, _RELRO = 1, 3, 7, 0x6474E551, 0x6474E552
_EXECUTE, _WRITE = 1, 2
_NEEDED, _HASH, _GNU_HASH, _INIT, _SONAME, _INIT_ARRAY = 1, 4, 0x6FFFFEF5, 12, 14, 25
_TEXT_RELOCATIONS, _FLAGS, _FLAG_TEXT_RELOCATIONS = 22, 30, 4
_RELA, _RELA_BYTES, _REL, _REL_BYTES, _JUMPS, _PACKED = 7, 8, 17, 18, 23, 36


def check_elf(data: bytes, level: Level | None = None, android: bool = False) -> list[str]:
    """What is wrong with a kernel library, in sentences; nothing where it is sound.

    level: what it should be for; without one, machine and level are not looked at.
    android: also what Android's loader asks: section headers, a name, RELRO that ends at a page.
    """
    try:
        library = read_elf(data)
        problems = [*_segments(library), *_dynamic(library), *_symbols(library)]
        if level is not None:
            problems += _identity(library, level)
        if android:
            problems += _android(library)
    except KernelError as error:
        return [str(error)]
    return problems


def _segments(library: Elf) -> list[str]:
    problems = []
    for segment in library.segments:
        if segment.kind == _LOAD:
            if segment.align < PAGE_BYTES:
                problems.append(f"a segment is aligned to {segment.align}, expected {PAGE_BYTES}")
            elif (segment.offset - segment.address) % segment.align:
                problems.append(f"a segment's place in the file does not fit its address {segment.address:#x}")
            if segment.flags & (_EXECUTE | _WRITE) == _EXECUTE | _WRITE:
                problems.append("a segment is writable and executable")
        elif segment.kind == _STACK and segment.flags & _EXECUTE:
            problems.append("it asks for an executable stack")
        elif segment.kind == _INTERPRETER:
            problems.append("it asks for an interpreter, as programs do")
        elif segment.kind == _THREAD_LOCAL:
            problems.append("it has thread-local variables")
    if not any(segment.kind == _STACK for segment in library.segments):
        problems.append("it does not say that the stack is not executable")
    return problems


def _dynamic(library: Elf) -> list[str]:
    tags, problems = library.dynamic, []
    if _NEEDED in tags:
        problems.append("it needs other libraries")
    if _TEXT_RELOCATIONS in tags or tags.get(_FLAGS, 0) & _FLAG_TEXT_RELOCATIONS:
        problems.append("it has text relocations")
    if _INIT in tags or _INIT_ARRAY in tags:
        problems.append("it runs code when it is loaded")
    if _JUMPS in tags:
        problems.append("it has calls for the loader to resolve")
    if _PACKED in tags:
        problems.append("it has packed relocations, which old loaders ignore")
    foreign = sorted(_relocations(library) - {RELATIVE.get(library.arch)})
    problems += [f"it has relocations of type {kind}" for kind in foreign]
    for tag, name in ((_HASH, "DT_HASH"), (_GNU_HASH, "DT_GNU_HASH")):
        if tag not in tags:
            problems.append(f"it has no table of symbols with a {name}")
    return problems


def _relocations(library: Elf) -> set[int]:
    """Types of the relocations that the loader has to do."""
    kinds = set()
    wide = library.bits == 64
    for table, nbytes, form in (
        (_RELA, _RELA_BYTES, "<QQq" if wide else "<IIi"),
        (_REL, _REL_BYTES, "<QQ" if wide else "<II"),
    ):
        if table in library.dynamic:
            start, length = library.place(library.dynamic[table]), library.dynamic.get(nbytes, 0)
            whole = length - length % struct.calcsize(form)
            entries = struct.iter_unpack(form, library.data[start : start + whole])
            kinds |= {entry[1] & (0xFFFFFFFF if wide else 0xFF) for entry in entries}
    return kinds


def _symbols(library: Elf) -> list[str]:
    if _HASH not in library.dynamic:
        return []  # said already
    problems = []
    for name, section, _ in library.symbols():
        if section == 0:
            problems.append(f"undefined symbol {name}")
        elif not re.fullmatch(r"edgert_\w+", name):
            problems.append(f"exports {name}")
    return problems


def _identity(library: Elf, level: Level) -> list[str]:
    if library.arch != level.arch:
        return [f"it is for {library.arch}; expected {level.arch}"]
    names = {name for name, section, _ in library.symbols() if section}
    problems = [f"it lacks {name}" for name in IDENTITY if name not in names]
    text = library.symbol("edgert_level", NAME_BYTES)
    if text is not None and text.rstrip(b"\0") != level.name.encode():
        found = text.rstrip(b"\0").decode("ascii", "backslashreplace")
        problems.append(f"it was made for {found}, expected {level.name}")
    return problems


def _android(library: Elf) -> list[str]:
    problems = []
    sections, names = struct.unpack_from("<HH", library.data, 60 if library.bits == 64 else 48)
    if not 0 < names < sections:
        problems.append("it has no section headers, which Android's loader reads")
    if _SONAME not in library.dynamic:
        problems.append("it has no name of its own (DT_SONAME)")
    for segment in library.segments:
        if segment.kind == _RELRO and (segment.address + segment.in_memory) % PAGE_BYTES:
            problems.append(f"its RELRO does not end at a page of {PAGE_BYTES} bytes")
    return problems
