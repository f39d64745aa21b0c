"""`edgert generate`: continues a text, shown as it comes.

The work is edgert/llm; conversations are chat.py.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from edgert.cli.common import file_argument, json_option, print_json, say
from edgert.cli.language import (
    Streaming,
    fields_of,
    model_options,
    open_model,
    read_text,
    request_options,
    show,
    timings_line,
)
from edgert.errors import InputError
from edgert.llm.llm import LLM
from edgert.llm.prefix import check_prompt
from edgert.llm.responses import timings, usage

DEFAULT_TOKENS = 128


@click.command(short_help="Continue a text with a language model.")
@file_argument
@click.option("-p", "--prompt", metavar="TEXT", help="The text to continue; default: what is piped in.")
@click.option("-f", "--prompt-file", type=click.Path(), metavar="FILE", help="Read the prompt from a file.")
@click.option("-n", "--max-tokens", type=int, help=f"Tokens to generate at most.  [default: {DEFAULT_TOKENS}]")
@click.option(
    "--prompt-cache", type=click.Path(path_type=Path), metavar="FILE",
    help="Keep the computed prompt there; what begins like it is not computed again.",
)  # fmt: skip
@request_options
@json_option
@model_options
def command(
    file: str, prompt: str | None, prompt_file: str | None, max_tokens: int | None, prompt_cache: Path | None,
    as_json: bool, **given: Any,
) -> None:  # fmt: skip
    """Continue a text with the language model FILE.

    \b
    edgert generate model.edge -p "The capital of France is" -n 32 --temp 0
    edgert generate model.edge -f notes.txt --prompt-cache notes.prompt --stop "###"
    """
    text = prompt_of(prompt, prompt_file)
    fields = fields_of(given)
    with open_model(file, given) as llm:
        say(llm.summary())
        tokens = llm.tokenize(text, parse_special=True)
        check_prompt(tokens, llm.n_ctx)
        if max_tokens is None:
            max_tokens = DEFAULT_TOKENS
            if given["on_overflow"] != "shift":
                max_tokens = min(max_tokens, llm.n_ctx - len(tokens))
        generation = llm.generate(tokens, max_tokens=max_tokens, **fields)
        loaded = load_cache(llm, prompt_cache)
        streaming = Streaming(llm)
        pieces = []
        for event in generation:
            streaming.token()
            pieces.append(event.text)
            if not as_json:
                show(event.text)
        if prompt_cache is not None and loaded != len(tokens):
            llm.save_prompt(prompt_cache, tokens)
        numbers = timings(generation)
        if as_json:
            print_json(
                {
                    "model": llm.name, "prompt": text, "text": "".join(pieces), "tokens": generation.tokens,
                    "finish_reason": generation.finish_reason, "seed": generation.seed, "usage": usage(generation),
                    "timings": numbers, "summary": llm.summary(),
                }
            )  # fmt: skip
        else:
            click.echo()
        say(timings_line(numbers))
        if given["verbose"]:
            for line in filter(None, [*streaming.lines(), generation.selection]):
                say(line)
            say(f"seed {generation.seed}, ended by {generation.finish_reason}, tokens {tokens} and {generation.tokens}")


def prompt_of(prompt: str | None, prompt_file: str | None) -> str:
    """The text of -p, of -f, or what is piped in. Raises InputError."""
    if prompt is not None and prompt_file is not None:
        raise InputError("expected a prompt by -p or by -f, found both")
    if prompt is not None and prompt != "-":
        return prompt
    if prompt is None and prompt_file is None and sys.stdin.isatty():
        raise InputError("expected a prompt, found none; give -p TEXT, -f FILE or pipe one in")
    return read_text(prompt_file or "-")


def load_cache(llm: LLM, path: Path | None) -> int:
    """Takes the prompt saved at `path`, if there is one: its tokens."""
    if path is None or not path.exists():
        return 0
    return llm.load_prompt(path)
