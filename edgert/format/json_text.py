"""Strict JSON for headers: what Python's parser lets through and the format refuses (rules F10 to F13).

Text to plain objects and back; what the objects mean is judged in `fields.py` and above.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

from edgert.errors import FormatError
from edgert.format.limits import MAX_JSON_VALUES, PRELUDE_BYTES


def parse(data: bytes, file: Path | None) -> dict[str, Any]:
    """The JSON object in `data`, the header of `file`. Raises FormatError with the byte offset if known."""

    def refuse(expected: str, found: str, offset: int | None = None) -> NoReturn:
        raise FormatError(file, offset, expected, found, "the header is not valid: convert the model again")

    def integer(text: str) -> int:
        # The length goes first: converting a million digits takes quadratic time.
        if len(text) > 20 or not -(2**63) <= (value := int(text)) < 2**63:
            refuse("header integers of 64 bits", f"{text[:24]}{'...' if len(text) > 24 else ''}")
        return value

    def real(text: str) -> float:
        value = float(text)
        if value in (float("inf"), float("-inf")):
            refuse("finite header numbers", text[:24])
        return value

    def constant(text: str) -> NoReturn:
        refuse("finite header numbers", text)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) != len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            refuse("each header key once per object", f"{twice[:80]!r} twice")
        return table

    values = data.count(b",") + data.count(b"[") + data.count(b"{")
    if values > MAX_JSON_VALUES:
        refuse(f"at most {MAX_JSON_VALUES} header values", str(values))
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        refuse("a header in UTF-8", error.reason, PRELUDE_BYTES + error.start)
    try:
        value = json.loads(text, object_pairs_hook=unique, parse_int=integer, parse_float=real, parse_constant=constant)
    except RecursionError:
        refuse("a header of few levels", "nesting too deep to parse")
    except json.JSONDecodeError as error:
        refuse("a JSON header", error.msg, PRELUDE_BYTES + len(text[: error.pos].encode()))
    if not isinstance(value, dict):
        refuse("a header that is one JSON object", type(value).__name__)
    return value


def dump(value: dict[str, Any], file: Path | None) -> bytes:
    """The one text of `value`: keys sorted, no spaces, UTF-8, so that equal models make equal bytes.

    Raises FormatError if something in it is not JSON: NaN, a set, an array, a lone surrogate.
    """
    try:
        text = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise FormatError(file, None, "a model whose fields are plain JSON values", str(error)) from None
