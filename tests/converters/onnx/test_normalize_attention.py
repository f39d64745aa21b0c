"""ONNX Runtime's attention, rotation, norms and embeddings mean what ONNX Runtime computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from edgert.converters.onnx.importer import check_onnx

MS = "com.microsoft"
B, S, T, N, D = 2, 3, 5, 2, 4
Agree = Callable[..., Any]


def node(op: str, inputs: list[str], outputs: str = "y", domain: str = MS, **attrs: Any) -> Any:
    return helper.make_node(op, inputs, outputs.split(), domain=domain, **attrs)


@pytest.fixture
def f(rng: np.random.Generator) -> Callable[..., np.ndarray]:
    return lambda *shape: rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("mask", ["", "keys", "lengths", "added"])
def test_multi_head_attention(save: Agree, agree: Agree, f: Agree, bias: bool, mask: str) -> None:
    feeds = {"q": f(B, S, N * D), "k": f(B, T, N * D), "v": f(B, T, N * D)}
    inputs = ["q", "k", "v", "bias" if bias else "", "", ""]
    constants = {"bias": f(3 * N * D)} if bias else {}
    if mask == "keys":
        feeds["m"], inputs[4] = np.array([[1, 1, 0, 1, 0], [1, 1, 1, 1, 1]], np.int32), "m"
    elif mask == "lengths":
        feeds["m"], inputs[4] = np.array([2, 5], np.int32), "m"
    elif mask == "added":
        feeds["m"], inputs[5] = f(1, N, S, T), "m"
    agree(save([node("MultiHeadAttention", inputs, num_heads=N)], feeds, ["y"], constants), feeds, rtol=1e-4)


def test_multi_head_attention_with_a_cache(save: Agree, agree: Agree, f: Agree) -> None:
    feeds = {name: f(B, S, N * D) for name in "qkv"} | {name: f(B, N, T, D) for name in ("pk", "pv")}
    layer = node("MultiHeadAttention", ["q", "k", "v", "", "", "", "pk", "pv"], "y a b", num_heads=N, scale=0.3)
    agree(save([layer], feeds, ["y", "a", "b"]), feeds, rtol=1e-4)


def test_later_keys_are_not_seen(save: Agree, agree: Agree, f: Agree) -> None:
    feeds = {name: f(B, S, N * D) for name in "qkv"} | {name: f(B, N, T, D) for name in ("pk", "pv")}
    layer = node("MultiHeadAttention", ["q", "k", "v", "", "", "", "pk", "pv"], "y a b", num_heads=N, unidirectional=1)
    agree(save([layer], feeds, ["y", "a", "b"]), feeds, rtol=1e-4)


def test_keys_and_values_that_are_heads(save: Agree, agree: Agree, f: Agree) -> None:
    feeds = {"q": f(B, S, N * D), "k": f(B, N, T, D), "v": f(B, N, T, D)}
    agree(save([node("MultiHeadAttention", ["q", "k", "v"], num_heads=N)], feeds, ["y"]), feeds, rtol=1e-4)


@pytest.mark.parametrize("mask", ["", "keys", "lengths", "rows"])
@pytest.mark.parametrize("causal", [0, 1])
def test_attention_of_packed_weights(save: Agree, agree: Agree, f: Agree, mask: str, causal: int) -> None:
    feeds = {"x": f(B, S, 6)}
    constants = {"w": f(6, 3 * N * D), "b": f(3 * N * D)}
    inputs = ["x", "w", "b", "m" if mask else ""]
    if mask:
        feeds["m"] = {
            "keys": np.array([[1, 1, 0], [1, 1, 1]], np.int32), "lengths": np.array([2, 3], np.int32),
            "rows": np.tril(np.ones((B, S, S), np.int32)),
        }[mask]  # fmt: skip
    layer = node("Attention", inputs, num_heads=N, unidirectional=causal)
    agree(save([layer], feeds, ["y"], constants), feeds, rtol=1e-4)


def test_attention_with_a_past(save: Agree, agree: Agree, f: Agree) -> None:
    feeds = {"x": f(B, S, 6), "past": f(2, B, N, T, D)}
    constants = {"w": f(6, 3 * N * D), "b": f(3 * N * D)}
    layer = node("Attention", ["x", "w", "b", "", "past"], "y present", num_heads=N, unidirectional=1)
    agree(save([layer], feeds, ["y", "present"], constants), feeds, rtol=1e-4)


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("rank", [3, 4])
@pytest.mark.parametrize("offset", [False, True])
@pytest.mark.parametrize("partial", [False, True])
def test_rotary_embedding(
    save: Agree, agree: Agree, f: Agree, interleaved: int, rank: int, offset: bool, partial: bool
) -> None:
    depth, half = 8, 2 if partial else 4
    x = f(B, S, N * depth) if rank == 3 else f(B, N, S, depth)
    at = np.array([2], np.int64) if offset else np.array([[0, 1, 2], [4, 5, 6]], np.int64)
    constants = {"cos": np.cos(f(9, half)), "sin": np.sin(f(9, half))}
    attrs = {"num_heads": N, "rotary_embedding_dim": 2 * half} if partial else {}
    layer = node("RotaryEmbedding", ["x", "at", "cos", "sin"], interleaved=interleaved, **attrs)
    feeds = {"x": x, "at": at}
    agree(save([layer], feeds, ["y"], constants), feeds)


def test_simplified_layer_norms(save: Agree, agree: Agree, f: Agree) -> None:
    feeds, constants = {"x": f(B, S, 6), "skip": f(B, S, 6)}, {"g": f(6), "b": f(6)}
    alone = node("SimplifiedLayerNormalization", ["x", "g"], "y", "", axis=-1, epsilon=1e-6)
    agree(save([alone], {"x": feeds["x"]}, ["y"], constants), {"x": feeds["x"]})
    for bias in ([], ["b"]):
        layer = node("SkipSimplifiedLayerNormalization", ["x", "skip", "g", *bias], "y - - sum", epsilon=1e-6)
        layer.output[1] = layer.output[2] = ""
        agree(save([layer], feeds, ["y", "sum"], constants), feeds)


@pytest.mark.parametrize("segments", [False, True])
def test_embeddings(save: Agree, agree: Agree, f: Agree, segments: bool) -> None:
    feeds = {"ids": np.array([[1, 4, 2], [0, 3, 3]], np.int32), "mask": np.array([[1, 1, 0], [1, 1, 1]], np.int32)}
    constants = {"word": f(7, 6), "pos": f(9, 6), "g": f(6), "b": f(6)}
    if segments:
        feeds["seg"] = np.array([[0, 1, 1], [0, 0, 1]], np.int32)
        constants["segments"] = f(2, 6)
    names = ["ids", "seg" if segments else "", "word", "pos", "segments" if segments else "", "g", "b", "mask"]
    layer = node("EmbedLayerNormalization", names, "y count")
    agree(save([layer], feeds, ["y", ("count", "int32")], constants), feeds)


def test_what_is_refused_says_what_to_do(save: Agree, f: Agree) -> None:
    feeds = {name: f(B, S, N * D) for name in "qkv"}
    path: Path = save([node("MultiHeadAttention", ["q", "k", "v"])], feeds, ["y"])
    (problem,) = check_onnx(path)
    assert problem.attribute == "num_heads"
