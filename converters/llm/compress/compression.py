"""Compression of a language model on its way to a file: which matrices, by which method, and whether it was worth it.
`convert_language_model` calls `compress` before it packs the weights and `judge` after."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from edgert.converters.llm import pack
from edgert.converters.llm.checkpoint import ExactBlocks
from edgert.converters.llm.compress import awq, thresholds
from edgert.converters.llm.compress.calibration import (
    WINDOW,
    WINDOWS,
    Linear,
    Text,
    cut,
    linears,
    moments_of,
    read_text,
    split,
    spread,
)
from edgert.converters.llm.compress.matrix import Target, compressed, measured, parts_of
from edgert.converters.llm.compress.neurons import round_neurons
from edgert.converters.llm.compress.policy import (
    Override,
    Precision,
    PruneOverride,
    check_names,
    matrices,
    parse_override,
)
from edgert.converters.llm.compress.pruning import LARGE_LOSS, Pruning, pruning_from
from edgert.converters.llm.compress.quality import (
    Quality,
    Reference,
    compare,
    float_logits,
    reference_of,
    runtime_logits,
    stored_logits,
)
from edgert.converters.llm.compress.thresholds import Calibrated, Request, parse_neurons
from edgert.converters.llm.compress.walk import Walk
from edgert.converters.llm.importer import LanguageModel
from edgert.converters.llm.neurons import NeuronEncoding, take_apart
from edgert.converters.llm.report import LanguageReport
from edgert.converters.llm.weights import Held, HeldBlocks, Weight, dequantized
from edgert.converters.prune.allocation import Sensitivity, allocate
from edgert.converters.prune.dsnot import Inputs
from edgert.errors import ConversionError, KernelError, UnsupportedError
from edgert.format.model import Model
from edgert.graph.ir import Array, Node
from edgert.graph.neurons import with_thresholds

Method: TypeAlias = Literal["rtn", "awq", "gptq", "awq+gptq"]
METHODS: tuple[Method, ...] = ("rtn", "awq", "gptq", "awq+gptq")

EVALUATION_WINDOWS = 64
"""Windows of text that quality is measured on: 32k tokens, with which perplexity is known to about one per cent."""

Progress = Callable[[str, int, int], None]

Targets: TypeAlias = dict[str, Target]
"""Matrices to prune or to round, and how."""


@dataclass(frozen=True)
class Options:
    """What was asked for. method: None is 'rtn', with blocks of the source kept that are as small already.

    calib: the text to calibrate with, of which `samples` windows are used. evaluation: the text that quality is
    measured on; without it, the last fifth of `calib`. max_loss: the largest rise of perplexity that is accepted,
    per cent. sequential: GPTQ and pruning see the inputs that the matrices before it give once they are rounded or
    pruned, otherwise those of the float model. runtime: quality is measured with the runtime's arithmetic, else in
    float32. pruning: None if all weights stay. neurons: which neurons of gated layers are skipped, None to leave these
    layers as they are.
    """

    precision: Precision
    method: Method | None = None
    calib: str | os.PathLike[str] | None = None
    samples: int = WINDOWS
    window: int = WINDOW
    evaluation: str | os.PathLike[str] | None = None
    max_loss: float | None = None
    sequential: bool = True
    runtime: bool = True
    pruning: Pruning | None = None
    neurons: Request | None = None

    @property
    def used(self) -> Method:
        """The method: SparseGPT rounds in its own sweep unless another way is asked for."""
        sweeps = self.pruning is not None and self.pruning.criterion == "sparsegpt"
        return self.method or ("gptq" if sweeps and self.precision.weights != "f16" else "rtn")

    def check(self) -> None:
        """Raises ConversionError for what makes no sense."""
        if self.method not in (None, "rtn") and self.calib is None:
            raise ConversionError(f"{self.method} needs a text to calibrate with: give one with --calib")
        if self.method is not None and self.precision.weights not in ("int8", "int4") and not self.precision.overrides:
            raise ConversionError(f"{self.method} needs --weights int8 or int4, found {self.precision.weights}")
        if self.max_loss is not None and self.evaluation is None and self.calib is None:
            raise ConversionError("a largest loss needs a text to measure it on: give one with --eval or --calib")
        if self.samples < 1:
            raise ConversionError(f"expected at least one window of calibration text, found {self.samples}")
        if self.pruning is not None:
            self.pruning.check(self.precision.weights, self.precision.asymmetric, self.calib is not None)
        if self.neurons is not None and self.neurons.calibrated and self.calib is None:
            raise ConversionError(f"neurons={self.neurons} needs a text to calibrate with: give one with --calib")
        if self.neurons is not None and self.used.startswith("awq"):
            raise ConversionError("awq scales whole feed-forward layers; with neurons use --method gptq")


def options_from(
    weights: str,
    method: str | None,
    asymmetric: bool,
    overrides: Sequence[str],
    calib: str | os.PathLike[str] | None,
    samples: int | None,
    evaluation: str | os.PathLike[str] | None,
    max_loss: float | None,
    prune: str | None = None,
    pattern: str | None = None,
    sparsity: float | None = None,
    allocation: str | None = None,
    refined: bool = False,
    neurons: str | None = None,
) -> Options:
    """Options as the command line has them, checked. Raises ConversionError."""
    if weights not in pack.WEIGHTS:
        raise ConversionError(f"expected weights among {', '.join(pack.WEIGHTS)}, found {weights!r}")
    if method not in (None, *METHODS):
        raise ConversionError(f"expected a method among {', '.join(METHODS)}, found {method!r}")
    parsed = [parse_override(text) for text in overrides]
    pruned = tuple(override for override in parsed if isinstance(override, PruneOverride))
    pruning = pruning_from(prune, pattern, sparsity, allocation, refined, pruned)
    choices = tuple(override for override in parsed if isinstance(override, Override))
    precision = Precision(weights, asymmetric, choices, exact=method is None and pruning is None)
    windows = WINDOWS if samples is None else samples
    skipped = None if neurons is None else parse_neurons(neurons)
    options = Options(precision, method, calib, windows, WINDOW, evaluation, max_loss, pruning=pruning, neurons=skipped)
    options.check()
    return options


@dataclass
class Compressor:
    """The steps of one conversion; `compress`, `policy` and `judge` are hooks of `convert_language_model`."""

    options: Options
    progress: Progress | None = None
    encodings: dict[str, pack.Encoding | None] = field(default_factory=dict)
    original: LanguageModel | None = None
    calibration: Text | None = None
    evaluation: Text | None = None
    gates: Calibrated | None = None

    # ---- hooks
    def compress(self, language: LanguageModel, report: LanguageReport) -> None:
        """Replaces the matrices that are to be pruned or rounded. Raises ConversionError or InputError."""
        self.options.check()
        precision, method = self.options.precision, self.options.used
        self.original = LanguageModel(**{**vars(language), "weights": dict(language.weights)})
        nodes: list[Node] = []
        if self.options.neurons is not None:
            language.graph, language.weights, nodes = take_apart(language.graph, language.weights)
            if not nodes:
                raise ConversionError("neurons are those of gated feed-forward layers without biases: here are none")
        precision.check(language.weights)
        self.read_texts(language)
        if self.options.neurons is not None:
            self.neurons(language, nodes, self.options.neurons)
        self.encodings = {
            name: precision.encoding(language.graph, name, language.weights[name])
            for name in matrices(language.weights)
        }
        targets = self.allocated(language, self.targets(language))
        errors: dict[str, float] = {}
        if self.calibration is None:
            for done, (name, target) in enumerate(targets.items()):
                self.tell("compress", done, len(targets))
                replace(language, name, compressed(language.weights[name].load(), target, None), target)
            self.tell("compress", len(targets), len(targets))
        elif targets:
            scales = method.startswith("awq")  # looks at a whole layer before it changes anything of it
            passes = self.options.sequential and not scales and (method == "gptq" or self.options.pruning is not None)
            seen = language.weights if passes else dict(language.weights)
            observed = self.observed(Walk(language.graph, seen, self.calibration.windows), targets, "compress")
            layers = scaled_layers if scales else single_layers
            errors = dict(layers(language, observed, targets))
        report.quality |= self.described(method, targets, errors)
        report.summary += self.summary(method, targets, errors)

    def policy(self, name: str, weight: Weight) -> pack.Encoding | None:
        """What `Packer` asks."""
        return self.encodings.get(name)

    def judge(self, model: Model, report: LanguageReport) -> None:
        """Measures the packed model against the float original, if there is a text for it.

        Raises ConversionError when more is lost than accepted.
        """
        if self.evaluation is None or self.original is None:
            self.warn(report, None)
            return
        windows = self.evaluation.windows
        reference = reference_of(windows, self.watched("reference", float_logits(self.original, windows)))
        after, arithmetic = self.measured(model, reference.windows, lambda logits: compare(reference, logits))
        before, loss = reference.quality, 100.0 * (after.perplexity / reference.perplexity - 1.0)
        report.quality |= {
            "text": self.evaluation.describe(),
            "arithmetic": arithmetic,
            "before": before.as_dict(),
            "after": after.as_dict(),
            "loss_percent": float(f"{loss:.4g}"),
        }
        report.summary += [
            f"on {self.evaluation.describe()}:",
            f"  float reference: perplexity {before.perplexity:.2f}",
            f"  in this file:    perplexity {after.perplexity:.2f} ({loss:+.2f} %), Jensen-Shannon divergence "
            f"{after.divergence:.4f}, same next token {after.agreement:.1f} % ({arithmetic})",
        ]
        if self.gates is not None:
            self.judge_neurons(model, reference, after, report)
        self.warn(report, loss)
        if self.options.max_loss is not None and loss > self.options.max_loss:
            advice = "use --method gptq, --asymmetric, more bits for some matrices with --override, or int8"
            raise ConversionError(
                f"the perplexity rises by {loss:.2f} % (from {before.perplexity:.2f} to {after.perplexity:.2f}), more "
                f"than the accepted {self.options.max_loss:g} %; {'; '.join(report.warnings) or advice}"
            )

    def judge_neurons(self, model: Model, reference: Reference, after: Quality, report: LanguageReport) -> None:
        """What of the loss is due to skipping: the same file, every neuron computed."""
        whole = dataclasses.replace(model, graph=with_thresholds(model.graph, 0.0))
        every, _ = self.measured(whole, reference.windows, lambda logits: compare(reference, logits))
        cost = 100.0 * (after.perplexity / every.perplexity - 1.0)
        report.quality["neurons"] |= {"every_neuron": every.as_dict(), "loss_percent": float(f"{cost:.4g}")}
        report.summary.append(
            f"  with every neuron: perplexity {every.perplexity:.2f}; skipping costs {cost:+.2f} % of that"
        )

    # ---- steps
    def neurons(self, language: LanguageModel, nodes: Sequence[Node], request: Request) -> None:
        """Finds the thresholds, then rounds the neurons of layer after layer."""
        windows = [] if self.calibration is None else self.calibration.windows
        self.gates = thresholds.calibrate(language.graph, nodes, language.weights, windows, request, self.tell)
        encoding: NeuronEncoding = "neurons4" if self.options.precision.weights == "int4" else "neurons8"
        sweeping = self.options.used == "gptq"
        if not windows:
            for node in nodes:
                weight = language.weights[node.inputs[2]]
                language.weights[node.inputs[2]] = round_neurons(weight.load(), encoding, weight.source)
            return
        seen = language.weights if self.options.sequential else dict(language.weights)
        for done, (node, inputs, gates) in enumerate(thresholds.observed(language.graph, seen, windows)):
            self.tell("neurons", done, len(nodes))
            name = node.inputs[2]
            weight = language.weights[name]
            values = weight.load()
            met = moments_of(name, inputs)
            made = thresholds.moments_of_values(node, values[:, 0], inputs, gates) if sweeping else None
            language.weights[name] = round_neurons(values, encoding, weight.source, met, made, sweeping)
        self.tell("neurons", len(nodes), len(nodes))

    def read_texts(self, language: LanguageModel) -> None:
        """Calibration and evaluation text, neither of which shares a window with the other."""
        options = self.options
        if (options.calib is not None or options.evaluation is not None) and not language.graph.states:
            raise ConversionError(
                "expected a model that predicts tokens, found an encoder: it can be compressed without text alone, "
                "by --method rtn"
            )
        if options.calib is not None:
            whole = cut(language, read_text(options.calib), Path(options.calib).name, options.window)
            if options.evaluation is None or os.path.realpath(options.evaluation) == os.path.realpath(options.calib):
                whole, rest = split(whole)
                self.evaluation = spread(rest, EVALUATION_WINDOWS)
            self.calibration = spread(whole, options.samples)
        if options.evaluation is not None and self.evaluation is None:
            text = cut(language, read_text(options.evaluation), Path(options.evaluation).name, options.window)
            self.evaluation = spread(text, EVALUATION_WINDOWS)

    def targets(self, language: LanguageModel) -> Targets:
        """The matrices to prune, and those to round that the source does not have in that very encoding."""
        found: Targets = {}
        pruning, gptq = self.options.pruning, self.options.used.endswith("gptq")
        sparsities: dict[str, float] = {}
        if pruning is not None:
            layers = {name: language.weights[name] for name in self.encodings if name.startswith("layers.")}
            check_names(pruning.overrides, layers)
            sparsities = pruning.sparsities(layers)
        for name, encoding in self.encodings.items():
            groups = encoding if encoding == "q4" or encoding == "q4m" or encoding == "q8g" else None
            if name in sparsities:
                if encoding in ("f32", "q4m", "q8"):
                    raise ConversionError(
                        f"{name!r} is pruned, which needs f16, int8 or int4, found {encoding}; leave it dense with "
                        f"--override '{name}=prune:none'"
                    )
                parts = parts_of(language.graph, name)
                found[name] = Target(groups, gptq, pruning, sparsities[name], parts)
            elif groups is not None:
                blocks = language.weights[name].exact()
                if blocks is None or blocks.encoding != groups:
                    found[name] = Target(groups, gptq)
        return found

    def allocated(self, language: LanguageModel, targets: Targets) -> Targets:
        """`targets` with the zeros of all matrices divided by what they do, which takes one more walk."""
        pruning = self.options.pruning
        if pruning is None or pruning.allocation == "uniform" or self.calibration is None:
            return targets
        sharing = {name: t for name, t in targets.items() if t.pruning is not None and pruning.shares(name)}
        found: dict[str, Sensitivity] = {}
        walk = Walk(language.graph, dict(language.weights), self.calibration.windows)
        for linear in self.observed(walk, sharing, "allocate"):
            weights = language.weights[linear.name].load()
            found[linear.name] = measured(weights, targets[linear.name], Inputs(linear.mean, linear.moments))
        shares = allocate(found, pruning.sparsity)
        return {name: dataclasses.replace(t, sparsity=shares.get(name, t.sparsity)) for name, t in targets.items()}

    def observed(self, walk: Walk, targets: Targets, stage: str) -> Iterator[Linear]:
        """The matrix products of `targets`. The walk ends at the last of them; tables are in none."""
        for done, linear in enumerate(linears(walk, targets), 1):
            self.tell(stage, done - 1, len(targets))
            yield linear
            if done == len(targets):
                break
        self.tell(stage, len(targets), len(targets))

    def measured(
        self, model: Model, windows: Sequence[Array], measure: Callable[[Iterator[Array]], Quality]
    ) -> tuple[Quality, str]:
        """(what `measure` says of the logits of `model`, with which arithmetic they were computed)."""
        if self.options.runtime:
            try:
                return measure(self.watched("evaluate", runtime_logits(model, windows))), "on the runtime"
            except (UnsupportedError, KernelError) as error:
                why = f"in float32, as the runtime can not run it here: {error}"
                return measure(self.watched("evaluate", stored_logits(model, windows))), why
        return measure(self.watched("evaluate", stored_logits(model, windows))), "in float32"

    def watched(self, stage: str, logits: Iterator[Array]) -> Iterator[Array]:
        assert self.evaluation is not None
        total = len(self.evaluation.windows)
        for done, found in enumerate(logits):
            self.tell(stage, done, total)
            yield found
        self.tell(stage, total, total)

    def tell(self, stage: str, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress(stage, done, total)

    # ---- words
    def described(self, method: str, targets: Targets, errors: dict[str, float]) -> dict[str, Any]:
        """For the report: the relative error of every output is on the calibration text."""
        pruning = self.options.pruning
        overrides = [*self.options.precision.overrides, *(pruning.overrides if pruning is not None else ())]
        found: dict[str, Any] = {"method": method, "overrides": [str(o) for o in overrides]}
        if pruning is not None:
            found["pruning"] = {
                "criterion": pruning.criterion,
                "pattern": str(pruning.pattern),
                "sparsity": pruning.sparsity,
                "allocation": pruning.allocation,
                "refine": pruning.refine,
                "sparsities": {
                    name: float(f"{t.sparsity:.4g}") for name, t in targets.items() if t.pruning is not None
                },
            }
        if self.gates is not None:
            found["neurons"] = self.gates.as_dict()
        if self.calibration is not None:
            found["calibration"] = self.calibration.describe()
            found["output_errors"] = {name: float(f"{error:.4g}") for name, error in errors.items()}
        return found

    def summary(self, method: str, targets: Targets, errors: dict[str, float]) -> list[str]:
        lines, pruning = [], self.options.pruning
        if pruning is not None:
            chosen = [target.sparsity for target in targets.values() if target.pruning is not None]
            shared = f", from {100 * min(chosen):.0f} to {100 * max(chosen):.0f} %" if len(set(chosen)) > 1 else ""
            lines.append(f"pruned {len(chosen)} matrices: {pruning.describe()}{shared}")
        if self.gates is not None:
            lines.append(self.gates.describe())
        if self.calibration is None or not errors:
            return lines
        worst = max(errors, key=lambda name: errors[name])
        return [
            *lines,
            f"{method}, calibrated on {self.calibration.describe()}",
            f"relative error of outputs there: median {np.median(list(errors.values())):.3g}, "
            f"worst {errors[worst]:.3g} ({worst})",
        ]

    def warn(self, report: LanguageReport, loss: float | None) -> None:
        """Says what pruning cost where that is much or not known, and what would have cost less."""
        pruning = self.options.pruning
        if pruning is None:
            return
        layers = [tensor for tensor in report.tensors if tensor.name in self.encodings and "layers." in tensor.name]
        bits = 8.0 * sum(t.nbytes for t in layers) / max(1, sum(t.shape[0] * t.shape[1] for t in layers))
        if loss is None:
            report.warnings.append(
                f"{pruning.describe()}: what that costs was not measured; give a text with --eval TEXT"
            )
        elif loss > LARGE_LOSS:
            report.warnings.append(
                f"{pruning.describe()} raises the perplexity by {loss:.1f} %. What usually loses less: "
                f"{pruning.advice(self.options.precision.weights, bits)}"
            )


# ---- methods: each yields (matrix, relative error of its outputs on the calibration text)
Errors: TypeAlias = Iterator[tuple[str, float]]


def single_layers(language: LanguageModel, observed: Iterator[Linear], targets: Targets) -> Errors:
    """One matrix after the other, as the network computes them."""
    for linear in observed:
        if linear.name in targets:
            weights = language.weights[linear.name].load()
            yield finish(language, linear, weights, targets[linear.name])


def scaled_layers(language: LanguageModel, observed: Iterator[Linear], targets: Targets) -> Errors:
    """Layer by layer: first all scales of AWQ, as they change two weights each, then the rounding."""
    graph, biases = language.graph, awq.biases_of(language.graph)
    for _, layer in groupby(observed, key=lambda linear: linear.name.rsplit(".", 1)[0]):
        found = [linear for linear in layer if linear.name in targets]
        values = awq.Values(language.weights)
        for i, linear in enumerate(found):
            rows, encoding = awq.sources(graph, linear.node), targets[linear.name].encoding
            if rows is None or encoding is None or (rows.rows is not None and rows.weight not in targets):
                continue
            scale = awq.find_scale(values[linear.name], linear.moments, encoding, rows)
            awq.fold(values, rows, scale, biases)
            channels = rows.spread(scale)
            values[linear.name] = values[linear.name] * channels
            found[i] = awq.scaled(linear, channels)
        for linear in found:
            weights = values[linear.name]
            del values[linear.name]
            yield finish(language, linear, weights, targets[linear.name])
        for name, vector in values.items():
            language.weights[name] = Held(vector, language.weights[name].source)


def finish(language: LanguageModel, linear: Linear, weights: Array, target: Target) -> tuple[str, float]:
    """Puts what is to become of `weights` in their place and says what that changes of the outputs."""
    blocks = compressed(weights, target, Inputs(linear.mean, linear.moments))
    difference = weights - dequantized(blocks)
    size = awq.output_error(weights, linear.moments)
    replace(language, linear.name, blocks, target, weights)
    return linear.name, float(np.sqrt(awq.output_error(difference, linear.moments) / size)) if size else 0.0


def replace(
    language: LanguageModel, name: str, blocks: ExactBlocks, target: Target | None = None, weights: Array | None = None
) -> None:
    old = language.weights[name]
    wanted = old.load() if weights is None else weights
    pattern = "auto" if target is None or target.pruning is None else str(target.pruning.pattern)
    error = pack.relative_error(wanted, dequantized(blocks))
    language.weights[name] = HeldBlocks(blocks, old.source, error, pattern)
