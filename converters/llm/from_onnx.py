"""A text encoder exported to ONNX, with the tokenizer that its file lacks: what `edgert convert --tokenizer` reads.
How the graph becomes one over tokens is in `exported.py`; where it can not, it stays as it was exported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgert.converters.llm.architecture import Architecture
from edgert.converters.llm.exported import HIDDEN, IDS, MASK, SEGMENTS, Unreadable, read_exported
from edgert.converters.llm.importer import TOKENIZER, LanguageModel, with_values
from edgert.converters.llm.info import model_info, table
from edgert.converters.llm.layers import POSITIONS, TOKENS
from edgert.converters.llm.vocabulary_huggingface import huggingface_vocabulary
from edgert.converters.llm.weights import Weight
from edgert.converters.passes.deduplicate import deduplicate
from edgert.converters.passes.eliminate import eliminate
from edgert.converters.passes.fold_constants import fold_constants
from edgert.converters.passes.fold_shapes import fold_shapes
from edgert.converters.passes.pipeline import optimize
from edgert.converters.passes.recognise_activations import recognise_activations
from edgert.converters.passes.recognise_layer_norm import recognise_layer_norm
from edgert.converters.passes.recognise_weight_only import recognise_weight_only
from edgert.converters.safetensors.checkpoint import read_beside
from edgert.errors import ConversionError, UnsupportedError
from edgert.format.model import LanguageInfo
from edgert.graph.execute import run_graph
from edgert.graph.ir import Array, Graph

READABLE = (
    recognise_weight_only, fold_constants, fold_shapes, fold_constants, eliminate, deduplicate, recognise_activations,
    recognise_layer_norm,
)  # fmt: skip
"""The passes after which `read_exported` knows the operators; weights are still what they were."""

CONTEXT = 512
"""Tokens of a text where no configuration says how many: those of BERT and its descendants."""

MAX_CONTEXT = 1 << 13
"""Tokens at most: what a graph makes of a mask is as large as the square of this."""

CHECKED_TOKENS = 7
TOLERANCE = 1e-3
"""Of the largest number that the exported graph gives for CHECKED_TOKENS tokens; rounding alone is far below."""


@dataclass(frozen=True)
class TokenizerFolder:
    """A folder with tokenizer.json and perhaps configurations, or that one file alone."""

    path: Path

    @property
    def format(self) -> Literal["safetensors"]:
        return "safetensors"

    @property
    def metadata(self) -> Mapping[str, Any]:
        return {}

    def text(self, name: str) -> str | None:
        """See `Checkpoint.text`. Of a single file, nothing beside it is looked at."""
        if self.path.is_dir():
            return read_beside(self.path, name, self.path)
        return read_beside(self.path.parent, self.path.name, self.path) if name == "tokenizer.json" else None


@dataclass(frozen=True)
class ExportedEncoder:
    """model: the encoder over tokens, None if its graph can not be read so, for a reason that is in `notes`.

    language and tokenizer (uint8 [n]) describe either form; output: what the exported graph calls the vectors.
    """

    model: LanguageModel | None
    language: LanguageInfo
    tokenizer: Array
    output: str
    notes: list[str]


def import_exported(
    graph: Graph, src: Path, tokenizer: Path, source: dict[str, Any], licence: str = ""
) -> ExportedEncoder:
    """The encoder in `graph`, imported from `src`, with the tokenizer in the file or folder `tokenizer`.

    Raises UnsupportedError if the graph is no text encoder, ConversionError if there is no tokenizer, FormatError if
    it is damaged or has more tokens than the model.
    """
    folder = TokenizerFolder(tokenizer)
    if folder.text("tokenizer.json") is None:
        raise ConversionError(f"{tokenizer}: expected a tokenizer.json or a folder with one, found none")
    length = fixed_length(graph, src)
    vocabulary = huggingface_vocabulary(folder.text, tokenizer)
    output = hidden_output(graph, src)
    graph = graph.copy()
    graph.outputs = [output]  # not what pools it
    graph = optimize(graph, passes=READABLE)
    rows, width = table_shape(graph, src)
    context = length or table(folder, "config.json").integer("max_position_embeddings", CONTEXT, high=MAX_CONTEXT)
    sizes = Architecture("onnx", rows, context, 0, width, 0, 0, 0, 0, 0.0, causal=False)
    notes: list[str] = []
    read: tuple[Graph, dict[str, Weight]] | None = None
    try:
        read = read_exported(graph, context)
        check_same(graph, with_values(*read), rows, length or min(CHECKED_TOKENS, context))
        sizes = sizes_of(sizes, read[0])
    except UnsupportedError as error:
        read = None
        notes.append(f"kept as it was exported, with padded texts: {error}")
    info, more = model_info(sizes, folder, vocabulary, TOKENIZER)
    info, language = replace(info, name=src.stem, licence=licence), info.language
    assert language is not None
    text = np.frombuffer(vocabulary.tokenizer.encode("utf-8"), np.uint8)
    notes += more
    model = None if read is None else LanguageModel(sizes, *read, info, text, notes, source)
    return ExportedEncoder(model, language, text, output, notes)


def fixed_length(graph: Graph, src: Path) -> int:
    """The number of tokens of every text, 0 if any will do. Raises UnsupportedError unless the inputs are those of a
    text encoder."""
    kinds = {name: graph.types[name] for name in graph.inputs}
    known = IDS in kinds and set(kinds) <= {IDS, MASK, SEGMENTS}
    shapes = {kind.shape for kind in kinds.values()}
    shape = shapes.pop()
    if not known or shapes or len(shape) != 2 or any(kind.dtype not in ("int32", "int64") for kind in kinds.values()):
        listed = ", ".join(f"{name} {kind.dtype}{list(kind.shape)}" for name, kind in kinds.items())
        raise UnsupportedError(
            f"{src}: expected a text encoder with input {IDS} [batch, sequence] and perhaps {MASK} and {SEGMENTS}, "
            f"found {listed}; without --tokenizer it is converted as a network"
        )
    if shape[0] != 1 and not isinstance(shape[0], str):
        raise UnsupportedError(f"{src}: expected an encoder of one text or any number, found one of {shape[0]}")
    return shape[1] if isinstance(shape[1], int) else 0


def hidden_output(graph: Graph, src: Path) -> str:
    """The output with a vector for each token. Raises UnsupportedError if there is none."""
    for name in graph.outputs:
        kind = graph.types.get(name)
        if kind is not None and kind.dtype == "float32" and len(kind.shape) == 3:
            return name
    raise UnsupportedError(
        f"{src}: expected an output float32 [batch, sequence, width] such as last_hidden_state, found "
        f"{', '.join(graph.outputs)}; export the model without its pooling"
    )


def table_shape(graph: Graph, src: Path) -> tuple[int, int]:
    """(rows, width) of the embedding table. Raises UnsupportedError if tokens are not looked up in one."""
    for node in graph.nodes:
        if node.op == "Gather" and node.inputs[1] == IDS and not node.attr_int("axis", 0):
            kind = graph.types.get(node.inputs[0])
            if kind is not None and len(kind.shape) == 2 and kind.is_static:
                rows, width = kind.static_shape
                return rows, width
    raise UnsupportedError(
        f"{src}: expected a table in which {IDS} are looked up (Gather), found none: no text encoder"
    )


def sizes_of(sizes: Architecture, graph: Graph) -> Architecture:
    """`sizes` with what the graph over tokens says of them."""
    attentions = [node for node in graph.nodes if node.op == "GroupQueryAttention"]
    if not attentions:
        return sizes
    heads, kind = attentions[0].attr_int("num_heads", 1), graph.types[attentions[0].outputs[0]]
    depth = kind.shape[1] // heads if isinstance(kind.shape[1], int) else 0
    return replace(sizes, layers=len(attentions), heads=heads, kv_heads=heads, head_dim=depth)


def check_same(exported: Graph, read: Graph, vocabulary: int, count: int) -> None:
    """Raises Unreadable unless both graphs give the same for a text of `count` tokens: what was read is proven."""
    ids = np.random.default_rng(0).integers(0, vocabulary, count)
    rows = {IDS: ids, MASK: np.ones(count), SEGMENTS: np.zeros(count)}
    feeds = {name: rows[name][None].astype(exported.types[name].np_dtype) for name in exported.inputs}
    positions = np.arange(count, dtype=np.int32)
    found = run_graph(read, {TOKENS: ids.astype(np.int32), POSITIONS: positions})[HIDDEN]
    (wanted,) = run_graph(exported, feeds)[exported.outputs[0]]
    difference = float(np.abs(wanted - found).max())
    if not difference <= TOLERANCE * float(np.abs(wanted).max()):
        raise Unreadable(f"over tokens it would give other numbers, by {difference:.2g}")
