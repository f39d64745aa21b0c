"""From the scores of a classifier to answers in words: the most probable classes and their labels.

Tasks other than classification have no answer in words; their outputs are shown as arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgert.errors import InputError
from edgert.graph.ir import Array, Quantization

SUM_TOLERANCE = 0.02
"""Scores are taken for probabilities if they add up to one this closely: int8 softmax outputs do."""


@dataclass(frozen=True)
class Answer:
    """A class: its index, its label ('' if the model has none) and its probability."""

    index: int
    label: str
    probability: float


def probabilities(scores: Array, quant: Quantization | None = None) -> Array:
    """float32 [classes] from the scores of one sample, [classes] or [1, classes, ...]: logits pass a softmax.

    quant: what the scores are stored with, if they are quantized. Raises InputError for other shapes.
    """
    if scores.size != max(scores.shape, default=0):
        raise InputError(f"expected the scores of one sample, found an output of shape {list(scores.shape)}")
    values = scores.reshape(-1).astype(np.float32)
    if quant is not None:
        values = (values - np.float32(quant.zero_point)) * np.float32(quant.scale)
    if values.size and values.min() >= 0 and abs(float(values.sum()) - 1) < SUM_TOLERANCE:
        return values
    if values.size == 1:
        return values
    exponents = np.exp(values - values.max(initial=-np.inf))
    return np.asarray(exponents / exponents.sum(), np.float32)


def top(scores: Array, labels: Sequence[str], count: int, quant: Quantization | None = None) -> list[Answer]:
    """The `count` most probable classes, best first; of equals the lower index first."""
    chances = probabilities(scores, quant)
    order = np.argsort(-chances, kind="stable")[:count]
    named = len(labels) == len(chances)
    return [Answer(int(i), labels[i] if named else "", float(chances[i])) for i in order]
