"""KernelLibrary: addresses of kernels and engine entry points for one ISA level, from JIT objects or an AOT library.

Both come from the same sources through the same compiler. Sessions ask for kernels by name and never know which.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgert.errors import KernelError
from edgert.kernels_cpu.installed import Choice, chosen, verified
from edgert.kernels_cpu.installed import library_name as library_name
from edgert.kernels_cpu.levels import Level, prepare_level
from edgert.kernels_cpu.registry import kernels, opcodes

Progress = Callable[[int, int], None]
"""Called with (kernels compiled, kernels to compile), first with 0."""
ENGINE_SYMBOLS = ("edgert_run_single", "edgert_run", "edgert_worker")


class KernelLibrary(Protocol):
    """What a session needs of a library."""

    level: Level
    origin: str
    """'JIT' or 'AOT'."""

    def prepare(self, names: Iterable[str], progress: Progress | None = None) -> None:
        """Makes the kernels callable, compiling where needed. Raises KernelError."""
        ...

    def address(self, name: str) -> int:
        """Address of kernel `name`, after prepare()."""
        ...

    def engine(self, symbol: str) -> int:
        """Address of an engine entry point."""
        ...


def kernel_table(library: KernelLibrary, names: Iterable[str]) -> npt.NDArray[np.int64]:
    """opcode -> address, as the engine reads it; kernels not asked for are 0."""
    table = np.zeros(len(kernels()) + 1, np.int64)
    codes = opcodes()
    for name in names:
        table[codes[name]] = library.address(name)
    return table


class JitLibrary:
    """Kernels compiled on this machine when first needed."""

    origin = "JIT"

    def __init__(self, level: Level, cache: Path) -> None:
        # Imported only where kernels are compiled: other processes start the sooner.
        from edgert.kernels_cpu import jit

        self._jit = jit
        self.level = level
        self.folder = jit.cache_folder(cache, level)
        self._loader: Any = None
        self._addresses: dict[str, int] = {}
        self._lock = threading.Lock()

    def prepare(self, names: Iterable[str], progress: Progress | None = None) -> None:
        jit = self._jit
        with self._lock:
            wanted = [n for n in dict.fromkeys(("engine", *names)) if n not in self._addresses]
            if not wanted:
                return
            prepare_level(self.level)
            jit.compile_missing(self.folder, self.level, wanted, progress)
            if self._loader is None:
                self._loader = jit.ObjectLoader()
            for name in wanted:
                path = self.folder / jit.object_name(name)
                if name == "engine":
                    self._addresses |= self._loader.load(path, ENGINE_SYMBOLS)
                    self._addresses["engine"] = self._addresses["edgert_run"]
                else:
                    self._addresses[name] = self._loader.load(path, [f"edgert_k_{name}"])[f"edgert_k_{name}"]

    def address(self, name: str) -> int:
        return self._addresses[name]

    def engine(self, symbol: str) -> int:
        return self._addresses[symbol]


class AotLibrary:
    """A shared library compiled ahead of time; needs neither Numba nor LLVM. Verified before any of it is loaded."""

    origin = "AOT"

    def __init__(self, level: Level, path: Path) -> None:
        verified(path, level)
        self.level, self.path = level, path
        try:
            self._library = ctypes.CDLL(str(path))
        except OSError as error:
            raise KernelError(f"cannot load the kernel library {path}: {error}") from error

    def _symbol(self, symbol: str) -> int:
        try:
            return int(ctypes.cast(getattr(self._library, symbol), ctypes.c_void_p).value or 0)
        except AttributeError as error:
            raise KernelError(f"{self.path} lacks {symbol}; build it again from these sources") from error

    def prepare(self, names: Iterable[str], progress: Progress | None = None) -> None:
        prepare_level(self.level)
        for name in names:
            self.address(name)

    def address(self, name: str) -> int:
        return self._symbol(f"edgert_k_{name}")

    def engine(self, symbol: str) -> int:
        return self._symbol(symbol)


_open: dict[tuple[str, str], KernelLibrary] = {}
_open_lock = threading.Lock()


def open_library(level: Level, cache: Path) -> KernelLibrary:
    """load_library() of what there is for `level`."""
    return load_library(chosen(level), cache)


def load_library(choice: Choice, cache: Path) -> KernelLibrary:
    """The library of a choice: ahead of time, or compiled into `cache`. One per process, level and place.

    Raises KernelError where the choice is none, with the reasons."""
    if not choice.origin:
        raise KernelError(choice.why)
    level, path = choice.level, choice.path
    key = (level.name, str(path or cache))
    with _open_lock:
        if key not in _open:
            _open[key] = AotLibrary(level, path) if path is not None else JitLibrary(level, cache)
        return _open[key]
