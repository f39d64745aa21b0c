"""The part of `edgert bench` for language models: tokens per second as llama-bench measures and prints them.

Latencies of other models are bench.py; peers side by side are the bench/ folder of the repository.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np

from edgert.cli.common import building, compiling, interactive
from edgert.format import Model
from edgert.llm.decoder import Decoder
from edgert.plan.budget import show_bytes
from edgert.runtime.executable import OpTime

REPETITIONS = 5
"""As llama-bench."""
PROFILED_RUNS = 10


class LanguageBench:
    """One model at several thread counts. Measures read a prompt of so many random tokens up to the logits that
    follow it (pp), or generate from an empty context, a token per run and any token next (tg). Devices hand over what
    they do by default."""

    def __init__(self, model: Model, counts: list[int], prompt: int, answer: int, **options: Any) -> None:
        self.model, self.prompt, self.answer = model, prompt, answer
        size = max(prompt, answer, 1)
        self.decoders = [
            Decoder(model, n_ctx=size, threads=n, on_compile=compiling(), on_build=building(), **options)
            for n in counts
        ]
        rng = np.random.default_rng(0)
        self.tokens: list[int] = rng.integers(0, self.decoders[0].vocabulary, size).tolist()

    def tests(self) -> list[tuple[str, int, Callable[[Decoder], None]]]:
        """(name, tokens, what to run) of each that is asked for."""
        tests = [(f"pp{self.prompt}", self.prompt, self._read), (f"tg{self.answer}", self.answer, self._generate)]
        return [test for test in tests if test[1]]

    def _read(self, decoder: Decoder) -> None:
        decoder.truncate(0)
        decoder.prefill(self.tokens[: self.prompt - 1])
        _decode(decoder, self.tokens[self.prompt - 1])

    def _generate(self, decoder: Decoder) -> None:
        decoder.truncate(0)
        for token in self.tokens[: self.answer]:
            _decode(decoder, token)

    def measure(self, repetitions: int) -> list[dict[str, Any]]:
        """A row per thread count and test; the thread counts take turns, so that a slow moment meets all alike."""
        rows = []
        total = repetitions * len(self.decoders) * len(self.tests())
        with click.progressbar(length=total, label="measuring", file=sys.stderr, hidden=not interactive()) as bar:
            for name, count, run in self.tests():
                seconds: list[list[float]] = [[] for _ in self.decoders]
                for decoder in self.decoders:
                    run(decoder)
                for _ in range(repetitions):
                    for decoder, times in zip(self.decoders, seconds, strict=True):
                        decoder.truncate(0)
                        decoder.decode(self.tokens[0])  # the workers of the others go to sleep meanwhile
                        start = time.perf_counter()
                        run(decoder)
                        times.append(time.perf_counter() - start)
                        bar.update(1)
                for decoder, times in zip(self.decoders, seconds, strict=True):
                    rows.append({"threads": decoder.threads, "test": name, "tokens": count, **speeds(count, times)})
        return rows

    def profile(self, decoder: Decoder) -> list[OpTime]:
        """Of PROFILED_RUNS decode steps op by op, the fastest; the cache holds the prompt but its last token."""
        decoder.truncate(0)
        decoder.prefill(self.tokens[: max(0, self.prompt - 1)])
        profiles = [decoder.profile(self.tokens[-1]) for _ in range(PROFILED_RUNS)]
        return min(profiles, key=lambda profile: sum(op.us for op in profile))

    def close(self) -> None:
        for decoder in self.decoders:
            decoder.close()


def _decode(decoder: Decoder, token: int) -> None:
    if decoder.selected:
        decoder.decode_largest(token)
    else:
        decoder.decode(token)


def speeds(count: int, seconds: list[float]) -> dict[str, Any]:
    """Tokens per second of each repetition, their mean and standard deviation."""
    each = [count / s for s in seconds]
    deviation = statistics.stdev(each) if len(each) > 1 else 0.0
    return {"tokens_per_second": statistics.mean(each), "deviation": deviation, "samples": each}


def table(file: str, model: Model, rows: list[dict[str, Any]], level: str) -> list[str]:
    """Lines in the form of llama-bench, which pull requests and issues show well."""
    name = model.info.name or Path(file).stem
    weights = sum(tensor.nbytes for tensor in model.tensors.values())
    cells = [["model", "size", "backend", "threads", "test", "t/s"]]
    cells += [
        [
            name, show_bytes(weights), f"cpu {level}", str(row["threads"]), row["test"],
            f"{row['tokens_per_second']:.2f} ± {row['deviation']:.2f}",
        ]
        for row in rows
    ]  # fmt: skip
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    left = (0, 2)
    lines = [
        [
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in cells
    ]
    rule = ["-" * width if i in left else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    return ["| " + " | ".join(row) + " |" for row in [lines[0], rule, *lines[1:]]]
