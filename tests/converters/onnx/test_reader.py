"""Reading .onnx files: versions, constants in every form, external data and its abuse."""

from __future__ import annotations

import os
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgert.converters.onnx.importer import check_onnx, import_onnx
from edgert.converters.onnx.reader import read_onnx
from edgert.errors import EdgertError, FormatError, UnsupportedError

X = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])
Y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)


def model_with(tensor: TensorProto, opset: int = 17) -> onnx.ModelProto:
    graph = helper.make_graph([helper.make_node("Add", ["x", tensor.name], ["y"])], "g", [X], [Y], [tensor])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    return model


def external(model: onnx.ModelProto, location: str, **more: int | str) -> onnx.ModelProto:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=str(value))
    return model


@pytest.fixture
def weights(tmp_path: Path) -> onnx.ModelProto:
    (tmp_path / "w.bin").write_bytes(bytes(8) + np.arange(4, dtype=np.float32).tobytes())
    return model_with(numpy_helper.from_array(np.arange(4, dtype=np.float32), "w"))


def save(model: onnx.ModelProto, folder: Path) -> Path:
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    return folder / "m.onnx"


def test_reads_external_data_at_an_offset(tmp_path: Path, weights: onnx.ModelProto) -> None:
    path = save(external(weights, "w.bin", offset=8, length=16), tmp_path)
    assert read_onnx(path).constants["w"].tolist() == [0, 1, 2, 3]


def test_reads_external_data_in_a_folder_below(tmp_path: Path, weights: onnx.ModelProto) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "w").write_bytes(bytes(16))
    assert read_onnx(save(external(weights, "data/w"), tmp_path)).constants["w"].tolist() == [0] * 4


@pytest.mark.parametrize(
    ("location", "more", "expected"),
    [
        ("/etc/passwd", {}, "relative"),
        ("C:\\w.bin", {}, "relative"),
        ("data\\w.bin", {}, "relative"),
        ("../w.bin", {}, "'..'"),
        ("data/../w.bin", {}, "'..'"),
        ("", {}, "location"),
        ("w\0.bin", {}, "location"),
        ("missing.bin", {}, "beside the model"),
        ("w.bin", {"offset": 9, "length": 16}, "inside"),
        ("w.bin", {"offset": 2**62, "length": 2**62}, "inside"),
        ("w.bin", {"offset": -8, "length": 16}, "decimal"),
        ("w.bin", {"offset": "8x"}, "decimal"),
        ("w.bin", {"offset": 8, "length": 12}, "16 bytes"),
        ("w.bin", {"offset": 0}, "16 bytes"),
        ("w.bin", {"secret": 1}, "keys"),
        (".", {}, "location"),
        ("folder", {}, "regular file"),
    ],
)
def test_refuses_external_data(
    tmp_path: Path, weights: onnx.ModelProto, location: str, more: dict[str, int | str], expected: str
) -> None:
    (tmp_path / "folder").mkdir()
    path = save(external(weights, location, **more), tmp_path)
    with pytest.raises(FormatError, match=expected) as caught:
        read_onnx(path)
    assert str(path) in str(caught.value)


def test_refuses_links_to_external_data(tmp_path: Path, weights: onnx.ModelProto) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "soft").symlink_to(tmp_path / "w.bin")
    (folder / "below").symlink_to(tmp_path)
    os.link(tmp_path / "w.bin", folder / "hard")
    for location, expected in (("soft", "symbolic"), ("below/w.bin", "symbolic"), ("hard", "hard link")):
        model = onnx.ModelProto()
        model.CopyFrom(weights)
        with pytest.raises(FormatError, match=expected):
            read_onnx(save(external(model, location, offset=8), folder))


def test_refuses_a_pipe_without_waiting(tmp_path: Path, weights: onnx.ModelProto) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FormatError, match="regular"):
        read_onnx(save(external(weights, "pipe"), tmp_path))


