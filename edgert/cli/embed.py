"""`edgert embed`: the embedding of a text, and how similar several are.

The network is edgert/llm/encoder.py.
"""

from __future__ import annotations

import time
from itertools import combinations
from typing import Any

import click
import numpy as np

from edgert.cli.common import (
    device_option,
    file_argument,
    json_option,
    precision_option,
    print_json,
    ram_option,
    say,
    sparse_option,
    threads_option,
)
from edgert.cli.language import open_model, read_text, with_options
from edgert.errors import InputError


@click.command(short_help="Embed texts, and compare them.")
@file_argument
@click.argument("texts", nargs=-1, metavar="TEXT...")
@json_option
@with_options((threads_option, ram_option, device_option, precision_option, sparse_option))
def command(file: str, texts: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """Embed each TEXT with the model FILE; without one, each line that is piped in.

    One text gives its vector, several the cosine similarity of every two.

    \b
    edgert embed minilm.edge "A man eats." "Someone is having a meal."
    edgert embed minilm.edge --json < lines.txt
    """
    lines = list(texts) or [line for line in read_text("-").splitlines() if line.strip()]
    if not lines:
        raise InputError("expected a TEXT, found none")
    with open_model(file, given) as llm:
        start = time.perf_counter()
        vectors = llm.embed(lines)
        seconds = time.perf_counter() - start
        say(llm.summary())
        norms = np.maximum(np.linalg.norm(vectors, axis=1), np.finfo(np.float32).tiny)
        similarity = (vectors @ vectors.T) / norms[:, None] / norms
        if as_json:
            print_json(
                {
                    "model": llm.name, "texts": lines, "embeddings": vectors, "similarity": similarity,
                    "milliseconds": 1e3 * seconds, "summary": llm.summary(),
                }
            )  # fmt: skip
        elif len(lines) == 1:
            click.echo(" ".join(f"{value:.6g}" for value in vectors[0]))
        else:
            for i, j in combinations(range(len(lines)), 2):
                click.echo(f"{similarity[i, j]:7.4f}  {lines[i]} | {lines[j]}")
        say(f"{len(lines)} texts in {1e3 * seconds:.1f} ms")
