"""SmolLM2-135M read neuron by neuron: of several thresholds, what is read, what it costs and how fast it is in memory.

Weights are calibrated on Emma; measured on Pride and Prejudice and on Wikipedia, of which nothing was in that.
"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.measure import machine, save
from edgert.converters.llm.compress.calibration import cut, spread
from edgert.converters.llm.compress.compression import Compressor, options_from
from edgert.converters.llm.compress.quality import Reference, compare, float_logits, reference_of, runtime_logits
from edgert.converters.llm.compress.thresholds import Gates, gates_of
from edgert.converters.llm.convert import convert_language_model
from edgert.converters.llm.importer import LanguageModel, import_language_model
from edgert.converters.llm.neurons import take_apart
from edgert.format import Model, read_model
from edgert.llm.decoder import Decoder

SHARES = (0.0, 0.15, 0.25, 0.4, 0.5, 0.6)
"""Of the neurons of every layer that rest on the calibration text."""
CALIBRATION = 8
"""Windows of 512 tokens of Emma."""
TEXTS = {"austen": ("prideprejudice.txt", 60_000, 42_000), "wikipedia": ("articles.txt", 0, 14_000)}
"""Name -> file, first character, characters: about 10k and 3k tokens."""
TOKENS = 64
"""Decoded in a round, after as many that were read."""
VARIANTS: dict[str, dict[str, Any]] = {
    "int4, whole layers": {"weights": "int4"},
    "int4, neurons4": {"weights": "int4", "neurons": "0.25"},
    "q4m of the source, neurons8": {"weights": "keep", "neurons": "0.25"},
}


def run(threads: Sequence[int], rounds: int, out: Path) -> None:
    """Converts, measures and prints; raw numbers go to `out`, whose name says the level."""
    from edgert.assets.fetch import pull

    source, folders = pull("smollm2-135m"), {"austen": pull("austen"), "wikipedia": pull("wikipedia-sample")}
    language = import_language_model(source)
    references: dict[str, Reference] = {}
    for name, (file, start, count) in TEXTS.items():
        path = folders[name] if folders[name].is_file() else folders[name] / file
        text = cut(language, path.read_text("utf-8")[start : start + count], file)
        references[name] = reference_of(text.windows, float_logits(language, text.windows))
        print(f"{text.describe()}; float reference: perplexity {references[name].perplexity:.2f}", flush=True)
    emma = folders["austen"] / "emma.txt"
    gates = list(observed(language, emma))
    record: dict[str, Any] = {
        "machine": machine(), "threads": threads[0], "results": {},
        "reference": {name: reference.quality.as_dict() for name, reference in references.items()},
    }  # fmt: skip
    models: dict[str, Model] = {}
    with tempfile.TemporaryDirectory() as folder:
        for i, (name, variant) in enumerate(VARIANTS.items()):
            whole = converted(source, Path(folder) / f"{i}.edge", emma, **variant)
            for share in SHARES if "neurons" in variant else (0.0,):
                label = f"{name}, {100 * share:.0f} % rest" if "neurons" in variant else name
                models[label] = resting(whole, gates, share)
                found = {"share_at_rest": share, **bytes_read(models[label], gates, share)}
                for text_name, reference in references.items():
                    made = runtime_logits(models[label], reference.windows)
                    found[text_name] = compare(reference, made).as_dict()
                record["results"][label] = found
                print(line(label, found), flush=True)
                save(out, record)
        for label, seconds in speeds(models, threads[0], rounds).items():
            record["results"][label] |= seconds
            print(f"  {label:44} {seconds['tokens_per_second']:7.1f} tokens/s", flush=True)
        save(out, record)


def observed(language: LanguageModel, path: Path) -> Any:
    """What the calibration text shows of every layer's gates."""
    graph, weights, _ = take_apart(language.graph, language.weights)
    text = spread(cut(language, path.read_text("utf-8"), path.name), CALIBRATION)
    return gates_of(graph, weights, text.windows)


def converted(source: Path, out: Path, calib: Path, weights: str, neurons: str | None = None) -> Model:
    method = "gptq" if weights == "int4" else None
    options = options_from(weights, method, False, [], calib, CALIBRATION, None, None, neurons=neurons)
    compressor = Compressor(options)
    convert_language_model(
        source, out, weights=options.precision.weights, policy=compressor.policy, compress=compressor.compress
    )
    return read_model(out)


def resting(model: Model, gates: Sequence[Gates], share: float) -> Model:
    """`model` with the thresholds that let `share` of the neurons rest."""
    thresholds = {one.node.inputs[2]: one.threshold(share) for one in gates}
    graph = model.graph.copy()
    for node in graph.nodes:
        if node.op == "NeuronFFN":
            node.attrs["threshold"] = thresholds[node.inputs[2]]
    return dataclasses.replace(model, graph=graph)


def bytes_read(model: Model, gates: Sequence[Gates], share: float) -> dict[str, Any]:
    """Of the feed-forward layers, for a token: what the gates read, and the neurons that are active."""
    ends = (".gate", ".gate_up", ".down")
    whole = sum(tensor.nbytes for name, tensor in model.tensors.items() if name.endswith(ends))
    neurons, active = 0.0, []
    for one in gates:
        tensor = model.tensors.get(one.node.inputs[2])
        if tensor is not None:
            active.append(one.active(one.threshold(share)))
            neurons += active[-1] * tensor.nbytes
    return {"active": float(np.mean(active)) if active else 1.0, "ffn_bytes_per_token": round(whole + neurons)}


def speeds(models: dict[str, Model], threads: int, rounds: int) -> dict[str, dict[str, float]]:
    """Decoding of the same tokens by one model after the other, round by round. Of one thread processor time counts,
    which others on the machine disturb less."""
    clock = time.process_time if threads == 1 else time.perf_counter
    tokens = np.random.default_rng(0).integers(1000, 40_000, 2 * TOKENS).tolist()
    decoders = {name: Decoder(model, n_ctx=4 * TOKENS, threads=threads) for name, model in models.items()}
    found: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds + 1):
        for name, decoder in decoders.items():
            decoder.truncate(0)
            decoder.prefill(tokens[:TOKENS])
            started = clock()
            for token in tokens[TOKENS:]:
                decoder.decode(token)
            found[name].append((clock() - started) / TOKENS)
    for decoder in decoders.values():
        decoder.close()
    return {
        name: {"seconds_per_token": statistics.median(times[1:]), "tokens_per_second": 1 / min(times[1:])}
        for name, times in found.items()
    }


def line(name: str, found: dict[str, Any]) -> str:
    quality = "  ".join(
        f"{text} {found[text]['perplexity']:6.2f} (JS {found[text]['divergence']:.3f})" for text in TEXTS
    )
    return (
        f"  {name:44} {100 * found['active']:5.1f} % active  {found['ffn_bytes_per_token'] / 1e6:6.2f} MB a token  "
        f"perplexity {quality}"
    )
