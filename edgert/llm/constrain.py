"""Output that keeps to a JSON schema, a regular expression or a grammar: which tokens may come next.
The grammar engine is the `llguidance` package; choosing among the tokens it allows is `sampler.py`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, proxy

import numpy as np
import numpy.typing as npt

from edgert.errors import InputError, UnsupportedError

if TYPE_CHECKING:
    from edgert.llm.tokenizer import Tokenizer

HINT = "pip install 'edgert[llm,grammar]'"

MAX_GRAMMAR = 1 << 20
"""Characters of a schema, expression or grammar."""

WHITESPACE = r"[ \t\n\r]{0,16}"
"""Between the parts of JSON; JSON itself has no bound, and small models like to go on with it for ever. A schema can
say otherwise under "x-guidance"."""

_VOCABULARIES: WeakKeyDictionary[Tokenizer, dict[int, Any]] = WeakKeyDictionary()
"""The tokens of each tokenizer as llguidance keeps them, by rows of the logits: a tree that takes a while to build."""


class Constraint:
    """The state of one output: `mask`, choose a token, `commit` it, until `finished`.

    vocabulary: how many logits the model has, V; rows beyond the tokenizer's are never allowed. The tokens of
    `tokenizer.eos` are allowed where the output may end.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        vocabulary: int,
        *,
        schema: Mapping[str, Any] | str | None = None,
        regex: str | None = None,
        grammar: str | None = None,
    ) -> None:
        """One of: schema, JSON Schema as an object or its text; regex, in the syntax of Rust's regex crate; grammar,
        in Lark's syntax with the rule `start`.

        Raises InputError if it is none of these or is too large, UnsupportedError if it asks for something the
        engine does not do, or the engine is not installed.
        """
        try:
            from llguidance import LLMatcher, LLParserLimits
        except ImportError:
            raise UnsupportedError(f"grammars need the llguidance package, which is not installed; {HINT}") from None
        given = {
            name: text
            for name, text in (("schema", schema), ("regex", regex), ("grammar", grammar))
            if text is not None
        }
        if len(given) != 1:
            raise InputError(f"expected one of schema, regex and grammar, found {', '.join(given) or 'none'}")
        ((self._kind, text),) = given.items()
        if not tokenizer.eos:
            raise UnsupportedError(
                "expected a model with a token that ends its texts, found none; the output could not end"
            )
        self.vocabulary = vocabulary
        self._tokenizer = tokenizer  # the engine has a weak reference to it
        self._matcher = LLMatcher(
            _engine_vocabulary(tokenizer, vocabulary),
            _compiled(LLMatcher, self._kind, text),
            log_level=0,
            limits=LLParserLimits(verbose_errors=False),
        )
        self._check("expected", UnsupportedError)

    def mask(self) -> npt.NDArray[np.bool_]:
        """Which tokens may come next: bool [V]. Raises InputError if the grammar is too ambiguous to go on."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._check("expected to continue", InputError)
        return np.unpackbits(bits, bitorder="little", count=self.vocabulary).view(np.bool_)

    def commit(self, token: int) -> None:
        """Goes on with `token`. Raises InputError if it is not allowed; the state is then as before."""
        if not 0 <= token < self.vocabulary or self._matcher.validate_tokens([token]) != 1:
            raise InputError(f"expected a token that the {self._kind} allows, found {token}")
        self._matcher.consume_token(token)
        self._check("expected to continue", InputError)

    def forced(self) -> list[int]:
        """Tokens that are the only ones that can come now, in order; they can be committed without asking the model."""
        tokens: list[int] = self._matcher.compute_ff_tokens()
        return tokens

    @property
    def finished(self) -> bool:
        """Whether nothing more can come."""
        return bool(self._matcher.is_stopped())

    @property
    def complete(self) -> bool:
        """Whether the output may end here."""
        return bool(self._matcher.is_accepting())

    def _check(self, verb: str, kind: type[InputError] | type[UnsupportedError]) -> None:
        if self._matcher.is_error():
            why = " ".join(self._matcher.get_error().partition("<backtrace>")[0].split())[:300]
            raise kind(f"{verb} a {self._kind} that can be followed, found: {why}")


def _compiled(matcher: Any, kind: str, text: Mapping[str, Any] | str) -> str:
    """What the engine reads. Raises InputError if `text` is too large, or a schema that is not JSON."""
    if kind == "schema":
        try:
            text = json.dumps(json.loads(text) if isinstance(text, str) else text, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(f"expected a JSON schema, found text that is not JSON ({str(error)[:100]})") from None
    if not isinstance(text, str) or len(text) > MAX_GRAMMAR:
        found = len(text) if isinstance(text, str) else type(text).__name__
        raise InputError(f"expected a {kind} of at most {MAX_GRAMMAR} characters, found {found}")
    if kind == "schema":
        if not text.startswith(("{", "true", "false")):
            raise InputError(f"expected a JSON schema, found {text[:60]}")
        return str(matcher.grammar_from_json_schema(text, defaults={"whitespace_pattern": WHITESPACE}))
    return str(matcher.grammar_from_regex(text) if kind == "regex" else matcher.grammar_from_lark(text))


def _engine_vocabulary(tokenizer: Tokenizer, vocabulary: int) -> Any:
    """`tokenizer` as the engine keeps it, built once for each."""
    from llguidance import LLTokenizer

    built = _VOCABULARIES.setdefault(tokenizer, {})
    if vocabulary not in built:
        words: Any = _Bytes(tokenizer, vocabulary)
        built[vocabulary] = LLTokenizer(words, n_vocab=vocabulary, eos_token=sorted(tokenizer.eos))
    return built[vocabulary]


class _Bytes:
    """A tokenizer in the words of llguidance: the bytes of every token; those without any as 0xFF and their name."""

    is_tokenizer_wrapper = True

    def __init__(self, tokenizer: Tokenizer, vocabulary: int) -> None:
        self._tokenizer = proxy(tokenizer)
        self.eos_token_id = max(tokenizer.eos)
        self.bos_token_id = tokenizer.bos if tokenizer.bos >= 0 else None
        data = [tokenizer.token_bytes(token) for token in range(vocabulary)]
        self.special_token_ids = [token for token in range(vocabulary) if not data[token]]
        self.tokens = [
            data[token] or b"\xff" + (tokenizer.token_text(token) or f"<|unused {token}|>").encode()
            for token in range(vocabulary)
        ]

    def __call__(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode_continuation(text)
        return ids
