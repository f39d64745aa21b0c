"""Rotary position embeddings: from a base and its scaling to one angle per pair of dimensions.
Scalings that change with the length of the text are resolved here, for the context the model gets."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgert.converters.llm.settings import Settings
from edgert.errors import UnsupportedError

Frequencies = npt.NDArray[np.float64]

SCALINGS = ("default", "none", "linear", "ntk", "dynamic", "yarn", "llama3", "longrope")

MIN_BASE = 2.0
"""Bases are 10,000 and more; at 1 all pairs would turn alike, and the ramp of YaRN has no logarithm to divide by."""


@dataclass(frozen=True)
class Rope:
    """frequencies: radians per position, one per rotated pair (i, i + r/2), of the first r dimensions of a head.
    scale: cos and sin are multiplied by it (YaRN). context: positions it is good for, None: as trained.

    Source: Su et al. 2021, section 3.2, in the half-split form of GPT-NeoX.
    """

    frequencies: tuple[float, ...]
    scale: float = 1.0
    context: int | None = None


def plain(base: float, dim: int) -> Frequencies:
    """base ** (-2 i / dim) for i in 0 .. dim/2 - 1. Source: Su et al. 2021, equation 15."""
    return np.asarray(base ** (-np.arange(0, dim, 2, dtype=np.float64) / dim))


def ntk_base(base: float, dim: int, factor: float) -> float:
    """The base with which the slowest pair is `factor` times slower and the fastest as before.

    Source: the "NTK-aware" scaling described in Peng et al. 2023 (YaRN), section 3.1.
    """
    return float(base * factor ** (dim / max(dim - 2, 1)))


def llama3(
    frequencies: Frequencies, factor: float, low_factor: float, high_factor: float, original: int
) -> Frequencies:
    """Pairs that turn less than `low_factor` times in the `original` context are slowed down by `factor`, those
    that turn more than `high_factor` times are not, and those between partly. Source: Llama 3.1, `apply_scaling`.
    """
    turns = original * frequencies / (2 * math.pi)
    share = np.clip((turns - low_factor) / max(high_factor - low_factor, 1e-9), 0, 1)
    return np.asarray((1 - share) * frequencies / factor + share * frequencies)


def yarn(
    base: float, dim: int, factor: float, original: int, fast: float = 32.0, slow: float = 1.0, truncate: bool = True
) -> Frequencies:
    """As `llama3`, with a ramp that is linear in the index of the pair. Source: Peng et al. 2023, section 3.2."""

    def pair_turning(turns: float) -> float:
        return dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(base))

    low, high = pair_turning(fast), pair_turning(slow)
    if truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    ramp = np.clip((np.arange(dim // 2) - low) / (high - low if high != low else 0.001), 0, 1)
    frequencies = plain(base, dim)
    return np.asarray(frequencies / factor * ramp + frequencies * (1 - ramp))


def yarn_scale(factor: float, weight: float = 1.0) -> float:
    """0.1 weight ln(factor) + 1, at least 1. Source: Peng et al. 2023, equation 22."""
    return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0


def rope_of(base: float, dim: int, kind: str, scaling: Settings, context: int) -> Rope:
    """The rope with `scaling`, whose keys are those of Hugging Face's `rope_scaling`, for a model of `context`.

    Raises UnsupportedError for a `kind` that is not known, FormatError for values that make no sense.
    """
    if kind in ("default", "none"):
        return Rope(tuple(plain(base, dim)))
    if kind == "linear":
        return Rope(tuple(plain(base, dim) / scaling.number("factor", low=1e-3)))
    if kind == "ntk":
        return Rope(tuple(plain(ntk_base(base, dim, scaling.number("factor", low=1.0)), dim)))
    if kind == "dynamic":  # as trained, up to the trained length; the base grows only beyond it
        return Rope(tuple(plain(base, dim)), context=context)
    if kind == "llama3":
        frequencies = llama3(
            plain(base, dim),
            scaling.number("factor", low=1e-3),
            scaling.number("low_freq_factor"),
            scaling.number("high_freq_factor"),
            scaling.integer("original_max_position_embeddings"),
        )
        return Rope(tuple(frequencies))
    if kind == "yarn":
        return _yarn(base, dim, scaling, context)
    if kind == "longrope":
        return _longrope(base, dim, scaling, context)
    raise UnsupportedError(
        f"{scaling.path}: expected a rope scaling among {', '.join(SCALINGS)}, found {kind!r}; "
        "convert a model of another family, or one without scaling"
    )


def _yarn(base: float, dim: int, scaling: Settings, context: int) -> Rope:
    original = scaling.integer("original_max_position_embeddings", context)
    factor = scaling.number("factor", context / original, low=1e-3)
    weights = scaling.number("mscale", 0.0), scaling.number("mscale_all_dim", 0.0)
    scale = yarn_scale(factor)
    if all(weights):
        scale = yarn_scale(factor, weights[0]) / yarn_scale(factor, weights[1])
    frequencies = yarn(
        base, dim, factor, original,
        scaling.number("beta_fast", 32.0, low=1e-3), scaling.number("beta_slow", 1.0, low=1e-3),
        scaling.flag("truncate", True),
    )  # fmt: skip
    return Rope(tuple(frequencies), scaling.number("attention_factor", scale))


def _longrope(base: float, dim: int, scaling: Settings, context: int) -> Rope:
    """The short factors, good for the context the model was first trained with: the long ones would change
    every key that lies in the cache. Source: Ding et al. 2024 (LongRoPE)."""
    original = scaling.integer("original_max_position_embeddings", context)
    factor = scaling.number("factor", context / original, low=1e-3)
    scale = math.sqrt(1 + math.log(factor) / math.log(max(original, 2))) if factor > 1 else 1.0
    frequencies = plain(base, dim) / np.array(scaling.numbers("short_factor", dim // 2))
    return Rope(tuple(frequencies), scaling.number("attention_factor", scale), original)
