"""What a language model is made of: one description for every supported decoder and encoder.
Its numbers come from `from_gguf.py` or `from_huggingface.py`, its graph is in `decoder.py` and `encoder.py`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgert.converters.llm.rope import Rope
from edgert.errors import FormatError

MAX_LAYERS, MAX_WIDTH, MAX_HEADS, MAX_VOCABULARY = 1024, 1 << 20, 1 << 12, 1 << 24
"""Well beyond any model that runs on a small device; they bound what a damaged file can make us build."""

MIN_CAP, MAX_CAP = 1e-3, 1e6
"""Of scores and logits, which are of the order of 10: beyond, a cap and its inverse would leave float32."""

Activation = Literal["Silu", "Gelu", "GeluTanh", "Relu"]


@dataclass(frozen=True)
class Architecture:
    """A transformer. Sizes are counts of values; 0 or None means that the model has no such thing.

    name: the family, as GGUF names it. context_length: positions it was trained for. ffn: inner width of the
    feed-forward layers, gated ones have two such matrices. norms: 'before' attention and feed-forward, 'around'
    them (also on what they add), or 'after' the sum. windows: for each layer, how many positions it attends.
    local_rope: the rope of layers with a window, where it is another. positions: rows of a learned table.
    """

    name: str
    vocabulary: int
    context_length: int
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    norm_epsilon: float
    norm: Literal["RMSNormalization", "LayerNormalization"] = "RMSNormalization"
    norms: Literal["before", "around", "after"] = "before"
    activation: Activation = "Silu"
    gated: bool = True
    rope: Rope | None = None
    local_rope: Rope | None = None
    windows: tuple[int, ...] = ()
    attention_scale: float = 0.0
    attention_softcap: float = 0.0
    logit_softcap: float = 0.0
    embedding_scale: float = 1.0
    tied: bool = False
    qkv_bias: bool = False
    output_bias: bool = False
    ffn_bias: bool = False
    qk_norm: bool = False
    positions: int = 0
    token_types: int = 0
    causal: bool = True

    @property
    def q_rows(self) -> int:
        return self.heads * self.head_dim

    @property
    def kv_rows(self) -> int:
        return self.kv_heads * self.head_dim

    def window(self, layer: int) -> int:
        """How many positions `layer` attends, its own included; 0: all."""
        return self.windows[layer] if self.windows else 0

    def rope_of(self, layer: int) -> Rope | None:
        return self.local_rope if self.local_rope is not None and self.window(layer) else self.rope

    def check(self, path: Path) -> None:
        """Raises FormatError, naming `path`, unless the sizes fit each other."""

        def need(good: bool, expected: str, found: object) -> None:
            if not good:
                raise FormatError(path, None, expected, str(found))

        limits = {
            "layers": (self.layers, MAX_LAYERS),
            "width": (self.width, MAX_WIDTH),
            "heads": (self.heads, MAX_HEADS),
            "head dimensions": (self.head_dim, MAX_WIDTH),
            "feed-forward width": (self.ffn, MAX_WIDTH),
            "vocabulary": (self.vocabulary, MAX_VOCABULARY),
        }
        for what, (size, limit) in limits.items():
            need(0 < size <= limit, f"{what} from 1 to {limit}", size)
        need(0 < self.kv_heads <= self.heads and self.heads % self.kv_heads == 0,
             f"key heads that divide {self.heads} heads", self.kv_heads)  # fmt: skip
        need(self.head_dim % 2 == 0, "an even head dimension", self.head_dim)
        need(0 <= self.norm_epsilon <= 1, "an epsilon of the norms from 0 to 1", self.norm_epsilon)
        for cap in (self.attention_softcap, self.logit_softcap):
            need(cap == 0 or MIN_CAP <= cap <= MAX_CAP, f"a soft cap from {MIN_CAP:g} to {MAX_CAP:g}, or none", cap)
        for rope in filter(None, (self.rope, self.local_rope)):
            need(0 < 2 * len(rope.frequencies) <= self.head_dim,
                 f"at most {self.head_dim} rotated dimensions", 2 * len(rope.frequencies))  # fmt: skip
        need(not self.windows or len(self.windows) == self.layers,
             f"a window for each of {self.layers} layers", len(self.windows))  # fmt: skip
