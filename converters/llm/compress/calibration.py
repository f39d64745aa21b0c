"""Text for calibration and evaluation: read, cut into windows of tokens, and what it puts into every matrix.
The pass over the model that observes it is in `walk.py`."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgert.converters.llm.compress.walk import Walk, Window
from edgert.converters.llm.importer import LanguageModel
from edgert.errors import ConversionError, InputError
from edgert.graph.ir import Array, Node

if TYPE_CHECKING:
    from edgert.llm.tokenizer import Tokenizer

WINDOW = 512
"""Tokens of a window: long enough that most tokens have a context, short enough for attention in NumPy."""
WINDOWS = 32
"""Windows of calibration if nobody asks for more: 16k tokens, eight per column of a matrix 2048 wide."""
LARGEST_TEXT = 64 << 20
"""Bytes of a text file. Novels have one million."""


@dataclass(frozen=True)
class Text:
    """A text cut into windows. found: tokens the whole text has, of which the windows hold `tokens`."""

    name: str
    windows: list[Window]
    found: int

    @property
    def tokens(self) -> int:
        return sum(map(len, self.windows))

    def describe(self) -> str:
        longest = max(map(len, self.windows))
        return f"{self.tokens} of {self.found} tokens of {self.name}, in windows of {longest}"


@dataclass(frozen=True)
class Linear:
    """A matrix product of the graph. Over all tokens, x being its inputs: moments is the mean of x x', float64 [K, K],
    and mean that of x, float64 [K]."""

    node: Node
    moments: Array
    mean: Array

    @property
    def name(self) -> str:
        """The name of its matrix."""
        return self.node.inputs[1]


def read_text(path: str | os.PathLike[str]) -> str:
    """The UTF-8 text in `path`. Raises InputError if there is none."""
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > LARGEST_TEXT:
            raise InputError(f"{path}: expected a text of at most {LARGEST_TEXT >> 20} MB, found {size} bytes")
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected a file of UTF-8 text ({error})") from None
    if not text.strip():
        raise InputError(f"{path}: expected some text, found an empty file")
    return text


def tokenizer_of(language: LanguageModel) -> Tokenizer:
    """The tokenizer that goes into the file. Raises UnsupportedError without the tokenizers package."""
    from edgert.llm.tokenizer import Tokenizer

    about = language.info.language
    bos = about.bos if about is not None else -1
    return Tokenizer(language.tokenizer.tobytes(), bos=bos, add_bos=about is not None and about.add_bos)


def cut(language: LanguageModel, text: str, name: str, longest: int = WINDOW) -> Text:
    """All of `text` in windows of at most `longest` tokens, each with what the model wants before a text.

    Raises ConversionError when there are fewer than two tokens.
    """
    about, tokenizer = language.info.language, tokenizer_of(language)
    ids = tokenizer.encode(text, add_special=False)
    first = [about.bos] if about is not None and about.add_bos and about.bos >= 0 else []
    longest = min(longest, about.context_length) if about is not None else longest
    step = longest - len(first)
    pieces = [np.array(first + ids[i : i + step], np.int32) for i in range(0, len(ids), max(step, 1))]
    pieces = [piece for piece in pieces if len(piece) > len(first) + 1]
    if not pieces:
        raise ConversionError(f"{name}: expected a text of at least two tokens, found {len(ids)}")
    if max(ids) >= language.architecture.vocabulary:
        raise ConversionError(f"{name}: expected tokens below {language.architecture.vocabulary}, found {max(ids)}")
    return Text(name, pieces, len(ids))


def spread(text: Text, count: int) -> Text:
    """At most `count` windows of `text`, evenly spaced."""
    if len(text.windows) <= count:
        return text
    chosen = [text.windows[i * len(text.windows) // count] for i in range(count)]
    return Text(text.name, chosen, text.found)


def split(text: Text) -> tuple[Text, Text]:
    """(the first four fifths, the rest), in whole windows. Raises ConversionError for a text of one window."""
    at = min(len(text.windows) - 1, -(-4 * len(text.windows) // 5))
    if at < 1:
        raise ConversionError(
            f"{text.name}: expected more than {len(text.windows[0])} tokens, to calibrate with some and evaluate with "
            "others; give a longer text, or another one with --eval"
        )
    return Text(text.name, text.windows[:at], text.found), Text(f"end of {text.name}", text.windows[at:], text.found)


def linears(walk: Walk, names: Collection[str] | None = None) -> Iterator[Linear]:
    """The matrix products that `walk` comes to, with the moments of their inputs: all, or those with `names`.

    Raises ConversionError, naming the matrix, for inputs that are not finite.
    """
    for node, inputs in walk.linears():
        if names is None or node.inputs[1] in names:
            tokens = sum(map(len, inputs))
            mean = np.sum([x.sum(axis=0, dtype=np.float64) for x in inputs], axis=0) / tokens
            yield Linear(node, moments_of(node.inputs[1], inputs), mean)


def moments_of(name: str, inputs: Sequence[Array]) -> Array:
    """The mean of x x' over the rows x of all `inputs` [n, K]: float64 [K, K]."""
    total = np.zeros((inputs[0].shape[1],) * 2)
    with np.errstate(over="ignore", invalid="ignore"):
        for x in inputs:
            total += x.T @ x
    if not np.isfinite(total).all():
        raise ConversionError(
            f"expected finite inputs of {name!r} on the calibration text, found NaN or infinity; "
            "the source's weights may be damaged"
        )
    return np.asarray(total / sum(map(len, inputs)))
