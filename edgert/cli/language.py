"""What the subcommands for language models share: their options, opening a model, and the line of timings.

Options that every subcommand has are in common.py.
"""

from __future__ import annotations

import math
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from edgert.cli.common import (
    building,
    checks_option,
    compiling,
    device_option,
    precision_option,
    ram_option,
    say,
    sparse_option,
    stream_option,
    threads_option,
    verbose_option,
)  # fmt: skip
from edgert.errors import InputError
from edgert.llm.llm import LLM
from edgert.plan.budget import show_bytes
from edgert.plan.stream_cost import compare
from edgert.stream.probe import load_storage, measure_storage
from edgert.stream.statistics import Statistics

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

MODEL_OPTIONS = (
    click.option("-c", "--n-ctx", type=int, metavar="N", help="Tokens of the context, prompt and answer together."),
    click.option(
        "--kv", type=click.Choice(["f16", "int8"]), default="f16", show_default=True,
        help="Numbers in the key-value cache.",
    ),
    click.option(
        "--activations", type=click.Choice(["int8", "int16"]), default="int8", show_default=True,
        help="What meets int4 and int8 weights. int16 gives the float model's answers, at more work.",
    ),
    click.option(
        "--neurons", type=float, default=1.0, show_default=True,
        help="Of models converted with --neurons: times the thresholds up to which neurons rest; 0 computes all.",
    ),
    threads_option, ram_option, stream_option, checks_option, device_option, precision_option, sparse_option,
    verbose_option,
)  # fmt: skip

REQUEST_OPTIONS = (
    click.option("--temp", "temperature", type=float, help="0 always takes the best token.  [default: 0.8]"),
    click.option("--top-k", type=int, help="Of so many most probable tokens; 0 of all.  [default: 40]"),
    click.option("--top-p", type=float, help="Of the fewest that together reach it.  [default: 0.95]"),
    click.option("--min-p", type=float, help="Of those so probable, relative to the best.  [default: 0.05]"),
    click.option("--repeat-penalty", type=float, help="Above 1: makes repetition rarer.  [default: 1]"),
    click.option("--repeat-last-n", type=int, help="Tokens that penalties look back.  [default: 64]"),
    click.option("--frequency-penalty", type=float, help="Taken off for each time a token came.  [default: 0]"),
    click.option("--presence-penalty", type=float, help="Taken off once a token came.  [default: 0]"),
    click.option("--logit-bias", multiple=True, metavar="TOKEN=BIAS", help="Added to its logit; may be repeated."),
    click.option("--seed", type=int, help="The same seed gives the same text."),
    click.option("--stop", multiple=True, metavar="TEXT", help="Ends the text where it appears; may be repeated."),
    click.option(
        "--on-overflow", type=click.Choice(["error", "shift"]),
        help="What to do with more than the context holds: refuse, or forget the older half.  [default: error]",
    ),
    click.option("--keep", type=int, metavar="N", help="First tokens that are never forgotten.  [default: 0]"),
    click.option("--speculative", is_flag=True, help="Guess tokens from the text so far; the answer stays the same."),
    click.option("--json-schema", metavar="FILE|{...}", help="Keep the answer to this JSON schema."),
    click.option("--regex", metavar="TEXT", help="Keep the answer to this regular expression."),
    click.option("--grammar", type=click.Path(), metavar="FILE", help="Keep the answer to this Lark grammar."),
)  # fmt: skip


Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def with_options(options: tuple[Decorator, ...]) -> Decorator:
    """A decorator that adds `options` in their order."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


model_options = with_options(MODEL_OPTIONS)
request_options = with_options(REQUEST_OPTIONS)


def open_model(file: str, given: Mapping[str, Any], **more: Any) -> LLM:
    """LLM(file) with the values of MODEL_OPTIONS in `given`.

    Storage that weights are streamed from is measured if it has not been: the first line says what to expect of it."""
    names = (
        "n_ctx", "kv", "activations", "threads", "ram", "stream", "checks", "sparse", "neurons", "device", "precision",
    )  # fmt: skip
    options = {name: given[name] for name in names if name in given}
    llm = LLM(file, **options, **more, on_compile=compiling(), on_build=building())
    if llm.streamed_from is not None and load_storage(llm.streamed_from).source == "assumed":
        say("measuring the storage, once, for the prediction ...")
        measure_storage(llm.streamed_from)
    return llm


def fields_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords of a request from the values of REQUEST_OPTIONS in `given`. Raises InputError."""
    names = (
        "temperature", "top_k", "top_p", "min_p", "repeat_penalty", "repeat_last_n", "frequency_penalty",
        "presence_penalty", "seed", "on_overflow", "keep", "speculative", "regex",
    )  # fmt: skip
    fields = {name: given[name] for name in names}
    fields["stop"] = list(given["stop"])
    fields["logit_bias"] = dict(map(_bias, given["logit_bias"])) or None
    if (schema := given["json_schema"]) is not None:
        fields["json_schema"] = schema if schema.lstrip().startswith("{") else read_text(schema)
    if given["grammar"] is not None:
        fields["grammar"] = read_text(given["grammar"])
    return fields


