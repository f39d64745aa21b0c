"""Answers in the shape of OpenAI's interface, with llama.cpp's timings: whole, or in chunks as they come.

Nothing is computed here; the tokens come from generate.py.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Generator, Sequence
from typing import Any

from edgert.llm.generate import Generation, Token
from edgert.llm.tokenizer import Tokenizer

Response = dict[str, Any]
Chunks = Generator[Response, None, None]
"""An iterator; its close() ends the generation."""


def usage(generation: Generation) -> Response:
    """Tokens of the prompt and of the answer."""
    prompt, answer = len(generation.prompt), len(generation.tokens)
    return {
        "prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer,
        "prompt_tokens_details": {"cached_tokens": generation.cached_tokens},
    }  # fmt: skip


def timings(generation: Generation) -> Response:
    """Milliseconds and tokens per second by the names of llama.cpp's server; prompt_n: tokens that were computed."""
    read, answer = len(generation.prompt) - generation.cached_tokens, len(generation.tokens)
    drafts = generation.drafts
    table = {
        "cache_n": generation.cached_tokens, "prompt_n": read, "prompt_ms": 1e3 * generation.prompt_seconds,
        "prompt_per_second": read / generation.prompt_seconds if generation.prompt_seconds else 0.0,
        "predicted_n": answer, "predicted_ms": 1e3 * generation.seconds,
        "predicted_per_second": answer / generation.seconds if generation.seconds else 0.0,
    }  # fmt: skip
    if generation.options.speculative:
        table |= {"draft_runs": drafts.runs, "draft_n": drafts.drafted, "draft_n_accepted": drafts.accepted}
    if generation.shifts:
        table["context_shifts"] = generation.shifts
    return table


class Shape:
    """The dictionaries of one answer. chat: of a chat completion, otherwise of a text completion."""

    def __init__(self, generation: Generation, tokenizer: Tokenizer, model: str, *, chat: bool) -> None:
        self._generation, self._tokenizer, self._model, self._chat = generation, tokenizer, model, chat
        self._id = ("chatcmpl-" if chat else "cmpl-") + secrets.token_hex(12)
        self._created = int(time.time())

    def whole(self) -> Response:
        """Runs to the end."""
        try:
            events = list(self._generation)
        finally:
            self._generation.close()
        text = "".join(event.text for event in events)
        body = {"message": {"role": "assistant", "content": text}} if self._chat else {"text": text}
        return self._frame("chat.completion" if self._chat else "text_completion", body, events) | self._numbers()

    def chunks(self) -> Chunks:
        """One by one; the last has the finish_reason, usage and timings. Closing this ends the generation."""
        kind = "chat.completion.chunk" if self._chat else "text_completion"
        try:
            if self._chat:
                yield self._frame(kind, {"delta": {"role": "assistant", "content": ""}}, ())
            waiting: list[Token] = []
            for event in self._generation:
                waiting.append(event)  # tokens whose text is still held back come with the next that has some
                if event.text:
                    body = {"delta": {"content": event.text}} if self._chat else {"text": event.text}
                    yield self._frame(kind, body, waiting, ended=False)
                    waiting = []
            yield self._frame(kind, {"delta": {}} if self._chat else {"text": ""}, waiting) | self._numbers()
        finally:
            self._generation.close()

    def _frame(self, kind: str, body: Response, events: Sequence[Token], *, ended: bool = True) -> Response:
        choice = {
            "index": 0, **body, "logprobs": self._logprobs(events),
            "finish_reason": (self._generation.finish_reason or None) if ended else None,
        }  # fmt: skip
        return {
            "id": self._id, "object": kind, "created": self._created, "model": self._model, "choices": [choice],
        }  # fmt: skip

    def _numbers(self) -> Response:
        generation = self._generation
        return {"usage": usage(generation), "timings": timings(generation), "seed": generation.seed}

    def _logprobs(self, events: Sequence[Token]) -> Response | None:
        if self._generation.options.logprobs is None:
            return None
        content = [
            {
                **self._spelled(event.id, event.logprob),
                "top_logprobs": [self._spelled(token, logprob) for token, logprob in event.top],
            }
            for event in events
            if event.id not in self._tokenizer.eos
        ]
        return {"content": content}

    def _spelled(self, token: int, logprob: float | None) -> Response:
        data = self._tokenizer.token_bytes(token)
        text = data.decode("utf-8", "replace") or self._tokenizer.token_text(token) or ""
        return {"id": token, "token": text, "bytes": list(data), "logprob": logprob}
