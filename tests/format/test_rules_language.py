"""Rules F39 to F43 of docs/format.md: states, weights in groups, half precision, what a language model says."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgert.errors import FormatError
from edgert.format import Model, StoredTensor, encodings, read_model, write_model
from edgert.format.limits import MAX_TEXT_BYTES, MAX_TOKENIZER_BYTES
from edgert.graph.ir import Graph, Node, TensorType

Forge = Any
Refused = Callable[..., FormatError]
Accepted = Callable[[], Model]

NAN, INF, MINUS_INF = (struct.pack("<e", float(v)) for v in ("nan", "inf", "-inf"))
ZERO = {"q4": 8, "q4m": 0, "q8g": 0}
"""The number that padding has."""


@pytest.fixture
def forge(forge: Forge, language_file: Path) -> Forge:
    """The small language model's file, taken apart."""
    return type(forge).take_apart(language_file.read_bytes())


# The graph and the model


def test_f39_states(forge: Forge, refused: Refused, accepted: Accepted) -> None:
    graph = forge.header["graph"]
    assert accepted().graph.states == {"past": "present"}
    for states, pattern in {
        (("tokens", "logits"),): "same type",
        (("past", "logits"),): "same type",
        (("past", "past"),): "a node makes",
        (("past", "x"),): "output of the graph",
        (("past", "nobody"),): "output of the graph",
        (("past", ""),): "a name",
        (("x", "present"),): "input of the graph",
        (("table", "present"),): "input of the graph",
    }.items():
        graph["states"] = dict(states)
        refused(pattern)
    graph["states"] = ["past", "present"]
    refused("an object")
    graph["states"] = {"past": "present"}
    graph["inputs"].append("other")
    graph["types"]["other"] = graph["types"]["past"]
    accepted()
    graph["states"]["other"] = "present"
    refused("one state only")
    graph["states"] = {}
    assert accepted().graph.states == {}


def test_f39_a_graph_without_states_has_no_such_key(small_file: Path) -> None:
    assert b'"states"' not in small_file.read_bytes() and b'"language"' not in small_file.read_bytes()
    assert read_model(small_file).graph.states == {}


def test_f39_the_writer_refuses_states_that_are_none(tmp_path: Path) -> None:
    kind = TensorType("float32", (2,))
    graph = Graph("g", ["x"], ["y"], [Node("Relu", ("x",), ("y",))], {"x": kind, "y": kind}, states={"x": "z"})
    with pytest.raises(FormatError, match="output of the graph"):
        write_model(Model(graph), tmp_path / "m.edge")


def test_f43_language(forge: Forge, refused: Refused, accepted: Accepted) -> None:
    language = forge.header["model"]["language"]
    for key, wrong in {
        "architecture": [1, "a\nb", "a" * 256], "context_length": [0, -1, 2**24 + 1, 1.0], "vocabulary": [0, 2**22 + 1],
        "tokenizer": ["nobody", "table", "a", "tokens", None], "chat_template": [None, "a" * (MAX_TEXT_BYTES + 1)],
        "bos": [-2, 9, None, True], "unk": [9], "pad": [-2], "eos": [2, [-1], [9], [1.0], [0] * 65], "add_bos": [1, 0],
        "pooling": ["max", None], "normalize": ["", None], "layers": [-1, 2**20 + 1], "width": [None], "heads": [0.5],
        "kv_heads": [3], "head_dim": [-1],
    }.items():  # fmt: skip
        right = language[key]
        for value in wrong:
            language[key] = value
            refused(rf"model\.language\.{key}")
        del language[key]
        refused(f"the key '{key}'")
        language[key] = right
    language["bos"] = -1
    refused("add_bos is true")
    language |= {"add_bos": False, "eos": [], "kv_heads": 0, "tokenizer": "", "chat_template": "é\n\t"}
    assert accepted().info.language is not None
    for value in (None, [], ""):
        forge.header["model"]["language"] = value
        refused("model.language")
    del forge.header["model"]["language"]
    assert accepted().info.language is None