def _bias(word: str) -> tuple[int, float]:
    token, _, bias = word.partition("=")
    try:
        value = float(bias)
    except ValueError:
        value = math.nan
    if not token.isdecimal() or math.isnan(value):
        raise InputError(f"--logit-bias: expected TOKEN=BIAS such as 15=-100, found {word!r}")
    return int(token), value


def read_text(path: str) -> str:
    """The text in a file, '-' for what is piped in. Raises InputError for bytes that are no UTF-8."""
    try:
        data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: expected text in UTF-8, found byte {data[error.start]:#04x} at {error.start}"
        ) from None


def show(text: str) -> None:
    """A piece of an answer, at once. On a terminal without control characters: a model may say anything."""
    if sys.stdout.isatty():
        text = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)
    click.echo(text, nl=False)
    sys.stdout.flush()


class Streaming:
    """What was read for the tokens of an answer after its first, and how that was predicted."""

    def __init__(self, llm: LLM) -> None:
        self._llm, self._tokens = llm, -1
        self._begin: tuple[float, Statistics] | None = None

    def token(self) -> None:
        """Called for each token of the answer, when it is there."""
        self._tokens += 1
        if self._begin is None and self._llm.streamed is not None:
            self._begin = time.perf_counter(), replace(self._llm.streamed.statistics)

    def lines(self) -> list[str]:
        """For people; none where nothing is streamed, or there was one token."""
        if self._begin is None or self._llm.streamed is None or self._tokens < 1:
            return []
        start, before = self._begin
        after, cost, seconds = self._llm.streamed.statistics, self._llm.streamed.cost(), time.perf_counter() - start
        read, waited = after.bytes_read - before.bytes_read, after.waited - before.waited
        return [
            f"streamed {show_bytes(round(read / self._tokens))} a token, {100 * cost.hits:.1f} % of the weights were "
            f"there, waited {waited:.2f} s of {seconds:.2f} s",
            compare(cost, self._tokens, seconds, read, waited),
        ]


def timings_line(timings: Mapping[str, Any]) -> str:
    """What a request took, for people."""
    words = [f"prompt {timings['prompt_n']} tokens in {timings['prompt_ms']:.0f} ms"]
    if timings["prompt_n"] > 1:
        words[0] += f" ({timings['prompt_per_second']:.0f}/s)"
    if timings["cache_n"]:
        words.append(f"{timings['cache_n']} from the cache")
    words.append(f"answer {timings['predicted_n']} tokens, {timings['predicted_per_second']:.1f}/s")
    if "draft_n" in timings:
        words.append(f"{timings['draft_n_accepted']} of {timings['draft_n']} guesses right")
    if "context_shifts" in timings:
        words.append(f"context shifted {timings['context_shifts']} times")
    return ", ".join(words)
