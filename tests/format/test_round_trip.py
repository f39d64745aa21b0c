"""What is written is what is read: models, every encoding in every layout, odd shapes, every dtype."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgert.errors import FormatError
from edgert.format import Model, StoredTensor, layouts, read_model, write_model
from edgert.graph.ir import DTYPES, Graph, Node, Quantization, TensorType

SIZES = (0, 1, 3, 4, 5, 15, 16, 17)


def store(tensors: list[StoredTensor], path: Path) -> Model:
    """Writes and reads a graph whose outputs are `tensors`."""
    write_model(Model(Graph(outputs=[t.name for t in tensors]), {t.name: t for t in tensors}), path)
    return read_model(path, verify="all")


def test_a_model_survives(
    model: Model, small_file: Path, tmp_path: Path, same_model: Callable[[Model, Model], None]
) -> None:
    read = read_model(small_file, verify="all")
    model.tensors["mask"] = StoredTensor.pack_dense("mask", model.graph.constants["mask"])
    model.graph.types |= {name: tensor.type for name, tensor in model.tensors.items()}
    same_model(read, model)
    assert read.graph.constants.keys() == {"mask", "b"}
    write_model(read, tmp_path / "again.edge")
    assert (tmp_path / "again.edge").read_bytes() == small_file.read_bytes()


@pytest.mark.parametrize("layout", ["row", *layouts.BLOCKED])
@pytest.mark.parametrize("kind", ["dense", "q8 int8", "q8 float32"])
def test_every_encoding_in_every_layout(kind: str, layout: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    if layout == "row":
        shapes: list[tuple[int, ...]] = [(n, k) for n in SIZES for k in SIZES] + [(3,), (2, 3, 4)]
    elif layout == "dw4":
        shapes = [(n, 1, 3, k) for n in SIZES for k in SIZES]
    elif layout.startswith("n16"):
        shapes = [(n, k) for n in SIZES for k in SIZES]
    else:
        shapes = [(n, k, 1, 3) for n in SIZES for k in SIZES]
    tensors, expected = [], []
    for i, shape in enumerate(shapes):
        values = rng.integers(-127, 128, shape)
        scale = rng.uniform(0.1, 1, shape[0]).astype(np.float32)
        if kind == "dense":
            array = values.astype("float32" if layout.endswith("k1") else "int8")
            tensors.append(StoredTensor.pack_dense(f"t{i}", array, layout))
            expected.append(array)
            continue
        stored = values.astype(np.int8)
        if layout.endswith("k1"):
            with pytest.raises(FormatError):
                StoredTensor.pack_q8(f"t{i}", stored, scale, layout)
            continue
        dtype: Any = kind.split()[1]
        tensors.append(StoredTensor.pack_q8(f"t{i}", stored, scale, layout, dtype))
        real = stored.astype(np.float32) * scale.reshape(-1, *[1] * (len(shape) - 1))
        expected.append(stored if dtype == "int8" else real)
    if not tensors:
        return
    read = store(tensors, tmp_path / "m.edge")
    for tensor, array in zip(tensors, expected, strict=True):
        back = read.tensors[tensor.name]
        np.testing.assert_array_equal(back.dense(), array, strict=True)
        assert back.type == tensor.type == read.graph.types[tensor.name]
        assert back.nbytes == sum(part.nbytes for part in back.parts.values())
        assert (tensor.name in read.graph.constants) == (kind == "dense" and layout == "row")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (17,), (3, 0, 2), (1, 2, 1, 2, 1, 2, 1, 2)])
def test_every_dtype(dtype: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    array = np.random.default_rng(4).integers(0, 2 if dtype == "bool" else 100, shape).astype(dtype)
    read = store([StoredTensor.pack_dense("t", array)], tmp_path / "m.edge")
    np.testing.assert_array_equal(read.tensors["t"].dense(), array, strict=True)
    assert read.graph.constants["t"].ctypes.data % 64 == 0
    assert not read.graph.constants["t"].flags.writeable


def test_quantization_keeps_every_bit(tmp_path: Path) -> None:
    bits = np.random.default_rng(5).integers(1, 0x7F800000, 2000).astype(np.uint32)
    scale = bits.view(np.float32)
    zero = np.arange(2000, dtype=np.int32) % 256 - 128
    kinds = {
        "a": TensorType("int8", (2, 2000), Quantization(scale, zero, 1)),
        "b": TensorType("int32", ("N",), Quantization(np.float32(1e-45), np.int32(-(2**31)))),
    }
    weights = StoredTensor.pack_dense("w", np.zeros((3, 2000), np.int8), quant=Quantization(scale, zero, 1))
    scalar = StoredTensor.pack_dense("s", np.zeros(3, np.uint8), quant=Quantization(scale[0], np.int32(255)))
    graph = Graph(inputs=["a", "b"], outputs=["a", "w", "s"], types=kinds)
    write_model(Model(graph, {"w": weights, "s": scalar}), tmp_path / "m.edge")
    read = read_model(tmp_path / "m.edge", verify="all")
    assert read.graph.types == kinds | {"w": weights.type, "s": scalar.type}


def test_attributes_keep_their_kind(tmp_path: Path) -> None:
    attrs: dict[str, Any] = {
        "i": 1, "f": 1.0, "s": "1", "ii": [1, 2], "ff": [1.0, float("-inf")], "ss": ["", "\n"], "none": [],
        "big": 2**63 - 1, "tiny": 5e-324, "inf": float("inf"),
    }  # fmt: skip
    node = Node("Op", (), ("y",), attrs)
    kind = {"y": TensorType("float32", ())}
    write_model(Model(Graph(outputs=["y"], nodes=[node], types=kind)), tmp_path / "m.edge")
    read = read_model(tmp_path / "m.edge").graph.nodes[0].attrs
    assert read == attrs and repr(sorted(read.items())) == repr(sorted(attrs.items()))
    # NumPy and bool values, which Python code makes easily, become their equals.
    loose: dict[str, Any] = {"a": np.int64(3), "b": True, "c": [np.float32(0.5), 1], "d": (1, 2)}
    node.attrs = loose
    write_model(Model(Graph(outputs=["y"], nodes=[node], types=kind)), tmp_path / "m.edge")
    assert read_model(tmp_path / "m.edge").graph.nodes[0].attrs == {
        "a": 3,
        "b": 1,
        "c": [0.5, 1.0],
        "d": [1, 2],
    }


def test_the_unpacked_graph_has_all_constants_row_major(small_file: Path, model: Model) -> None:
    graph = read_model(small_file).unpacked_graph()
    assert graph.constants.keys() == {"w", "b", "mask"}
    np.testing.assert_array_equal(graph.constants["w"], model.tensors["w"].dense(), strict=True)


def test_arrays_outlive_the_model(small_file: Path, model: Model) -> None:
    bias = read_model(small_file).tensors["b"].dense()
    small_file.unlink()
    np.testing.assert_array_equal(bias, model.tensors["b"].dense(), strict=True)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.tensors["w"].parts.pop("sum"),
        lambda m: m.tensors["w"].parts.update(extra=np.zeros(1)),
        lambda m: m.tensors["w"].parts.update(scale=np.full(5, np.nan, np.float32)),
        lambda m: m.tensors["w"].parts.update(sum=np.zeros(5, np.int32)),
        lambda m: m.tensors["w"].parts.update(sum=np.zeros(5, np.int64)),
        lambda m: m.graph.types.update(w=TensorType("int8", (1,))),
        lambda m: m.graph.types.pop("y"),
        lambda m: m.graph.nodes.reverse(),
        lambda m: m.graph.constants.update(c=np.zeros(3, np.complex64)),
        lambda m: m.graph.constants.update({"\x1b[2J": np.zeros(3)}),
        lambda m: m.source.update(x=float("nan")),
        lambda m: m.report.update(x=np.zeros(2)),
        lambda m: m.report.update(x="\ud800"),
        lambda m: m.info.labels.append("a\nb"),
        lambda m: m.graph.nodes[0].attrs.update(x=float("nan")),
        lambda m: m.graph.nodes[0].attrs.update(x=[1, "a"]),
        lambda m: m.graph.nodes[0].attrs.update(x=None),
    ],
)
def test_the_writer_refuses_what_the_reader_would(change: Callable[[Model], Any], model: Model, tmp_path: Path) -> None:
    model.tensors["w"].parts = dict(model.tensors["w"].parts)
    change(model)
    with pytest.raises(FormatError):
        write_model(model, tmp_path / "m.edge")
    assert not list(tmp_path.iterdir())
