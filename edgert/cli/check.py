"""`edgert check`: everything in a model that edgert can not run, at once, with what to do about it.
The rules are those of the converter itself."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from edgert.errors import EdgertError, InputError


@click.command(short_help="List everything in a model that edgert can not run, and what to do.")
@click.argument("src", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def command(src: Path, as_json: bool) -> int:
    """Check SRC, an ONNX or TFLite network, a .gguf language model or the folder of a Hugging Face one; exit with
    1 if something in it can not be converted.

    \b
    edgert check model.onnx
    edgert check model.tflite
    edgert check model.gguf
    """
    if not src.exists():
        raise InputError(f"{src}: no such file or folder")
    try:
        from edgert.converters.llm.importer import check_language_model, is_language_model

        problems: list[Any]
        if is_language_model(src):
            problems, things = check_language_model(src), "tensors and settings"
        elif src.suffix.lower() == ".onnx":
            from edgert.converters.onnx.importer import check_onnx

            problems, things = list(check_onnx(src)), "nodes"
        elif src.suffix.lower() == ".tflite":
            from edgert.converters.tflite.importer import check_tflite

            problems, things = list(check_tflite(src)), "operators"
        else:
            known = "an .onnx, .tflite or .gguf model or a folder with config.json"
            raise InputError(f"{src}: expected {known}, found {src.suffix or 'no suffix'}")
    except ImportError as error:
        raise EdgertError(f"checking needs the converters: pip install 'edgert[convert]' ({error})") from None
    if as_json:
        click.echo(json.dumps({"path": str(src), "problems": [asdict(problem) for problem in problems]}))
    else:
        for problem in problems:
            click.echo(str(problem))
        bad, good = f"{len(problems)} {things} can not be converted", f"all {things} can be converted"
        click.echo(f"{src}: {bad if problems else good}", err=True)
    return 1 if problems else 0
