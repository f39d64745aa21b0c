"""Text to tokens and back, by the tokenizer.json stored in the model. Needs the `tokenizers` package.
Streaming token by token is `stream_text.py`, putting messages into the model's form is `chat.py`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from math import prod
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from edgert.errors import FormatError, InputError, UnsupportedError

if TYPE_CHECKING:
    from edgert.format.model import Model

HINT = "pip install 'edgert[llm]'"

MAX_GROWTH = 256
"""How many times longer the replacements of a normalizer may make a text; they write a mark for a space, or a few
letters for one. More would let a damaged tokenizer ask for any amount of memory."""

MARK = "\x02"
"""A character that no token joins with others."""

_T = TypeVar("_T")


class Tokenizer:
    """A Hugging Face tokenizer with what the model says of it. Safe to share between threads.

    size: how many ids it knows; the model's table may have more rows. special_ids: tokens that stand for no text,
    such as the ends of turns. eos: those that end a text or a turn. bos: the token that starts a text, -1 if none.
    """

    def __init__(self, source: bytes, *, bos: int = -1, eos: Iterable[int] = (), add_bos: bool = False) -> None:
        """`source` is a tokenizer.json. Raises FormatError if it is damaged, UnsupportedError if its decoder is of a
        kind that does not write bytes."""
        try:
            from tokenizers import Tokenizer as Library
        except ImportError:
            raise UnsupportedError(f"text needs the tokenizers package, which is not installed; {HINT}") from None
        self._library = _guard("a tokenizer.json", lambda: Library.from_buffer(source))
        self._library.no_truncation()
        self._library.no_padding()
        self._lock = Lock()
        added = self._library.get_added_tokens_decoder()
        self._added = {number: token.content for number, token in added.items()}
        self.special_ids = frozenset(number for number, token in added.items() if token.special)
        self.size: int = self._library.get_vocab_size(with_added_tokens=True)
        self.bos, self.eos, self._add_bos = bos, frozenset(eos), add_bos and bos >= 0
        self._decoder = _Decoder(self._library.decoder)
        if (growth := _growth(self._library.normalizer)) > MAX_GROWTH:
            raise FormatError(
                None, None, f"a normalizer that makes text {MAX_GROWTH} times longer at most", str(growth)
            )

    @classmethod
    def from_model(cls, model: Model) -> Tokenizer:
        """The tokenizer stored in `model`. Raises UnsupportedError if it has none."""
        language = model.info.language
        if language is None or not language.tokenizer:
            found = "a model of another kind" if language is None else "a language model without one"
            raise UnsupportedError(
                f"expected a model with a tokenizer, found {found}; give it tokens, or convert it again"
            )
        if language.tokenizer not in model.tensors:
            raise FormatError(None, None, f"a stored tensor {language.tokenizer!r}, the tokenizer", "none")
        source = model.tensors[language.tokenizer].parts["data"].tobytes()
        return cls(source, bos=language.bos, eos=language.eos, add_bos=language.add_bos)

    def encode(self, text: str, *, add_special: bool = True, parse_special: bool = False) -> list[int]:
        """The tokens of `text`. add_special: with those that the model wants around every text. parse_special: text
        that spells a special token is that token; otherwise it is text like any other, as what users write should be.

        Raises InputError if `text` is not Unicode text: lone surrogates stand for bytes that could not be read.
        """
        try:
            text.encode("utf-8")
        except (UnicodeEncodeError, AttributeError) as error:
            found = (
                f"a lone surrogate at {error.start}" if isinstance(error, UnicodeEncodeError) else type(text).__name__
            )
            raise InputError(f"expected Unicode text, found {found}; decode it with errors='replace'") from None
        with self._lock:
            self._library.encode_special_tokens = not parse_special
            encoding = _guard("text", lambda: self._library.encode(text, add_special_tokens=add_special))
        ids: list[int] = encoding.ids
        if add_special and self._add_bos and ids[:1] != [self.bos]:
            ids.insert(0, self.bos)
        return ids

    def encode_continuation(self, text: str) -> list[int]:
        """The tokens of `text` where other text stands before it: no special tokens, and no space put first."""
        if not self._decoder.leading_spaces:
            return self.encode(text, add_special=False)
        before = self.encode(MARK, add_special=False)
        return self.encode(MARK + text, add_special=False)[len(before) :]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, without special tokens; bytes that are not UTF-8 become U+FFFD.

        decode(encode(x)) == x where the tokenizer keeps all of its input; WordPiece does not, nor do those that
        normalize it. Raises InputError for a negative id.
        """
        if self._decoder.joins_words:
            kept = [number for number in ids if self.token_text(number) is not None]
            text: str = self._library.decode(kept, skip_special_tokens=True)
            return text
        return self.text_start(b"".join(map(self.token_bytes, ids))).decode("utf-8", "replace")

    def text_start(self, data: bytes) -> bytes:
        """`data`, the bytes of the first tokens of a text, without the space that encoding put before it."""
        space = b" " * self._decoder.leading_spaces
        return data.removeprefix(space)

    def token_bytes(self, token: int) -> bytes:
        """The bytes that `token` stands for, part of a character or several; b'' for special and unknown ids.

        Raises InputError for a negative id.
        """
        text = self.token_text(token)
        if text is None or token in self.special_ids:
            return b""
        return text.encode() if token in self._added else self._decoder.piece(text)

    def token_text(self, token: int) -> str | None:
        """How `token` is spelled in the vocabulary, None if there is no such id. Raises InputError if negative."""
        if not 0 <= token < 2**32:
            raise InputError(f"expected tokens from 0 to {self.size - 1}, found {token}")
        text: str | None = self._added.get(token) or self._library.id_to_token(token)
        return text

    def token_id(self, text: str) -> int | None:
        """The token that is spelled `text` in the vocabulary, such as '<|im_end|>'; None if there is none."""
        number: int | None = self._library.token_to_id(text)
        return number


