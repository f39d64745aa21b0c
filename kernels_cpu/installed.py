"""Which installed kernel library a process uses: each file is verified before it is loaded, level by level.

Needs neither Numba nor NumPy. Loading is library.py, what a processor can run levels.py, how libraries are made aot.py.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgert.errors import KernelError
from edgert.kernels_cpu.abi import ABI_VERSION, NAME_BYTES
from edgert.kernels_cpu.elf import read_elf
from edgert.kernels_cpu.levels import LEVELS, Level, active_level, host_arch, host_flags, host_levels

AOT_FOLDER = Path(__file__).parent / "lib"
"""Where wheels carry ahead-of-time libraries."""
MANIFEST = "manifest.json"
"""What the build wrote about the libraries beside it: version, abi, sources, and of each file its level and SHA-256."""
MANIFEST_VERSION = 1

State = Literal["usable", "absent", "refused", "unfit"]
Mode = Literal["auto", "jit", "aot"]
Key = tuple[str, int, int, int, str]


@dataclass(frozen=True)
class Entry:
    """What the manifest says of one library."""

    nbytes: int
    sha256: str


@dataclass(frozen=True)
class Finding:
    """One level, its library, and why that can be used or not.

    state: 'usable'; 'absent': no file; 'refused': the file is not what it must be; 'unfit': this processor lacks
    something. reason: in words; of a usable one, how it was checked."""

    level: Level
    path: Path
    state: State
    reason: str


@dataclass(frozen=True)
class Choice:
    """Where the kernels of a process come from. origin: 'AOT', 'JIT', or '' where there are none and `why` says so.

    skipped: wider levels than the chosen one, and why each was passed over."""

    level: Level
    origin: str
    path: Path | None
    why: str
    skipped: tuple[Finding, ...] = ()

    @property
    def note(self) -> str:
        """What the first line of a run must not keep to itself: ' (...)' if a library was refused, else ''."""
        refused = [found.level.name for found in self.skipped if found.state == "refused"]
        return f" (library of {', '.join(refused)} refused, see `edgert doctor`)" if refused else ""


def library_name(level: Level) -> str:
    return f"libedgert_{level.name}.so"


# ---- one library
def read_manifest(folder: Path) -> dict[str, Entry] | None:
    """File name -> its entry; None where the folder has no manifest. Raises KernelError for one that makes no sense."""
    path = folder / MANIFEST
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise KernelError(f"cannot read {path}: {error}; install edgert again") from error
    try:
        found = json.loads(text)
        version = found["version"]
        rows = found["libraries"] if version == MANIFEST_VERSION else []
        entries = {str(r["file"]): Entry(int(r["bytes"]), str(r["sha256"])) for r in rows}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise KernelError(f"{path} is damaged ({type(error).__name__}: {error}); install edgert again") from error
    if version != MANIFEST_VERSION:
        raise KernelError(f"{path}: expected version {MANIFEST_VERSION}, found {version!r}; install edgert again")
    return entries


def verify(path: Path, level: Level, entries: dict[str, Entry] | None) -> str:
    """How the library at `path` was found to be that of `level`: its file alone is read, nothing of it runs.

    entries: the manifest beside it, None where there is none; then the hash is left out.
    Raises KernelError with what was expected, what was found and what to do.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise KernelError(f"{path.name} cannot be read: {error.strerror or error}") from error
    entry = entries.get(path.name) if entries is not None else None
    try:
        if entries is not None and entry is None:
            raise KernelError(f"expected it in the {MANIFEST} beside it, found {', '.join(entries) or 'no file there'}")
        _check_content(data, level)
        if entry is not None:
            _check_hash(data, entry)
    except KernelError as error:
        raise KernelError(f"{path.name}: {error}; install edgert again, or build it with `edgert compile`") from error
    return "verified by its SHA-256" if entry is not None else f"unverified: {path.parent} has no {MANIFEST}"


def _check_content(data: bytes, level: Level) -> None:
    """What a library says of itself: architecture, kernel ABI and level."""
    elf = read_elf(data)
    if elf.arch != level.arch:
        raise KernelError(f"expected a library for {level.arch}, found one for {elf.arch}")
    abi, name = elf.symbol("edgert_abi_version", 8), elf.symbol("edgert_level", NAME_BYTES)
    if abi is None:
        raise KernelError("it is not an edgert kernel library: it has no edgert_abi_version")
    if (version := int.from_bytes(abi, "little", signed=True)) != ABI_VERSION:
        raise KernelError(f"expected kernel ABI {ABI_VERSION}, found {version}")
    if name is None:
        raise KernelError("it does not say what level it is for: it has no edgert_level")
    if (inside := _text(name)) != level.name:
        raise KernelError(f"expected kernels of {level.name}, found kernels of {inside}")


def _text(symbol: bytes) -> str:
    """What a symbol of NAME_BYTES says."""
    return symbol.rstrip(b"\0").decode("ascii", "backslashreplace")


def _check_hash(data: bytes, entry: Entry) -> None:
    if len(data) != entry.nbytes:
        raise KernelError(f"it is damaged: expected {entry.nbytes} bytes, found {len(data)}")
    if (found := hashlib.sha256(data).hexdigest()) != entry.sha256:
        raise KernelError(
            f"it is damaged: expected SHA-256 {entry.sha256[:16]}…, found {found[:16]}… (tools that rewrite "
            "libraries, such as strip, do that too)"
        )


_verified: dict[Key, str] = {}
"""What verify() said of files that were sound, so that the next session does not read them again."""


