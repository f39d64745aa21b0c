"""SmolLM2-135M: what pruning alone costs, weights kept in float16, on a novel and on encyclopedia articles.

Calibrated on 16 windows of another novel and 16 of other articles; 512 tokens each. Every model is converted as
`edgert convert` does and runs on the runtime; the reference is the source's weights in float32 in NumPy.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.measure import machine, save
from edgert.converters.llm.compress.calibration import Text, tokenizer_of
from edgert.converters.llm.compress.compression import Compressor, options_from
from edgert.converters.llm.compress.quality import Reference, compare, float_logits, reference_of, runtime_logits
from edgert.converters.llm.convert import convert_language_model
from edgert.converters.llm.importer import LanguageModel, import_language_model
from edgert.format import read_model
from edgert.graph.ir import Array

WINDOW = 512
START = {"prideprejudice": 60_000, "emma": 3000}
"""Characters skipped: prefaces, and of the text to evaluate a few chapters."""
WINDOWS = {"Austen": 20, "Wikipedia": 6}
CALIBRATION = 16
"""Windows of each kind of text."""

VARIANTS: dict[str, dict[str, Any]] = {
    "50 % unstructured, magnitude": {"prune": "magnitude"},
    "30 % unstructured, magnitude": {"prune": "magnitude", "sparsity": 0.3},
    "50 % unstructured, SparseGPT": {"prune": "sparsegpt"},
    "50 % unstructured, Wanda": {"prune": "wanda"},
    "30 % unstructured, SparseGPT": {"prune": "sparsegpt", "sparsity": 0.3},
    "30 % unstructured, Wanda": {"prune": "wanda", "sparsity": 0.3},
    "6:8, SparseGPT": {"prune": "sparsegpt", "pattern": "nm:6:8"},
    "4:8, SparseGPT": {"prune": "sparsegpt", "pattern": "nm:4:8"},
    "2:4, SparseGPT": {"prune": "sparsegpt", "pattern": "nm:2:4"},
    "50 % unstructured, SparseGPT, shared by sensitivity": {"prune": "sparsegpt", "allocation": "sensitivity"},
    "50 % unstructured, Wanda refined by DSnoT": {"prune": "wanda", "refined": True},
    "50 % unstructured, SparseGPT, int4": {"prune": "sparsegpt", "weights": "int4"},
    "30 % unstructured, SparseGPT, int4": {"prune": "sparsegpt", "weights": "int4", "sparsity": 0.3},
    "50 % balanced groups, SparseGPT": {"prune": "sparsegpt", "pattern": "group"},
}


@dataclass
class Prepared(Compressor):
    """A conversion that is calibrated on windows of several texts instead of a file."""

    windows: Text | None = None

    def read_texts(self, language: LanguageModel) -> None:
        pruning = self.options.pruning
        self.calibration = self.windows if pruning is not None and pruning.calibrated else None


def run(_threads: Sequence[int], _rounds: int, out: Path) -> None:
    """Converts, measures and prints one variant after the other; raw numbers go to pruning.json beside `out`.

    Variants that the file has are kept, so that an interrupted run goes on: delete it to measure anew.
    """
    from edgert.assets.fetch import pull

    out = out.with_name("pruning.json")
    source = pull("smollm2-135m")
    language = import_language_model(source)
    texts, calibration = prepared(language, pull("austen"), pull("wikipedia-sample"))
    started = time.monotonic()
    references = {name: reference_of(t.windows, float_logits(language, t.windows)) for name, t in texts.items()}
    record: dict[str, Any] = {
        "machine": machine(),
        "texts": {name: text.describe() for name, text in texts.items()},
        "calibration": calibration.describe(),
        "reference": {name: reference.quality.as_dict() for name, reference in references.items()},
        "seconds": time.monotonic() - started,
        "results": {},
    }
    for name, reference in references.items():
        print(f"{texts[name].describe()}; float reference: perplexity {reference.perplexity:.2f}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        if out.exists():
            record["results"] = json.loads(out.read_text("utf-8"))["results"]
        for name, variant in VARIANTS.items():
            if name in record["results"]:
                continue
            found = measure(source, Path(folder) / "model.edge", calibration, references, **variant)
            record["results"][name] = found
            print(line(name, found), flush=True)
            save(out, record)


def prepared(language: LanguageModel, austen: Path, articles: Path) -> tuple[dict[str, Text], Text]:
    """(what is evaluated on, what is calibrated on): windows of different books, and of different articles."""
    encode = tokenizer_of(language).encode
    novel, other = (
        np.array(encode(unwrapped((austen / f"{book}.txt").read_text("utf-8")[start:]), add_special=False), np.int32)
        for book, start in START.items()
    )
    words = np.array(encode(articles.read_text("utf-8"), add_special=False), np.int32)
    half = len(words) // 2
    texts = {
        "Austen": Text("prideprejudice.txt", list(windows(novel, 0, WINDOW, WINDOWS["Austen"])), len(novel)),
        "Wikipedia": Text(
            "the later Wikipedia articles", list(windows(words, half + 2000, WINDOW, WINDOWS["Wikipedia"])), half
        ),
    }
    seen = [
        *windows(other, 0, len(other) // 20, CALIBRATION),
        *windows(words, 0, half // (CALIBRATION + 1), CALIBRATION),
    ]
    return texts, Text("emma.txt and the earlier Wikipedia articles", seen, len(other) + half)


def windows(tokens: Array, first: int, step: int, count: int) -> Iterator[Array]:
    """`count` windows of `tokens`, the first at `first`, `step` apart."""
    for i in range(count):
        yield tokens[first + i * step :][:WINDOW]


def unwrapped(text: str) -> str:
    """`text` with the line breaks within paragraphs as spaces."""
    return re.sub(r"(?<!\n)\n(?!\n)", " ", text)


def measure(
    source: Path,
    out: Path,
    calibration: Text,
    references: dict[str, Reference],
    *,
    weights: str = "f16",
    prune: str | None = None,
    pattern: str | None = None,
    sparsity: float | None = None,
    allocation: str | None = None,
    refined: bool = False,
) -> dict[str, Any]:
    """Converts and runs one variant: bytes, seconds, quality on every text."""
    started = time.monotonic()
    options = options_from(
        weights, None, False, (), source, None, None, None, prune, pattern, sparsity, allocation, refined
    )
    compressor = Prepared(options, windows=calibration)
    result = convert_language_model(
        source, out, weights=options.precision.weights, policy=compressor.policy, compress=compressor.compress
    )
    converted = time.monotonic()
    model = read_model(out)
    found = {name: compare(ref, runtime_logits(model, ref.windows)).as_dict() for name, ref in references.items()}
    layers = [tensor for tensor in result.report.as_dict()["tensors"] if tensor["name"].startswith("layers.")]
    matrices = [tensor for tensor in layers if len(tensor["shape"]) == 2]
    bits = 8 * sum(t["nbytes"] for t in matrices) / sum(np.prod(t["shape"]) for t in matrices)
    seconds = {"convert": converted - started, "evaluate": time.monotonic() - converted}
    return {
        **found,
        "bytes": out.stat().st_size,
        "bits": float(bits),
        "seconds": seconds,
        **result.model.report["quality"],
    }


def line(name: str, found: dict[str, Any]) -> str:
    texts = ", ".join(f"{text} {found[text]['perplexity']:.1f}" for text in WINDOWS)
    return f"  {name:52} {texts}; {found['bits']:.2f} bits, converted in {found['seconds']['convert']:.0f} s"
