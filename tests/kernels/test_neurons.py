"""Feed-forward layers neuron by neuron: every kernel at every level against the reference, and bit for bit alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from harness import LEVELS
from offers import check, offers_for, run_offer, site_of

from edgert.format.encodings.neurons import GROUP
from edgert.format.model import StoredTensor
from edgert.graph.ir import TensorType
from edgert.kernels_cpu.neurons import ACTIVATIONS
from edgert.kernels_cpu.reference.neurons import NEURON_ACTIVATIONS

SHAPES = [(1, 1, 1), (1, 5, 31), (2, 64, 64), (3, 65, 96), (1, 130, 576), (4, 200, 128), (7, 33, 160), (5, 70, 260)]
"""Rows, neurons, columns."""


def layer(rng: np.random.Generator, rows: int, width: int, columns: int, encoding: str = "neurons4") -> Any:
    """(x, gate, residual, stored): x without loss in g32."""
    groups = -(-columns // GROUP)
    x = rng.integers(-127, 128, (rows, columns)).astype(np.float32)
    x[:, ::GROUP] = 127.0
    size = 2.0 ** rng.integers(-8, -5, (rows, groups))
    x *= np.repeat(size, GROUP, axis=1)[:, :columns].astype(np.float32)
    gate = (rng.standard_normal((rows, width)) * 2).astype(np.float32)
    residual = rng.standard_normal((rows, columns)).astype(np.float32)
    four = encoding == "neurons4"
    numbers = rng.integers(0 if four else -128, 16 if four else 128, (width, 2, columns))
    scale = (rng.standard_normal((width, 2, groups)) / (8 if four else 128)).astype(np.float16)
    return x, gate, residual, StoredTensor.pack_neurons("w", numbers.astype("u1" if four else "i1"), scale, encoding)


def run(level: Any, inputs: list[Any], stored: StoredTensor, attrs: dict[str, Any], threads: int, order: str) -> Any:
    """What the offer makes of the inputs x, gate and perhaps residual."""
    given = [inputs[0], inputs[1], stored.dense(), *inputs[2:]]
    kinds = [TensorType("float32", v.shape) for v in given]
    out = TensorType("float32", inputs[0].shape)
    site = site_of("NeuronFFN", given, kinds, [out], attrs, {2: stored}, level, threads)
    (offer,), _ = offers_for(site)
    return run_offer(offer, site, given, order)[0][0]


def test_activations_are_those_of_the_reference() -> None:
    assert tuple(NEURON_ACTIVATIONS) == ACTIVATIONS


@pytest.mark.parametrize("encoding", ["neurons4", "neurons8"])
@pytest.mark.parametrize("shape", SHAPES)
def test_neurons(encoding: str, shape: tuple[int, int, int], rng: np.random.Generator) -> None:
    x, gate, residual, stored = layer(rng, *shape, encoding)
    attrs = {"activation": "Silu", "threshold": 0.2}
    weights = np.abs(stored.dense())
    size = float(
        (np.abs(gate) * (np.abs(x) @ weights[:, 0].T) @ weights[:, 1]).max()
    )  # of what is added, without signs
    check("NeuronFFN", [x, gate, stored.dense(), residual], attrs=attrs, constants={2: stored}, atol=1e-6 * size)
    check("NeuronFFN", [x, gate, stored.dense()], attrs=attrs, constants={2: stored}, atol=1e-6 * size)


@pytest.mark.parametrize("kind", ACTIVATIONS)
@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_activations(kind: str, threshold: float, rng: np.random.Generator) -> None:
    x, gate, residual, stored = layer(rng, 3, 100, 96)
    gate[0, :4] = 0.0, -0.0, 30.0, -30.0
    attrs = {"activation": kind, "threshold": threshold}
    check("NeuronFFN", [x, gate, stored.dense(), residual], attrs=attrs, constants={2: stored}, atol=2e-3)


@pytest.mark.parametrize("encoding", ["neurons4", "neurons8"])
def test_bits_depend_on_nothing_but_the_row(encoding: str, rng: np.random.Generator) -> None:
    x, gate, residual, stored = layer(rng, 8, 300, 288, encoding)
    attrs = {"activation": "Silu", "threshold": 0.3}
    whole = [run(v, [x, gate, residual], stored, attrs, 1, "forward") for v in LEVELS]
    for made in whole[1:]:
        np.testing.assert_array_equal(made, whole[0])
    level = LEVELS[-1] if len(LEVELS) == 1 else LEVELS[1]
    for threads, order in ((2, "backward"), (4, "forward")):
        np.testing.assert_array_equal(run(level, [x, gate, residual], stored, attrs, threads, order), whole[0])
    for row in range(8):
        alone = [value[row : row + 1] for value in (x, gate, residual)]
        np.testing.assert_array_equal(run(level, alone, stored, attrs, 1, "forward"), whole[0][row : row + 1])


def test_what_is_not_active_does_not_count(rng: np.random.Generator) -> None:
    x, gate, residual, stored = layer(rng, 2, 64, 128)
    gate[:] = -40.0
    made = run(LEVELS[0], [x, gate, residual], stored, {"activation": "Relu"}, 1, "forward")
    np.testing.assert_array_equal(made, residual)


def test_a_gate_that_is_no_number_passes(rng: np.random.Generator) -> None:
    x, gate, residual, stored = layer(rng, 2, 64, 128)
    gate[1, 7] = np.nan
    for kind in ACTIVATIONS:
        attrs = {"activation": kind, "threshold": 10.0}
        made = run(LEVELS[0], [x, gate, residual], stored, attrs, 1, "forward")
        np.testing.assert_array_equal(made[0], residual[0])
        assert np.isnan(made[1]).all()
