"""An OpenCL driver for tests: the machine's own, else PoCL as Debian has it, which runs on any processor. Or, by
EDGERT_TEST_DRIVER, another one.

The wheel of PoCL is older than some processors, whose programs it does not build.
"""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
from functools import cache
from pathlib import Path

import pytest

VENDORS = Path("/etc/OpenCL/vendors")

DRIVER = "EDGERT_TEST_DRIVER"
"""The variable that chooses, for this process and those that it starts."""
MACHINE, POCL, INTEL, OCLGRIND = "machine", "pocl", "intel", "oclgrind"
"""Its words. MACHINE: what is installed, else POCL. POCL: that of Debian's packages. INTEL: Intel's runtime for
processors, from wheels. OCLGRIND: of processes that `oclgrind` describes."""

LINKER = """#!/bin/sh
# Kernels find what they call in the process that loads them: no compiler's libraries are needed.
for word; do
  shift
  case $word in -l*|*crt*.o) ;; *) set -- "$@" "$word" ;; esac
done
LD_LIBRARY_PATH={libraries} exec {linker} "$@"
"""
"""What PoCL calls as `ld` where the machine has none."""


@cache
def provide() -> str:
    """Makes a driver known to this process and those that it starts, before OpenCL is first used; says which.

    Skips the test where the one that was asked for can not run. Raises pytest.UsageError for other words.
    """
    wanted = os.environ.get(DRIVER) or MACHINE
    if wanted not in (MACHINE, POCL, INTEL, OCLGRIND):
        raise pytest.UsageError(f"{DRIVER}: expected {MACHINE}, {POCL} or {INTEL}, found {wanted!r}")
    if wanted == OCLGRIND or (wanted == MACHINE and _installed()):
        return wanted
    if wanted == INTEL:
        if (reason := _no_intel()) != "":
            pytest.skip(reason)
        _provide_intel()
        return INTEL
    _provide_pocl()
    os.environ[DRIVER] = POCL  # processes that this one starts need its libraries too
    return POCL


def described() -> str:
    """The driver and its devices, or why there is none, in a line."""
    from edgert.errors import DeviceError
    from edgert.kernels_gpu.device import devices

    try:
        driver = provide()
        return f"{driver}: " + "; ".join(found.described() for found in devices())
    except (DeviceError, pytest.skip.Exception) as error:
        return f"none. {error}"


def _installed() -> bool:
    return bool(os.environ.get("OCL_ICD_VENDORS")) or any(VENDORS.glob("*.icd"))


def _no_intel() -> str:
    """Why Intel's runtime does not run here, '' if it does."""
    here = f"{platform.system()} on {platform.machine()}"
    return "" if here == "Linux on x86_64" else f"Intel's OpenCL runtime is for Linux on x86_64, this is {here}"


def _provide_intel() -> None:
    """Its libraries find each other in their folder."""
    from edgert.assets.fetch import pull

    tree = pull("opencl-intel")
    folder = tree / "vendors"
    folder.mkdir(exist_ok=True)
    (folder / "intel.icd").write_text(f"{tree / 'libintelocl.so'}\n")
    os.environ["OCL_ICD_VENDORS"] = str(folder)


def _provide_pocl() -> None:
    tree = _tree()
    os.environ["OCL_ICD_VENDORS"] = str(tree / "vendors")
    _load(tree)
    given = os.environ.get("LD_LIBRARY_PATH", "")  # read by those that this process starts, when they start
    os.environ["LD_LIBRARY_PATH"] = os.pathsep.join([*map(str, _folders(tree)), *filter(None, [given])])
    if shutil.which("ld") is None or shutil.which("gcc") is None:  # PoCL links what it compiles
        os.environ["PATH"] = f"{tree / 'linker'}:{os.environ.get('PATH', '')}"


def oclgrind(log: Path) -> dict[str, str]:
    """Environment of a process whose OpenCL is Oclgrind, which interprets kernels and looks at every access: races and
    accesses beyond buffers are written to `log`."""
    found = shutil.which("oclgrind")
    if found is not None:
        runtime = Path(found).resolve().parents[1] / "lib" / "oclgrind" / "liboclgrind-rt.so"
        environment = {"LD_PRELOAD": str(runtime)}
    else:
        tree = _tree()
        (runtime,) = tree.rglob("liboclgrind-rt.so")
        (headers,) = {path.parent for path in tree.rglob("opencl-c-*.pch")}
        libraries = os.pathsep.join(str(folder) for folder in _folders(tree))
        environment = {
            "LD_PRELOAD": str(runtime), "LD_LIBRARY_PATH": libraries, "OCLGRIND_PCH_DIR": str(headers),
        }  # fmt: skip
    environment[DRIVER] = OCLGRIND
    return {**os.environ, **environment, "OCLGRIND_DATA_RACES": "1", "OCLGRIND_LOG": str(log)}


def _tree() -> Path:
    """The asset, with a folder for the loader and a linker that finds its libraries."""
    from edgert.assets.fetch import pull

    tree = pull("opencl")
    (pocl,) = tree.rglob("libpocl.so.2")
    folder = tree / "vendors"
    if not folder.is_dir():
        folder.mkdir()
        (folder / "pocl.icd").write_text(f"{pocl}\n")
        (tree / "linker").mkdir()
        (linker,) = tree.rglob("*-ld.bfd")
        script = tree / "linker" / "ld"
        libraries = ":".join(str(path) for path in _folders(tree))
        script.write_text(LINKER.format(linker=linker, libraries=libraries))
        script.chmod(0o755)
    return tree


def _folders(tree: Path) -> list[Path]:
    """Those with libraries."""
    return sorted({path.parent for path in tree.rglob("*.so*") if "oclgrind" not in path.parent.parts})


def _load(tree: Path) -> None:
    """The libraries that PoCL needs, each after those that it needs itself: so the dynamic linker has them by name."""
    waiting = [
        path
        for folder in _folders(tree)
        for path in sorted(folder.glob("lib*.so.*"))
        if not path.name.startswith(("libLLVM-14", "libpocl"))
    ]
    while waiting:
        left = [path for path in waiting if not _loads(path)]
        if len(left) == len(waiting):
            return  # of the linker and Oclgrind; if of PoCL, the loader will say so
        waiting = left


def _loads(path: Path) -> bool:
    try:
        ctypes.CDLL(str(path))
    except OSError:
        return False
    return True
