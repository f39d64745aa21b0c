"""Debian packages of any release and architecture, with all that they need, unpacked into one folder.

apt works in a state of its own: of the machine it takes the mirror and the way to reach it, and it changes nothing.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from fnmatch import fnmatch
from pathlib import Path

from edgert.assets.registry import AssetError, Tree

KEYRINGS = tuple(Path("/usr/share/keyrings", f"debian-archive-keyring.{kind}") for kind in ("gpg", "pgp"))
"""Debian's own keys. Whatever mirror the files come from, apt takes only what these have signed."""

TIMEOUT_S = 1800
HINT = "this needs apt-get and dpkg-deb of Debian 12 or newer, and a Debian mirror that they reach"

MERGED = ("bin", "lib", "sbin")
"""Folders that since Debian 13 are links into usr/, made by no package of ours."""

_MIRROR = re.compile(r"debian(\.list)?/?$")
"""How the address of an archive of Debian ends: .../debian, or a list of mirrors; debian-security is another one."""

_FETCHING = re.compile(r"Acquire::(?!IndexTargets|Allow|Languages|GzipIndexes)\S+ \"[^\"]*\";")
"""What of the machine's settings says how to fetch: proxies, retries. What may weaken the signatures is not taken."""


def unpack(tree: Tree, root: Path) -> dict[str, str]:
    """Puts the files of `tree` into the folder `root`, which is made; the version of each package, by name.

    Raises AssetError with the command that failed, the end of what it said, and what to do.
    """
    with tempfile.TemporaryDirectory(prefix="edgert-apt-") as temporary:
        state = Path(temporary)
        environment = {**os.environ, "LC_ALL": "C", "APT_CONFIG": str(_private_state(tree, state))}
        _run(["apt-get", "update", "-q", "--error-on=any"], environment)
        command = ["apt-get", "install", "-q", "--yes", "--no-install-recommends", "--download-only", *tree.packages]
        _run(command, environment)
        versions: dict[str, str] = {}
        root.mkdir(parents=True)
        for package in sorted((state / "cache" / "archives").glob("*.deb")):
            name, version, _ = package.name.split("_")
            versions[name] = version.replace("%3a", ":")
            with tempfile.TemporaryDirectory(prefix=".unpacked-", dir=root.parent) as work:
                target = Path(work) if tree.keep else root
                _run(["dpkg-deb", "-x", str(package), str(target)], environment)
                _keep(tree.keep, target, root)
    for name in () if tree.keep else MERGED:
        if not (root / name).exists() and (root / "usr" / name).is_dir():
            (root / name).symlink_to(f"usr/{name}")
    return versions


def _private_state(tree: Tree, state: Path) -> Path:
    """Everything apt wants to have, below `state`; the path of its settings."""
    for name in ("lists/partial", "cache/archives/partial", "parts"):
        (state / name).mkdir(parents=True)
    (state / "status").touch()  # nothing is installed: all that is needed is fetched
    keyring = next((path for path in KEYRINGS if path.is_file()), None)
    if keyring is None:
        raise AssetError(f"expected Debian's keys in {KEYRINGS[0]}, found none; {HINT}")
    (state / "sources.list").write_text(f"deb [signed-by={keyring}] {_mirror()} {tree.suite} main\n", "utf-8")
    lines = _FETCHING.findall(_run(["apt-config", "dump"], {**os.environ, "LC_ALL": "C"}))
    architecture = tree.architecture or _run(["dpkg", "--print-architecture"], dict(os.environ)).strip()
    lines += [
        f'APT::Architecture "{architecture}"; APT::Architectures {{ "{architecture}"; }};',
        f'Dir::State "{state}"; Dir::State::status "{state}/status"; Dir::State::lists "{state}/lists";',
        f'Dir::Cache "{state}/cache"; Dir::Etc::sourcelist "{state}/sources.list"; Dir::Etc::sourceparts "-";',
        f'Dir::Etc::main "-"; Dir::Etc::parts "{state}/parts";',
        'Dir::Etc::preferences "-"; Dir::Etc::preferencesparts "-";',
        'APT::Sandbox::User "root"; Acquire::Languages "none"; APT::Get::AllowUnauthenticated "0";',
    ]
    settings = state / "apt.conf"
    settings.write_text("\n".join(lines) + "\n", "utf-8")
    return settings


def _mirror() -> str:
    """The address of the first archive of Debian itself among the sources of this machine."""
    command = ["apt-get", "indextargets", "--no-release-info", "--format", "$(REPO_URI)", "Created-By: Packages"]
    found = list(dict.fromkeys(_run(command, {**os.environ, "LC_ALL": "C"}).split()))
    for address in found:
        if _MIRROR.search(address):
            return address
    raise AssetError(f"expected a mirror of Debian in the sources of apt, found {', '.join(found) or 'none'}; {HINT}")


def _keep(patterns: tuple[str, ...], unpacked: Path, root: Path) -> None:
    """Moves the files that match one of `patterns` from `unpacked` to the same place below `root`."""
    for path in sorted(unpacked.rglob("*")) if patterns else ():
        name = path.relative_to(unpacked).as_posix()
        if not path.is_dir() and any(fnmatch(name, pattern) for pattern in patterns):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(path, root / name)


def _run(command: list[str], environment: dict[str, str]) -> str:
    """What `command` printed. Raises AssetError when it is not there, fails, or does not end."""
    shown = " ".join(command)
    try:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S, check=False
        )
    except FileNotFoundError:
        raise AssetError(f"tried `{shown}`, but there is no {command[0]}; {HINT}") from None
    except subprocess.TimeoutExpired:
        raise AssetError(f"tried `{shown}`, no end after {TIMEOUT_S} s; {HINT}") from None
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        said = lines[-1].strip() if lines else "nothing"
        raise AssetError(f"tried `{shown}`, which failed (exit {done.returncode}) and said: {said}; {HINT}")
    return done.stdout.decode(errors="replace")
