"""What was asked for when a network is pruned, checked before any work. What is done about it is `network.py`.
The methods themselves are in `converters/prune`, and language models have their own options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import get_args

from edgert.converters.llm.compress.policy import PruneOverride, parse_override
from edgert.converters.prune.allocation import ALLOCATIONS, Allocation
from edgert.converters.prune.patterns import BLOCK_4X4, Pattern, parse_pattern
from edgert.converters.prune.scores import CRITERIA, Criterion
from edgert.errors import ConversionError

LARGE_LOSS = 2.0
"""Points of accuracy, or per cent of changed answers: more than this is worth a warning."""

MODEST = 0.3
"""A sparsity that most networks bear in one shot, advised to who lost much."""

KINDS = ("block", "unstructured")
"""Kinds of patterns that convolutions have encodings for; single weights fall into blocks of one row."""


@dataclass(frozen=True)
class NetworkPruning:
    """sparsity: the share of zeros in all pruned layers together, but for those that `overrides` name; allocation
    says how they share it. refine: masks of single weights are improved by DSnoT's exchanges. permute: channels are
    brought into the best order first."""

    criterion: Criterion
    pattern: Pattern = BLOCK_4X4
    sparsity: float = 0.5
    allocation: Allocation = "uniform"
    refine: bool = False
    permute: bool = True
    overrides: tuple[PruneOverride, ...] = ()

    @property
    def calibrated(self) -> bool:
        """Whether it needs to see inputs."""
        return self.criterion != "magnitude" or self.refine or self.allocation == "sensitivity"

    def check(self, calibrated: bool) -> None:
        """Raises ConversionError for what makes no sense together."""
        if self.pattern.kind not in KINDS:
            raise ConversionError(
                f"expected a pattern for convolutions (4x4, 2x4, 1x4, 64x4, 4x1, 2x1, 1x1, unstructured), found "
                f"{self.pattern}, which is for language models"
            )
        if self.calibrated and not calibrated:
            raise ConversionError(
                f"pruning by {self} needs data to calibrate with: give images or an .npz with --calib"
            )
        if self.refine and self.pattern.rows * self.pattern.columns != 1:
            raise ConversionError(f"refinement exchanges single weights, found the pattern {self.pattern}")

    def override(self, name: str) -> PruneOverride | None:
        """The last override whose pattern `name` matches."""
        matching = [override for override in self.overrides if fnmatchcase(name, override.pattern)]
        return matching[-1] if matching else None

    def __str__(self) -> str:
        extras = [" shared by sensitivity"] * (self.allocation != "uniform") + [" refined by DSnoT"] * self.refine
        return f"{self.criterion}, {self.pattern}, {100 * self.sparsity:g} %" + ",".join(extras)

    def advice(self) -> str:
        """What loses less than this did."""
        ways = ["train it sparse, see docs/pruning.md"]
        if self.sparsity > MODEST:
            ways.append(f"fewer zeros, such as --sparsity {MODEST:g}")
        if self.allocation == "uniform":
            ways.append("--allocate sensitivity")
        if self.criterion != "sparsegpt":
            ways.append("--prune sparsegpt with --calib")
        return "; ".join(ways)


def network_pruning(
    prune: str | None,
    pattern: str | None,
    sparsity: float | None,
    allocate: str | None,
    refine: bool,
    overrides: Sequence[str],
) -> NetworkPruning | None:
    """Options as the command line has them; None without any. Raises ConversionError."""
    if prune is None:
        given = {"pattern": pattern, "sparsity": sparsity, "allocate": allocate, "refine": refine or None}
        if names := [f"--{name}" for name, value in given.items() if value is not None]:
            raise ConversionError(f"{', '.join(names)} say how to prune; say by what with --prune {'|'.join(CRITERIA)}")
        return None
    if prune not in get_args(Criterion):
        raise ConversionError(f"expected to prune by {', '.join(CRITERIA)}, found {prune!r}")
    if allocate not in (None, *ALLOCATIONS):
        raise ConversionError(f"expected an allocation among {', '.join(ALLOCATIONS)}, found {allocate!r}")
    parsed = [parse_override(text) for text in overrides]
    pruned = tuple(override for override in parsed if isinstance(override, PruneOverride))
    if len(pruned) < len(parsed):
        raise ConversionError("overrides of a network say 'LAYER=prune:0.3' or 'LAYER=prune:none', nothing else")
    shape = parse_pattern(pattern or "auto", BLOCK_4X4)
    criterion = next(c for c in CRITERIA if c == prune)
    allocation = next(a for a in ALLOCATIONS if a == (allocate or "uniform"))
    return NetworkPruning(criterion, shape, shape.sparsity(sparsity), allocation, refine, overrides=pruned)