@pytest.mark.parametrize(
    "attribute",
    [
        {"value": numpy_helper.from_array(np.array([1, 2, 3, 4], np.float32))},
        {"value_floats": [1.0, 2.0, 3.0, 4.0]},
        {"value_float": 1.0},
    ],
)
def test_constant_nodes_become_constants(tmp_path: Path, attribute: dict[str, object]) -> None:
    nodes = [helper.make_node("Constant", [], ["c"], **attribute), helper.make_node("Add", ["x", "c"], ["y"])]
    model = helper.make_model(helper.make_graph(nodes, "g", [X], [Y]), opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    found = read_onnx(save(model, tmp_path))
    assert found.constants["c"].dtype == np.float32 and found.constants["c"].reshape(-1)[0] == 1
    assert [node.op for node in found.nodes] == ["Add"]


def test_integer_constants(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Constant", [], ["k"], value_int=4),
        helper.make_node("Constant", [], ["s"], value_ints=[-1, 2]),
        helper.make_node("Reshape", ["x", "s"], ["y"]),
    ]
    model = helper.make_model(helper.make_graph(nodes, "g", [X], [Y]), opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    found = read_onnx(save(model, tmp_path)).constants
    assert found["k"].shape == () and found["k"] == 4 and found["s"].tolist() == [-1, 2]


@pytest.mark.parametrize("raw", [True, False])
def test_narrow_types_are_widened(tmp_path: Path, raw: bool) -> None:
    values = np.array([1.5, -2.0, 3.25, 0.0], np.float32)
    bf16, i4 = values.astype(ml_dtypes.bfloat16), np.array([-8, 7, -1], np.int8)
    if raw:
        tensors = [numpy_helper.from_array(bf16, "w"), numpy_helper.from_array(i4.astype(ml_dtypes.int4), "i")]
    else:
        tensors = [
            TensorProto(name="w", data_type=16, dims=[4], int32_data=bf16.view(np.uint16).tolist()),
            TensorProto(name="i", data_type=22, dims=[3], int32_data=[0x78, 0x0F]),
            TensorProto(
                name="h", data_type=10, dims=[4], int32_data=values.astype(np.float16).view(np.uint16).tolist()
            ),
        ]
    model = model_with(tensors[0])
    model.graph.initializer.extend(tensors[1:])
    found = read_onnx(save(model, tmp_path)).constants
    assert found["w"].dtype == np.float32 and found["w"].tolist() == values.tolist()
    assert found["i"].dtype == np.int8 and found["i"].tolist() == i4.tolist()
    if not raw:
        assert found["h"].dtype == np.float16 and found["h"].tolist() == values.tolist()


def test_initializers_that_are_also_inputs_are_constants(tmp_path: Path) -> None:
    model = model_with(numpy_helper.from_array(np.ones(4, np.float32), "w"))
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [4]))
    graph = import_onnx(save(model, tmp_path))
    assert graph.inputs == ["x"] and graph.constants["w"].tolist() == [1] * 4
    assert graph.types["x"].shape == ("N", 4)


@pytest.mark.parametrize("length", [0, 1, 40, 200])
def test_a_truncated_file_is_a_format_error(tmp_path: Path, length: int) -> None:
    path = save(model_with(numpy_helper.from_array(np.zeros((64, 4), np.float32), "w")), tmp_path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(FormatError):
        read_onnx(path)


def test_dimensions_and_bytes_must_agree_before_anything_is_allocated(tmp_path: Path) -> None:
    for tensor in (
        TensorProto(name="w", data_type=1, dims=[2**40], raw_data=bytes(16)),
        TensorProto(name="w", data_type=1, dims=[2**40]),
        TensorProto(name="w", data_type=1, dims=[-4], raw_data=bytes(16)),
        TensorProto(name="w", data_type=1, dims=[1] * 40, raw_data=bytes(4)),
    ):
        with pytest.raises(FormatError):
            read_onnx(save(model_with(tensor), tmp_path))


@pytest.mark.parametrize(
    ("ir", "opset", "expected"), [(2, 17, "ir_version"), (99, 17, "ir_version"), (8, 0, "opset"), (8, 99, "opset")]
)
def test_versions(tmp_path: Path, ir: int, opset: int, expected: str) -> None:
    model = model_with(numpy_helper.from_array(np.ones(4, np.float32), "w"), opset)
    model.ir_version = ir
    with pytest.raises(UnsupportedError, match=expected):
        read_onnx(save(model, tmp_path))


def test_malformed_graphs(tmp_path: Path) -> None:
    def load(*nodes: onnx.NodeProto) -> None:
        graph = helper.make_graph(list(nodes), "g", [X], [Y])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 8
        read_onnx(save(model, tmp_path))

    with pytest.raises(FormatError, match="earlier node"):
        load(helper.make_node("Add", ["x", "z"], ["y"]), helper.make_node("Abs", ["x"], ["z"]))
    with pytest.raises(FormatError, match="made once"):
        load(helper.make_node("Abs", ["x"], ["y"]), helper.make_node("Neg", ["x"], ["y"]))
    with pytest.raises(FormatError, match="output 'y'"):
        load(helper.make_node("Abs", ["x"], ["z"]))
    with pytest.raises(FormatError, match="opset_import"):
        load(helper.make_node("Abs", ["x"], ["y"], domain="elsewhere"))


def test_sparse_initializers_and_missing_files(tmp_path: Path) -> None:
    model = model_with(numpy_helper.from_array(np.ones(4, np.float32), "w"))
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(np.ones(1, np.float32), "s"), numpy_helper.from_array(np.zeros(1, np.int64)), [4]
    )
    model.graph.sparse_initializer.append(sparse)
    with pytest.raises(UnsupportedError, match="sparse_initializer"):
        read_onnx(save(model, tmp_path))
    with pytest.raises(FormatError, match="nothing"):
        read_onnx(tmp_path / "nothing.onnx")
    with pytest.raises(FormatError):
        read_onnx(tmp_path)


