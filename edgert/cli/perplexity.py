"""`edgert perplexity`: how well a language model predicts a text, counted as llama.cpp counts.

What counts is edgert/llm/perplexity.py.
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from typing import Any

import click

from edgert.cli.common import file_argument, interactive, json_option, print_json, say
from edgert.cli.language import MODEL_OPTIONS, open_model, read_text, with_options


@click.command(short_help="Measure how well a language model predicts a text.")
@file_argument
@click.argument("text", type=click.Path())
@click.option(
    "--window", type=int, default=512, show_default=True, help="Tokens of a window; of each the second half counts."
)
@click.option("--stride", type=int, help="Windows so many tokens apart, of which the last so many count.")
@click.option("--limit", type=click.IntRange(1), metavar="BYTES", help="Of the text, the first so many bytes.")
@json_option
@with_options(MODEL_OPTIONS[1:])
def command(
    file: str, text: str, window: int, stride: int | None, limit: int | None, as_json: bool, **given: Any
) -> None:
    """Measure the perplexity of the language model FILE on the file TEXT ('-': what is piped in).

    Counted as llama.cpp does by default: windows of 512 tokens, each read from its own beginning, of which the
    tokens of the second half count.

    \b
    edgert perplexity model.edge book.txt
    edgert perplexity model.edge book.txt --kv int8 --limit 100000 --json
    """
    content = read_text(text)
    if limit is not None:
        content = content.encode()[:limit].decode("utf-8", "ignore")  # not half a character
    with open_model(file, {**given, "n_ctx": window}) as llm:
        say(llm.summary())
        tokens = llm.tokenize(content)
        start = time.perf_counter()
        with click.progressbar(length=1, label="reading", file=sys.stderr, hidden=not interactive()) as bar:

            def progress(done: int, windows: int, value: float) -> None:
                bar.length = windows
                bar.label = f"perplexity {value:.4f}"
                bar.update(done - bar.pos)

            found = llm.perplexity(tokens, window=window, stride=stride, progress=progress)
        seconds = time.perf_counter() - start
        if as_json:
            print_json(
                {
                    "file": str(file), "text": str(text), "perplexity": found.value, **asdict(found),
                    "bytes": len(content.encode()), "text_tokens": len(tokens), "window": window, "stride": stride,
                    "kv": given["kv"], "seconds": seconds, "summary": llm.summary(),
                }
            )  # fmt: skip
            return
        click.echo(
            f"perplexity {found.value:.4f} +/- {found.error:.4f} ({found.nll:.5f} nats per token, {found.tokens} of "
            f"{len(tokens)} tokens counted, {found.windows} windows of {window})"
        )
        say(f"{found.windows * window / seconds:.0f} tokens/s")
