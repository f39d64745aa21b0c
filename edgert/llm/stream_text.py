"""Text from tokens as they come: whole characters only, and nothing of a stop string.
Which tokens come is decided elsewhere; the text of tokens that are all there is `Tokenizer.decode`."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgert.errors import InputError

if TYPE_CHECKING:
    from edgert.llm.tokenizer import Tokenizer

MAX_STOPS = 64
"""Stop strings, and their characters each below: every piece of text is searched for all of them."""
MAX_STOP = 1024


class Utf8Stream:
    """Bytes to text. Bytes that begin a character are kept until it is whole; bytes that can not become one are
    U+FFFD, as many as Unicode recommends, so that pieces together are what decoding everything at once gives."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, data: bytes) -> str:
        """The characters that `data` completes."""
        return self._decoder.decode(data)

    def finish(self) -> str:
        """U+FFFD if the stream ends inside a character, otherwise ''."""
        return self._decoder.decode(b"", final=True)


class StopMatcher:
    """Finds the first of several stop strings in a text that comes in pieces.

    What could be the beginning of one is held back until it is certain. `matched` is the stop string that was found,
    '' until then; of several that begin at the same place the longest that is there.
    """

    def __init__(self, stops: Sequence[str] = ()) -> None:
        """Raises InputError for too many, too long or empty stop strings."""
        if isinstance(stops, str) or not all(isinstance(stop, str) and 0 < len(stop) <= MAX_STOP for stop in stops):
            raise InputError(f"expected stop strings of 1 to {MAX_STOP} characters, found {stops!r:.80}")
        if len(stops) > MAX_STOPS:
            raise InputError(f"expected at most {MAX_STOPS} stop strings, found {len(stops)}")
        self._stops = sorted(set(stops), key=len, reverse=True)
        self._held = ""
        self.matched = ""

    def push(self, text: str) -> str:
        """What can be shown now that `text` has come. After a match everything is dropped."""
        if self.matched:
            return ""
        text = self._held + text
        places = [(place, stop) for stop in self._stops if (place := text.find(stop)) >= 0]
        if places:
            place, self.matched = min(places, key=lambda found: found[0])  # the first of equals is the longest
            self._held = ""
            return text[:place]
        keep = self._beginning(text)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def finish(self) -> str:
        """What was held back: the text ends, and it is no stop string."""
        held, self._held = self._held, ""
        return held

    def _beginning(self, text: str) -> int:
        """How many characters at the end of `text` begin a stop string."""
        longest = min(len(text), max(map(len, self._stops), default=1) - 1)
        return next((n for n in range(longest, 0, -1) if any(stop.startswith(text[-n:]) for stop in self._stops)), 0)


class TextStream:
    """Tokens to text, up to a stop string.

    The pieces of push() and finish() joined are the decoded tokens, up to the stop string. from_start: the tokens
    are a text of their own, not the continuation of a prompt; then the space that encoding puts first is left out.
    """

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str] = (), *, from_start: bool = False) -> None:
        self._tokenizer, self._at_start = tokenizer, from_start
        self._characters, self._matcher = Utf8Stream(), StopMatcher(stops)

    def push(self, token: int) -> str:
        """What can be shown now that `token` has come; '' if that has to wait."""
        data = self._tokenizer.token_bytes(token)
        if self._at_start and data:
            data, self._at_start = self._tokenizer.text_start(data), False
        return self._matcher.push(self._characters.push(data))

    @property
    def stopped(self) -> str:
        """The stop string that was found, '' if none was."""
        return self._matcher.matched

    def finish(self) -> str:
        """What was held back. Half a character at the end is U+FFFD."""
        return self._matcher.push(self._characters.finish()) + self._matcher.finish()
