"""Ahead of time for WebAssembly: all kernels and the engine of wasm32-simd128, linked into one module.

The objects are those of the other levels' sources; shared libraries are aot.py. The module imports a memory and nothing
else. Who embeds it lays out the plan in that memory, from `__heap_base` on, and puts kernels into the function table.
`edgert compile --target wasm32-simd128` makes it; docs/wasm.md shows how it is used.
"""

from __future__ import annotations

import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from edgert.errors import KernelError
from edgert.kernels_cpu.aot_isa import hold_to_level
from edgert.kernels_cpu.jit import Progress, compile_missing, object_name
from edgert.kernels_cpu.levels import LEVELS
from edgert.kernels_cpu.registry import kernels

LEVEL = LEVELS["wasm32-simd128"]
MODULE_NAME = f"edgert_{LEVEL.name}.wasm"
STACK_BYTES = 1 << 18
"""Kernels spill vectors and call a few functions deep; the stack lies first, so that running over it is a fault."""
HOST_EXPORTS = ("__heap_base", "__indirect_function_table", "__stack_pointer")
"""What the host needs beside edgert_*: where free memory begins, and the table that kernels are called through."""
_IMPORTS, _EXPORTS = 2, 7
_MEMORY = 2


def build_module(
    folder: Path, names: Iterable[str] | None = None, *, objects: Path | None = None, progress: Progress | None = None
) -> Path:
    """Compiles and links MODULE_NAME in `folder`, of all kernels or of `names`; see aot.build_library."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / MODULE_NAME
    given = list(names) if names is not None else [n for n, spec in kernels().items() if spec.available(LEVEL)]
    wanted = ["engine", *given]
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        compiled = objects or Path(temporary) / "objects"
        compile_missing(compiled, LEVEL, wanted, progress)
        hold_to_level(compiled, wanted, LEVEL)
        linked = Path(temporary) / target.name
        command = [
            sys.executable, "-m", "ziglang", "wasm-ld", "--no-entry", "--import-memory", "--export-dynamic",
            "--export-table", "--growable-table", "--export=__heap_base", "--stack-first",
            "-z", f"stack-size={STACK_BYTES}", "--gc-sections", "-s", "--fatal-warnings", "-o", str(linked),
            *(str(compiled / object_name(name)) for name in wanted),
        ]  # fmt: skip
        try:
            result = subprocess.run(command, capture_output=True, text=True, timeout=120)
        except subprocess.TimeoutExpired as error:
            raise KernelError(f"linking {target.name} took over {error.timeout:.0f} s") from error
        if result.returncode != 0:
            missing = "No module named ziglang" in result.stderr
            hint = "install the linker with: pip install 'edgert[aot]'" if missing else result.stderr.strip()[-2000:]
            raise KernelError(f"linking {target.name} failed: {hint}")
        problems = check_module(linked.read_bytes(), wanted)
        if problems:
            raise KernelError(f"{target.name} is not fit to ship: {'; '.join(problems)}")
        linked.replace(target)
    return target


def check_module(data: bytes, names: Iterable[str]) -> list[str]:
    """What is wrong with a module that should hold `names`: imports other than a memory, exports that are missing or
    nobody asked for. Source: WebAssembly Core Specification 2.0, sections 5.5.5 and 5.5.10."""
    if data[:8] != b"\0asm\x01\0\0\0":
        return ["not a WebAssembly module of version 1"]
    problems = []
    exported: set[str] = set()
    for kind, content in _sections(data):
        if kind == _IMPORTS:
            for module, name, what in _imports(content):
                if (module, name, what) != ("env", "memory", _MEMORY):
                    problems.append(f"it imports {module}.{name}")
        elif kind == _EXPORTS:
            exported = set(_exports(content))
    needed = {f"edgert_k_{name}" for name in names if name != "engine"}
    needed |= {"edgert_run", "edgert_run_single", "edgert_worker", "edgert_abi_version", *HOST_EXPORTS[:2]}
    problems += [f"it lacks {name}" for name in sorted(needed - exported)]
    foreign = (name for name in exported if not name.startswith("edgert_") and name not in HOST_EXPORTS)
    return problems + [f"it exports {name}" for name in sorted(foreign)]


class _Reader:
    """Numbers and names of the binary format, one after the other."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data, self.at = data, at

    def number(self) -> int:
        """An unsigned LEB128."""
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def bytes(self, count: int) -> bytes:
        self.at += count
        return self.data[self.at - count : self.at]

    def name(self) -> str:
        return self.bytes(self.number()).decode()


def _sections(data: bytes) -> Iterator[tuple[int, bytes]]:
    reader = _Reader(data, 8)
    while reader.at < len(data):
        (kind,) = struct.unpack("B", reader.bytes(1))
        yield kind, reader.bytes(reader.number())


def _imports(content: bytes) -> Iterator[tuple[str, str, int]]:
    """(module, name, kind); only limits follow the kinds that may appear, and what else does ends the listing."""
    reader = _Reader(content)
    for _ in range(reader.number()):
        module, name, kind = reader.name(), reader.name(), reader.number()
        yield module, name, kind
        if kind != _MEMORY:
            return  # refused already
        for _ in range(1 + (reader.number() & 1)):
            reader.number()


def _exports(content: bytes) -> Iterator[str]:
    reader = _Reader(content)
    for _ in range(reader.number()):
        yield reader.name()
        reader.number()  # kind
        reader.number()  # index
