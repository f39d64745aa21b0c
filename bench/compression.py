"""SmolLM2-135M: what compression costs, on 100 KB of Pride and Prejudice, calibrated on Emma.

Every model runs on the runtime, as on a device; the reference is the source's weights in float32 in NumPy.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.measure import machine, save
from edgert.converters.llm.compress.calibration import Text, cut
from edgert.converters.llm.compress.compression import Compressor, options_from, replace
from edgert.converters.llm.compress.quality import Reference, compare, float_logits, reference_of, runtime_logits
from edgert.converters.llm.compress.round_to_nearest import round_to_nearest
from edgert.converters.llm.convert import convert_language_model
from edgert.converters.llm.importer import LanguageModel, import_language_model
from edgert.converters.llm.pack import Encoding
from edgert.converters.llm.report import LanguageReport
from edgert.converters.llm.weights import Weight
from edgert.format import read_model

START, BYTES = 60_000, 100_000
"""Of the text: past the preface, where nothing is in the calibration."""
CALIBRATION = 16
"""Windows of 512 tokens."""

VARIANTS: dict[str, dict[str, Any]] = {
    "q4m, the source's blocks (lossless)": {},
    "the same, int8 cache": {"kv": "int8"},
    "int8 (q8g)": {"weights": "int8", "method": "rtn"},
    "int4, plain": {"weights": "int4", "plain": True},
    "int4, rtn": {"weights": "int4", "method": "rtn"},
    "int4, rtn, calibrated": {"weights": "int4", "method": "rtn", "calibrated": True},
    "int4, awq": {"weights": "int4", "method": "awq", "calibrated": True},
    "int4, gptq": {"weights": "int4", "method": "gptq", "calibrated": True},
    "int4, awq+gptq": {"weights": "int4", "method": "awq+gptq", "calibrated": True},
    "the same, down in int8": {
        "weights": "int4",
        "method": "awq+gptq",
        "calibrated": True,
        "overrides": ["*.down=int8"],
    },
}


def run(_threads: Sequence[int], _rounds: int, out: Path) -> None:
    """Converts, measures and prints one variant after the other; raw numbers go to compression.json beside `out`."""
    from edgert.assets.fetch import pull

    out = out.with_name("compression.json")
    source, austen = pull("smollm2-135m"), pull("austen")
    language = import_language_model(source)
    text = evaluation_text(language, austen / "prideprejudice.txt")
    record: dict[str, Any] = {"machine": machine(), "text": text.describe(), "results": {}}
    started = time.monotonic()
    reference = reference_of(text.windows, float_logits(language, text.windows))
    record["reference"] = {**reference.quality.as_dict(), "seconds": time.monotonic() - started}
    print(f"{text.describe()}; float reference: perplexity {reference.perplexity:.3f}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        files: dict[str, Path] = {}
        for i, (name, variant) in enumerate(VARIANTS.items()):
            record["results"][name] = measure(
                source, Path(folder) / f"{i}.edge", austen / "emma.txt", reference, files, **variant
            )
            print(line(name, record["results"][name], reference), flush=True)
            save(out, record)


def evaluation_text(language: LanguageModel, path: Path) -> Text:
    """The tokens of BYTES characters of the text in `path`."""
    return cut(language, path.read_text("utf-8")[START : START + BYTES], path.name)


def measure(
    source: Path,
    out: Path,
    calib: Path,
    reference: Reference,
    files: dict[str, Path],
    *,
    weights: str = "keep",
    method: str | None = None,
    calibrated: bool = False,
    plain: bool = False,
    overrides: Sequence[str] = (),
    kv: str = "f16",
) -> dict[str, Any]:
    """Converts, unless that was done for the same options, and runs: bytes, seconds, quality."""
    started, key = time.monotonic(), f"{weights} {method} {calibrated} {plain} {overrides}"
    quality: dict[str, Any] = {}
    if key not in files:
        options = options_from(
            weights, method, False, overrides, calib if calibrated else None, CALIBRATION, None, None
        )
        compressor = Compressor(options)
        result = convert_language_model(
            source, out, weights=options.precision.weights,
            policy=plain_policy if plain else compressor.policy,
            compress=plain_rounding if plain else compressor.compress,
        )  # fmt: skip
        quality, files[key] = result.model.report["quality"], out
    model = read_model(files[key])
    converted = time.monotonic()
    found = compare(reference, runtime_logits(model, reference.windows, kv=kv)).as_dict()
    seconds = {"convert": converted - started, "evaluate": time.monotonic() - converted}
    return {**found, "bytes": files[key].stat().st_size, "kv": kv, "seconds": seconds, **quality}


def plain_policy(name: str, weight: Weight) -> Encoding | None:
    """int4 for the matrices of the layers, whatever the source has."""
    return "q4" if name.startswith("layers.") and len(weight.shape) == 2 else None


def plain_rounding(language: LanguageModel, _report: LanguageReport) -> None:
    """Round-to-nearest with the scales that just reach the largest value of each group."""
    for name, weight in list(language.weights.items()):
        if plain_policy(name, weight):
            replace(language, name, round_to_nearest(weight.load(), "q4", search=False))


def line(name: str, found: dict[str, Any], reference: Reference) -> str:
    loss = 100 * (found["perplexity"] / reference.perplexity - 1)
    return (
        f"  {name:36} {found['bytes'] / 1e6:7.2f} MB  perplexity {found['perplexity']:7.3f} ({loss:+6.2f} %)  "
        f"JS {found['divergence']:.4f}  same token {found['agreement']:.1f} %  "
        f"converted in {found['seconds']['convert']:.0f} s"
    )
