"""Which tensor of a checkpoint is which weight of the graph, and that every one of them is accounted for.
What they are called is in `names.py`; the graph that reads the weights is in `decoder.py` and `encoder.py`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from edgert.converters.llm.architecture import Architecture
from edgert.converters.llm.checkpoint import Checkpoint
from edgert.converters.llm.names import naming_of, prefix_of
from edgert.converters.llm.weights import Held, Stacked, Tensor, Weight
from edgert.errors import FormatError, UnsupportedError
from edgert.graph.ir import Array

SHOWN = 8
"""Problems that an error lists; `edgert check` shows them all."""


@dataclass(frozen=True)
class Problem:
    """What keeps a model from being converted. subject: the name of a tensor, or 'architecture', 'vocabulary',
    'description'. unknown: the tensor is there, but no such model has it."""

    subject: str
    reason: str
    unknown: bool = False

    def __str__(self) -> str:
        return f"{self.subject!r}: {self.reason}"


@dataclass
class Weights:
    """The weights of the graph by name, and what is wrong with the tensors they come from.

    Names: 'embedding', 'position_table', 'embedding_norm', 'output_norm', 'output', and for each layer i 'layers.i.'
    with 'attention_norm', 'qkv', 'q_norm', 'k_norm', 'o', 'attention_post_norm', 'ffn_norm', 'gate_up' or 'up',
    'down', 'ffn_post_norm'; the bias of each is called as it, with '.bias'.
    """

    by_name: dict[str, Weight] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def check(self, checkpoint: Checkpoint, architecture: Architecture) -> None:
        """Raises FormatError for missing tensors and wrong shapes, UnsupportedError for unknown ones."""
        if not self.problems:
            return
        listed = "; ".join(map(str, self.problems[:SHOWN]))
        more = f"; and {len(self.problems) - SHOWN} more" if len(self.problems) > SHOWN else ""
        if all(problem.unknown for problem in self.problems):
            raise UnsupportedError(
                f"{checkpoint.path}: expected only tensors that a {architecture.name} model has, found {listed}{more}"
            )
        raise FormatError(checkpoint.path, None, f"the tensors of a {architecture.name} model", f"{listed}{more}")


def weights_of(architecture: Architecture, checkpoint: Checkpoint) -> Weights:
    """Every weight that `architecture` needs, from `checkpoint`; problems are collected, not raised."""
    reader = _Reader(architecture, checkpoint)
    reader.ends()
    for layer in range(architecture.layers):
        reader.attention(layer)
        reader.feed_forward(layer)
        if len(reader.found.problems) > 16 * architecture.layers + SHOWN:
            break
    reader.account()
    return reader.found


def paired_rows(heads: int, head_dim: int, rotated: int) -> Array:
    """For each row of query or key in the half-split order of rope, the row where it lies interleaved.

    Of each head the first `rotated` rows are pairs (2 i, 2 i + 1), which become (i, i + rotated / 2).
    """
    inner = [*range(0, rotated, 2), *range(1, rotated, 2), *range(rotated, head_dim)]
    return np.asarray((head_dim * np.arange(heads)[:, None] + np.array(inner)).reshape(-1))


class _Reader:
    def __init__(self, architecture: Architecture, checkpoint: Checkpoint) -> None:
        self.model, self.checkpoint = architecture, checkpoint
        self.naming = naming_of(architecture, checkpoint.format)
        self.prefix = prefix_of(self.naming, checkpoint)
        self.found = Weights()
        self.used: set[str] = set()

    def ends(self) -> None:
        """What is not in a layer. A BERT encoder adds to each position the row of token type 0: all there are."""
        model = self.model
        self.keep("embedding", self.tensor("embedding", (model.vocabulary, model.width)))
        if model.positions:
            table = self.tensor("positions", (model.positions, model.width))
            if model.token_types:
                types = self.tensor("token_types", (model.token_types, model.width))
                table = Held(table.load() + types.load()[0]) if not self.found.problems else table
            self.keep("position_table", table)
        if model.norms == "after":
            self.norm("embedding_norm")
            return
        self.norm("output_norm")
        if not model.tied:
            self.keep("output", self.tensor("output", (model.vocabulary, model.width)))
        else:
            self.used.add(self.name("output"))  # a copy of the embedding, or what was saved by mistake

    def attention(self, layer: int) -> None:
        model = self.model
        rows = {"q": model.q_rows, "k": model.kv_rows, "v": model.kv_rows}
        if model.norms != "after":
            self.norm("attention_norm", layer)
        if self.fused("qkv", layer):
            self.linear("qkv", sum(rows.values()), model.width, model.qkv_bias, layer)
        else:
            self.stacked("qkv", rows, model.qkv_bias, layer)
        if model.qk_norm:
            for role in ("q_norm", "k_norm"):
                self.keep(f"layers.{layer}.{role}", self.vector(role, model.head_dim, layer, self.norm_offset))
        self.linear("o", model.width, model.q_rows, model.output_bias, layer)
        if model.norms != "before":
            self.norm("attention_post_norm", layer)

    def feed_forward(self, layer: int) -> None:
        model = self.model
        if model.norms != "after":
            self.norm("ffn_norm", layer)
        if not model.gated:
            self.linear("up", model.ffn, model.width, model.ffn_bias, layer)
        elif self.fused("gate_up", layer):
            self.linear("gate_up", 2 * model.ffn, model.width, model.ffn_bias, layer)
        else:
            self.stacked("gate_up", {"gate": model.ffn, "up": model.ffn}, model.ffn_bias, layer)
        self.linear("down", model.width, model.ffn, model.ffn_bias, layer)
        if model.norms != "before":
            self.norm("ffn_post_norm", layer)

    def account(self) -> None:
        """Tensors nobody asked for are problems, unless they are known to carry nothing."""
        for name in self.checkpoint.names:
            if name not in self.used and not any(re.fullmatch(known, name) for known in self.naming.ignored):
                reason = f"a {self.model.name} model with this configuration has none of this name"
                self.found.problems.append(Problem(name, reason, unknown=True))

    @property
    def norm_offset(self) -> float:
        return 1.0 if self.naming.offset_norms else 0.0

    def name(self, role: str, layer: int = 0, suffix: str = ".weight") -> str:
        return self.naming.stems[role].format(i=layer, p=self.prefix) + suffix

    def fused(self, role: str, layer: int) -> bool:
        """Whether the checkpoint has these matrices in one; so it is, too, when the family always has."""
        stems = self.naming.stems
        split = {"qkv": "q", "gate_up": "gate"}[role]
        return role in stems and (split not in stems or self.name(split, layer) not in self.checkpoint)

    def keep(self, name: str, weight: Weight) -> None:
        self.found.by_name[name] = weight

    def norm(self, role: str, layer: int | None = None) -> None:
        """The scale of a norm, and its bias where norms have one."""
        name = role if layer is None else f"layers.{layer}.{role}"
        self.keep(name, self.vector(role, self.model.width, layer or 0, self.norm_offset))
        if self.model.norm == "LayerNormalization":
            self.keep(f"{name}.bias", self.vector(role, self.model.width, layer or 0, suffix=".bias"))

    def linear(self, role: str, rows: int, columns: int, bias: bool, layer: int) -> None:
        name = f"layers.{layer}.{role}"
        self.keep(name, self.tensor(role, (rows, columns), layer, transposed=self.naming.transposed))
        if bias:
            self.keep(f"{name}.bias", self.vector(role, rows, layer, suffix=".bias"))

    def stacked(self, role: str, parts: dict[str, int], bias: bool, layer: int) -> None:
        """Matrices of `parts`, part -> rows, one above the other."""
        name, columns = f"layers.{layer}.{role}", self.model.width
        orders = {part: self.row_order(part) for part in parts}
        matrices = [self.tensor(part, (rows, columns), layer, orders[part]) for part, rows in parts.items()]
        self.keep(name, Stacked(tuple(matrices)))
        if bias:
            vectors = [self.tensor(part, (rows,), layer, orders[part], suffix=".bias") for part, rows in parts.items()]
            self.keep(f"{name}.bias", Stacked(tuple(vectors)))

    def row_order(self, role: str) -> Array | None:
        if not self.naming.interleaved or role not in ("q", "k") or self.model.rope is None:
            return None
        heads = self.model.heads if role == "q" else self.model.kv_heads
        return paired_rows(heads, self.model.head_dim, 2 * len(self.model.rope.frequencies))

    def vector(self, role: str, size: int, layer: int, offset: float = 0.0, suffix: str = ".weight") -> Weight:
        return self.tensor(role, (size,), layer, offset=offset, suffix=suffix)

    def tensor(
        self,
        role: str,
        shape: tuple[int, ...],
        layer: int = 0,
        rows: Array | None = None,
        offset: float = 0.0,
        suffix: str = ".weight",
        transposed: bool = False,
    ) -> Weight:
        """The tensor of `role`, which must be of `shape` once it is transposed back."""
        name = self.name(role, layer, suffix)
        self.used.add(name)
        weight = Tensor(self.checkpoint, name, transposed, rows, offset)
        if name not in self.checkpoint:
            self.found.problems.append(Problem(name, f"missing, expected one of shape {list(shape)}"))
        elif weight.shape != shape:
            stored = shape[::-1] if transposed else shape
            self.found.problems.append(
                Problem(name, f"expected shape {list(stored)}, found {list(self.checkpoint.shape(name))}")
            )
        else:
            return weight
        return Held(np.broadcast_to(np.float32(0), shape))
