"""Context: a decoder's cache with the tokens it holds, so that a prompt that begins alike is not computed twice.

What follows the prompt is generate.py, a cache on disk is prompt_file.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from edgert.errors import InputError
from edgert.llm.decoder import CacheSlice, Decoder
from edgert.llm.sampler import Largest

Logits = npt.NDArray[np.float32]
ReadProgress = Callable[[int, int], None]
"""Called with (tokens read, tokens to read) while a prompt is read."""


class Context:
    """The one sequence a decoder is in the middle of. Exact: no result depends on what the cache held before.

    tokens: those whose keys and values the cache holds; always decoder.n_past of them, also after an interrupt.
    """

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self.tokens: list[int] = []
        decoder.truncate(0)

    @property
    def size(self) -> int:
        """Most tokens it can hold."""
        return self.decoder.n_ctx

    @property
    def room(self) -> int:
        """How many more tokens fit."""
        return self.decoder.n_ctx - len(self.tokens)

    def read(self, prompt: Sequence[int], progress: ReadProgress | None = None) -> tuple[Logits, int]:
        """Holds `prompt` and nothing else: (logits [V] of what follows it, tokens that it held already). Raises as
        `begin` does."""
        kept = self.begin(prompt, progress)
        return self.decode(prompt[-1]), kept

    def begin(self, prompt: Sequence[int], progress: ReadProgress | None = None) -> int:
        """Holds `prompt` but for its last token, and nothing else: how many tokens it held already.

        The last token is always computed, since the cache keeps no logits. Raises InputError for an empty
        prompt, one that is longer than the context, and ids that do not exist.
        """
        check_prompt(prompt, self.size)
        kept = common_prefix(self.tokens, prompt[:-1])
        self.truncate(kept)
        self.prefill(prompt[kept:-1], progress)
        return kept

    def prefill(self, tokens: Sequence[int], progress: ReadProgress | None = None) -> None:
        """Goes on by `tokens`, without logits."""
        self._hold(tokens)
        try:
            self.decoder.prefill(tokens, progress)
        finally:
            self._forget()

    def decode(self, token: int) -> Logits:
        """Goes on by `token`: logits [V] of what follows."""
        self._hold([token])
        try:
            return self.decoder.decode(token)
        finally:
            self._forget()

    def decode_largest(self, token: int) -> Largest:
        """Goes on by `token`: the largest logits of what follows; for decoders that select."""
        self._hold([token])
        try:
            return self.decoder.decode_largest(token)
        finally:
            self._forget()

    def score(self, tokens: Sequence[int]) -> Logits:
        """Goes on by `tokens`: logits [n, V] of what follows each."""
        self._hold(tokens)
        try:
            return self.decoder.score(tokens)
        finally:
            self._forget()

    def truncate(self, count: int) -> None:
        """Holds the first `count` tokens only."""
        self.decoder.truncate(count)
        self._forget()

    def shift(self, keep: int) -> int:
        """Drops the older half of what follows the first `keep` tokens, and reads the rest again: how many went.

        Exact, as if the text had always been the shorter one; for that the rest is computed anew.
        """
        keep = min(keep, len(self.tokens) - 1)
        dropped = max(1, (len(self.tokens) - keep) // 2)
        rest = self.tokens[keep + dropped :]
        self.truncate(keep)
        self.prefill(rest)
        return dropped

    def export_cache(self, count: int) -> list[CacheSlice]:
        """Copies of what the first `count` tokens have in the cache."""
        return self.decoder.export_cache(count)

    def restore(self, tokens: Sequence[int], slices: Sequence[CacheSlice]) -> None:
        """Holds `tokens`, whose cache is `slices`. Raises InputError where they do not fit; it is then as before."""
        if len(tokens) > self.size:
            raise InputError(
                f"expected at most {self.size} tokens, the context, found a saved prompt of {len(tokens)}; use a "
                "larger n_ctx"
            )
        self.decoder.import_cache(slices, len(tokens))
        self.tokens = list(tokens)

    def _hold(self, tokens: Sequence[int]) -> None:
        self.tokens += tokens

    def _forget(self) -> None:
        """An error or an interrupt leaves the decoder with fewer tokens than it was given."""
        del self.tokens[self.decoder.n_past :]


def common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """How many tokens both begin with."""
    shorter = min(len(left), len(right))
    return next((i for i in range(shorter) if left[i] != right[i]), shorter)


def check_prompt(prompt: Sequence[int], size: int) -> None:
    """Raises InputError unless `prompt` has tokens and a context of `size` has room for them and one more."""
    if not prompt:
        raise InputError("expected a prompt, found no tokens; give a text")
    if len(prompt) >= size:
        raise InputError(
            f"expected a prompt of fewer than {size} tokens, the context, found {len(prompt)}; shorten it or use a "
            "larger n_ctx"
        )
