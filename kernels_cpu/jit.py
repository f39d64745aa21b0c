"""Just-in-time kernels: compile what is missing in a child process, cache the objects, map them in.

An object's name holds a hash of every source the kernel is made of, imported ones included, and its folder's name
one of the compiler versions and the level: Numba's own cache keys on one file and serves stale code after edits in
imported ones.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from edgert.errors import KernelError
from edgert.kernels_cpu.levels import Level, amx_model
from edgert.kernels_cpu.library import Progress
from edgert.kernels_cpu.registry import kernels

COMPILE_TIMEOUT = 240.0
"""Seconds for each kernel of a batch: far above what any needs, so that a hang ends."""
BATCH = 24
"""Kernels that one compiler process makes: it keeps some 25 MB of each until it ends."""
LOOK_SECONDS = 0.2
"""How often it is looked which objects are there."""

KEPT_FOLDERS = 3
"""Older folders of a level that stay: other compiler versions may use them."""
LISTING = ".isa"
"""Suffix of the file beside an object that lists its instructions (listing.py)."""
KEPT_OBJECTS = 4
"""Objects of a kernel that stay: other checkouts may use them."""


def compiler_versions() -> tuple[str, str]:
    """(numba, llvmlite) versions. Raises KernelError when they are not installed."""
    try:
        return version("numba"), version("llvmlite")
    except PackageNotFoundError as error:
        raise KernelError(
            "compiling kernels needs Numba, which is not installed; install it with: pip install 'edgert[jit]'"
        ) from error


_PACKAGE = "edgert.kernels_cpu"
_ELSEWHERE = ("registry.py", "levels.py", "jit.py", "claims.py")
"""Sources that say nothing about an object beyond the kernel's row, which is hashed by itself, and the level, which is
in the folder's name."""
_IMPORT = re.compile(rf"^\s*from {re.escape(_PACKAGE)}(\.[\w.]+)? import", re.MULTILINE)


@cache
def _closure(module: str) -> frozenset[Path]:
    """The source file of `module` and those of every module of this package that it imports, however deep."""
    root = Path(__file__).parent
    found: set[Path] = set()
    waiting = [module]
    while waiting:
        relative = waiting.pop().removeprefix(_PACKAGE).strip(".").replace(".", "/")
        path = root / f"{relative}.py"
        path = path if path.is_file() else root / relative / "__init__.py"
        if path in found or path.name in _ELSEWHERE or not path.is_file():
            continue
        found.add(path)
        waiting += [_PACKAGE + (name or "") for name in _IMPORT.findall(path.read_text("utf-8")) if name]
    return frozenset(found)


@cache
def kernel_hash(name: str) -> str:
    """Hash of all that the object of kernel `name` (or 'engine') is made of: its row, its sources, the compiler."""
    spec = kernels().get(name)
    modules = [spec.module if spec is not None else f"{_PACKAGE}.{name}", f"{_PACKAGE}.compiler"]
    root = Path(__file__).parent
    digest = hashlib.sha256(repr(spec).encode())
    for path in sorted(set().union(*(_closure(module) for module in modules))):
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def sources_hash(names: Iterable[str]) -> str:
    """Hash of all that the engine and the kernels `names` are made of, whatever the level."""
    return hashlib.sha256(" ".join(object_name(name) for name in ("engine", *sorted(names))).encode()).hexdigest()[:16]


def object_name(name: str) -> str:
    """File name of the object of kernel `name`: other sources are another file."""
    return f"{name}-{kernel_hash(name)}.o"


def cache_folder(root: Path, level: Level) -> Path:
    """Where objects for `level` live below the cache root."""
    model = ("amx model",) if amx_model() else ()
    # Sets are sorted: their own order differs from process to process.
    target = (level.triple, level.cpu, level.llvm_features, *sorted(level.features), str(level.vector_bytes),
              str(level.act_signed))  # fmt: skip
    key = hashlib.sha256("\0".join((*compiler_versions(), *target, *model)).encode()).hexdigest()
    return root / "kernels" / f"{level.name}-{key[:16]}"


def cores() -> int:
    """Processor cores that this process may use."""
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def missing_of(folder: Path, names: Iterable[str]) -> list[str]:
    """Those kernels of `names` ('engine' among them) whose objects are not in `folder` yet, sorted."""
    return sorted(n for n in set(names) if not (folder / object_name(n)).exists())


