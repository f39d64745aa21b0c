"""The graph of a BERT-style encoder: the tokens of one text in, one vector for each of them out.
What the layers are made of is in `layers.py`; how vectors become one for the text is not in the graph."""

from __future__ import annotations

from collections.abc import Mapping

from edgert.converters.llm.architecture import Architecture
from edgert.converters.llm.layers import Layers
from edgert.converters.llm.weights import Weight
from edgert.graph.ir import Graph, TensorType

HIDDEN = "hidden"


def build_encoder(model: Architecture, weights: Mapping[str, Weight]) -> Graph:
    """Inputs tokens and positions int32 ["T"], the output hidden float32 ["T", width]. Norms come after the sums.
    Of the weights it has the types, not the values. Source: Devlin et al. 2018, Vaswani et al. 2017 section 3.1.
    """
    layers = Layers(model, weights)
    x = layers.norm(layers.embed(), "embedding_norm")
    for i in range(model.layers):
        prefix = f"layers.{i}"
        y = layers.attention(layers.linear(x, f"{prefix}.qkv"), i, ("", ""), ())
        x = layers.norm(layers.linear(y, f"{prefix}.o", residual=x), f"{prefix}.attention_post_norm")
        y = layers.feed_forward(x, i, residual=x)
        x = layers.norm(y, f"{prefix}.ffn_post_norm", HIDDEN if i == model.layers - 1 else "")
    graph = layers.graph
    graph.outputs = [HIDDEN]
    graph.types[HIDDEN] = TensorType("float32", ("T", model.width))
    return graph
