"""The graph of a decoder: tokens and a cache in, logits and the longer cache out.
What the layers are made of is in `layers.py`; encoders are in `encoder.py`."""

from __future__ import annotations

from collections.abc import Mapping

from edgert.converters.llm.architecture import Architecture
from edgert.converters.llm.layers import Layers
from edgert.converters.llm.weights import Weight
from edgert.graph.ir import Graph, TensorType

LOGITS = "logits"


def build_decoder(model: Architecture, weights: Mapping[str, Weight]) -> Graph:
    """Inputs tokens and positions int32 ["T"], the output logits float32 ["T", vocabulary], and for each layer the
    states past_key.i and past_value.i float32 [kv_heads, "C", head_dim], which become present_key.i and
    present_value.i. Of the weights it has the types, not the values.
    """
    layers = Layers(model, weights)
    graph = layers.graph
    presents: list[str] = []
    x = layers.embed()
    for i in range(model.layers):
        past, present = state(graph, model, i)
        presents += present
        prefix = f"layers.{i}"
        qkv = layers.linear(layers.norm(x, f"{prefix}.attention_norm"), f"{prefix}.qkv")
        y = layers.attention(qkv, i, past, present)
        if model.norms == "before":
            x = layers.linear(y, f"{prefix}.o", residual=x)
            x = layers.feed_forward(layers.norm(x, f"{prefix}.ffn_norm"), i, residual=x)
            continue
        y = layers.norm(layers.linear(y, f"{prefix}.o"), f"{prefix}.attention_post_norm")
        x = layers.add(y, x, f"{prefix}.attention")
        y = layers.feed_forward(layers.norm(x, f"{prefix}.ffn_norm"), i)
        x = layers.add(layers.norm(y, f"{prefix}.ffn_post_norm"), x, f"{prefix}.ffn")
    x = layers.norm(x, "output_norm")
    matrix = "embedding" if model.tied else "output"
    cap = model.logit_softcap
    x = layers.node("Gemm", (x, matrix), "logits.uncapped" if cap else LOGITS, transB=1)
    if cap:
        x = layers.node("Mul", (x, layers.scalar("logits.shrink", 1 / cap)), "logits.shrunk")
        x = layers.node("Tanh", (x,), "logits.tanh")
        layers.node("Mul", (x, layers.scalar("logits.cap", cap)), LOGITS)
    graph.outputs = [LOGITS, *presents]
    graph.types[LOGITS] = TensorType("float32", ("T", model.vocabulary))
    return graph


def state(graph: Graph, model: Architecture, layer: int) -> tuple[tuple[str, str], tuple[str, str]]:
    """The names of the cache of `layer` before and after a run, made known to `graph`."""
    kind = TensorType("float32", (model.kv_heads, "C", model.head_dim))
    past = (f"past_key.{layer}", f"past_value.{layer}")
    present = (f"present_key.{layer}", f"present_value.{layer}")
    graph.inputs += past
    graph.states |= dict(zip(past, present, strict=True))
    graph.types |= dict.fromkeys((*past, *present), kind)
    return past, present
