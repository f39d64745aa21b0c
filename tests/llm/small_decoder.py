"""A tiny random decoder of the llama family, as a Model: what the tests of the runtime stand on."""

from __future__ import annotations

import numpy as np

from edgert.format import LanguageInfo, Model, ModelInfo
from edgert.format.model import StoredTensor
from edgert.graph.ir import Graph, Node, TensorType

WIDTH, HEADS, KV_HEADS, DEPTH, INNER, VOCABULARY, LAYERS, CONTEXT = 64, 4, 2, 16, 96, 100, 2, 96
QKV = (HEADS + 2 * KV_HEADS) * DEPTH


def grouped(rng: np.random.Generator, name: str, rows: int, columns: int, encoding: str) -> StoredTensor:
    """Random weights of about 1/sqrt(columns)."""
    shape, groups = (rows, columns), (rows, -(-columns // 32))
    scale = (rng.uniform(0.5, 1.5, groups) / np.sqrt(columns)).astype(np.float16)
    if encoding == "q8g":
        return StoredTensor.pack_q8g(
            name, rng.integers(-127, 128, shape).astype(np.int8), (scale / 64).astype(np.float16)
        )
    if encoding == "f16":
        return StoredTensor.pack_f16(name, (rng.standard_normal(shape) / np.sqrt(columns)).astype(np.float32), "n16k1")
    values = rng.integers(0, 16, shape).astype(np.uint8)
    if encoding == "q4":
        return StoredTensor.pack_q4(name, values, (scale / 4).astype(np.float16))
    return StoredTensor.pack_q4m(name, values, (scale / 4).astype(np.float16), (-2 * scale).astype(np.float16))


def tiny_decoder(
    encoding: str = "q4", seed: int = 0, *, width: int = WIDTH, inner: int = INNER, vocabulary: int = VOCABULARY,
    layers: int = LAYERS, tied: bool = True,
) -> Model:  # fmt: skip
    """tokens, positions [T] and a cache of C positions to logits [T, V]; embeddings in q8g, which also make the logits
    if they are tied."""
    rng = np.random.default_rng(seed)
    graph = Graph("tiny")
    tensors: dict[str, StoredTensor] = {}
    graph.types = {"tokens": TensorType("int32", ("T",)), "positions": TensorType("int32", ("T",))}
    graph.inputs = ["tokens", "positions"]

    def weight(name: str, rows: int, columns: int, kind: str) -> str:
        tensors[name] = grouped(rng, name, rows, columns, kind)
        graph.types[name] = tensors[name].type
        return name

    def vector(name: str, value: np.ndarray) -> str:
        tensors[name] = StoredTensor.pack_dense(name, value.astype(np.float32))
        return graph.add_constant(name, value.astype(np.float32))

    def node(op: str, inputs: list[str], outputs: list[str], **attrs: int | float | str) -> str:
        graph.nodes.append(Node(op, tuple(inputs), tuple(outputs), dict(attrs), outputs[0]))
        return outputs[0]

    table = weight("embedding", vocabulary, width, "q8g")
    rope = vector("inv_freq", 10000.0 ** (-np.arange(DEPTH // 2) * 2 / DEPTH))
    x = node("Gather", [table, "tokens"], ["x"], axis=0)
    for i in range(layers):
        state = [f"past_key.{i}", f"past_value.{i}"]
        for name in state:
            graph.types[name] = TensorType("float32", (KV_HEADS, "C", DEPTH))
            graph.states[name] = name.replace("past", "present")
        graph.inputs += state
        norm = vector(f"norm1.{i}", rng.uniform(0.5, 1.5, width))
        h = node("RMSNormalization", [x, norm], [f"h1.{i}"], axis=-1, epsilon=1e-5)
        w = weight(f"qkv_w.{i}", QKV, width, encoding)
        qkv = node("Gemm", [h, w], [f"qkv.{i}"], transB=1)
        presents = [graph.states[name] for name in state]
        y = node(
            "GroupQueryAttention", [qkv, *state, "positions", rope], [f"y.{i}", *presents],
            num_heads=HEADS, kv_num_heads=KV_HEADS, causal=1,
        )  # fmt: skip
        w = weight(f"o_w.{i}", width, HEADS * DEPTH, encoding)
        x = node("Gemm", [y, w, "", x], [f"x1.{i}"], transB=1, residual=1)
        norm = vector(f"norm2.{i}", rng.uniform(0.5, 1.5, width))
        h = node("RMSNormalization", [x, norm], [f"h2.{i}"], axis=-1, epsilon=1e-5)
        w = weight(f"gate_up_w.{i}", 2 * inner, width, encoding)
        g = node("GLU", [node("Gemm", [h, w], [f"gate_up.{i}"], transB=1)], [f"glu.{i}"], activation="Silu")
        w = weight(f"down_w.{i}", width, inner, encoding)
        x = node("Gemm", [g, w, "", x], [f"x2.{i}"], transB=1, residual=1)
    norm = vector("norm", rng.uniform(0.5, 1.5, width))
    h = node("RMSNormalization", [x, norm], ["h"], axis=-1, epsilon=1e-5)
    head = table if tied else weight("head", vocabulary, width, encoding)
    node("Gemm", [h, head], ["logits"], transB=1)
    graph.outputs = ["logits", *graph.states.values()]
    graph.types["logits"] = TensorType("float32", ("T", vocabulary))
    for past, present in graph.states.items():
        graph.types[present] = graph.types[past]
    info = ModelInfo(name="tiny", task="text-generation", language=LanguageInfo("llama", CONTEXT, vocabulary))
    return Model(graph, tensors, info)
