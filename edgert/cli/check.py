"""`edgert check`: every node of a network that edgert can not run, at once, with what to do about it.
The rules are those of the converter itself."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from edgert.errors import EdgertError, InputError


@click.command(short_help="List everything in a network that edgert can not run, and what to do.")
@click.argument("src", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def command(src: Path, as_json: bool) -> int:
    """Check the ONNX model SRC; exit with 1 if something in it can not be converted.

    \b
    edgert check model.onnx
    """
    if not src.is_file():
        raise InputError(f"{src}: no such file")
    if src.suffix.lower() != ".onnx":
        raise InputError(f"{src}: expected an .onnx model, found {src.suffix or 'no suffix'}")
    try:
        from edgert.converters.onnx.importer import check_onnx
    except ImportError as error:
        raise EdgertError(f"checking needs the converters: pip install 'edgert[convert]' ({error})") from None
    problems = check_onnx(src)
    if as_json:
        click.echo(json.dumps({"path": str(src), "problems": [asdict(problem) for problem in problems]}))
    else:
        for problem in problems:
            click.echo(str(problem))
        summary = f"{len(problems)} nodes can not be converted" if problems else "every node can be converted"
        click.echo(f"{src}: {summary}", err=True)
    return 1 if problems else 0
