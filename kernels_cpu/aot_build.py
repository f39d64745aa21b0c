"""Libraries of many levels in one go, one compiler process per level side by side, and the manifest that lists them.

What one library is made of is in aot.py; who reads the manifest before a library is loaded, in installed.py.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from edgert.errors import KernelError
from edgert.kernels_cpu import jit
from edgert.kernels_cpu.abi import ABI_VERSION
from edgert.kernels_cpu.aot import EMULATIONS, build_library
from edgert.kernels_cpu.elf import read_elf
from edgert.kernels_cpu.installed import MANIFEST, MANIFEST_VERSION, library_name
from edgert.kernels_cpu.levels import LEVELS, Level, level_named
from edgert.kernels_cpu.registry import kernels

GROUPS = {"all": ("x86_64", "aarch64", "armv7"), "x86_64": ("x86_64",), "aarch64": ("aarch64",), "armv7l": ("armv7",)}
"""Name of a target that is several levels -> their architectures. armv7l is what Linux and wheels call armv7."""


@dataclass(frozen=True)
class Built:
    """One library as it was built. Sizes in bytes; `deflated`: in a wheel; `compiled`: kernels that were not there
    yet; seconds: of compiling and linking, beside other libraries."""

    file: str
    level: str
    arch: str
    bits: int
    bytes: int
    deflated: int
    sha256: str
    kernels: int
    compiled: int
    seconds: float


@dataclass(frozen=True)
class BuildReport:
    """What build_all did. sources: hash of everything the kernels are made of; seconds: from start to end."""

    sources: str
    jobs: int
    seconds: float
    libraries: tuple[Built, ...]
    outdated: tuple[str, ...]
    """Libraries of other sources in the folder: no longer in its manifest, and so not loaded."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def text(self) -> str:
        """For people: a row per library, then the sums."""
        rows = [f"{'level':<16} {'kernels':>8} {'compiled':>9} {'bytes':>9} {'deflated':>9} {'seconds':>8}"]
        rows += [
            f"{b.level:<16} {b.kernels:>8} {b.compiled:>9} {b.bytes:>9} {b.deflated:>9} {b.seconds:>8.1f}"
            for b in self.libraries
        ]
        sums = [sum(getattr(b, key) for b in self.libraries) for key in ("kernels", "compiled", "bytes", "deflated")]
        rows.append(f"{'together':<16} {sums[0]:>8} {sums[1]:>9} {sums[2]:>9} {sums[3]:>9} {self.seconds:>8.1f}")
        rows += [f"{name} is of other sources: no longer listed in {MANIFEST}" for name in self.outdated]
        return "\n".join(rows)


def targets(names: Sequence[str]) -> list[Level]:
    """The levels that `names` stand for: levels, or groups of them (GROUPS). Raises KernelError for unknown names and
    for levels without shared libraries."""
    found: dict[str, Level] = {}
    for name in names:
        if name in GROUPS:
            found |= {level.name: level for level in LEVELS.values() if level.arch in GROUPS[name]}
        else:
            found[name] = level_named(name)
    for level in found.values():
        if level.arch not in EMULATIONS:
            raise KernelError(f"{level.name} has no shared libraries; expected a level of {', '.join(EMULATIONS)}")
    return list(found.values())


def build_all(
    levels: Sequence[Level],
    folder: Path,
    *,
    cache: Path,
    names: Sequence[str] | None = None,
    jobs: int | None = None,
    progress: jit.Progress | None = None,
) -> BuildReport:
    """Builds `libedgert_<level>.so` of every level and `manifest.json` in `folder`.

    cache: where compiled kernels are kept (edgert.cache). names: these kernels instead of all. jobs: compiler
    processes at once, by default one per core; a level has one, or, where there are fewer levels than jobs, several.
    progress: called with kernels compiled and to compile, over all levels. Libraries of other levels in the folder
    stay in the manifest if they are of the same sources. Raises KernelError, then with no manifest written.
    """
    start = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    jobs = jobs or jit.cores()
    side_by_side = max(1, min(jobs, len(levels)))
    missing = {level.name: jit.missing_of(jit.cache_folder(cache, level), _wanted(level, names)) for level in levels}
    tell = _Sum(sum(len(kinds) for kinds in missing.values()), progress)

    def build(level: Level) -> Built:
        began = time.monotonic()
        path = build_library(
            level, folder, names, objects=jit.cache_folder(cache, level), workers=max(1, jobs // side_by_side),
            progress=lambda done, total: tell(level.name, done),
        )  # fmt: skip
        data = path.read_bytes()
        return Built(
            file=path.name, level=level.name, arch=level.arch, bits=read_elf(data).bits, bytes=len(data),
            deflated=len(zlib.compress(data, 9)), sha256=hashlib.sha256(data).hexdigest(),
            kernels=len(_wanted(level, names)) - 1, compiled=len(missing[level.name]),
            seconds=round(time.monotonic() - began, 2),
        )  # fmt: skip

    with ThreadPoolExecutor(side_by_side) as pool:
        libraries = tuple(pool.map(build, levels))
    sources = jit.sources_hash(kernels() if names is None else names)
    outdated = write_manifest(folder, sources, libraries)
    return BuildReport(sources, jobs, round(time.monotonic() - start, 2), libraries, outdated)


def write_manifest(folder: Path, sources: str, libraries: Sequence[Built]) -> tuple[str, ...]:
    """Lists `libraries` in the folder's manifest, and those that it listed before if they are there and of the same
    sources. Returns the names of those that are there and are not. The same libraries give the same bytes."""
    path = folder / MANIFEST
    fields = ("file", "level", "arch", "bits", "bytes", "sha256", "kernels")
    rows = {library.file: {key: getattr(library, key) for key in fields} for library in libraries}
    before = _read(path)
    others = {row["file"]: row for row in before.get("libraries", ()) if (folder / row["file"]).is_file()}
    same = (before.get("abi"), before.get("sources")) == (ABI_VERSION, sources)
    rows = {**others, **rows} if same else rows
    order = [library_name(level) for level in LEVELS.values()]
    listed = sorted(rows.values(), key=lambda row: order.index(row["file"]) if row["file"] in order else len(order))
    content = {"version": MANIFEST_VERSION, "abi": ABI_VERSION, "sources": sources, "libraries": listed}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    temporary.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    temporary.replace(path)
    return tuple(sorted(others.keys() - rows.keys()))


def _read(path: Path) -> dict[str, Any]:
    """The manifest as it is, {} where there is none or one that makes no sense: it is about to be replaced."""
    try:
        found = json.loads(path.read_text("utf-8"))
        return found if isinstance(found, dict) and found.get("version") == MANIFEST_VERSION else {}
    except (OSError, ValueError):
        return {}


def _wanted(level: Level, names: Sequence[str] | None) -> list[str]:
    """The engine and the kernels of a library."""
    every = [name for name, spec in kernels().items() if spec.available(level)]
    return ["engine", *(every if names is None else names)]


class _Sum:
    """Progress of several levels as one."""

    def __init__(self, expected: int, progress: jit.Progress | None) -> None:
        self.expected, self.progress = expected, progress
        self.done: dict[str, int] = {}
        self.lock = Lock()

    def __call__(self, level: str, done: int) -> None:
        with self.lock:
            first, before = not self.done, sum(self.done.values())
            self.done[level] = done
            after = sum(self.done.values())
            if self.progress is not None and (first or after != before):
                self.progress(after, self.expected)
