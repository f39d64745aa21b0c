"""From a language model to a .edge file: import, compress by choice, pack, write.
The steps are in the files beside this one; `converters.convert` calls it for .gguf files and folders."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from edgert.converters.finish import ConversionResult, hash_of, write
from edgert.converters.llm.importer import TOKENIZER, LanguageModel, import_language_model
from edgert.converters.llm.pack import WEIGHTS, Packer, Policy, Weights, pack_constants
from edgert.converters.llm.report import LanguageReport
from edgert.converters.report import count_operators
from edgert.errors import ConversionError, InputError
from edgert.format.model import Model, StoredTensor

Progress = Callable[[str, int, int], None]

Compress = Callable[[LanguageModel, LanguageReport], None]
"""Replaces weights of the model by name, and writes into the report what it measured."""

Judge = Callable[[Model, LanguageReport], None]
"""Measures the packed model before it is written, and refuses it by raising ConversionError."""


def convert_language_model(
    src: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    weights: str = "keep",
    policy: Policy | None = None,
    compress: Compress | None = None,
    judge: Judge | None = None,
    name: str = "",
    report_path: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    language: LanguageModel | None = None,
) -> ConversionResult:
    """Converts the .gguf file or Hugging Face folder `src` and writes it to `out`, or changes nothing.

    weights: 'keep' stores exactly what can be, else 'f32', 'f16', 'int8' or 'int4' (see `pack.Packer`). policy:
    the encoding of single matrices, by name. compress: changes weights before they are packed. judge: looks at
    the model before it is written. language: the model in `src` where it has been imported already.
    Raises FormatError or UnsupportedError for the source, ConversionError for options that make no sense,
    InputError where `src` is not there or `out` can not be.
    """
    started = time.monotonic()
    src, out = Path(src), Path(out)
    if weights not in WEIGHTS:
        raise ConversionError(f"expected weights among {', '.join(WEIGHTS)}, found {weights!r}")
    if not src.exists():
        raise InputError(f"{src}: no such file or folder")
    if not out.parent.is_dir():
        raise InputError(f"{out}: expected an existing folder, found no {out.parent}")
    language = language or import_language_model(src)
    files = weight_files(src)
    report = LanguageReport(weights, sum(file.stat().st_size for file in files), notes=list(language.notes))
    if compress is not None:
        compress(language, report)
    model = pack_language_model(language, weights, policy, report, progress)
    model.info = replace(model.info, name=name or model.info.name)
    model.source["sha256"] = hash_of(files)
    model.source["licence"] = model.info.licence
    if judge is not None:
        judge(model, report)
    model.report = report.as_dict()
    write(model, out, Path(report_path) if report_path is not None else None)
    return ConversionResult(out, model, report, time.monotonic() - started)


def pack_language_model(
    language: LanguageModel,
    weights: Weights,
    policy: Policy | None = None,
    report: LanguageReport | None = None,
    progress: Progress | None = None,
) -> Model:
    """The model with every weight stored, one after the other; what became of them goes into `report`."""
    packer = Packer(language.graph, weights, policy)
    tensors = dict(pack_constants(language.graph))
    for done, (name, weight) in enumerate(language.weights.items()):
        if progress is not None:
            progress("pack", done, len(language.weights))
        tensors[name], packed = packer.store(name, weight)
        if report is not None:
            report.tensors.append(packed)
    tensors[TOKENIZER] = StoredTensor.pack_dense(TOKENIZER, language.tokenizer)
    if report is not None:
        report.operators = count_operators(language.graph)
        report.bytes_after = sum(tensor.nbytes for tensor in tensors.values())
    if progress is not None:
        progress("pack", len(language.weights), len(language.weights))
    return Model(language.graph, tensors, language.info, dict(language.source))


def weight_files(src: Path) -> list[Path]:
    """The files that hold weights: `src` itself, or all of its safetensors files."""
    return sorted(src.glob("*.safetensors")) if src.is_dir() else [src]