def verified(path: Path, level: Level) -> str:
    """verify() against the manifest beside `path`, once per content of both. Raises KernelError."""
    folder = path.parent
    manifest = folder / MANIFEST
    try:
        of_file = path.stat()
        of_manifest = manifest.stat().st_mtime_ns if manifest.exists() else 0
    except OSError as error:
        raise KernelError(f"{path} cannot be read: {error.strerror or error}") from error
    key = (str(path), of_file.st_mtime_ns, of_file.st_size, of_manifest, level.name)
    if key not in _verified:
        entries = read_manifest(folder)
        if entries is None and folder == AOT_FOLDER:
            raise KernelError(f"{folder} has no {MANIFEST}, which every installation has; install edgert again")
        said = verify(path, level, entries)
        if folder == AOT_FOLDER and _in_checkout():
            _check_sources(path)
        _verified[key] = said
    return _verified[key]


def _in_checkout() -> bool:
    """Whether this package lies among its sources, where kernels may have been edited since libraries were built."""
    return (Path(__file__).resolve().parents[1] / "pyproject.toml").is_file()


def _check_sources(path: Path) -> None:
    """Raises KernelError if a library was built from other kernel sources than those beside it."""
    from edgert.kernels_cpu.jit import sources_hash
    from edgert.kernels_cpu.registry import kernels

    found = _text(read_elf(path.read_bytes()).symbol("edgert_sources", NAME_BYTES) or b"")
    if found != (expected := sources_hash(kernels())):
        raise KernelError(
            f"{path.name}: expected a library of the kernel sources {expected} of this checkout, found one of "
            f"{found or 'unknown sources'}; build it again with `edgert compile` or remove it"
        )


def examine(level: Level, folder: Path) -> Finding:
    """What is to be said of `level` on this machine and of its library in `folder`. Raises nothing."""
    path = folder / library_name(level)
    if level not in host_levels():
        return Finding(level, path, "unfit", _lacking(level))
    if not path.exists():
        return Finding(level, path, "absent", f"{folder} has no {path.name}")
    try:
        return Finding(level, path, "usable", verified(path, level))
    except KernelError as error:
        return Finding(level, path, "refused", str(error))


def _lacking(level: Level) -> str:
    missing = sorted(level.needs - host_flags()) if level.arch == host_arch() else []
    if missing:
        return f"this processor lacks {', '.join(missing)}"
    return "the system refuses its instructions" if level.arch == host_arch() else f"needs a processor of {level.arch}"


# ---- the choice among them
def chosen(level: Level | None = None) -> Choice:
    """Where this process has its kernels from, and of which level: the one place that decides. Without `level`,
    EDGERT_ISA or else the widest level that runs here and has a library. EDGERT_KERNELS is aot, jit, or auto (AOT where
    a library fits, else JIT); EDGERT_KERNEL_FOLDER names another folder of libraries.

    Raises KernelError for values of these variables that make no sense, and where no level runs.
    """
    forced = level or (active_level() if os.environ.get("EDGERT_ISA") else None)
    return choose((forced,) if forced is not None else host_levels(), kernel_folder(), kernel_mode())


def choose(levels: Sequence[Level], folder: Path, mode: Mode) -> Choice:
    """The widest of `levels` (plainest first) whose library in `folder` can be used; JIT where `mode` asks for it, or
    where it is 'auto' and no library fits. Raises nothing: a choice may be none."""
    if mode == "jit" and levels[-1] in host_levels():
        return Choice(levels[-1], "JIT", None, "EDGERT_KERNELS=jit; Numba compiles on first use")
    skipped: list[Finding] = []
    for level in reversed(levels):
        found = examine(level, folder)
        if found.state == "usable":
            return Choice(level, "AOT", found.path, f"its library is {found.reason}", tuple(skipped))
        skipped.append(found)
    why = "no ahead-of-time library fits"
    runs = next((found.level for found in skipped if found.state != "unfit"), None)
    if mode == "auto" and runs is not None and _numba_is_installed():
        return Choice(runs, "JIT", None, f"{why}; Numba compiles on first use", tuple(skipped))
    hint = "" if mode == "aot" else "; or compile kernels here: pip install 'edgert[jit]'"
    return Choice(levels[-1], "", None, f"{why}: {_reasons(skipped, folder)}{hint}", tuple(skipped))


def _reasons(skipped: Sequence[Finding], folder: Path) -> str:
    """Why each was passed over; those without a file together, with what is there instead."""
    said = [f"{found.level.name}: {found.reason}" for found in skipped if found.state != "absent"]
    absent = [found.level.name for found in skipped if found.state == "absent"]
    if absent:
        others = sorted(path.stem.removeprefix("libedgert_") for path in folder.glob("libedgert_*.so"))
        there = f", but of {', '.join(others)}" if others else ""
        said.append(f"{folder} has no library of {', '.join(absent)}{there}")
    return "; ".join(said)


def kernel_mode() -> Mode:
    """EDGERT_KERNELS. Raises KernelError for an unknown value."""
    mode = os.environ.get("EDGERT_KERNELS") or "auto"
    if mode not in ("auto", "jit", "aot"):
        raise KernelError(f"EDGERT_KERNELS={mode!r}: expected jit, aot or auto")
    return mode


def kernel_folder() -> Path:
    """Where ahead-of-time libraries are looked for."""
    return Path(os.environ.get("EDGERT_KERNEL_FOLDER") or AOT_FOLDER)


def survey(folder: Path) -> list[Finding]:
    """Every level of this processor's architecture, the widest first, and every other library in `folder`."""
    names = {path.name for path in folder.glob("libedgert_*.so")}
    levels = [v for v in LEVELS.values() if v.arch == host_arch() or library_name(v) in names]
    return [examine(level, folder) for level in reversed(levels)]


def _numba_is_installed() -> bool:
    from importlib.util import find_spec

    return find_spec("numba") is not None and find_spec("llvmlite") is not None
