"""Compiled kernels are found again by the next process, and not by one with other compilers or sources."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgert.errors import KernelError
from edgert.kernels_cpu import jit
from edgert.kernels_cpu.levels import LEVELS, host_levels
from edgert.kernels_cpu.registry import kernels

CODE = """
from pathlib import Path
from edgert.kernels_cpu.jit import cache_folder
from edgert.kernels_cpu.levels import LEVELS
print(*(cache_folder(Path("/cache"), level) for level in LEVELS.values()), sep="\\n")
"""

CROWDED = """
import ctypes
from edgert.cache import cache_root
from edgert.kernels_cpu.levels import active_level
from edgert.kernels_cpu.library import open_library

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
PRIVATE_ANONYMOUS_NORESERVE = 0x4022


def take(nbytes):
    return libc.mmap(None, nbytes, 0, PRIVATE_ANONYMOUS_NORESERVE, -1, 0)


library = open_library(active_level(), cache_root())
library.prepare(["copy_strided_row"])  # what compiles and loads is here now
single = take(4096)
far = take(4 << 30)
for nbytes in (1 << 30, 1 << 20, 1 << 16, 4096):
    while take(nbytes) > far:  # until nothing is free between them
        pass
libc.munmap(single, 4096)
library.prepare(["attention_f32_kvf16"])
print("loaded")
"""


def test_every_process_looks_in_the_same_folder() -> None:
    """Python orders sets of strings anew in every process."""
    found = set()
    for seed in ("1", "2", "3"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", CODE]
        found.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(found) == 1
    assert len(set(found.pop().split())) == len(LEVELS)


def test_other_compilers_have_other_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    level, root = host_levels()[-1], Path("/cache")
    before = jit.cache_folder(root, level)
    monkeypatch.setattr(jit, "compiler_versions", lambda: ("1", "2"))
    assert jit.cache_folder(root, level) != before


def test_an_object_is_named_by_all_its_sources() -> None:
    """Imported files count, those of other kernels do not."""
    names = {path.name for path in jit._closure("edgert.kernels_cpu.conv.conv2d_q8")}
    assert {"conv2d_q8.py", "tiling.py", "tile.py", "target.py", "abi.py"} <= names
    assert not {"levels.py", "jit.py"} & names, "the level is in the folder's name"
    assert not {"conv2d_f32.py", "depthwise_q8.py", "registry.py"} & names
    assert len({jit.object_name(name) for name in kernels()}) == len(kernels())


@pytest.mark.skipif(sys.platform != "linux", reason="lays out the address space as Linux does")
def test_a_crowded_address_space_splits_no_object() -> None:
    """Room for constants here, for code only 4 GB away, and 32 bits between them."""
    ran = subprocess.run([sys.executable, "-c", CROWDED], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (0, "loaded\n"), ran.stderr


def test_a_folder_that_can_not_be_written_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(**options: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(jit.tempfile, "TemporaryFile", refuse)
    with pytest.raises(KernelError, match=r"Read-only file system; set EDGERT_CACHE to a folder that can be written"):
        jit.compile_missing(tmp_path, host_levels()[-1], ["copy_strided_row"])
    (tmp_path / "file").touch()
    with pytest.raises(KernelError, match="Not a directory; set EDGERT_CACHE"):
        jit.compile_missing(tmp_path / "file" / "kernels", host_levels()[-1], ["copy_strided_row"])
