"""Mixed precision: which encoding every matrix gets, by default and by pattern.
How a matrix is brought into its encoding is in the files of the methods."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, TypeAlias, cast

from edgert.converters.llm.pack import Encoding, Packer, Weights
from edgert.converters.llm.weights import Weight
from edgert.errors import ConversionError
from edgert.graph.ir import Graph

Choice: TypeAlias = Literal["int8", "int4", "f16", "f32", "keep"]
CHOICES: tuple[Choice, ...] = ("int8", "int4", "f16", "f32", "keep")


@dataclass(frozen=True)
class Override:
    """What the matrices become whose names match `pattern`, a glob such as '*.down' or 'layers.[0-3].*'."""

    pattern: str
    choice: Choice

    def __str__(self) -> str:
        return f"{self.pattern}={self.choice}"


@dataclass(frozen=True)
class PruneOverride:
    """The share of zeros of the matrices whose names match `pattern`, None to leave them dense."""

    pattern: str
    sparsity: float | None

    def __str__(self) -> str:
        return f"{self.pattern}=prune:{'none' if self.sparsity is None else f'{self.sparsity:g}'}"


def parse_override(text: str) -> Override | PruneOverride:
    """'PATTERN=int8', 'PATTERN=prune:0.3' and so on. Raises ConversionError."""
    pattern, sign, choice = text.rpartition("=")
    if sign and pattern and choice in CHOICES:
        return Override(pattern, choice)
    if sign and pattern and choice.startswith("prune:"):
        return PruneOverride(pattern, parse_sparsity(choice.removeprefix("prune:"), text))
    raise ConversionError(
        f"expected an override such as '*.down=int8', with one of {', '.join(CHOICES)}, prune:none or prune:0.3, "
        f"found {text!r}"
    )


def parse_sparsity(text: str, whole: str) -> float | None:
    """'none' or a number from 0 to below 1. Raises ConversionError."""
    try:
        sparsity = None if text == "none" else float(text)
    except ValueError:
        sparsity = -1.0
    if sparsity is not None and not 0.0 <= sparsity < 1.0:
        raise ConversionError(f"expected prune:none or a share of zeros such as prune:0.3, found {whole!r}")
    return sparsity


@dataclass(frozen=True)
class Precision:
    """The encodings of a model's matrices. exact: blocks of the source that are as small as what is asked for stay
    as they are; otherwise only those that are in that very encoding. Of several overrides the last that matches
    counts. 'embedding' and 'output' are left to `Packer` unless an override names them: int8 at most."""

    weights: Weights
    asymmetric: bool = False
    overrides: Sequence[Override] = ()
    exact: bool = True

    def check(self, weights: Mapping[str, Weight]) -> None:
        """Raises ConversionError for a pattern that names no matrix."""
        check_names(self.overrides, weights)

    def encoding(self, graph: Graph, name: str, weight: Weight) -> Encoding | None:
        """The encoding of the matrix `name`, None where `Packer` decides."""
        chosen = [override.choice for override in self.overrides if fnmatchcase(name, override.pattern)]
        if chosen:
            return self._chosen(graph, name, weight, chosen[-1])
        if self.weights not in ("int8", "int4") or not name.startswith("layers."):
            return None
        return None if self.exact and self._is_small(weight) else self._groups(self.weights)

    def _is_small(self, weight: Weight) -> bool:
        blocks = weight.exact()
        return blocks is not None and blocks.encoding in (
            ("q4", "q4m") if self.weights == "int4" else ("q4", "q4m", "q8", "q8g")
        )

    def _chosen(self, graph: Graph, name: str, weight: Weight, choice: Choice) -> Encoding:
        if choice == "keep":
            blocks = weight.exact()
            return blocks.encoding if blocks is not None else Packer(graph).choose(name, weight, weight.load())
        return self._groups(choice) if choice in ("int8", "int4") else cast(Encoding, choice)

    def _groups(self, choice: str) -> Encoding:
        if choice == "int8":
            return "q8g"
        return "q4m" if self.asymmetric else "q4"


def check_names(overrides: Sequence[Override | PruneOverride], weights: Mapping[str, Weight]) -> None:
    """Raises ConversionError for a pattern that names no matrix."""
    names = matrices(weights)
    for override in overrides:
        if not any(fnmatchcase(name, override.pattern) for name in names):
            shown = ", ".join(sorted({name.replace("layers.0.", "layers.*.") for name in names if ".1" not in name}))
            raise ConversionError(
                f"the pattern of override {str(override)!r} matches no matrix; expected names such as {shown}"
            )


def matrices(weights: Mapping[str, Weight]) -> Collection[str]:
    """The names of the weights that have an encoding to choose."""
    return [name for name, weight in weights.items() if len(weight.shape) == 2]
