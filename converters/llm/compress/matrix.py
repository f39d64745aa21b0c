"""One matrix of a language model on its way to fewer bits: what of it goes, and what the rest is rounded to.
Which matrices, and with what inputs, is `compression.py`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgert.converters.llm.checkpoint import ExactBlocks
from edgert.converters.llm.compress.gptq import gptq
from edgert.converters.llm.compress.pruning import Pruning
from edgert.converters.llm.compress.round_to_nearest import moments_of_groups, round_to_nearest
from edgert.converters.llm.groups import GroupEncoding
from edgert.converters.prune.allocation import Sensitivity, sensitivity
from edgert.converters.prune.dsnot import Inputs, refine
from edgert.converters.prune.scores import inverse_factor, magnitude, wanda
from edgert.converters.prune.sparsegpt import choosing, sparsegpt
from edgert.errors import ConversionError
from edgert.graph.ir import Array, Graph


@dataclass(frozen=True)
class Target:
    """What is to become of a matrix. encoding: None for float16. gptq: later columns make good what rounding did to
    earlier ones. pruning: None where all weights stay, else `sparsity` is the share that goes, and `parts` the numbers
    of rows that are judged each on its own."""

    encoding: GroupEncoding | None
    gptq: bool = False
    pruning: Pruning | None = None
    sparsity: float = 0.0
    parts: tuple[int, ...] = ()


def compressed(weights: Array, target: Target, inputs: Inputs | None) -> ExactBlocks:
    """`weights` float32 [N, K] pruned and rounded; inputs: None where only magnitudes and round-to-nearest are asked
    for. SparseGPT with GPTQ is one sweep. Raises ConversionError for weights that no encoding holds."""
    pruning, keep, mask = target.pruning, None, None
    values = weights
    if pruning is not None and pruning.criterion == "sparsegpt" and not pruning.refine:
        mask = choosing(pruning.pattern, target.sparsity, weights.shape[1], target.parts)
    elif pruning is not None:
        keep = kept(weights, target, inputs)
        values = weights if pruning.criterion == "sparsegpt" else np.where(keep, weights, np.float32(0))
    if target.gptq and target.encoding is not None and inputs is not None:
        return gptq(values, inputs.moments, target.encoding, mask=mask, keep=keep)
    if pruning is not None and pruning.criterion == "sparsegpt" and inputs is not None:
        pattern, parts = pruning.pattern, target.parts
        values, _ = sparsegpt(values, inputs.moments, pattern, target.sparsity, parts=parts, keep=keep)
    if target.encoding is None:
        return ExactBlocks("f16", halves(values))
    return round_to_nearest(values, target.encoding, None if inputs is None else moments_of_groups(inputs.moments))


def kept(weights: Array, target: Target, inputs: Inputs | None) -> Array:
    """What stays of `weights` as long as nothing of it changes: bool [N, K]."""
    pruning, sparsity, parts = target.pruning, target.sparsity, target.parts
    assert pruning is not None
    pattern, by_row = pruning.pattern, False
    if pruning.criterion == "magnitude" or inputs is None:
        keep = pattern.keep(magnitude(weights), sparsity, parts)
    elif pruning.criterion == "wanda":
        by_row = pattern.rows == 1
        keep = pattern.keep(wanda(weights, inputs.moments), sparsity, parts, by_row)
    else:
        keep = sparsegpt(weights, inputs.moments, pattern, sparsity, parts=parts)[1]
    return refine(weights, keep, inputs, pattern) if pruning.refine and inputs is not None else keep


def measured(weights: Array, target: Target, inputs: Inputs) -> Sensitivity:
    """What more or fewer zeros than `target` has would do to the outputs: of every part in relation to itself, as the
    outputs of value are small beside those of query and key, and worth no less."""
    pruning = target.pruning
    assert pruning is not None
    surgeon = pruning.criterion == "sparsegpt"
    factor = inverse_factor(inputs.moments) if surgeon else None

    def prune(rows: Array, sparsity: float) -> Array:
        if surgeon:
            return sparsegpt(rows, inputs.moments, pruning.pattern, sparsity, factor=factor)[0]
        tried = Target(None, False, pruning, sparsity)
        return np.where(kept(rows, tried, inputs), rows, np.float32(0))

    pieces = np.split(weights, np.cumsum(target.parts[:-1])) if target.parts else [weights]
    found = [sensitivity(piece, inputs.moments, target.sparsity, prune) for piece in pieces]
    errors = {level: float(np.mean([part.errors[level] for part in found])) for level in found[0].errors}
    return Sensitivity(weights.size, errors)


def halves(values: Array) -> Array:
    """float16. Raises ConversionError for numbers beyond its range."""
    with np.errstate(over="ignore"):
        found = values.astype(np.float16)
    if not np.isfinite(found).all():
        raise ConversionError(
            f"expected weights within the range of float16, found {np.abs(values).max():g}; use --weights int8"
        )
    return found


def parts_of(graph: Graph, matrix: str) -> tuple[int, ...]:
    """Rows of the matrices that `matrix` has one above the other: query, key and value, or gate and up; () if one.

    Their outputs are of different size and worth, so that none may be pruned in favour of another.
    """
    maker = next((node for node in graph.nodes if node.op == "Gemm" and node.inputs[1] == matrix), None)
    reader = next((node for node in graph.nodes if maker is not None and maker.outputs[0] in node.inputs[:1]), None)
    rows = graph.types[matrix].static_shape[0]
    if reader is not None and reader.op == "GLU":
        return rows // 2, rows // 2
    if reader is not None and reader.op == "GroupQueryAttention":
        heads, kv_heads = reader.attr_int("num_heads", 1), reader.attr_int("kv_num_heads", 1)
        depth = rows // (heads + 2 * kv_heads)
        return heads * depth, kv_heads * depth, kv_heads * depth
    return ()