class _Decoder:
    """What the pieces of a vocabulary stand for, taken from the decoder of a tokenizer.json.

    leading_spaces: how many spaces are put before every text. joins_words: pieces are joined to words, words by
    spaces, so that text does not come back as it was.
    """

    def __init__(self, decoder: Any) -> None:
        """Raises UnsupportedError naming a kind of decoder that is not known."""
        steps = _steps(decoder)
        kinds = [step.get("type") for step in steps]
        self.leading_spaces = 0
        self.joins_words = kinds == ["WordPiece"]
        self._replace: list[tuple[str, str]] = []
        self._bytes = "ByteFallback" in kinds
        self._prefix = steps[0].get("prefix", "##") if self.joins_words else ""
        self._byte_level = kinds == ["ByteLevel"]
        if self._byte_level or self.joins_words:
            return
        for step in steps:
            match step:
                case {"type": "Replace", "pattern": {"String": str(old)}, "content": str(new)}:
                    self._replace.append((old, new))
                case {"type": "Strip", "content": " ", "start": int(start), "stop": 0}:
                    self.leading_spaces = start
                case {"type": "Metaspace", "replacement": str(mark)}:
                    self._replace.append((mark, " "))
                    self.leading_spaces = int(step.get("prepend_scheme", "always") != "never")
                case {"type": "ByteFallback" | "Fuse"}:
                    pass
                case _:
                    raise _unknown_decoder(step.get("type"))
        if not steps:
            raise _unknown_decoder("none")

    def piece(self, text: str) -> bytes:
        """The bytes of a piece of the vocabulary that is not an added token."""
        if self._byte_level:
            # As the library does: a piece that is not in the byte alphabet stands for itself.
            known = all(letter in BYTES for letter in text)
            return bytes(BYTES[letter] for letter in text) if known else text.encode()
        if self._bytes and (byte := _BYTE_TOKEN.fullmatch(text)):
            return bytes([int(byte[1], 16)])
        if self.joins_words:
            text = text.removeprefix(self._prefix) if text.startswith(self._prefix) else " " + text
        for old, new in self._replace:
            text = text.replace(old, new)
        return text.encode()


def _alphabet() -> dict[str, int]:
    """The printable character that stands for each byte in byte-level vocabularies (Radford et al. 2019, GPT-2)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = (byte for byte in range(256) if byte not in printable)
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


BYTES = _alphabet()
_BYTE_TOKEN = re.compile("<0x([0-9A-F]{2})>")


def _steps(part: Any) -> list[dict[str, Any]]:
    """The steps of a decoder or normalizer of the library, sequences in it unfolded; [] for None."""

    def unfold(step: dict[str, Any]) -> list[dict[str, Any]]:
        inner = step.get("decoders", step.get("normalizers"))
        return [step] if inner is None else [leaf for child in inner for leaf in unfold(child)]

    return [] if part is None else unfold(json.loads(part.__getstate__()))


def _growth(normalizer: Any) -> int:
    """How many times longer its replacements can make a text, at most."""
    return prod(1 + len(step["content"]) for step in _steps(normalizer) if step.get("type") == "Replace")


def _unknown_decoder(kind: object) -> UnsupportedError:
    known = "ByteLevel, ByteFallback, Metaspace and WordPiece"
    return UnsupportedError(f"expected a tokenizer whose decoder is made of {known}, found {kind!s:.40}")


def _guard(what: str, call: Callable[[], _T]) -> _T:
    """`call()`. What the library raises on damaged input, its panics too, becomes one FormatError."""
    try:
        return call()
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # a panic of the library is no Exception
        hint = "the tokenizer in the model is damaged: convert it again"
        raise FormatError(None, None, f"{what} that the tokenizers package takes", str(error)[:200], hint) from None
