"""Scores to answers: logits, probabilities and quantized outputs, ties and odd shapes."""

from __future__ import annotations

import numpy as np
import pytest

from edgert.errors import InputError
from edgert.graph.ir import Quantization
from edgert.runtime.postprocess import probabilities, top


def test_logits_pass_a_softmax() -> None:
    found = probabilities(np.array([[1.0, 3.0, 1.0]], np.float32))
    assert found.sum() == pytest.approx(1)
    assert found.argmax() == 1
    assert np.isfinite(probabilities(np.array([1e9, -1e9], np.float32))).all()


def test_probabilities_stay() -> None:
    chances = np.array([0.25, 0.75], np.float32)
    assert np.array_equal(probabilities(chances), chances)


def test_quantized_scores() -> None:
    quant = Quantization(np.array(1 / 256, np.float32), np.array(0, np.int32))
    answers = top(np.array([[64, 192]], np.uint8), ["a", "b"], 2, quant)
    assert [(a.index, a.label) for a in answers] == [(1, "b"), (0, "a")]
    assert answers[0].probability == pytest.approx(0.75)


def test_ties_and_missing_labels() -> None:
    answers = top(np.zeros(4, np.float32), ["only one"], 3)
    assert [(a.index, a.label) for a in answers] == [(0, ""), (1, ""), (2, "")]


def test_several_samples_are_refused() -> None:
    with pytest.raises(InputError, match="one sample"):
        probabilities(np.zeros((2, 3), np.float32))
