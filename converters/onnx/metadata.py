"""What an ONNX file says about itself under the metadata key `edgert.info`: labels, preprocessing, licence.

The value is a JSON object with the fields of `ModelInfo`. The graph itself is read in `reader.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgert.errors import FormatError
from edgert.format import ModelInfo, Preprocessing

if TYPE_CHECKING:
    from onnx import StringStringEntryProto

KEY = "edgert.info"

MAX_BYTES = 4 << 20
"""A million labels would fit; a real file has a few thousand characters."""


def info_to_text(info: ModelInfo) -> str:
    """The metadata value for `info`, for programs that write ONNX files."""
    return json.dumps(asdict(info))


def read_info(properties: Iterable[StringStringEntryProto], file: str | Path) -> ModelInfo | None:
    """The `ModelInfo` among a model's `metadata_props`, None when there is none.

    Raises FormatError when the value is not what `info_to_text` writes.
    """
    texts = [entry.value for entry in properties if entry.key == KEY]
    if not texts:
        return None
    text = texts[0]
    if len(text) > MAX_BYTES:
        raise FormatError(file, None, f"at most {MAX_BYTES} characters of {KEY}", str(len(text)))
    try:
        table = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(file, None, f"a JSON object in {KEY}", str(error)) from None
    _check_fields(table, ModelInfo, file)
    steps = table.get("preprocessing")
    if steps is not None:
        _check_fields(steps, Preprocessing, file)
        steps = Preprocessing(**_with_tuple(steps, file))
    if table.get("language") is not None:
        raise FormatError(file, None, f"no language in {KEY}, as the tokenizer is no part of an ONNX file", "one")
    labels = table.get("labels", [])
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise FormatError(file, None, f"a list of names as labels in {KEY}", type(labels).__name__)
    return ModelInfo(**{**table, "preprocessing": steps, "labels": labels})


def _check_fields(table: object, kind: type[ModelInfo] | type[Preprocessing], file: str | Path) -> None:
    """`table` is an object with fields of `kind` only, each of the JSON type its default has."""
    names = [f.name for f in fields(kind)]
    if not isinstance(table, dict) or not set(table) <= set(names):
        found = ", ".join(map(str, table)) if isinstance(table, dict) else type(table).__name__
        raise FormatError(file, None, f"an object of {', '.join(names)} in {KEY}", found)
    texts = {f.name for f in fields(kind) if isinstance(f.default, str)} | ({"input"} & set(names))
    for name in texts & set(table):
        if not isinstance(table[name], str):
            raise FormatError(file, None, f"text for {name} in {KEY}", type(table[name]).__name__)


def _with_tuple(steps: dict[str, Any], file: str | Path) -> dict[str, Any]:
    """The arguments of Preprocessing: numbers checked to be numbers, `crop` as a pair."""
    crop = steps.get("crop")
    if "input" not in steps or crop is None or not _numbers(crop, int) or len(crop) != 2:
        raise FormatError(file, None, f"an input and crop [height, width] in {KEY}", json.dumps(steps)[:200])
    if steps.get("resize") is not None and not _numbers([steps["resize"]], int):
        raise FormatError(file, None, f"pixels or null as resize in {KEY}", repr(steps["resize"])[:50])
    for name in ("mean", "scale"):
        if name in steps and not _numbers(steps[name], (int, float)):
            raise FormatError(file, None, f"a list of numbers as {name} in {KEY}", repr(steps[name])[:50])
    if not isinstance(steps.get("standardize", False), bool):
        raise FormatError(file, None, f"true or false as standardize in {KEY}", repr(steps["standardize"])[:50])
    return {**steps, "crop": (crop[0], crop[1])}


def _numbers(value: Any, kind: type | tuple[type, ...]) -> bool:
    """Whether `value` is a list of `kind`; JSON's true and false are no numbers."""
    return isinstance(value, list) and all(isinstance(v, kind) and not isinstance(v, bool) for v in value)
