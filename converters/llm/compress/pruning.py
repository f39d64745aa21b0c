"""Pruning of a language model: what was asked for, which matrices it concerns, and what would have lost less.
The methods are in `converters/prune/`; one matrix is pruned and rounded by `matrix.py`, all in `compression.py`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import get_args

from edgert.converters.llm.compress.policy import PruneOverride
from edgert.converters.prune.allocation import ALLOCATIONS, Allocation
from edgert.converters.prune.patterns import UNSTRUCTURED, Pattern, parse_pattern
from edgert.converters.prune.scores import CRITERIA, Criterion
from edgert.errors import ConversionError

LARGE_LOSS = 10.0
"""Per cent of perplexity: more than this is worth a warning."""

ALTERNATIVES = {
    "f16": ("--weights int8 without pruning", 8.5),
    "int8": ("--weights int4 --method awq+gptq without pruning", 4.5),
    "int4": ("--weights int4 --method awq+gptq without pruning", 4.5),
}
"""What is left of the bits of a file when it is not pruned: (how, bits per weight)."""


@dataclass(frozen=True)
class Pruning:
    """What was asked for. sparsity: the share of zeros in all matrices of the layers together, but for those that
    `overrides` name; allocation says how they share it. refine: masks are improved by DSnoT's exchanges."""

    criterion: Criterion
    pattern: Pattern = UNSTRUCTURED
    sparsity: float = 0.5
    allocation: Allocation = "uniform"
    refine: bool = False
    overrides: Sequence[PruneOverride] = ()

    @property
    def calibrated(self) -> bool:
        """Whether it needs to see inputs."""
        return self.criterion != "magnitude" or self.refine or self.allocation == "sensitivity"

    def check(self, weights: str, asymmetric: bool, calibrated: bool) -> None:
        """Raises ConversionError for what makes no sense together."""
        if weights not in ALTERNATIVES:
            raise ConversionError(
                f"pruning needs --weights {', '.join(ALTERNATIVES)}, for which there are encodings that leave zeros "
                f"out, found {weights}"
            )
        if asymmetric:
            raise ConversionError("pruning needs weights that can be exactly 0, which asymmetric int4 has not")
        if self.calibrated and not calibrated:
            raise ConversionError(f"pruning by {self.describe()} needs a text to calibrate with: give one with --calib")
        if self.refine and self.pattern.rows * self.pattern.columns != 1:
            raise ConversionError(f"refinement exchanges single weights, found the pattern {self.pattern}")
        if self.allocation != "uniform" and self.pattern.fixed is not None:
            raise ConversionError(f"the pattern {self.pattern} gives all matrices the same share of zeros")
        for override in self.overrides:
            self.pattern.sparsity(override.sparsity)

    def sparsities(self, names: Iterable[str]) -> dict[str, float]:
        """The share of zeros of those of the matrices `names` that are pruned, if it is uniform."""
        found = {}
        for name in names:
            matching = [override.sparsity for override in self.overrides if fnmatchcase(name, override.pattern)]
            sparsity = matching[-1] if matching else self.sparsity
            if sparsity:
                found[name] = sparsity
        return found

    def shares(self, name: str) -> bool:
        """Whether the matrix is one of those that have the budget in common."""
        return not any(fnmatchcase(name, override.pattern) for override in self.overrides)

    def describe(self) -> str:
        extras = [" shared by sensitivity"] * (self.allocation != "uniform") + [" refined by DSnoT"] * self.refine
        return f"{self.criterion}, {self.pattern} {100 * self.sparsity:g} %" + ",".join(extras)

    def advice(self, weights: str, bits: float) -> str:
        """What loses less than this did. bits: per weight of the matrices of the layers, as they are stored."""
        ways = [] if self.criterion == "sparsegpt" else ["--prune sparsegpt"]
        if self.pattern.rows * self.pattern.columns > 1 or self.pattern.fixed == 0.5:
            other = "unstructured" if weights == "int4" else "unstructured or nm:6:8"  # in int4 6:8 saves nothing
            ways.append(f"--pattern {other}, which spare single weights that matter")
        if self.sparsity > 0.3:
            ways.append("fewer zeros, such as --sparsity 0.3")
        dense, needed = ALTERNATIVES[weights]
        ways.append(f"{dense} ({needed:g} bits per weight; here {bits:.2f})")
        return "; ".join(ways)


def pruning_from(
    prune: str | None,
    pattern: str | None,
    sparsity: float | None,
    allocation: str | None,
    refined: bool,
    overrides: Sequence[PruneOverride],
) -> Pruning | None:
    """Options as the command line has them; None without any. Raises ConversionError."""
    if prune is None:
        given = {"pattern": pattern, "sparsity": sparsity, "allocate": allocation, "refine": refined or None}
        if names := [f"--{name}" for name, value in given.items() if value is not None]:
            raise ConversionError(f"{', '.join(names)} say how to prune; say by what with --prune {'|'.join(CRITERIA)}")
        if overrides:
            raise ConversionError(f"the override {str(overrides[0])!r} needs --prune {'|'.join(CRITERIA)}")
        return None
    if prune not in get_args(Criterion):
        raise ConversionError(f"expected to prune by {', '.join(CRITERIA)}, found {prune!r}")
    if allocation not in (None, *get_args(Allocation)):
        raise ConversionError(f"expected an allocation among {', '.join(ALLOCATIONS)}, found {allocation!r}")
    shape = parse_pattern(pattern or "auto", UNSTRUCTURED)
    criterion, shares = (c for c in CRITERIA if c == prune), (a for a in ALLOCATIONS if a == (allocation or "uniform"))
    return Pruning(next(criterion), shape, shape.sparsity(sparsity), next(shares), refined, overrides)
