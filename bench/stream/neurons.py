"""SmolLM2-135M neuron by neuron: how many rest at a threshold, what that costs, and what reading only the others saves.

    python -m bench streaming-neurons

One threshold for all layers, scaled. For each size: perplexity, and tokens per second with all weights in memory, and
within a budget, both with whole layers that are read ahead and with neurons that are read one by one, whatever the plan
would choose for this storage. What thresholds calibrated to a loss gain over these is in the report of a conversion.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import patch

from bench.measure import machine, save
from edgert.format import Model, read_model
from edgert.llm import plans
from edgert.llm.decoder import Decoder
from edgert.llm.llm import LLM
from edgert.llm.tokenizer import Tokenizer
from edgert.plan.budget import show_bytes

THRESHOLD = 0.1
"""Of the gate's activation, at factor 1."""
FACTORS = (0.0, 0.5, 1.0, 2.0, 4.0)
BUDGETS = (48 << 20, 72 << 20)
FIRST, TOKENS = 16, 32
"""Tokens that fill the window, and those that are measured."""
TEXT_CHARACTERS = 16_000
"""Of the text whose perplexity is measured."""
PROMPT = "The capital of France is"
CONTEXT = 512
WAYS = {"layers": 0.0, "neurons": 1e9}
"""What plans.SKIPPED is for each way to stream."""


def speed(model: Model, ids: Sequence[int], factor: float, threads: int, ram: int | None, way: str) -> dict[str, Any]:
    """Tokens per second and the tokens; of a budget also bytes and reads for one, and what the window did."""
    options: dict[str, Any] = {} if ram is None else {"ram": ram, "stream": "always"}
    with (
        patch.object(plans, "SKIPPED", WAYS[way]),
        closing(Decoder(model, n_ctx=CONTEXT, threads=threads, neurons=factor, **options)) as decoder,
    ):
        decoder.prefill(ids[:-1])
        found = [ids[-1]]
        for _ in range(FIRST):
            found.append(int(decoder.decode(found[-1]).argmax()))
        weights = decoder.streamed
        window = None if weights is None else weights.window
        before, known = weights and weights.statistics, window and window.statistics
        start = time.perf_counter()
        for _ in range(TOKENS):
            found.append(int(decoder.decode(found[-1]).argmax()))
        record: dict[str, Any] = {"tokens_per_s": TOKENS / (time.perf_counter() - start), "ids": found}
        if weights is not None and before is not None:
            after = weights.statistics
            record["bytes"] = (after.bytes_read - before.bytes_read) / TOKENS
            record["reads"] = (after.reads - before.reads) / TOKENS
        if window is not None and known is not None:
            now = window.statistics
            wanted = now.wanted - known.wanted
            record |= {"slots": window.slots, "active": wanted / TOKENS / window.neurons}
            record["hits"] = (now.hits - known.hits) / max(1, wanted)
    return record


def run(thread_counts: Sequence[int], rounds: int, out: Path) -> None:
    """Measures in turn, prints, and writes the raw numbers to `out`. Uses the last of the thread counts."""
    from edgert.assets.fetch import pull
    from edgert.converters.convert import convert

    threads = thread_counts[-1]
    text = (pull("austen") / "prideprejudice.txt").read_text("utf-8")[3000 : 3000 + TEXT_CHARACTERS]
    record: dict[str, Any] = {"machine": machine(), "threads": threads, "threshold": THRESHOLD, "factors": {}}
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        path = Path(folder) / "neurons.edge"
        convert(pull("smollm2-135m"), path, weights="int4", neurons=f"t={THRESHOLD}")
        ids = Tokenizer.from_model(read_model(path)).encode(PROMPT)
        for factor in FACTORS:
            with LLM(path, n_ctx=CONTEXT, threads=threads, neurons=factor) as llm:
                entry: dict[str, Any] = {"perplexity": llm.perplexity(text).value}
            ways = [("in memory", None, "layers")]
            ways += [(f"{way} {show_bytes(ram)}", ram, way) for ram in BUDGETS for way in WAYS]
            for _ in range(rounds):
                for name, ram, way in ways:
                    entry.setdefault(name, []).append(speed(read_model(path), ids, factor, threads, ram, way))
            answers = {tuple(made["ids"]) for name, _, _ in ways for made in entry[name]}
            assert len(answers) == 1, "every way gives the same tokens"
            record["factors"][str(factor)] = entry
            print(f"gates up to {factor * THRESHOLD:.2f} rest: perplexity {entry['perplexity']:.3f}")
            for name, _, _ in ways:
                print(f"  {name:16} {_line(entry[name])}", flush=True)
    save(out, record)


def _line(made: Sequence[dict[str, Any]]) -> str:
    last = made[-1]
    words = f"{statistics.median(one['tokens_per_s'] for one in made):6.2f} tokens/s"
    if "bytes" in last:
        words += f", {last['bytes'] / 1e6:5.1f} MB in {last['reads']:.0f} reads a token"
    if "active" in last:
        words += f", {100 * last['active']:.0f} % active, {100 * last['hits']:.0f} % of them there"
    return words
