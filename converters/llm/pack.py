"""From a weight to a stored tensor: which encoding it gets, and what that costs in bytes and in error.
How floats are rounded to groups is in `groups.py`, which encoding leaves zeros out in `sparse_encoding.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from edgert.converters.llm.checkpoint import ExactBlocks
from edgert.converters.llm.groups import GROUP, round_to_groups
from edgert.converters.llm.neurons import HeldNeurons
from edgert.converters.llm.weights import HeldBlocks, Weight
from edgert.converters.sparse_encoding import Fit, fit_f16, fit_groups
from edgert.format.model import StoredTensor
from edgert.graph.ir import Array, Graph

Weights: TypeAlias = Literal["keep", "f32", "f16", "int8", "int4"]
WEIGHTS: tuple[Weights, ...] = ("keep", "f32", "f16", "int8", "int4")

Encoding: TypeAlias = Literal["f32", "f16", "q8g", "q8", "q4m", "q4"]
Policy: TypeAlias = Callable[[str, Weight], "Encoding | None"]
"""policy(name, weight) -> the encoding of a matrix, None for what `Packer` would choose."""

BITS: dict[str, float] = {"f32": 32, "f16": 16, "q8g": 8.5, "q8": 8, "q4m": 5, "q4": 4.5}

MANY = 0.2
"""A share of zeros that is no accident: of dense int4 weights, about a tenth are 0."""

ENDS = ("embedding", "output")
"""Matrices of the vocabulary: rounding them costs more than rounding the layers, so int4 leaves them 8 bits."""


@dataclass(frozen=True)
class Packed:
    """What became of one weight. source: its types in the checkpoint. error: the norm of what rounding changed
    relative to the norm of the weight; 0 and lossless when nothing changed. density: the share of weights stored.
    zeros: in words, what became of those of a matrix that has many."""

    name: str
    shape: tuple[int, ...]
    source: str
    encoding: str
    nbytes: int
    error: float = 0.0
    lossless: bool = True
    density: float = 1.0
    zeros: str = ""


@dataclass(frozen=True)
class Packer:
    """Stores weights as `weights` asks for; `policy` overrides it, by name.

    'keep': what can be stored exactly, is; types without an exact home go to the next finer encoding. Else each
    matrix in the encoding asked for, unless the source has exact blocks that are as small. Vectors stay float32.
    """

    graph: Graph
    weights: Weights = "keep"
    policy: Policy | None = None

    def store(self, name: str, weight: Weight) -> tuple[StoredTensor, Packed]:
        """The tensor for the file and what it cost. Raises FormatError for values that are not finite."""
        if isinstance(weight, HeldNeurons):
            return self.neurons(name, weight)
        if len(weight.shape) != 2:
            stored = StoredTensor.pack_dense(name, weight.load())
            return stored, Packed(name, weight.shape, weight.source, "f32", stored.nbytes)
        chosen = self.policy(name, weight) if self.policy is not None else None
        blocks = weight.exact()
        if blocks is not None and blocks.encoding == "q8" and self.in_groups(name, chosen):
            return self.packed(name, weight, q8_as_q8g(blocks), weight.load())
        if blocks is not None and self.keeps(name, blocks, chosen):
            return self.packed(name, weight, blocks, None)
        values = weight.load()
        chosen = chosen or self.choose(name, weight, values)
        if chosen == "f32":
            return self.packed(name, weight, None, values)
        if chosen == "f16":
            blocks = ExactBlocks("f16", np.asarray(values, np.float16))
        else:
            blocks = round_to_groups(values, "q8g" if chosen == "q8" else chosen)
        return self.packed(name, weight, blocks, values)

    def neurons(self, name: str, weight: HeldNeurons) -> tuple[StoredTensor, Packed]:
        """Rounded neurons as they are."""
        assert weight.up.scale is not None and weight.down.scale is not None
        numbers = np.stack([weight.up.values, weight.down.values], axis=1)
        scale = np.stack([weight.up.scale, weight.down.scale], axis=1)
        stored = StoredTensor.pack_neurons(name, numbers, scale, weight.encoding)
        found = Packed(name, weight.shape, weight.source, weight.encoding, stored.nbytes, weight.error)
        return stored, replace(found, lossless=weight.error == 0.0)

    def keeps(self, name: str, blocks: ExactBlocks, chosen: Encoding | None) -> bool:
        """Whether exact blocks are taken as they are."""
        if chosen is not None:
            return blocks.encoding == chosen
        if self.weights == "keep":
            return True
        limit = BITS[self.asked(name)]
        return BITS[blocks.encoding] <= (BITS["q4m"] if limit == BITS["q4"] else limit)

    def in_groups(self, name: str, chosen: Encoding | None) -> bool:
        """Whether int8 with a scale per row gets the scale in every group: for products in integers."""
        wanted = chosen or (self.asked(name) if self.weights != "keep" else "q8")
        return wanted == "q8g" and self.layout(name) != "row"

    def asked(self, name: str) -> Encoding:
        """The encoding that `weights` means for a matrix that is not kept."""
        if self.weights == "int4":
            return "q4" if name.startswith("layers.") else "q8g" if name in ENDS else "f16"
        if self.weights == "int8":
            return "q8g" if name.startswith("layers.") or name in ENDS else "f16"
        return "f16" if self.weights == "f16" else "f32"

    def choose(self, name: str, weight: Weight, values: Array) -> Encoding:
        """The encoding of a matrix that has no exact one, or not the one asked for."""
        if self.weights != "keep":
            return self.asked(name)
        kinds = set(weight.source.split(" + "))
        if kinds <= {"BF16", "F16"} and np.abs(values).max(initial=0) < np.finfo(np.float16).max:
            return "f16"
        if kinds & {"F32", "F16", "BF16", "made"}:
            return "f32"
        return "q4m" if kinds <= {"Q4_K", "Q4_0", "Q4_1"} else "q8g"

    def packed(
        self, name: str, weight: Weight, blocks: ExactBlocks | None, values: Array | None
    ) -> tuple[StoredTensor, Packed]:
        """`blocks` stored, or `values` as float32; `values` are what the error is measured against, if any."""
        layout = self.layout(name)
        if blocks is None:
            assert values is not None
            stored = StoredTensor.pack_dense(name, values, layout)
            words = f"{100 * share:.0f} % zeros, which f32 stores" if (share := zeros_of(values)) >= MANY else ""
            return stored, Packed(name, weight.shape, weight.source, "f32", stored.nbytes, zeros=words)
        sparse, words = self.without_zeros(name, weight, blocks)
        if sparse is not None:
            stored = sparse
        elif blocks.encoding == "f16":
            stored = StoredTensor.pack_f16(name, blocks.values, layout)
        elif blocks.encoding == "q8":
            assert blocks.scale is not None
            stored = StoredTensor.pack_q8(name, blocks.values, blocks.scale, dtype="float32")
        else:
            stored = pack_blocks(name, blocks)
        error = 0.0 if values is None else relative_error(values, stored.dense())
        if values is None and isinstance(weight, HeldBlocks):
            error = weight.error
        found = Packed(name, weight.shape, weight.source, stored.encoding, stored.nbytes, error, error == 0.0)
        return stored, replace(found, density=stored.density, zeros=words)

    def without_zeros(self, name: str, weight: Weight, blocks: ExactBlocks) -> Fit:
        """`blocks` in an encoding that leaves zeros out, if that is smaller. Only products can read those."""
        readers = [node for node in self.graph.nodes if name in node.inputs]
        if not readers or any(node.op != "Gemm" or node.inputs.index(name) != 1 for node in readers):
            return None, ""
        pattern = weight.pattern if isinstance(weight, HeldBlocks) else "auto"
        if pattern == "auto" and zeros_of(blocks.values, 8 if blocks.encoding == "q4" else 0) < MANY:
            return None, ""
        if blocks.encoding == "f16":
            return fit_f16(name, blocks.values, pattern=pattern)
        if blocks.scale is not None and (blocks.encoding == "q4" or blocks.encoding == "q8g"):
            return fit_groups(name, blocks.values, blocks.scale, blocks.encoding, pattern=pattern)
        return None, ""

    def layout(self, name: str) -> Literal["row", "n16k1"]:
        """Lines of 16 rows for matrices that are multiplied, looked up as well or not; rows for mere tables."""
        return "n16k1" if any(node.op == "Gemm" and name in node.inputs for node in self.graph.nodes) else "row"


def pack_blocks(name: str, blocks: ExactBlocks) -> StoredTensor:
    """`blocks` of one of the encodings by groups."""
    assert blocks.scale is not None
    if blocks.encoding == "q4":
        return StoredTensor.pack_q4(name, blocks.values, blocks.scale)
    if blocks.encoding == "q8g":
        return StoredTensor.pack_q8g(name, blocks.values, blocks.scale)
    assert blocks.encoding == "q4m" and blocks.minimum is not None
    return StoredTensor.pack_q4m(name, blocks.values, blocks.scale, blocks.minimum)


def q8_as_q8g(blocks: ExactBlocks) -> ExactBlocks:
    """The same numbers, the scale of each row rounded to half precision."""
    assert blocks.scale is not None
    groups = -(-blocks.values.shape[1] // GROUP)
    return ExactBlocks("q8g", blocks.values, np.repeat(blocks.scale.astype(np.float16)[:, None], groups, axis=1))


def zeros_of(numbers: Array, zero: int = 0) -> float:
    """The share of `numbers` that are `zero`."""
    return 1.0 - np.count_nonzero(numbers != zero) / max(1, numbers.size)


def relative_error(wanted: Array, found: Array) -> float:
    """|wanted - found| / |wanted|, Frobenius norms; 0 for equal arrays."""
    size = float(np.linalg.norm(wanted))
    return float(np.linalg.norm(wanted - found)) / size if size else 0.0


def pack_constants(graph: Graph) -> Mapping[str, StoredTensor]:
    """The small constants that are in the graph itself."""
    return {name: StoredTensor.pack_dense(name, value) for name, value in graph.constants.items()}
