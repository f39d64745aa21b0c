"""A Python of ARM Linux in this machine: user-mode qemu, an unpacked Debian, wheels of the device. All of it is pulled.

`Emulator("aarch64", folder).python("cortex-a72", script, ...)` runs a script on that processor.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgert.assets.fetch import pull

TIMEOUT_S = 900
"""For one process. Importing NumPy takes seconds, not minutes; one that never answers is a hang."""

SHORT_TIMEOUT_S = 120
"""For pip, which has only files of this machine to install."""


@dataclass(frozen=True)
class Machine:
    """What one architecture takes: the emulator's program, the asset with its Python, the folders below it where that
    finds libraries that Debian links to in the last step of an install, and what its pip would accept.

    wheels: an asset of wheels; edgert's dependencies that are not among them are in the tree of the Python."""

    qemu: str
    root: str
    version: str
    libraries: tuple[str, ...]
    platforms: tuple[str, ...]
    wheels: str


MACHINES = {
    "aarch64": Machine(
        "qemu-aarch64-static", "arm64-python", "3.11", (), ("manylinux_2_28_aarch64", "manylinux2014_aarch64"),
        "arm64-wheels",
    ),
    "armv7l": Machine(
        "qemu-arm-static", "armhf-python", "3.13",
        ("usr/lib/arm-linux-gnueabihf/blas", "usr/lib/arm-linux-gnueabihf/lapack"), ("manylinux2014_armv7l",),
        "click-wheel",
    ),
}  # fmt: skip


class Emulator:
    """Runs Python programs of `arch` ('aarch64' | 'armv7l') with the wheels that were installed into `site`.

    `folder` keeps what its processes share: packages, bytecode, and edgert's cache, empty at first: what an emulator
    measures must reach no plan of this machine."""

    def __init__(self, arch: str, folder: Path) -> None:
        self.machine = MACHINES[arch]
        self.folder, self.site = folder, folder / "site"
        self.qemu = pull("qemu-arm") / "usr" / "bin" / self.machine.qemu
        self.root = pull(self.machine.root)
        self._libraries = os.pathsep.join(str(self.root / path) for path in self.machine.libraries)

    def install(self, wheel: Path) -> None:
        """Installs the wheel of a package and what it depends on, as pip does on the device: the names of both must
        fit it."""
        wheels = _files(pull(self.machine.wheels))
        self._pip(self.site, [wheel, *wheels])

    def packages(self, asset: str) -> Path:
        """A folder with the wheels of an asset installed, for `python(packages=...)`."""
        target = self.folder / asset
        if not target.exists():
            self._pip(target, _files(pull(asset)))
        return target

    def _pip(self, target: Path, wheels: Sequence[Path]) -> None:
        """Installs the very files `wheels`; pip refuses those that are for another platform."""
        platforms = [word for name in self.machine.platforms for word in ("--platform", name)]
        command = [
            sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps",
            "--no-compile", "--only-binary=:all:", "--implementation", "cp", "--python-version", self.machine.version,
            *platforms, "--target", str(target), *map(str, wheels),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=SHORT_TIMEOUT_S, check=False)
        assert done.returncode == 0, done.stderr

    def python(
        self,
        cpu: str,
        *arguments: str | Path,
        packages: Sequence[Path] = (),
        timeout: float = TIMEOUT_S,
        **environment: str | Path,
    ) -> subprocess.CompletedProcess[str]:
        """Runs `python *arguments` on processor `cpu`, with `packages` before its site and nothing of this machine's
        environment. It prints text. A return code of -4 is an instruction that `cpu` lacks (SIGILL)."""
        own = {
            "PYTHONPATH": os.pathsep.join(str(path) for path in (*packages, self.site)),
            "PYTHONPYCACHEPREFIX": self.folder / "bytecode",
            "PYTHONHASHSEED": "0",
            "LD_LIBRARY_PATH": self._libraries,
            "HOME": self.folder,
            "EDGERT_CACHE": self.folder / "cache",
            "OPENBLAS_NUM_THREADS": "1",
        }
        python = self.root / "usr" / "bin" / f"python{self.machine.version}"
        return subprocess.run(
            [self.qemu, "-cpu", cpu, "-L", self.root, python, *arguments],
            env={name: str(value) for name, value in {**own, **environment}.items()},
            capture_output=True, text=True, timeout=timeout, cwd=self.folder, check=False,
        )  # fmt: skip


def _files(pulled: Path) -> list[Path]:
    return sorted(pulled.iterdir()) if pulled.is_dir() else [pulled]