def compile_missing(
    folder: Path, level: Level, names: Iterable[str], progress: Progress | None = None, workers: int | None = None
) -> None:
    """Compiles the kernels of `names` ('engine' among them) whose objects are not in `folder` yet, in as many processes
    as `workers` says, or as there are cores. Raises KernelError."""
    missing = missing_of(folder, names)
    if not missing:
        return
    compiler_versions()
    _make(folder)
    workers = min(len(missing), workers or cores())
    count = max(workers, -(-len(missing) // BATCH))
    waiting = [missing[i::count] for i in range(count)]
    running: list[_Batch] = []
    told = -1

    def look() -> None:
        nonlocal told
        done = len(missing) - len(missing_of(folder, missing))
        if progress is not None and done != told:
            told = done
            progress(done, len(missing))

    look()
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                running.append(_Batch(level, folder, waiting.pop(0)))
            running = [batch for batch in running if not batch.ended()]
            look()
    finally:
        for batch in running:
            batch.stop()
    for name in missing:
        if not (folder / object_name(name)).exists():
            raise KernelError(f"the sources of {name} changed while it was compiled; run again")
        prune_objects(folder, name)
    prune(folder)


def _make(folder: Path) -> None:
    """A folder that can be written into. Raises KernelError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise KernelError(
            f"{folder}: compiled kernels are kept there: {error.strerror}; set EDGERT_CACHE to a folder that can be "
            "written, or install a wheel, which has them compiled"
        ) from error


class _Batch:
    """Kernels that one compiler process makes, one after the other."""

    def __init__(self, level: Level, folder: Path, names: Sequence[str]) -> None:
        self.level, self.names = level, names
        self.seconds = COMPILE_TIMEOUT * len(names)
        self.until = time.monotonic() + self.seconds
        self.process = _start(level, folder, names)

    def ended(self) -> bool:
        """Waits a moment; whether all of it is done. Raises KernelError."""
        task = f"compiling {', '.join(self.names)} for {self.level.name}"
        try:
            _, errors = self.process.communicate(timeout=LOOK_SECONDS)
        except subprocess.TimeoutExpired as error:
            if time.monotonic() > self.until:
                raise KernelError(f"{task} took over {self.seconds:.0f} s") from error
            return False
        if self.process.returncode != 0:
            raise KernelError(f"{task} failed: {errors.strip()[-2000:]}")
        return True

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def prune_objects(folder: Path, name: str) -> None:
    """Removes the oldest objects of kernel `name`, made of sources that have changed since."""
    for old in sorted(folder.glob(f"{name}-*.o"), key=lambda p: p.stat().st_mtime)[:-KEPT_OBJECTS]:
        old.unlink(missing_ok=True)
        old.with_suffix(LISTING).unlink(missing_ok=True)


def prune(folder: Path) -> None:
    """Removes the oldest sibling folders of the same level: objects of sources that have changed since."""
    level = folder.name.rpartition("-")[0]
    siblings = [p for p in folder.parent.glob(f"{level}-*") if p != folder and p.name.rpartition("-")[0] == level]
    for old in sorted(siblings, key=lambda p: p.stat().st_mtime)[: -KEPT_FOLDERS or None]:
        shutil.rmtree(old, ignore_errors=True)


def _start(level: Level, folder: Path, arguments: Sequence[str]) -> subprocess.Popen[str]:
    """The compiler process: it must find this very package, installed or not."""
    module = ["-m", "edgert.kernels_cpu.compiler", "--level", level.name, "--out", str(folder)]
    package_parent = str(Path(sys.modules["edgert"].__file__ or ".").resolve().parent.parent)
    path = os.pathsep.join(p for p in (package_parent, os.environ.get("PYTHONPATH", "")) if p)
    return subprocess.Popen(
        [sys.executable, *module, *arguments], env={**os.environ, "PYTHONPATH": path}, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


class ObjectLoader:
    """Maps relocatable objects into this process and finds their symbols (llvmlite's MCJIT linker; no compiler)."""

    def __init__(self) -> None:
        try:
            import llvmlite.binding as llvm
        except ImportError as error:
            raise KernelError(
                "loading compiled kernels needs llvmlite; install it with: pip install 'edgert[jit]'"
            ) from error
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        self._llvm = llvm
        self._engines: list[Any] = []

    def load(self, path: Path, symbols: Iterable[str]) -> dict[str, int]:
        """Addresses of `symbols` in the object at `path`."""
        llvm = self._llvm
        module = llvm.parse_assembly("")
        machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
        # One block for all sections of an object: its code reaches its constants by 32-bit distances, and placed one by
        # one, sections end up further apart where the address space is crowded, on which LLVM aborts the process.
        engine = llvm.create_mcjit_compiler(module, machine, use_lmm=True)
        engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(path.read_bytes()))
        engine.finalize_object()
        self._engines.append(engine)
        addresses = {symbol: int(engine.get_function_address(symbol)) for symbol in symbols}
        absent = [symbol for symbol, address in addresses.items() if not address]
        if absent:
            raise KernelError(f"{path} lacks {', '.join(absent)}; delete the file and run again")
        return addresses
