"""Downloads one package with the ordinary client of its kind, as the machine has it configured.

No host is named here: mirrors, proxies and credentials are the client's own business.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

from edgert.assets.registry import AssetError, Package

TIMEOUT_S = 3600
"""A slow line needs minutes for the largest asset; an hour without an end is a hang."""


def download(package: Package, folder: Path) -> Path:
    """Fetch `package` into the empty `folder`; the path of its archive.

    Raises AssetError with the command that was tried, the end of what it said, and what to do.
    """
    command, hint = _COMMANDS[package.kind](package, folder)
    shown = " ".join(command)
    try:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S, check=False
        )
    except FileNotFoundError:
        raise AssetError(f"{package.name}: tried `{shown}`, but there is no {command[0]}; {hint}") from None
    except subprocess.TimeoutExpired:
        raise AssetError(f"{package.name}: tried `{shown}`, no end after {TIMEOUT_S} s; {hint}") from None
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        said = lines[-1].strip() if lines else "nothing"
        raise AssetError(
            f"{package.name}: tried `{shown}`, which failed (exit {done.returncode}) and said: {said}; {hint}"
        )
    found = [path for path in folder.iterdir() if path.is_file()]
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise AssetError(f"{package.name}: expected one archive from `{shown}`, found {names}; {hint}")
    return found[0]


def _pip(package: Package, folder: Path) -> tuple[list[str], str]:
    client = [sys.executable, "-m", "pip"]
    if importlib.util.find_spec("pip") is None:  # environments made by uv have none of their own
        client = [shutil.which("pip3") or shutil.which("pip") or "pip"]
    command = [*client, "download", "--quiet", "--no-input", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", *package.options, "--dest", str(folder)]
    return [
        *command,
        f"{package.project or package.name}=={package.version}",
    ], "check that pip can reach its package index"


def _source(package: Package, folder: Path) -> tuple[list[str], str]:
    """A source distribution: pip runs its setup to learn its metadata, so the hash is checked before that."""
    pinned = folder / "pinned" / "requirements.txt"
    pinned.parent.mkdir()
    pinned.write_text(f"{package.project or package.name}=={package.version} --hash=sha256:{package.sha256}\n", "utf-8")
    command, hint = _pip(package, folder)
    command = [word for word in command[:-1] if word != "--only-binary=:all:"]
    return [*command, f"--no-binary={package.project or package.name}", "--require-hashes", "-r", str(pinned)], hint


def _npm(package: Package, folder: Path) -> tuple[list[str], str]:
    npm = shutil.which("npm") or "npm"
    command = [npm, "pack", "--silent", "--ignore-scripts", "--pack-destination", str(folder)]
    return [
        *command,
        f"{package.name}@{package.version}",
    ], "install npm and check that it reaches its registry"


def _apt(package: Package, folder: Path) -> tuple[list[str], str]:
    pinned = f"{package.name}={package.version}" if package.version else package.name
    hint = f"on Debian and its relatives run `apt-get update`, or install {package.name}, and try again"
    return ["apt-get", "download", "-q", pinned], hint


_COMMANDS = {"pypi": _pip, "sdist": _source, "npm": _npm, "debian": _apt}
