"""Nodes that decoders and encoders have in common: embeddings, norms, linear layers, attention, feed-forward.
Their order in a whole model is in `decoder.py` and `encoder.py`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgert.converters.llm.architecture import Architecture
from edgert.converters.llm.weights import Weight
from edgert.graph.ir import Attr, Graph, Node, TensorType

TOKENS, POSITIONS = "tokens", "positions"


class Layers:
    """Appends nodes to `graph`, whose inputs are tokens and positions int32 ["T"].

    Every method takes and returns names of tensors float32 ["T", ...]. A weight that a node reads gets its type
    in the graph; its values stay outside. Nodes are called as the tensor they make.
    """

    def __init__(self, model: Architecture, weights: Mapping[str, Weight]) -> None:
        self.model, self.weights = model, weights
        kind = TensorType("int32", ("T",))
        self.graph = Graph(model.name, [TOKENS, POSITIONS], types={TOKENS: kind, POSITIONS: kind})

    def node(self, op: str, inputs: tuple[str, ...], output: str, *more: str, **attrs: Attr) -> str:
        """Appends a node that makes `output`, and `more`."""
        for name in inputs:
            if name in self.weights and name not in self.graph.types:
                self.graph.types[name] = TensorType("float32", self.weights[name].shape)
        self.graph.nodes.append(Node(op, inputs, (output, *more), attrs, output))
        return output

    def scalar(self, name: str, value: float) -> str:
        return self.graph.add_constant(name, np.array(value, np.float32))

    def embed(self) -> str:
        """The rows of the embedding table, scaled, plus those of a learned table of positions."""
        x = self.node("Gather", ("embedding", TOKENS), "embedded", axis=0)
        if self.model.embedding_scale != 1.0:
            x = self.node("Mul", (x, self.scalar("embedding_scale", self.model.embedding_scale)), "embedded.scaled")
        if self.model.positions:
            place = self.node("Gather", ("position_table", POSITIONS), "embedded.position", axis=0)
            x = self.node("Add", (x, place), "embedded.sum")
        return x

    def norm(self, x: str, name: str, output: str = "") -> str:
        """`x` normalized with the weights of `name`."""
        bias = (f"{name}.bias",) if self.model.norm == "LayerNormalization" else ()
        epsilon = self.model.norm_epsilon
        return self.node(self.model.norm, (x, name, *bias), output or f"{name}.out", axis=-1, epsilon=epsilon)

    def linear(self, x: str, name: str, residual: str = "") -> str:
        """`x` times the matrix `name` [outputs, inputs], plus its bias if it has one, plus `residual` if any."""
        bias = f"{name}.bias" if f"{name}.bias" in self.weights else ""
        if residual:
            return self.node("Gemm", (x, name, bias, residual), f"{name}.out", transB=1, residual=1)
        return self.node("Gemm", (x, name, bias) if bias else (x, name), f"{name}.out", transB=1)

    def add(self, x: str, residual: str, name: str) -> str:
        return self.node("Add", (residual, x), f"{name}.sum")

    def attention(self, qkv: str, layer: int, past: tuple[str, str], present: tuple[str, ...]) -> str:
        """What the queries of `qkv` gather. past and present: names of the cache; ('', '') and () without one."""
        model, prefix, rope = self.model, f"layers.{layer}", self.model.rope_of(layer)
        frequencies = self.frequencies(layer)
        norms = (f"{prefix}.q_norm", f"{prefix}.k_norm") if model.qk_norm else ()
        attrs: dict[str, Attr] = {"num_heads": model.heads, "kv_num_heads": model.kv_heads, "causal": int(model.causal)}
        optional: dict[str, tuple[Attr, Attr]] = {
            "scale": (model.attention_scale, 0.0),
            "softcap": (model.attention_softcap, 0.0),
            "local_window_size": (model.window(layer), 0),
            "rotary_scale": (rope.scale if rope else 1.0, 1.0),
            "qk_norm_epsilon": (model.norm_epsilon if model.qk_norm else 0.0, 0.0),
        }
        attrs |= {key: value for key, (value, default) in optional.items() if value != default}
        positions = POSITIONS if any(past) or rope else ""
        inputs = (qkv, *past, positions, frequencies, *norms)
        while inputs[-1] == "":
            inputs = inputs[:-1]
        return self.node("GroupQueryAttention", inputs, f"{prefix}.attention", *present, **attrs)

    def frequencies(self, layer: int) -> str:
        """The rope of `layer` as a constant, one for all layers that share it; '' if there is none."""
        rope = self.model.rope_of(layer)
        if rope is None:
            return ""
        name = "inv_freq.local" if rope is self.model.local_rope else "inv_freq"
        if name not in self.graph.constants:
            self.graph.add_constant(name, np.array(rope.frequencies, np.float32))
        return name

    def feed_forward(self, x: str, layer: int, residual: str = "") -> str:
        """Gated: down(activation(gate x) * up x). Plain: down(activation(up x)). Source: Shazeer 2020."""
        prefix, kind = f"layers.{layer}", self.model.activation
        if self.model.gated:
            x = self.linear(x, f"{prefix}.gate_up")
            x = (
                self.relu_gated(x, prefix)
                if kind == "Relu"
                else self.node("GLU", (x,), f"{prefix}.glu", activation=kind)
            )
        else:
            x = self.linear(x, f"{prefix}.up")
            if kind == "Relu":
                x = self.node("Relu", (x,), f"{prefix}.activation")
            elif kind == "Silu":
                x = self.node("Swish", (x,), f"{prefix}.activation", alpha=1.0)
            else:
                approximate = "tanh" if kind == "GeluTanh" else "none"
                x = self.node("Gelu", (x,), f"{prefix}.activation", approximate=approximate)
        return self.linear(x, f"{prefix}.down", residual)

    def relu_gated(self, x: str, prefix: str) -> str:
        """max(gate, 0) * up of rows [gate | up]."""
        half = self.model.ffn
        gate, up = (
            self.node("Slice", (x, *(self.index(f"ffn.{place}", place) for place in (start, start + half)),
                                self.index("ffn.axis", -1)), f"{prefix}.{name}")
            for name, start in (("gate.out", 0), ("up.out", half))
        )  # fmt: skip
        return self.node("Mul", (self.node("Relu", (gate,), f"{prefix}.gate.relu"), up), f"{prefix}.glu")

    def index(self, name: str, value: int) -> str:
        """A constant int64 [1], one for all who ask for it."""
        if name not in self.graph.constants:
            self.graph.add_constant(name, np.array([value], np.int64))
        return name