def test_functions_that_multiply_or_recur_are_refused(tmp_path: Path) -> None:
    def function(name: str, calls: str, times: int) -> onnx.FunctionProto:
        nodes = [
            helper.make_node(calls, ["a" if i == 0 else f"t{i}"], ["b" if i == times - 1 else f"t{i + 1}"], domain="f")
            for i in range(times)
        ]
        return helper.make_function("f", name, ["a"], ["b"], nodes, [helper.make_opsetid("f", 1)])

    def load(functions: list[onnx.FunctionProto]) -> None:
        graph = helper.make_graph([helper.make_node("f0", ["x"], ["y"], domain="f")], "g", [X], [Y])
        imports = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
        model = helper.make_model(graph, opset_imports=imports, functions=functions)
        model.ir_version = 8
        read_onnx(save(model, tmp_path))

    with pytest.raises(FormatError, match="call themselves"):
        load([function("f0", "f1", 1), function("f1", "f0", 1)])
    with pytest.raises(FormatError, match="after inlining"):
        load([function(f"f{i}", f"f{i + 1}", 10) for i in range(12)])


def test_unreadable_constants_are_problems_of_their_nodes(tmp_path: Path) -> None:
    model = model_with(helper.make_tensor("w", TensorProto.STRING, [1], [b"a"]))
    problems = check_onnx(save(model, tmp_path))
    assert [p.node for p in problems] == ["Add_0"] and "string" in problems[0].advice


def test_flipped_bits_give_typed_errors(save_small: Path, rng: np.random.Generator) -> None:
    good = save_small.read_bytes()
    for _ in range(300):
        bad = bytearray(good)
        for _ in range(rng.integers(1, 4)):
            bad[rng.integers(len(bad))] ^= 1 << int(rng.integers(8))
        save_small.write_bytes(bad)
        try:
            check_onnx(save_small)
        except EdgertError:
            continue


@pytest.fixture
def save_small(tmp_path: Path) -> Path:
    """A quantized layer: names, shapes, attributes, initializers of several types."""
    quantize = helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], axis=0)
    multiply = helper.make_node("QLinearMatMul", ["q", "s", "z", "w", "s", "i", "s", "z"], ["r"], "multiply")
    dequantize = helper.make_node("DequantizeLinear", ["r", "s", "z"], ["t"])
    nodes = [quantize, multiply, dequantize, helper.make_node("LeakyRelu", ["t"], ["y"], alpha=0.1)]
    constants = {
        "s": np.array(0.1, np.float32), "z": np.array(7, np.uint8), "i": np.array(0, np.int8),
        "w": np.arange(8, dtype=np.int8).reshape(4, 2),
    }  # fmt: skip
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "g", [X], [Y], tensors), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 8
    return save(model, tmp_path)


def test_names_are_utf_8(save_small: Path) -> None:
    save_small.write_bytes(save_small.read_bytes().replace(b"multiply", b"mult\xffply"))
    with pytest.raises(FormatError, match="UTF-8"):
        read_onnx(save_small)


def test_refuses_one_stretch_of_external_data_for_many_tensors(tmp_path: Path, weights: onnx.ModelProto) -> None:
    model = external(weights, "w.bin", offset=8, length=16)
    for i in range(5):
        again = model.graph.initializer.add()
        again.CopyFrom(model.graph.initializer[0])
        again.name = f"w{i}"
    assert len(read_onnx(save(model, tmp_path)).constants) == 6  # 96 bytes of 24
    again = model.graph.initializer.add()
    again.CopyFrom(model.graph.initializer[0])
    again.name = "more"
    with pytest.raises(FormatError, match="used 4 times"):
        read_onnx(save(model, tmp_path))


def test_refuses_functions_whose_constants_multiply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    value = numpy_helper.from_array(np.ones(1000, np.float32), "v")
    body = [helper.make_node("Constant", [], ["k"], value=value), helper.make_node("Add", ["a", "k"], ["b"])]
    function = helper.make_function("own", "f", ["a"], ["b"], body, [helper.make_opsetid("", 17)])
    calls = [helper.make_node("f", [f"x{i}"], [f"x{i + 1}"], domain="own") for i in range(20)]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1000]) for name in ("x0", "x20"))
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model = helper.make_model(
        helper.make_graph(calls, "g", [x], [y]), opset_imports=imports, functions=[function], ir_version=8
    )
    assert len(read_onnx(save(model, tmp_path)).nodes) == 20
    monkeypatch.setattr("edgert.converters.onnx.reader.MAX_INLINED_BYTES", 50_000)
    with pytest.raises(FormatError, match="at most 50000 bytes of inlined functions"):
        read_onnx(save(model, tmp_path))


def test_reads_nodes_of_many_attributes(tmp_path: Path) -> None:
    """In one pass: looked up in a new table each, this would be a billion."""
    node = helper.make_node("Relu", ["x"], ["y"])
    node.attribute.extend(helper.make_attribute(f"a{i}", i) for i in range(20_000))
    model = helper.make_model(helper.make_graph([node], "g", [X], [Y]), ir_version=8)
    assert len(read_onnx(save(model, tmp_path)).nodes[0].attrs) == 20_000
