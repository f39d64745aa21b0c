"""A language model from a .gguf file or a Hugging Face folder: graph, weights, vocabulary, and what it is.

`import_language_model` gives a `LanguageModel`. Its `weights` are not in memory: each `Weight` reads its values
when asked for them, as float32 (`load`) or as exact blocks (`exact`). Compression replaces entries by name before
the model is packed (`Held` for floats, `HeldBlocks` for what is quantized already); nothing else need change, as
the graph has the types of its weights and not their values. `reference_graph` is for running it in NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgert.converters.llm.architecture import Architecture
from edgert.converters.llm.checkpoint import Checkpoint, open_checkpoint
from edgert.converters.llm.decoder import build_decoder
from edgert.converters.llm.encoder import build_encoder
from edgert.converters.llm.from_gguf import architecture_from_gguf
from edgert.converters.llm.from_huggingface import architecture_from_config
from edgert.converters.llm.info import model_info
from edgert.converters.llm.tensors import Problem, weights_of
from edgert.converters.llm.vocabulary import vocabulary_of
from edgert.converters.llm.weights import Weight
from edgert.errors import EdgertError, FormatError
from edgert.format.model import ModelInfo
from edgert.graph.ir import Array, Graph

TOKENIZER = "tokenizer.json"
"""The stored tensor that holds the tokenizer."""


@dataclass
class LanguageModel:
    """A graph, its weights by name, and the vocabulary. tokenizer: the bytes of a tokenizer.json, uint8 [n].

    notes: what a person should know of the import. source: where it came from, for the file's header.
    """

    architecture: Architecture
    graph: Graph
    weights: dict[str, Weight]
    info: ModelInfo
    tokenizer: Array
    notes: list[str] = field(default_factory=list)
    source: dict[str, Any] = field(default_factory=dict)

    def reference_graph(self) -> Graph:
        """The graph with all weights as float32 values: what `run_graph` needs."""
        return with_values(self.graph, self.weights)


def is_language_model(path: str | Path) -> bool:
    """Whether `path` looks like what is read here, by its name alone."""
    path = Path(path)
    return path.is_dir() or path.suffix.lower() in (".gguf", ".safetensors")


def import_language_model(path: str | Path) -> LanguageModel:
    """The model in `path`: a .gguf file, or a folder with config.json, safetensors and tokenizer.json.

    Raises UnsupportedError for an architecture, a setting or a tensor that edgert does not know, and FormatError
    for a damaged file, a missing tensor or vocabulary, and a wrong shape; every message names what is at fault.
    """
    checkpoint = open_checkpoint(path)
    architecture = architecture_of(checkpoint)
    graph, weights = build(architecture, checkpoint)
    vocabulary = vocabulary_of(checkpoint)
    info, notes = model_info(architecture, checkpoint, vocabulary, TOKENIZER)
    text = np.frombuffer(vocabulary.tokenizer.encode("utf-8"), np.uint8)
    source = {"format": checkpoint.format, "file": checkpoint.path.name, "architecture": architecture.name}
    return LanguageModel(architecture, graph, weights, info, text, notes, source)


def check_language_model(path: str | Path) -> list[Problem]:
    """Everything that keeps the model in `path` from being converted; empty if nothing does.

    Raises FormatError for a file that can not be read at all.
    """
    checkpoint = open_checkpoint(path)
    problems: list[Problem] = []
    architecture = vocabulary = None
    try:
        architecture = architecture_of(checkpoint)
        problems += weights_of(architecture, checkpoint).problems
    except EdgertError as error:
        problems.append(Problem("architecture", str(error)))
    try:
        vocabulary = vocabulary_of(checkpoint)
    except EdgertError as error:
        problems.append(Problem("vocabulary", str(error)))
    try:
        if architecture is not None and vocabulary is not None:
            model_info(architecture, checkpoint, vocabulary, TOKENIZER)
    except EdgertError as error:
        problems.append(Problem("description", str(error)))
    return problems


def architecture_of(checkpoint: Checkpoint) -> Architecture:
    """What `checkpoint` says it is. Raises as `import_language_model` does."""
    if checkpoint.format == "gguf":
        return architecture_from_gguf(checkpoint)
    if not checkpoint.metadata:
        raise FormatError(checkpoint.path, None, "config.json in the folder of the weights", "none")
    return architecture_from_config(checkpoint.metadata, checkpoint.path)


def build(architecture: Architecture, checkpoint: Checkpoint) -> tuple[Graph, dict[str, Weight]]:
    """The graph of `architecture` and its weights. Raises as `import_language_model` does."""
    found = weights_of(architecture, checkpoint)
    found.check(checkpoint, architecture)
    make = build_decoder if architecture.causal else build_encoder
    return make(architecture, found.by_name), found.by_name


def with_values(graph: Graph, weights: dict[str, Weight]) -> Graph:
    """`graph` with the values of `weights`, float32, among its constants."""
    graph = graph.copy()
    graph.constants |= {name: weight.load() for name, weight in weights.items()}
    return graph
