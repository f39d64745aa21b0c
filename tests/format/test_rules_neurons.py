"""Rule F57 of docs/format.md: what a neuron needs, side by side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgert.errors import FormatError
from edgert.format import Model, StoredTensor, encodings, read_model, write_model
from edgert.graph.ir import Graph, Node, TensorType

Array = np.ndarray[Any, Any]
KINDS: dict[str, Any] = {"neurons4": (np.uint8, 0, 16, 8), "neurons8": (np.int8, -128, 128, 0)}
"""Encoding -> dtype, lowest and highest number + 1, what 0 is."""


def numbers(encoding: str, neurons: int, width: int) -> tuple[Array, Array]:
    dtype, low, high, _ = KINDS[encoding]
    rng = np.random.default_rng(width)
    scale = rng.normal(size=(neurons, 2, -(-width // 32))).astype(np.float16)
    return rng.integers(low, high, (neurons, 2, width)).astype(dtype), scale


def number_at(data: Array, encoding: str, width: int, side: int, k: int) -> int:
    """The number of value k of a row (side 0) or a column (side 1), read as the document says."""
    blocks, bits = -(-width // 128), 4 if encoding == "neurons4" else 8
    at = side * 16 * bits * blocks + 16 * bits * (k // 128)
    inside = k % 128
    if side == 0:
        group, rest = divmod(inside, 32)
        h, rest = divmod(rest, 16)
        byte = 16 * (rest // 4) + 4 * group + rest % 4
        if bits == 8:
            return int(data[at + 64 * h + byte : at + 64 * h + byte + 1].view(np.int8)[0])
        return int(data[at + byte]) >> 4 * h & 15
    t, i = divmod(inside, 16)
    if bits == 8:
        place = at + 64 * (t // 4) + 4 * i + t % 4
        return int(data[place : place + 1].view(np.int8)[0])
    return int(data[at + 4 * i : at + 4 * i + 4].view("<u4")[0]) >> 4 * t & 15


@pytest.mark.parametrize("encoding", KINDS)
@pytest.mark.parametrize("width", [1, 31, 128, 200, 576])
def test_f57_neurons_are_as_documented(encoding: str, width: int) -> None:
    values, scale = numbers(encoding, 3, width)
    stored = StoredTensor.pack_neurons("w", values, scale, encoding)  # type: ignore[arg-type]
    data, blocks = stored.parts["data"], -(-width // 128)
    size = 16 * (4 if encoding == "neurons4" else 8) * blocks
    assert data.shape == (3, -(-(2 * size + 16 * blocks) // 64) * 64)
    for neuron in range(3):
        for side in range(2):
            found = [number_at(data[neuron], encoding, width, side, k) for k in range(width)]
            assert found == values[neuron, side].tolist()
            at = 2 * size + 8 * blocks * side
            scales = np.array(data[neuron, at : at + 8 * blocks]).view(np.float16)
            np.testing.assert_array_equal(scales[: scale.shape[2]], scale[neuron, side])
            assert not scales[scale.shape[2] :].any()
    real = np.repeat(scale.astype(np.float32), 32, axis=-1)[..., :width]
    np.testing.assert_array_equal(stored.dense(), real * (values.astype(np.float32) - KINDS[encoding][3]))


@pytest.mark.parametrize("encoding", KINDS)
def test_f57_neurons_that_are_wrong(encoding: str) -> None:
    values, scale = numbers(encoding, 2, 40)
    stored = StoredTensor.pack_neurons("w", values, scale, encoding)  # type: ignore[arg-type]
    size = 64 if encoding == "neurons4" else 128
    changes: tuple[tuple[Callable[[Array], None], str], ...] = (
        (lambda d: d[1, 2 * size : 2 * size + 2].__setitem__(slice(None), [0, 0x7C]), "scale of .* to be finite"),
        (lambda d: d[0].__setitem__(2 * size + 5, 1), "scale of .* to be 0 in padding"),
        (lambda d: d[0].__setitem__(15, 0x77), "in the padding of"),
        (lambda d: d[0].__setitem__(size + 3, 0x77), "in the padding of"),
        (lambda d: d[0].__setitem__(-1, 1), "zeros after the scales"),
    )
    for change, pattern in changes:
        wrong = np.array(stored.parts["data"])
        change(wrong)
        with pytest.raises(FormatError, match=pattern):
            encodings.check_part(encoding, "float32", stored.shape, stored.layout, "data", wrong)


@pytest.mark.parametrize("encoding", KINDS)
def test_f57_only_for_neurons(encoding: str) -> None:
    values, scale = numbers(encoding, 2, 40)
    for shape, layout in (((2, 3, 40), "neurons"), ((2, 80), "neurons"), ((2, 2, 40), "row")):
        with pytest.raises(FormatError, match=r"\[F, 2, D\] in layout neurons"):
            encodings.part_specs(encoding, "float32", shape, layout)
    with pytest.raises(FormatError, match="numbers"):
        StoredTensor.pack_neurons("w", values.astype(np.int16), scale, encoding)  # type: ignore[arg-type]
    with pytest.raises(FormatError, match="scale float16"):
        StoredTensor.pack_neurons("w", values, scale[:1], encoding)  # type: ignore[arg-type]
    if encoding == "neurons4":
        with pytest.raises(FormatError, match="at most 15"):
            StoredTensor.pack_neurons("w", values + 1, scale)


@pytest.mark.parametrize("encoding", KINDS)
def test_f57_neurons_survive_a_file(encoding: str, tmp_path: Path) -> None:
    values, scale = numbers(encoding, 3, 70)
    stored = StoredTensor.pack_neurons("w", values, scale, encoding)  # type: ignore[arg-type]
    x, gate = TensorType("float32", ("T", 70)), TensorType("float32", ("T", 3))
    node = Node("NeuronFFN", ("x", "gate", "w"), ("y",), {"activation": "Silu", "threshold": 0.25})
    graph = Graph("one", ["x", "gate"], ["y"], [node], {"x": x, "gate": gate, "y": x})
    write_model(Model(graph, {"w": stored}), tmp_path / "one.edge")
    again = read_model(tmp_path / "one.edge", verify="all")
    np.testing.assert_array_equal(again.tensors["w"].dense(), stored.dense())
    assert again.graph.nodes[0].attrs == node.attrs
