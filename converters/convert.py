"""From a model file to a .edge file: import, optimize, compress, measure, pack, write.
The steps live in the folders beside this file; `edgert convert` is a thin layer over `convert`."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from edgert.converters.calibrate.collect import Execute, Progress
from edgert.converters.compress_network import Compression, compress_network
from edgert.converters.finish import ConversionResult, hash_of, write
from edgert.converters.forms import refused_forms
from edgert.converters.int8_weights import has_int8_weights, products_by_rows
from edgert.converters.interrupts import interrupts_deferred
from edgert.converters.llm.compress.compression import Compressor, options_from
from edgert.converters.llm.convert import convert_language_model
from edgert.converters.llm.exported import IDS
from edgert.converters.llm.from_onnx import ExportedEncoder, import_exported
from edgert.converters.llm.importer import TOKENIZER, is_language_model
from edgert.converters.memory import memory_errors_named
from edgert.converters.network_prune.options import NetworkPruning, network_pruning
from edgert.converters.pack import pack_model, stored_layers
from edgert.converters.passes.pipeline import SETTLED, TIDY, PassRecord, optimize
from edgert.converters.passes.remove_dead_channels import count_channels, remove_dead_channels
from edgert.converters.quantize.post_training import is_quantized
from edgert.converters.report import Report, constant_bytes, count_operators
from edgert.converters.states import declare_states
from edgert.datasets import load_dataset
from edgert.errors import ConversionError, EdgertError, InputError, UnsupportedError
from edgert.format import ModelInfo, Preprocessing
from edgert.format.model import StoredTensor
from edgert.graph.execute import run_graph
from edgert.graph.infer import infer_types, where
from edgert.graph.ir import Graph

Weights: TypeAlias = Literal["f32", "int8"]
WEIGHTS: tuple[Weights, ...] = ("f32", "int8")

SAMPLES = 128
"""Samples of calibration if nobody asks for another number."""


@memory_errors_named
def convert(
    src: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    weights: str | None = None,
    calib: str | os.PathLike[str] | None = None,
    samples: int | None = None,
    observer: str = "mse",
    equalize: bool = True,
    bias_correction: bool = True,
    eval_data: str | os.PathLike[str] | None = None,
    max_loss: float | None = None,
    method: str | None = None,
    asymmetric: bool = False,
    overrides: Sequence[str] = (),
    prune: str | None = None,
    pattern: str | None = None,
    sparsity: float | None = None,
    allocate: str | None = None,
    refine: bool = False,
    neurons: str | None = None,
    tokenizer: str | os.PathLike[str] | None = None,
    info: ModelInfo | None = None,
    labels: Sequence[str] | None = None,
    preprocessing: Preprocessing | None = None,
    states: Mapping[str, str] | None = None,
    report_path: str | os.PathLike[str] | None = None,
    execute: Execute = run_graph,
    progress: Progress | None = None,
) -> ConversionResult:
    """Converts the model in `src` and writes it to `out`, or changes nothing.

    Language models (.gguf, .safetensors, or a folder with config.json) go to `convert_language_model`. For them
    calib and eval_data are texts, samples are windows of text, max_loss is in per cent of perplexity, and method
    ('rtn', 'awq', 'gptq', 'awq+gptq'), asymmetric and overrides ('*.down=int8') say how weights are rounded, see
    `llm.compress`. prune ('magnitude', 'wanda', 'sparsegpt') sets weights to 0 that matter least, in a pattern
    ('auto', 'unstructured', 'nm:2:4', '4x4', 'group' ...), the share `sparsity` of them, which allocate ('uniform',
    'sensitivity') divides among the layers; refine exchanges some afterwards (DSnoT). Networks are pruned likewise,
    in the pattern 4x4 if not told otherwise, with overrides such as 'LAYER=prune:0.3' or 'LAYER=prune:none'. neurons:
    of gated feed-forward layers only the neurons are read and computed whose gate passes a threshold, by the loss that
    this may cost ('1%' of perplexity), the share that rests ('0.4') or the threshold itself ('t=0.05'; 't=0' skips
    those that add nothing). observer, equalize, bias_correction, labels and preprocessing are for networks. tokenizer:
    a tokenizer.json or a folder with one, which makes a language model of an ONNX text encoder: one that embeds texts.

    weights: 'f32', the default, keeps floats; 'int8' quantizes after training, for which `calib` is needed (images or
    arrays, see `load_dataset`), of which `samples`, 128, are used. eval_data: labelled data on which accuracy
    is measured before and after; labelled calibration data serves if there is none. max_loss: the largest
    loss that is accepted, see `Report.loss`. info, labels and preprocessing go into the file; what the
    source says of itself fills the rest. states: {input: output} that go on from run to run, see `declare_states`.

    Raises FormatError or UnsupportedError for the source, InputError for the data, ConversionError when
    the options make no sense or the loss is larger than `max_loss`.
    """
    started = time.monotonic()
    src, out = Path(src), Path(out)
    encoder = None if tokenizer is None else import_encoder(src, Path(tokenizer), progress)
    if is_language_model(src) or (encoder is not None and encoder.model is not None):
        foreign = {"labels": labels, "preprocessing": preprocessing, "states": states}
        if given := [name for name, value in foreign.items() if value is not None]:
            raise ConversionError(f"{src}: expected options of a language model, found {', '.join(given)}")
        options = options_from(
            weights or "keep", method, asymmetric, overrides, calib, samples, eval_data, max_loss,
            prune, pattern, sparsity, allocate, refine, neurons,
        )  # fmt: skip
        compressor = Compressor(options, progress)
        return convert_language_model(
            src,
            out,
            weights=weights or "keep",
            policy=compressor.policy,
            compress=compressor.compress,
            judge=compressor.judge,
            name=info.name if info else "",
            report_path=report_path,
            progress=progress,
            language=encoder.model if encoder is not None else None,
        )
    if method is not None or asymmetric or neurons is not None:
        raise ConversionError(f"{src}: method, asymmetric and neurons are for language models, this is none")
    pruning = network_pruning(prune, pattern, sparsity, allocate, refine, overrides)
    if pruning is None and overrides:
        raise ConversionError(f"{src}: overrides are for language models, or for --prune, found neither")
    weights, samples = weights or "f32", SAMPLES if samples is None else samples
    check_options(weights, calib, samples, eval_data, max_loss, pruning, out)
    graph, about, source = import_source(src, progress)
    about = described(about, info, labels, preprocessing, src)
    if encoder is not None:
        about.task, about.language = "text-embedding", encoder.language
        graph.outputs = [encoder.output]
    declare_states(graph, states or {})
    if graph.states and (weights == "int8" or pruning is not None):
        raise ConversionError(
            f"{src}: its states depend on the runs before, and calibration runs each sample alone; quantize or prune "
            "the network where it was trained"
        )
    int8 = weights == "f32" and pruning is None and has_int8_weights(graph)
    records: list[PassRecord] = []
    # Shape arithmetic must fold before every type can be inferred, and types make more passes apply.
    graph = with_types(optimized(with_types(optimized(graph, records)), records))
    before = sum(source["operators"].values())
    stored_as = "int8 as in the source" if is_quantized(graph) else ""
    report = Report(weights, stored_as, before, [vars(record) for record in records], constant_bytes(graph))
    channels = count_channels(graph)
    graph = with_types(remove_dead_channels(graph))
    if int8:
        graph = with_types(optimize(with_types(products_by_rows(graph)), records, TIDY))
    if is_quantized(graph) and pruning is not None:
        raise ConversionError(f"{src}: expected float weights to prune, found int8; prune the network it was made of")
    if (weights == "int8" or pruning is not None) and not is_quantized(graph):
        data = load_dataset(calib, class_names=about.labels, split="train").spread(samples) if calib else None
        test = load_dataset(eval_data, class_names=about.labels, needs_labels=True) if eval_data else data
        chosen = list(data.feeds(graph.inputs, about.preprocessing)) if data is not None else []
        asked = Compression(
            weights == "int8", pruning, chosen, test, observer, equalize, bias_correction, max_loss
        )  # fmt: skip
        graph = with_types(compress_network(graph, asked, about, report, execute, progress))
    graph = with_types(optimize(graph, passes=SETTLED))
    report.operators = count_operators(graph)
    report.notes = list(encoder.notes) if encoder is not None else notes_on(graph, src)
    if removed := channels - count_channels(graph):
        report.notes.append(f"{removed} channels that were constant or unread are gone")
    fits: dict[str, str] = {}
    model = pack_model(graph, about, {}, source, str(pruning.pattern) if pruning is not None else "auto", fits, int8)
    if kept := sum(tensor.encoding in ("q8", "q8g") and tensor.quant is None for tensor in model.tensors.values()):
        report.notes.append(f"{kept} weights stay int8 as in the source; activations are quantized as the model runs")
    report.stored = stored_layers(model, report.pruning.get("left_dense", {}), fits)
    if encoder is not None:
        model.tensors[TOKENIZER] = StoredTensor.pack_dense(TOKENIZER, encoder.tokenizer)
    report.bytes_after = sum(tensor.nbytes for tensor in model.tensors.values())
    model.report = report.as_dict()
    write(model, out, Path(report_path) if report_path is not None else None)
    return ConversionResult(out, model, report, time.monotonic() - started)


def check_options(
    weights: str,
    calib: object,
    samples: int,
    eval_data: object,
    max_loss: float | None,
    pruning: NetworkPruning | None,
    out: Path,
) -> None:
    """Refuses, before any work, what can not end well."""
    if weights not in WEIGHTS:
        raise ConversionError(f"expected weights among {', '.join(WEIGHTS)}, found {weights!r}")
    if weights == "int8" and calib is None:
        raise ConversionError("int8 weights need calibration data: give a folder of images or an .npz with --calib")
    if samples < 1:
        raise ConversionError(f"expected at least one calibration sample, found {samples}")
    if pruning is not None:
        pruning.check(calib is not None)
    if max_loss is not None and weights != "int8" and pruning is None:
        raise ConversionError("a largest loss was given, but float weights lose nothing; add --weights int8")
    if max_loss is not None and calib is None and eval_data is None:
        raise ConversionError("a largest loss needs data to measure it on: give some with --calib or --eval")
    if not out.parent.is_dir():
        raise InputError(f"{out}: expected an existing folder, found no {out.parent}")


NETWORKS = (".onnx", ".tflite")
"""Suffixes of the files of networks that can be imported."""


def import_source(src: Path, progress: Progress | None) -> tuple[Graph, ModelInfo | None, dict[str, Any]]:
    """(graph, what the source says of itself, where it came from). Raises InputError for other formats."""
    if not src.is_file():
        raise InputError(f"{src}: no such file")
    suffix = src.suffix.lower()
    if suffix not in NETWORKS:
        raise InputError(
            f"{src}: expected an .onnx, .tflite or .gguf model or a folder with config.json, "
            f"found {src.suffix or 'no suffix'}"
        )
    if progress is not None:
        progress("import", 0, 1)
    source: dict[str, Any] = {}
    graph, about = (_import_onnx if suffix == ".onnx" else _import_tflite)(src, source)
    source["sha256"] = hash_of([src])
    source["licence"] = about.licence if about is not None else ""
    if progress is not None:
        progress("import", 1, 1)
    return graph, about, source


def _import_onnx(src: Path, source: dict[str, Any]) -> tuple[Graph, ModelInfo | None]:
    try:
        with interrupts_deferred():
            import onnx
    except ImportError:
        raise EdgertError("converting ONNX models needs onnx: pip install 'edgert[convert]'") from None
    from edgert.converters.onnx.importer import import_onnx
    from edgert.converters.onnx.metadata import read_info

    graph = import_onnx(src, report=source)
    return graph, read_info(onnx.load(src, load_external_data=False).metadata_props, src)


def _import_tflite(src: Path, source: dict[str, Any]) -> tuple[Graph, ModelInfo | None]:
    try:
        with interrupts_deferred():
            import flatbuffers  # noqa: F401
    except ImportError:
        raise EdgertError("converting TFLite models needs flatbuffers: pip install 'edgert[convert]'") from None
    from edgert.converters.tflite.importer import graph_of
    from edgert.converters.tflite.info import info_of
    from edgert.converters.tflite.reader import read_tflite

    model = read_tflite(src)
    graph = graph_of(model, report=source)
    return graph, info_of(model, graph)


def import_encoder(src: Path, tokenizer: Path, progress: Progress | None) -> ExportedEncoder:
    """The ONNX text encoder in `src` with the tokenizer at `tokenizer`. Raises as `import_exported` does, and
    ConversionError for a model that brings its own."""
    if is_language_model(src):
        raise ConversionError(f"{src}: expected an ONNX model to go with a tokenizer, this one brings its own")
    graph, about, source = import_source(src, progress)
    return import_exported(graph, src, tokenizer, source, about.licence if about is not None else "")


def notes_on(graph: Graph, src: Path) -> list[str]:
    """What a person should know of a network that was converted as it is."""
    if IDS not in graph.inputs:
        return []
    beside = src.parent / "tokenizer.json"
    where = f"one lies beside it: --tokenizer {beside}" if beside.is_file() else "give it with --tokenizer"
    return [f"input {IDS}: a text encoder embeds texts only with its tokenizer; {where}"]


def optimized(graph: Graph, records: list[PassRecord]) -> Graph:
    """`graph` after the passes, which take sound nodes for granted. Raises UnsupportedError naming the nodes that
    are not, where a pass stumbles over them."""
    try:
        return optimize(graph, records)
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        refused = [f"{where(node)}: {reason}" for node, reason in refused_forms(graph)]
        if not refused:
            raise
        raise UnsupportedError("; ".join(refused)) from error


def with_types(graph: Graph) -> Graph:
    """`graph` with every type that follows from its inputs.

    Where dimensions are named, an operator may need their sizes: the types known so far stand until the
    device binds them, and so do those that depend on values of a run. Raises UnsupportedError for a graph of fixed
    sizes that no binding can help.
    """
    try:
        return infer_types(graph, partial=True)
    except UnsupportedError:
        if all(graph.types[name].is_static for name in graph.inputs):
            raise
        return graph


def described(
    found: ModelInfo | None,
    info: ModelInfo | None,
    labels: Sequence[str] | None,
    preprocessing: Preprocessing | None,
    src: Path,
) -> ModelInfo:
    """What the file will say of the model: the caller's word, else the source's."""
    about = replace(info or found or ModelInfo())
    about.name = about.name or src.stem
    about.labels = list(labels) if labels is not None else about.labels
    about.preprocessing = preprocessing or about.preprocessing
    if not about.task and about.labels and about.preprocessing is not None:
        about.task = "image-classification"
    return about
