"""LSTM, GRU and RNN mean what ONNX Runtime says they mean; what it lacks is held against its own parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgert.kernels_cpu.reference import evaluate

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
T, B, WIDTH, H = 5, 3, 4, 6


def layer(op: str, rng: np.random.Generator, directions: int = 1, **absent: bool) -> list[Any]:
    """Random inputs of `op`; those named in `absent` are left out."""

    def some(name: str, *shape: int) -> Any:
        return None if absent.get(name) else rng.standard_normal(shape).astype(np.float32)

    gates = GATES[op]
    lengths = None if absent.get("lengths") else np.array([2, 5, 3], np.int32)
    inputs = [
        some("x", T, B, WIDTH), some("w", directions, gates * H, WIDTH), some("r", directions, gates * H, H),
        some("b", directions, 2 * gates * H), lengths, some("h", directions, B, H),
    ]  # fmt: skip
    if op == "LSTM":
        inputs += [some("c", directions, B, H), some("p", directions, 3 * H)]
    while inputs[-1] is None:
        inputs.pop()
    return inputs


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("lengths", [False, True])
def test_directions(agrees: Callable[..., None], rng: np.random.Generator, op: str, direction: str, lengths: bool):
    count = 2 if direction == "bidirectional" else 1
    inputs = layer(op, rng, count, lengths=not lengths, p=direction == "reverse")
    attrs: dict[str, Any] = {"hidden_size": H, "direction": direction}
    agrees(op, inputs, attrs, outputs=3 if op == "LSTM" else 2, rtol=1e-4)


@pytest.mark.parametrize("op", GATES)
def test_nothing_optional(agrees: Callable[..., None], rng: np.random.Generator, op: str) -> None:
    inputs = layer(op, rng, b=True, lengths=True, h=True, c=True, p=True)
    agrees(op, inputs, {"hidden_size": H}, outputs=3 if op == "LSTM" else 2, rtol=1e-4)


@pytest.mark.parametrize("linear", [0, 1])
def test_reset_before_or_after(agrees: Callable[..., None], rng: np.random.Generator, linear: int) -> None:
    agrees("GRU", layer("GRU", rng), {"hidden_size": H, "linear_before_reset": linear}, outputs=2, rtol=1e-4)


@pytest.mark.parametrize(
    ("op", "names"),
    [
        ("LSTM", ["HardSigmoid", "Relu", "Tanh"]),
        ("LSTM", ["Sigmoid", "Softsign", "Elu"]),
        ("GRU", ["HardSigmoid", "LeakyRelu"]),
        ("RNN", ["Relu"]),
        ("RNN", ["Elu"]),
        ("RNN", ["Softplus"]),
    ],
)
def test_other_activations(agrees: Callable[..., None], rng: np.random.Generator, op: str, names: list[str]) -> None:
    attrs = {"hidden_size": H, "activations": names}
    agrees(op, layer(op, rng), attrs, outputs=3 if op == "LSTM" else 2, rtol=1e-4)


def test_parameters_go_to_those_who_have_them(agrees: Callable[..., None], rng: np.random.Generator) -> None:
    attrs = {
        "hidden_size": H, "activations": ["Sigmoid", "ScaledTanh", "Affine"], "activation_alpha": [0.8, 1.1],
        "activation_beta": [0.5, 0.1],
    }  # fmt: skip
    agrees("LSTM", layer("LSTM", rng), attrs, outputs=3, rtol=1e-4)


@pytest.mark.parametrize("op", GATES)
def test_clip_bounds_what_activations_take(agrees: Callable[..., None], rng: np.random.Generator, op: str) -> None:
    inputs = layer(op, rng, c=True)
    agrees(op, inputs, {"hidden_size": H, "clip": 0.4}, outputs=3 if op == "LSTM" else 2, rtol=1e-4)


def test_coupled_gates(agrees: Callable[..., None], rng: np.random.Generator) -> None:
    agrees("LSTM", layer("LSTM", rng, p=True), {"hidden_size": H, "input_forget": 1}, outputs=3, rtol=1e-4)


@pytest.mark.parametrize("op", GATES)
def test_batch_first_is_the_same_turned(rng: np.random.Generator, op: str) -> None:
    inputs = layer(op, rng, 2)
    attrs = {"hidden_size": H, "direction": "bidirectional"}
    y, *finals = evaluate(op, inputs, attrs)
    turned = [value.swapaxes(0, 1) if i in (0, 5, 6) else value for i, value in enumerate(inputs)]
    y_turned, *finals_turned = evaluate(op, turned, {**attrs, "layout": 1})
    np.testing.assert_array_equal(y_turned, y.transpose(2, 0, 1, 3))
    for got, want in zip(finals_turned, finals, strict=True):
        np.testing.assert_array_equal(got, want.swapaxes(0, 1))
