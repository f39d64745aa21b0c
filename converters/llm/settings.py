"""A typed view of the keys of an untrusted configuration: GGUF metadata, or the objects in JSON files.
Which keys there are, and what they mean, is in `from_gguf.py` and `from_huggingface.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from edgert.converters.safetensors.reader import parse_object
from edgert.errors import FormatError

MAX_INTEGER = 2**31 - 1
"""No size, count or token of a model is larger; products of two still fit 64 bits."""

MAX_NUMBER = 1e30
"""Bases, factors and caps are far below; their products stay finite in double precision."""


@dataclass(frozen=True)
class Settings:
    """Values by key. A missing key and a JSON null are the same: absent.

    path: the file, for messages. prefix: what stands before every key, such as 'llama.'.
    Every method raises FormatError naming the key when the value is of another type or out of range, and
    when it is absent and there is no default.
    """

    values: Mapping[str, Any]
    path: Path
    prefix: str = ""

    def raw(self, key: str) -> Any:
        """The value as it is, None if absent."""
        return self.values.get(self.prefix + key)

    def has(self, key: str) -> bool:
        return self.raw(key) is not None

    def integer(self, key: str, default: int | None = None, low: int = 1, high: int = MAX_INTEGER) -> int:
        """An integer in [low, high]; 3.0 is one too."""
        value = self.raw(key)
        if value is None and default is not None:
            return default
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not whole or not low <= value <= high:
            raise self.wrong(key, f"an integer from {low} to {high}")
        return int(value)

    def number(self, key: str, default: float | None = None, low: float = 0.0, high: float = MAX_NUMBER) -> float:
        """A finite number in [low, high]."""
        value = self.raw(key)
        if value is None and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise self.wrong(key, f"a number from {low:g} to {high:g}")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self.raw(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        value = self.raw(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, str):
            raise self.wrong(key, "a text")
        return value

    def numbers(self, key: str, count: int) -> list[float]:
        """A list of `count` positive finite numbers."""
        value = self.raw(key)
        good = isinstance(value, list) and len(value) == count
        if not good or not all(isinstance(v, int | float) and isfinite(v) and v > 0 for v in value):
            raise self.wrong(key, f"a list of {count} positive numbers")
        return [float(v) for v in value]

    def table(self, key: str) -> Settings | None:
        """The object under `key`, None if absent."""
        value = self.raw(key)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise self.wrong(key, "an object")
        return Settings(value, self.path)

    def wrong(self, key: str, expected: str) -> FormatError:
        """The error that says that the value of `key` is not what was `expected`."""
        found = "none" if self.raw(key) is None else repr(self.raw(key))[:80]
        return FormatError(self.path, None, f"{expected} for {self.prefix + key!r}", found)


def parse_settings(text: str, path: Path) -> Settings:
    """The JSON object in `text`, the content of `path`. Raises FormatError if it is not one."""
    return Settings(parse_object(text.encode(), path), path)
