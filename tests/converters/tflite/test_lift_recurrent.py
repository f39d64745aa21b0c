"""Recurrent TFLite operators give LiteRT's numbers over several runs, their states carried from one to the next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flat_model import FlatModel

from edgert.converters.tflite.importer import check_tflite, import_tflite
from edgert.graph.execute import run_graph
from edgert.kernels_cpu.reference.fixed_point import logistic, tanh

B, T, WIDTH, H, O = 2, 3, 5, 6, 4  # noqa: E741
RUNS = 4


class Model(FlatModel):
    """Builds the long lists of inputs of recurrent layers."""

    def __init__(self) -> None:
        super().__init__()
        self.rng = np.random.default_rng(3)

    def floats(self, name: str, *shape: int) -> int:
        return self.constant(name, (0.5 * self.rng.standard_normal(shape)).astype(np.float32))

    def state(self, name: str, *shape: int, dtype: str = "float32", **more: Any) -> int:
        return self.tensor(name, shape, dtype, variable=True, **more)

    def lstm(self, tag: str, outputs: int, peepholes: bool, coupled: bool) -> list[int]:
        """Inputs 1 to 15: weights, peepholes, biases."""
        w = [self.floats(f"{tag}w{i}", H, WIDTH) for i in range(4)]
        r = [self.floats(f"{tag}r{i}", H, outputs) for i in range(4)]
        p = [self.floats(f"{tag}p{i}", H) if peepholes else -1 for i in range(3)]
        b = [self.floats(f"{tag}b{i}", H) for i in range(4)]
        if coupled:
            w[0] = r[0] = p[0] = b[0] = -1
        return [*w, *r, *p, *b]


def agree(model: FlatModel, folder: Path, steps: int | None = None, atol: float = 1e-5) -> None:
    """Every output of RUNS runs is LiteRT's: within atol, or within `steps` stored values."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    path = model.save(folder / "m.tflite")
    graph = import_tflite(path)
    assert check_tflite(path) == []
    peer = Interpreter(str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    peer.allocate_tensors()
    values = {past: graph.initial.get(past) for past in graph.states}
    for past, value in values.items():
        kind = graph.types[past]
        values[past] = np.zeros(kind.static_shape, kind.np_dtype) if value is None else value
    rng = np.random.default_rng(11)
    for _ in range(RUNS):
        feeds: dict[str, Any] = dict(values)
        for detail in peer.get_input_details():
            shape, dtype = tuple(detail["shape"]), np.dtype(detail["dtype"])
            real = rng.standard_normal(shape).astype(np.float32)
            feed = rng.integers(-128, 128, shape).astype(dtype) if dtype == np.int8 else real
            peer.set_tensor(detail["index"], feed)
            feeds[detail["name"]] = feed
        peer.invoke()
        made = run_graph(graph, feeds)
        values = {past: made[present] for past, present in graph.states.items()}
        names = [name for name in graph.outputs if name not in graph.states.values()]
        for name, detail in zip(names, peer.get_output_details(), strict=True):
            expected, found = peer.get_tensor(detail["index"]), made[name]
            if steps is None:
                np.testing.assert_allclose(found, expected, atol=atol)
            else:
                apart = np.abs(found.astype(int) - expected.astype(int))
                assert apart.max() <= steps, apart.max()


@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("peepholes", [False, True])
@pytest.mark.parametrize("coupled", [False, True])
def test_lstm(tmp_path: Path, time_major: bool, peepholes: bool, coupled: bool) -> None:
    m = Model()
    lead = (T, B) if time_major else (B, T)
    x = m.input("x", (*lead, WIDTH))
    inputs = [x, *m.lstm("", H, peepholes, coupled), -1, -1, m.state("h", B, H), m.state("c", B, H)]
    y = m.op(
        "UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, ("y", (*lead, H)), time_major=time_major,
        fused_activation_function="TANH",
    )  # fmt: skip
    m.output(y)
    agree(m, tmp_path)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize("clips", [(0.0, 0.0), (0.7, 0.2)])
def test_lstm_with_projection(tmp_path: Path, norm: bool, coupled: bool, clips: tuple[float, float]) -> None:
    m = Model()
    x = m.input("x", (B, T, WIDTH))
    inputs = [x, *m.lstm("", O, True, coupled), m.floats("proj", O, H), m.floats("projb", O)]
    inputs += [m.state("h", B, O), m.state("c", B, H)]
    if norm:
        inputs += [-1 if coupled and i == 0 else m.floats(f"n{i}", H) for i in range(4)]
    y = m.op(
        "UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, ("y", (B, T, O)), fused_activation_function="TANH",
        cell_clip=clips[0], proj_clip=clips[1],
    )  # fmt: skip
    m.output(y)
    agree(m, tmp_path)


def test_one_step(tmp_path: Path) -> None:
    m = Model()
    x = m.input("x", (B, WIDTH))
    inputs = [x, *m.lstm("", H, False, False), -1, -1, m.state("h", B, H), m.state("c", B, H)]
    m.output(m.op("LSTM", inputs, ("y", (B, H)), fused_activation_function="TANH"))
    agree(m, tmp_path)


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("time_major", [False, True])
def test_both_directions(tmp_path: Path, merged: bool, time_major: bool) -> None:
    m = Model()
    # LiteRT 2.3 fills the first sequence alone of merged outputs whose batch comes first.
    batch = 1 if merged and not time_major else B
    lead = (T, batch) if time_major else (batch, T)
    x = m.input("x", (*lead, WIDTH))
    inputs = [x, *m.lstm("f", H, False, False), -1, -1, *m.lstm("b", H, False, False), -1, -1]
    inputs += [m.state(name, batch, H) for name in ("fh", "fc", "bh", "bc")] + [-1] * 9
    outs = [("y", (*lead, 2 * H))] if merged else [("y", (*lead, H)), ("z", (*lead, H))]
    made = m.op(
        "BIDIRECTIONAL_SEQUENCE_LSTM",
        inputs,
        outs,
        merge_outputs=merged,
        time_major=time_major,
        fused_activation_function="TANH",
    )
    m.output(*made)
    agree(m, tmp_path)


@pytest.mark.parametrize("function", ["TANH", "RELU", "NONE"])
@pytest.mark.parametrize("single", [False, True])
def test_plain_layer(tmp_path: Path, function: str, single: bool) -> None:
    m = Model()
    lead = (B,) if single else (B, T)
    x = m.input("x", (*lead, WIDTH))
    inputs = [x, m.floats("w", H, WIDTH), m.floats("r", H, H), m.floats("b", H), m.state("h", B, H)]
    kind = "RNN" if single else "UNIDIRECTIONAL_SEQUENCE_RNN"
    m.output(m.op(kind, inputs, ("y", (*lead, H)), fused_activation_function=function))
    agree(m, tmp_path, atol=1e-4)


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("function", ["NONE", "RELU"])
def test_svdf(tmp_path: Path, rank: int, function: str) -> None:
    m = Model()
    units, memory = 4, 3
    inputs = [
        m.input("x", (B, WIDTH)), m.floats("f", units * rank, WIDTH), m.floats("t", units * rank, memory),
        m.floats("b", units), m.state("s", B, units * rank * memory),
    ]  # fmt: skip
    m.output(m.op("SVDF", inputs, ("y", (B, units)), rank=rank, fused_activation_function=function))
    agree(m, tmp_path)


# ---- integers
def integers(m: Model, name: str, dtype: str, scale: float | None, *shape: int) -> int:
    high = {"int8": 127, "int16": 20000, "int32": 4000}[dtype]
    more: dict[str, Any] = {} if scale is None else {"scale": [scale], "zero_point": [0]}
    return m.constant(name, m.rng.integers(-high, high + 1, shape).astype(dtype), **more)


@pytest.mark.parametrize(("projected", "peepholes"), [(False, False), (False, True), (True, False)])
@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize("clip", [0.0, 0.4])
def test_integer_lstm(tmp_path: Path, projected: bool, peepholes: bool, coupled: bool, clip: float) -> None:
    m = Model()
    outputs = O if projected else H
    x = m.input("x", (B, T, WIDTH), "int8", scale=[0.02], zero_point=[5])
    w = [integers(m, f"w{i}", "int8", 0.006 + 0.001 * i, H, WIDTH) for i in range(4)]
    r = [integers(m, f"r{i}", "int8", 0.004 + 0.001 * i, H, outputs) for i in range(4)]
    p = [integers(m, f"p{i}", "int16", 3e-5 + 1e-5 * i, H) if peepholes else -1 for i in range(3)]
    b = [integers(m, f"b{i}", "int32", 0.02 * (0.006 + 0.001 * i), H) for i in range(4)]
    if coupled:
        w[0] = r[0] = p[0] = b[0] = -1
    projection = [-1, -1]
    if projected:
        projection = [integers(m, "proj", "int8", 0.005, O, H), integers(m, "projb", "int32", 0.005 / 127, O)]
    quant = {"scale": [0.0065 if projected else 1 / 128], "zero_point": [-3]}
    h = m.state("h", B, outputs, dtype="int8", **quant)
    c = m.state("c", B, H, dtype="int16", scale=[2.0**-12], zero_point=[0])
    hidden = [m.tensor(f"i{i}", (), "int16", scale=[2.0**-12], zero_point=[0]) for i in range(4)]
    hidden.append(
        m.tensor("i4", (), "int8", scale=[1 / 127 if projected else 1 / 128], zero_point=[2 if projected else -3])
    )
    y = m.op(
        "UNIDIRECTIONAL_SEQUENCE_LSTM", [x, *w, *r, *p, *b, *projection, h, c, -1, -1, -1, -1],
        ("y", (B, T, outputs), "int8", quant), intermediates=hidden, fused_activation_function="TANH",
        cell_clip=clip, proj_clip=clip if projected else 0.0,
    )  # fmt: skip
    m.output(y)
    agree(m, tmp_path, steps=0)


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("zero", [-128, 4])
def test_integer_svdf(tmp_path: Path, rank: int, zero: int) -> None:
    m = Model()
    units, memory = 4, 3
    filters = units * rank
    x = m.input("x", (B, WIDTH), "int8", scale=[0.03], zero_point=[7])
    inputs = [
        x, integers(m, "f", "int8", 0.01, filters, WIDTH), integers(m, "t", "int16", 4e-5, filters, memory),
        integers(m, "b", "int32", 2e-4 * 4e-5, units),
        m.state("s", B, filters * memory, dtype="int16", scale=[2e-4], zero_point=[0]),
    ]  # fmt: skip
    out = ("y", (B, units), "int8", {"scale": [0.02], "zero_point": [zero]})
    m.output(m.op("SVDF", inputs, out, rank=rank, fused_activation_function="RELU"))
    agree(m, tmp_path, steps=0)


def test_eight_bit_weights_with_float_activations(tmp_path: Path) -> None:
    m = Model()
    x = m.input("x", (B, T, WIDTH))
    w = [integers(m, f"w{i}", "int8", 0.004, H, WIDTH) for i in range(4)]
    r = [integers(m, f"r{i}", "int8", 0.004, H, H) for i in range(4)]
    b = [m.floats(f"b{i}", H) for i in range(4)]
    inputs = [x, *w, *r, -1, -1, -1, *b, -1, -1, m.state("h", B, H), m.state("c", B, H)]
    m.output(m.op("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, ("y", (B, T, H)), fused_activation_function="TANH"))
    agree(m, tmp_path, atol=0.02)
    report: dict[str, Any] = {}
    import_tflite(tmp_path / "m.tflite", report=report)
    assert any("8-bit weights" in note for note in report["notes"])


def test_a_stream_is_the_whole_sequence_in_parts(tmp_path: Path) -> None:
    """A session's state carries h and c from one part of a sequence to the next."""
    import edgert
    from edgert.converters.convert import convert

    def model(steps: int) -> Path:
        m = Model()
        x = m.input("x", (1, steps, WIDTH))
        inputs = [x, *m.lstm("", H, False, False), -1, -1, m.state("h", 1, H), m.state("c", 1, H)]
        m.output(m.op("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, ("y", (1, steps, H)), fused_activation_function="TANH"))
        out = tmp_path / f"{steps}.edge"
        convert(m.save(tmp_path / "m.tflite"), out)
        return out

    x = np.random.default_rng(2).standard_normal((1, 6, WIDTH)).astype(np.float32)
    with edgert.load(model(6)) as whole, edgert.load(model(2)) as part:
        expected, stream = whole.run({"x": x})["y"], part.state()
        found = [stream.run({"x": x[:, t : t + 2]})["y"] for t in (0, 2, 4)]
        assert any(step.kernel.startswith("lstm_f32_row") for step in part.plan({}).steps)
    np.testing.assert_allclose(np.concatenate(found, 1), expected, atol=1e-6)


# ---- fixed-point functions
@pytest.mark.parametrize("bits", range(7))
def test_fixed_point_functions_are_near_the_real_ones(bits: int) -> None:
    every = np.arange(-(1 << 15), 1 << 15)
    real = every / 2.0 ** (15 - bits)
    assert np.abs(tanh(every, bits) - 32768 * np.tanh(real)).max() < 13
    if bits == 3:
        assert np.abs(logistic(every) - 32768 / (1 + np.exp(-real))).max() < 8
