"""Rounding of neurons: up rows as any matrix, down columns with groups along themselves.
Which neurons a threshold skips is in `thresholds.py`; the layers are taken apart in `llm/neurons.py`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgert.converters.llm.checkpoint import ExactBlocks
from edgert.converters.llm.compress.gptq import gptq
from edgert.converters.llm.compress.round_to_nearest import moments_of_groups, round_to_nearest
from edgert.converters.llm.groups import GROUP, GroupEncoding
from edgert.converters.llm.neurons import HeldNeurons, NeuronEncoding
from edgert.converters.llm.pack import relative_error
from edgert.converters.llm.weights import dequantized
from edgert.converters.prune.scores import inverse_factor
from edgert.converters.prune.sparsegpt import sweep
from edgert.graph.ir import Array


def round_neurons(
    neurons: Array,
    encoding: NeuronEncoding,
    source: str,
    inputs: Array | None = None,
    values: Array | None = None,
    sweeping: bool = False,
) -> HeldNeurons:
    """`neurons` float32 [F, 2, D] in `encoding`. inputs: moments [D, D] of what the up rows meet; values: moments
    [F, F] of what the down columns are multiplied by; None where they are not known. sweeping: by GPTQ, for which both
    must be.

    Raises ConversionError as `round_to_nearest` and `gptq` do.
    """
    groups: GroupEncoding = "q4" if encoding == "neurons4" else "q8g"
    up, down = np.ascontiguousarray(neurons[:, 0]), np.ascontiguousarray(neurons[:, 1])
    if sweeping and inputs is not None and values is not None:
        rows = gptq(up, inputs, groups)
        columns = swept_columns(down, values, groups)
    else:
        rows = round_to_nearest(up, groups, None if inputs is None else moments_of_groups(inputs))
        columns = round_to_nearest(down, groups)
    held = HeldNeurons(rows, columns, source)
    return HeldNeurons(rows, columns, source, relative_error(neurons, held.load()))


def swept_columns(down: Array, moments: Array, groups: GroupEncoding) -> ExactBlocks:
    """The columns `down` [F, D] of a down projection by GPTQ, neuron after neuron, groups along each."""
    values = np.empty(down.shape, np.uint8 if groups == "q4" else np.int8)
    scale = np.empty((len(down), -(-down.shape[1] // GROUP)), np.float16)
    sweep(down.T, inverse_factor(moments), Upright(groups, values, scale))
    return ExactBlocks(groups, values, scale)


@dataclass(frozen=True)
class Upright:
    """Columns of a sweep that are rounded each on its own. values [F, D] and scale [F, D / 32], as they come."""

    groups: GroupEncoding
    values: Array
    scale: Array
    width: int = GROUP

    def settle(self, start: int, columns: Array, keep: Array, factor: Array) -> Array:
        rest, errors = np.array(columns), np.empty_like(columns)
        for j in range(len(rest)):
            blocks = round_to_nearest(rest[j : j + 1], self.groups)
            assert blocks.scale is not None
            self.values[start + j], self.scale[start + j] = blocks.values[0], blocks.scale[0]
            errors[j] = (rest[j] - dequantized(blocks)[0]) / factor[j, j]
            rest[j + 1 :] -= factor[j, j + 1 :, None] * errors[j]
        return errors
