"""Ahead of time: all kernels and the engine of one ISA level, linked into one freestanding shared library.

The objects are those the JIT loads; the linker is LLVM's lld as the ziglang package ships it. The library needs no
libc, no Numba and no LLVM on the device, has 16 KiB pages (Android) and a stable ABI number. Its checks are here too.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from edgert.errors import KernelError
from edgert.kernels_cpu.aot_elf import PAGE_BYTES, check_elf
from edgert.kernels_cpu.aot_isa import hold_to_level
from edgert.kernels_cpu.freestanding import named_text
from edgert.kernels_cpu.installed import library_name
from edgert.kernels_cpu.jit import Progress, compile_missing, object_name, sources_hash
from edgert.kernels_cpu.levels import Level
from edgert.kernels_cpu.registry import kernels

EMULATIONS = {"x86_64": "elf_x86_64", "aarch64": "aarch64linux", "armv7": "armelf_linux_eabi"}
"""Architecture -> what lld calls it; those that have shared libraries."""


def build_library(
    level: Level,
    folder: Path,
    names: Iterable[str] | None = None,
    *,
    objects: Path | None = None,
    progress: Progress | None = None,
    workers: int | None = None,
) -> Path:
    """Compiles and links `libedgert_<level>.so` in `folder`, of all kernels or of `names`.

    objects: a folder of compiled kernels to use and to add to, as `jit.cache_folder` names them.
    workers: processes that compile at once, see jit.compile_missing.
    Raises KernelError.
    """
    if level.arch not in EMULATIONS:
        raise KernelError(f"{level.name} has no shared libraries; expected a level of {', '.join(EMULATIONS)}")
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / library_name(level)
    given = list(names) if names is not None else [n for n, spec in kernels().items() if spec.available(level)]
    wanted = ["engine", *given]
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        work = Path(temporary)
        compiled = objects or work / "objects"
        compile_missing(compiled, level, wanted, progress, workers)
        hold_to_level(compiled, wanted, level)
        identity = work / "identity.o"
        identity.write_bytes(_identity(level, sources_hash(kernels() if names is None else given)))
        exports = work / "exports.map"
        exports.write_text("{ global: edgert_*; local: *; };\n")
        linked = work / target.name
        command = [
            sys.executable, "-m", "ziglang", "ld.lld", "-m", EMULATIONS[level.arch], "-shared",
            "-o", str(linked), *(str(compiled / object_name(name)) for name in wanted), str(identity),
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
        problems = check_elf(linked.read_bytes(), level, android=True)
        if problems:
            raise KernelError(f"{target.name} is not fit to ship: {'; '.join(problems)}")
        linked.replace(target)
    return target


def check_library(data: bytes) -> list[str]:
    """What is wrong with a library of whatever level, see aot_elf.check_elf."""
    return check_elf(data)


def _identity(level: Level, sources: str) -> bytes:
    """An object with the symbol edgert_sources."""
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple(level.triple)
    machine = target.create_target_machine(cpu=level.cpu, features=level.llvm_features, reloc="pic", codemodel="small")
    module = llvm.parse_assembly(named_text("edgert_sources", sources))
    module.triple, module.data_layout = level.triple, str(machine.target_data)
    return bytes(machine.emit_object(module))