def test_f43_the_tokenizer_is_bytes_that_the_graph_does_not_use(
    forge: Forge, refused: Refused, accepted: Accepted, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = accepted()
    assert bytes(model.tensors["tokenizer"].dense()) == b'{"version": "1.0"}'
    assert "tokenizer" not in model.graph.constants and "tokenizer" not in model.unpacked_graph().constants
    node = forge.header["graph"]["nodes"][1]
    node["inputs"].append("tokenizer")
    refused("does not use")
    node["inputs"].pop()
    forge.header["graph"]["outputs"].append("tokenizer")
    refused("does not use")
    forge.header["graph"]["outputs"].pop()
    assert MAX_TOKENIZER_BYTES == 64 << 20
    monkeypatch.setattr("edgert.format.info_fields.MAX_TOKENIZER_BYTES", 17)
    refused("at most 17 bytes")


# Weights in groups


def written_slowly(kind: str, numbers: Any, scale: Any, minimum: Any) -> Any:
    """The block of rule F40, byte by byte."""
    (n, k), lines = numbers.shape, 16 if kind == "q8g" else 8
    data = np.zeros((-(-n // 16), -(-k // 64), 64 * (lines + 1 + (kind == "q4m"))), np.uint8)
    padded = np.full((data.shape[0] * 16, data.shape[1] * 64), ZERO[kind], int)
    padded[:n, :k] = numbers
    for block in np.ndindex(*data.shape[:2]):
        row, left = 16 * block[0], 64 * block[1]
        for line, r, b in np.ndindex(lines, 16, 4):
            if kind == "q8g":
                byte = padded[row + r, left + 4 * line + b] & 255
            else:
                k0 = left + 32 * (line // 4) + 4 * (line % 4) + b
                byte = padded[row + r, k0] | padded[row + r, k0 + 16] << 4
            data[(*block, 64 * line + 4 * r + b)] = byte
        for i, factors in enumerate([scale] if kind != "q4m" else [scale, minimum]):
            for g, r in np.ndindex(2, 16):
                if row + r < n and 2 * block[1] + g < factors.shape[1]:
                    at = 64 * (lines + i) + 2 * (16 * g + r)
                    data[block][at : at + 2] = np.frombuffer(factors[row + r, 2 * block[1] + g].tobytes(), np.uint8)
    return data


@pytest.mark.parametrize("kind", ["q4", "q4m", "q8g"])
def test_f40_blocks_are_as_documented(kind: str) -> None:
    rng = np.random.default_rng(1)
    for n in (0, 1, 15, 16, 17, 40):
        for k in (0, 1, 31, 32, 33, 64, 65, 100):
            shape = (n, -(-k // 32))
            scale, minimum = (rng.normal(size=shape).astype(np.float16) for _ in range(2))
            real = np.repeat(scale, 32, 1)[:, :k].astype(np.float32)
            if kind == "q8g":
                numbers = rng.integers(-128, 128, (n, k)).astype(np.int8)
                tensor = StoredTensor.pack_q8g("t", numbers, scale)
                real = real * numbers
            elif kind == "q4":
                numbers = rng.integers(0, 16, (n, k)).astype(np.uint8)
                tensor = StoredTensor.pack_q4("t", numbers, scale)
                real = real * (numbers.astype(np.float32) - 8)
            else:
                numbers = rng.integers(0, 16, (n, k)).astype(np.uint8)
                tensor = StoredTensor.pack_q4m("t", numbers, scale, minimum)
                real = real * numbers + np.repeat(minimum, 32, 1)[:, :k].astype(np.float32)
            np.testing.assert_array_equal(
                tensor.parts["data"], written_slowly(kind, numbers, scale, minimum), strict=True
            )
            np.testing.assert_array_equal(tensor.dense(), real, strict=True)
            back = tensor.groups()
            np.testing.assert_array_equal(back[0], numbers, strict=True)
            np.testing.assert_array_equal(back[1], scale, strict=True)
            assert (back[2] is not None) == (kind == "q4m")
            if back[2] is not None:
                np.testing.assert_array_equal(back[2], minimum, strict=True)
            assert tensor.nbytes == tensor.parts["data"].nbytes and tensor.type == TensorType("float32", (n, k))


def test_f40_panels_join(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    numbers, scale = rng.integers(0, 16, (100, 130)).astype(np.uint8), rng.normal(size=(100, 5)).astype(np.float16)
    whole = StoredTensor.pack_q4("t", numbers, scale)
    monkeypatch.setattr("edgert.format.encodings.groups._PANEL_BYTES", 2 * 16 * 130)
    panels = StoredTensor.pack_q4("t", numbers, scale)
    np.testing.assert_array_equal(panels.parts["data"], whole.parts["data"])
    np.testing.assert_array_equal(panels.groups()[0], numbers)
    real = np.repeat(scale.astype(np.float32), 32, 1)[:, :130] * (numbers.astype(np.float32) - 8)
    np.testing.assert_array_equal(panels.dense(), real)


def test_f40_what_is_no_matrix_in_groups(forge: Forge, refused: Refused) -> None:
    weights = next(t for t in forge.header["tensors"] if t["name"] == "a")
    for key, wrong in {
        "dtype": ["int8", "float16"], "shape": [[17], [17, 40, 1], [17, 65], [33, 40], [2**40, 40]],
        "layout": ["row", "n16k4", "n16k1"], "quant": [{"scale": 1.0, "zero_point": 0}],
    }.items():  # fmt: skip
        right = weights.get(key)
        for value in wrong:
            weights[key] = value
            refused(r"tensors\[\d\]")
        weights[key] = right
    del weights["quant"]
    table = next(t for t in forge.header["tensors"] if t["name"] == "table")
    table["layout"] = "n16k64"
    refused("row, n4k1 or n16k1")


def test_f40_arguments() -> None:
    numbers, scale = np.zeros((3, 40), np.uint8), np.ones((3, 2), np.float16)
    for wrong in (numbers.astype(np.int8), numbers[0], numbers + np.uint8(16)):
        with pytest.raises(FormatError, match="numbers"):
            StoredTensor.pack_q4("t", wrong, scale)
    for bad in (scale.astype(np.float32), scale[:, :1], scale[:2], scale[0]):
        with pytest.raises(FormatError, match=r"scale float16 \[3, 2\]"):
            StoredTensor.pack_q4("t", numbers, bad)
        with pytest.raises(FormatError, match="float16"):
            StoredTensor.pack_q4m("t", numbers, scale, bad)
    with pytest.raises(FormatError, match="int8 numbers"):
        StoredTensor.pack_q8g("t", numbers, scale)
    with pytest.raises(FormatError, match="a scale per group of 32, such as q4"):
        StoredTensor.pack_dense("t", scale).groups()
    with pytest.raises(FormatError, match="one of the layouts"):
        StoredTensor.pack_dense("t", scale, "n16k64")


@pytest.mark.parametrize("value", [NAN, INF, MINUS_INF])
@pytest.mark.parametrize(("name", "line"), [("a", 8), ("b", 8), ("b", 9), ("c", 16)])
def test_f41_scales_and_minima_are_finite(name: str, line: int, value: bytes, forge: Forge, refused: Refused) -> None:
    forge.patch(name, "data", 64 * line + 2 * 21, value)
    error = refused("to be finite")
    assert f"tensor '{name}'" in str(error) and error.offset is not None


def test_f41_not_a_number_is_refused_when_packed() -> None:
    numbers, scale = np.zeros((2, 64), np.uint8), np.ones((2, 2), np.float16)
    bad = np.array([[1, 1], [1, np.inf]], np.float16)
    with pytest.raises(FormatError, match="each scale of q4 to be finite"):
        StoredTensor.pack_q4("t", numbers, bad)
    with pytest.raises(FormatError, match="each minimum of q4m to be finite"):
        StoredTensor.pack_q4m("t", numbers, scale, bad)
    StoredTensor.pack_q4("t", numbers, np.array([[0, -1], [-0.0, 65504]], np.float16))


@pytest.mark.parametrize("kind", ["q4", "q4m", "q8g"])
def test_f41_each_padding_value_is_noticed(kind: str) -> None:
    """Every byte of a padded tensor is changed: a number or a factor of the matrix may, all else may not."""
    shape, layout = (17, 40), "n16k64"
    numbers = np.ones(shape, np.int8 if kind == "q8g" else np.uint8)
    ones = np.ones((17, 2), np.float16)
    parts = encodings.grouped(kind).encode(numbers, ones, ones if kind == "q4m" else None)
    data = parts["data"]
    refusals = 0
    for place in range(data.size):
        before, data.flat[place] = data.flat[place], data.flat[place] ^ 0x11
        try:
            encodings.check_part(kind, "float32", shape, layout, "data", data)
        except FormatError:
            refusals += 1
        data.flat[place] = before
    encodings.check_part(kind, "float32", shape, layout, "data", data)
    factors = 2 if kind == "q4m" else 1
    # In 4 bits, a byte has the numbers of k and k + 16; those of k 32 to 39 are beside padding.
    free = 17 * (40 if kind == "q8g" else 16)
    free += factors * 17 * 2 * 2
    assert refusals == data.size - free


def test_f42_half_precision(forge: Forge, refused: Refused, tmp_path: Path) -> None:
    array = np.random.default_rng(3).normal(size=(5, 7)).astype(np.float32)
    for layout in ("row", "n16k1"):
        tensor = StoredTensor.pack_f16("t", array, layout)  # type: ignore[arg-type]
        write_model(Model(Graph(outputs=["t"]), {"t": tensor}), tmp_path / "m.edge")
        read = read_model(tmp_path / "m.edge", verify="all").tensors["t"]
        assert read.type == TensorType("float32", (5, 7)) and read.parts["data"].dtype == np.float16
        np.testing.assert_array_equal(read.dense(), array.astype(np.float16).astype(np.float32), strict=True)
    weights = array.reshape(5, 7, 1, 1)
    for layout, shaped in (("row", array), ("n4k1", weights)):
        halves = StoredTensor.pack_f16("t", shaped, layout)  # type: ignore[arg-type]
        wide = halves.widened()
        assert (wide.encoding, wide.layout, wide.nbytes) == ("dense", layout, 2 * halves.nbytes)
        np.testing.assert_array_equal(wide.dense(), halves.dense(), strict=True)
    half = array.astype(np.float16)
    np.testing.assert_array_equal(StoredTensor.pack_f16("t", half).parts["data"], half)
    for wrong in (np.array([1.0, 70000.0]), np.ones(3, np.int8)):
        with pytest.raises(FormatError, match="f16"):
            StoredTensor.pack_f16("t", wrong)
    with pytest.raises(FormatError, match="n16k1"):
        StoredTensor.pack_f16("t", np.ones(3), "n16k1")
    forge.patch("d", "data", 2 * (40 * 16 + 1), b"\1")
    refused("zero padding in layout n16k1")


def test_a_language_model_survives(
    language_file: Path, tmp_path: Path, same_model: Callable[[Model, Model], None]
) -> None:
    read = read_model(language_file, verify="all")
    assert read.info.language is not None and read.info.language.eos == [2, 3]
    write_model(read, tmp_path / "again.edge")
    assert (tmp_path / "again.edge").read_bytes() == language_file.read_bytes()
    same_model(read_model(tmp_path / "again.edge"), read)
    graph = read.unpacked_graph()
    assert graph.constants.keys() == {"table", "a", "b", "c", "d"}
    assert all(value.dtype == np.float32 for value in graph.constants.values())
    assert graph.states == graph.copy().states == {"past": "present"}
    assert graph.copy().states is not graph.states
