"""Ahead of time: all kernels and the engine of one ISA level, linked into one freestanding shared library.

The objects are those the JIT loads; the linker is LLVM's lld as the ziglang package ships it. The library needs no
libc, no Numba and no LLVM on the device, has 16 KiB pages (Android) and a stable ABI number. Its checks are here too.
"""

from __future__ import annotations

import re
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from edgert.errors import KernelError
from edgert.kernels_cpu.jit import Progress, compile_missing, object_name
from edgert.kernels_cpu.levels import Level
from edgert.kernels_cpu.library import library_name
from edgert.kernels_cpu.registry import kernels

_EMULATION = {"x86_64": "elf_x86_64", "aarch64": "aarch64linux"}
PAGE_BYTES = 16384
"""Android 15 devices have 16 KiB pages; a library aligned to them loads on 4 KiB ones too."""
GNU_STACK = 0x6474E551
"""ELF program header that says how the stack is to be mapped."""


def build_library(
    level: Level,
    folder: Path,
    names: Iterable[str] | None = None,
    *,
    objects: Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """Compiles and links `libedgert_<level>.so` in `folder`, of all kernels or of `names`.

    objects: a folder of compiled kernels to use and to add to, as `jit.cache_folder` names them.
    Raises KernelError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / library_name(level)
    wanted = ["engine", *(names or (n for n, spec in kernels().items() if spec.available(level)))]
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        work = Path(temporary)
        compiled = objects or work / "objects"
        compile_missing(compiled, level, wanted, progress)
        exports = work / "exports.map"
        exports.write_text("{ global: edgert_*; local: *; };\n")
        linked = work / target.name
        command = [
            sys.executable, "-m", "ziglang", "ld.lld", "-m", _EMULATION[level.arch], "-shared",
            "-o", str(linked), *(str(compiled / object_name(name)) for name in wanted),
            "--allow-multiple-definition",  # every object has its own memset, all the same
            "--no-undefined", "-z", f"max-page-size={PAGE_BYTES}", "-z", f"common-page-size={PAGE_BYTES}",
            "-z", "noexecstack", "-z", "now", "--hash-style=both", "--build-id=sha1", "--gc-sections", "-s",
            f"--version-script={exports}", "-soname", target.name,
        ]  # fmt: skip
        try:
            result = subprocess.run(command, capture_output=True, text=True, timeout=120)
        except subprocess.TimeoutExpired as error:
            raise KernelError(f"linking {target.name} took over {error.timeout:.0f} s") from error
        if result.returncode != 0:
            missing = "No module named ziglang" in result.stderr
            hint = "install the linker with: pip install 'edgert[aot]'" if missing else result.stderr.strip()[-2000:]
            raise KernelError(f"linking {target.name} failed: {hint}")
        problems = check_library(linked.read_bytes())
        if problems:
            raise KernelError(f"{target.name} is not fit to ship: {'; '.join(problems)}")
        linked.replace(target)
    return target


def check_library(data: bytes) -> list[str]:
    """What is wrong with a 64-bit ELF library: undefined or foreign symbols, needed libraries, text relocations, small
    pages, memory that is writable and executable, the stack included."""
    problems: list[str] = []
    if data[:5] != b"\x7fELF\x02":
        return ["not a 64-bit ELF file"]
    (table,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    dynamic: list[tuple[int, int]] = []
    loads: list[tuple[int, int, int]] = []
    for i in range(count):
        kind, flags, offset, address, _, in_file, _, align = struct.unpack_from("<IIQQQQQQ", data, table + i * size)
        if kind == 1:
            loads.append((address, offset, in_file))
            if align < PAGE_BYTES:
                problems.append(f"a segment is aligned to {align}, expected {PAGE_BYTES}")
            if flags & 3 == 3:
                problems.append("a segment is writable and executable")
        elif kind == GNU_STACK and flags & 1:
            problems.append("it asks for an executable stack")
        elif kind == 2:
            dynamic = list(struct.iter_unpack("<QQ", data[offset : offset + in_file]))
    tags = dict(dynamic)
    if any(tag == 1 for tag, _ in dynamic):
        problems.append("it needs other libraries")
    if 22 in tags:
        problems.append("it has text relocations")
    if not tags.keys() >= {4, 5, 6}:
        return [*problems, "it has no table of symbols with a DT_HASH"]
    strings, symbols = (_file_offset(loads, tags[tag]) for tag in (5, 6))
    (chains,) = struct.unpack_from("<I", data, _file_offset(loads, tags[4]) + 4)
    for i in range(1, chains):
        name, _, _, section, _, _ = struct.unpack_from("<IBBHQQ", data, symbols + 24 * i)
        text = data[strings + name : data.index(b"\0", strings + name)].decode()
        if section == 0:
            problems.append(f"undefined symbol {text}")
        elif not re.fullmatch(r"edgert_\w+", text):
            problems.append(f"exports {text}")
    return problems


def _file_offset(loads: list[tuple[int, int, int]], address: int) -> int:
    for start, offset, size in loads:
        if start <= address < start + size:
            return offset + address - start
    raise KernelError("the library's dynamic section points outside its segments")
