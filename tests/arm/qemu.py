"""A Python of ARM Linux in this machine: user-mode qemu, an unpacked Debian, the wheels of the device. All is pulled.

`Emulator("aarch64").python("cortex-a72", script, ...)` runs a script on that processor.
"""

from __future__ import annotations

import os
import subprocess
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgert.assets.fetch import pull

TIMEOUT_S = 900
"""For one process. Importing NumPy takes seconds, not minutes; a child that never answers is a hang."""


@dataclass(frozen=True)
class Machine:
    """What is pulled for one architecture: the emulator's program, the root with its Python, the folders below it where
    that finds libraries that Debian would link to in its last step of an install, and assets full of wheels."""

    qemu: str
    root: str
    python: str
    libraries: tuple[str, ...]
    wheels: tuple[str, ...]


MACHINES = {
    "aarch64": Machine("qemu-aarch64-static", "arm64-python", "usr/bin/python3.11", (), ("arm64-wheels",)),
    "armv7l": Machine(
        "qemu-arm-static", "armhf-python", "usr/bin/python3.13",
        ("usr/lib/arm-linux-gnueabihf/blas", "usr/lib/arm-linux-gnueabihf/lapack"), ("click-wheel",),
    ),
}  # fmt: skip


class Emulator:
    """Runs Python programs of `arch` ('aarch64' | 'armv7l'). `folder` keeps what its processes share: packages,
    bytecode, and edgert's cache, empty at first: peaks that an emulator measures must reach no plan of this machine."""

    def __init__(self, arch: str, folder: Path) -> None:
        machine = MACHINES[arch]
        self.folder = folder
        self.qemu = pull("qemu-arm") / "usr" / "bin" / machine.qemu
        self.root = pull(machine.root)
        self._python = self.root / machine.python
        self._libraries = os.pathsep.join(str(self.root / path) for path in machine.libraries)
        self.site = folder / "site"
        for name in machine.wheels:
            self.install(name)

    def install(self, asset: str) -> None:
        """Unpacks the wheels of an asset into the site of this machine."""
        pulled = pull(asset)
        unpack(sorted(pulled.iterdir()) if pulled.is_dir() else [pulled], self.site)

    def python(
        self,
        cpu: str,
        *arguments: str | Path,
        packages: Iterable[Path] = (),
        timeout: float = TIMEOUT_S,
        **environment: str | Path,
    ) -> subprocess.CompletedProcess[str]:
        """Runs `python *arguments` on processor `cpu` with `packages` before its site, and nothing of this machine's
        environment. A return code of 132 or -4 is an instruction that `cpu` lacks."""
        own = {
            "PYTHONPATH": os.pathsep.join(str(path) for path in (*packages, self.site)),
            "PYTHONPYCACHEPREFIX": self.folder / "bytecode",
            "PYTHONHASHSEED": "0",
            "LD_LIBRARY_PATH": self._libraries,
            "HOME": self.folder,
            "EDGERT_CACHE": self.folder / "cache",
            "OPENBLAS_NUM_THREADS": "1",
        }
        return subprocess.run(
            [self.qemu, "-cpu", cpu, "-L", self.root, self._python, *arguments],
            env={name: str(value) for name, value in {**own, **environment}.items()},
            capture_output=True, text=True, timeout=timeout, cwd=self.folder, check=False,
        )  # fmt: skip


def unpack(wheels: Iterable[Path], site: Path) -> None:
    """Installs wheels as pip does, but for scripts and the check of tags, which is that of another machine."""
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
