"""Typed reading of parsed JSON: a value that knows its place in the header, so that errors can name it.

Checks of kind, size and text (rules F13 to F17); what the fields mean together is judged by the callers.
"""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Collection
from pathlib import Path
from typing import Any, NoReturn

from edgert.errors import FormatError
from edgert.format.limits import MAX_JSON_DEPTH, MAX_NAME_BYTES, MAX_TEXT_BYTES

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)


class Value:
    """One value of a header. Every reader returns what it promises or raises FormatError.

    No reader converts: an integer is a JSON integer (not true, not 1.0), text is a JSON string.
    """

    __slots__ = ("_file", "_key", "_parent", "raw")

    def __init__(self, raw: Any, file: Path | None, parent: Value | None = None, key: str | int = "") -> None:
        self.raw, self._file, self._parent, self._key = raw, file, parent, key

    def place(self) -> str:
        """Where the value is, as `graph.nodes[3].op`."""
        if self._parent is None:
            return "header"
        key = f"[{self._key!r:.80}]"
        if isinstance(self._key, str) and _IDENTIFIER.fullmatch(self._key):
            key = f".{self._key}"
        return key[1:] if self._parent._parent is None and key[0] == "." else self._parent.place() + key

    def fail(self, expected: str, found: str | None = None) -> NoReturn:
        """Raises FormatError: `expected` completes "expected PLACE to be ..."."""
        found = reprlib.repr(self.raw) if found is None else found
        raise FormatError(self._file, None, f"{self.place()} to be {expected}", found)

    def fields(self, required: Collection[str], optional: Collection[str] = ()) -> dict[str, Value]:
        """An object with all of `required`, perhaps some of `optional`, and nothing else (F15)."""
        if not isinstance(self.raw, dict):
            self.fail("an object")
        for key in required:
            if key not in self.raw:
                self.fail(f"an object with the key {key!r}", "none")
        for key in self.raw:
            if key not in required and key not in optional:
                self.fail("an object of the keys of version 1", f"the unknown key {key!r:.80}")
        return {key: Value(raw, self._file, self, key) for key, raw in self.raw.items()}

    def table(self, limit: int, *, identifiers: bool = False) -> dict[str, Value]:
        """An object of at most `limit` entries whose keys are names, or identifiers."""
        if not isinstance(self.raw, dict) or len(self.raw) > limit:
            self.fail(f"an object of at most {limit} entries")
        for key in self.raw:
            name = Value(key, self._file, self, "key")
            name.identifier() if identifiers else name.name()
        return {key: Value(raw, self._file, self, key) for key, raw in self.raw.items()}

    def items(self, limit: int) -> list[Value]:
        """A list of at most `limit` items."""
        if not isinstance(self.raw, list):
            self.fail("a list")
        if len(self.raw) > limit:
            self.fail(f"a list of at most {limit} items", f"{len(self.raw)} items")
        return [Value(raw, self._file, self, i) for i, raw in enumerate(self.raw)]

    def integer(self, low: int, high: int) -> int:
        """An integer in low..high, both included."""
        if type(self.raw) is not int or not low <= self.raw <= high:
            self.fail(f"an integer from {low} to {high}")
        return self.raw

    def boolean(self) -> bool:
        """true or false."""
        if type(self.raw) is not bool:
            self.fail("true or false")
        return self.raw

    def real(self) -> float:
        """A finite number."""
        if type(self.raw) not in (int, float) or not math.isfinite(self.raw):
            self.fail("a finite number")
        return float(self.raw)

    def text(self, limit: int = MAX_TEXT_BYTES) -> str:
        """A string of at most `limit` bytes in UTF-8, without lone surrogates (F14)."""
        if not isinstance(self.raw, str):
            self.fail("a string")
        try:
            size = len(self.raw.encode("utf-8"))
        except UnicodeEncodeError:
            self.fail("Unicode text", "a lone surrogate")
        if size > limit:
            self.fail(f"a string of at most {limit} bytes", f"{size} bytes")
        return self.raw

    def line(self, limit: int = MAX_NAME_BYTES) -> str:
        """Text without control characters: it will be printed on terminals."""
        text = self.text(limit)
        if _CONTROL.search(text):
            self.fail("text without control characters")
        return text

    def name(self) -> str:
        """A line that is not empty."""
        return self.line() or self.fail("a name", "an empty string")

    def identifier(self) -> str:
        """A letter or underscore, then letters, digits, underscores; at most 64."""
        if not _IDENTIFIER.fullmatch(self.name()):
            self.fail("an identifier of at most 64 letters, digits and underscores")
        return str(self.raw)

    def one_of(self, choices: Collection[str]) -> str:
        if not isinstance(self.raw, str) or self.raw not in choices:
            self.fail(f"one of {', '.join(repr(c) for c in choices)}")
        return self.raw

    def free(self) -> dict[str, Any]:
        """A free-form object: any JSON of at most MAX_JSON_DEPTH levels whose strings are text."""
        if not isinstance(self.raw, dict):
            self.fail("an object")
        pending: list[tuple[Any, int]] = [(self.raw, 1)]
        while pending:
            raw, depth = pending.pop()
            if depth > MAX_JSON_DEPTH:
                self.fail(f"at most {MAX_JSON_DEPTH} levels deep", "more")
            if isinstance(raw, dict):
                for key in raw:
                    Value(key, self._file, self, "key").text(MAX_NAME_BYTES)
                pending += [(item, depth + 1) for item in raw.values()]
            elif isinstance(raw, list):
                pending += [(item, depth + 1) for item in raw]
            elif isinstance(raw, str):
                Value(raw, self._file, self, "text").text()
        return self.raw
