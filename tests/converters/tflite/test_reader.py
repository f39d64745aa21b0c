"""The TFLite reader: what it reads equals what was written, and what LiteRT sees; damage is named with its place."""

from __future__ import annotations

import contextlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from flat_model import Dimension, FlatModel, pack

from edgert.converters.tflite import flat as flat_module
from edgert.converters.tflite.model import ABSENT
from edgert.converters.tflite.reader import read_tflite
from edgert.converters.tflite.schema import BUILTIN_OPERATORS, ELEMENT_TYPES, ENUMERATIONS, OPTION_TABLES, OPTIONS
from edgert.errors import FormatError, UnsupportedError

WEIGHTS = np.arange(3 * 2 * 2 * 2, dtype=np.int8).reshape(3, 2, 2, 2)


def small() -> FlatModel:
    """x [1, 4, 4, 2] int8 -> CONV_2D by channel -> y [1, 4, 4, 3] int8."""
    m = FlatModel()
    x = m.input("x", (1, 4, 4, 2), "int8", signature=(-1, 4, 4, 2), scale=0.5, zero_point=-3)
    w = m.constant("w", WEIGHTS, scale=[0.1, 0.2, 0.3], axis=0)
    y = m.op(
        "CONV_2D", [x, w, -1], ("y", (1, 4, 4, 3), "int8", {"scale": 0.25, "zero_point": 7}),
        padding="VALID", stride_w=2, stride_h=1, fused_activation_function="RELU6",
    )  # fmt: skip
    m.output(y)
    return m


def read(model: FlatModel, folder: Path) -> Any:
    return read_tflite(model.save(folder / "m.tflite"))


def refused(model: FlatModel | bytes | Any, folder: Path, match: str) -> FormatError:
    data = model.pack() if isinstance(model, FlatModel) else model if isinstance(model, bytes) else pack(model)
    path = folder / "m.tflite"
    path.write_bytes(data)
    with pytest.raises(FormatError, match=match) as caught:
        read_tflite(path)
    assert caught.value.file == path
    return caught.value


def test_a_model_is_read_as_it_was_written(tmp_path: Path) -> None:
    model = read(small(), tmp_path)
    assert model.description == "test" and [g.name for g in model.graphs] == ["main"]
    graph = model.graphs[0]
    x, w, _ = graph.tensors
    assert (x.name, x.dtype, x.shape, x.signature) == ("x", "int8", (1, 4, 4, 2), (-1, 4, 4, 2))
    assert x.quant.per_tensor and x.quant.scale[0] == 0.5 and x.quant.zero_point[0] == -3 and x.data is None
    assert np.array_equal(w.data, WEIGHTS) and not w.data.flags.writeable and not w.data.flags.owndata
    assert w.quant.axis == 0 and np.array_equal(w.quant.scale, np.float32([0.1, 0.2, 0.3]))
    assert (graph.inputs, graph.outputs) == ((0,), (2,))
    (conv,) = graph.operators
    assert (conv.op, conv.custom, conv.version, conv.inputs, conv.outputs) == (
        "CONV_2D",
        False,
        1,
        (0, 1, ABSENT),
        (2,),
    )
    assert conv.options == {
        "padding": "VALID", "stride_w": 2, "stride_h": 1, "fused_activation_function": "RELU6",
        "dilation_w_factor": 1, "dilation_h_factor": 1, "quantized_bias_type": "FLOAT32",
    }  # fmt: skip


def test_options_have_the_defaults_of_the_schema(tmp_path: Path) -> None:
    m = small()
    m.graph.operators[0].builtinOptionsType = 0
    m.graph.operators[0].builtinOptions = None
    assert read(m, tmp_path).graphs[0].operators[0].options == {}
    m = FlatModel()
    x = m.input("x", (4,))
    m.output(m.op("ADD", [x, x], ("y", (4,))))
    options = read(m, tmp_path).graphs[0].operators[0].options
    assert options == {"fused_activation_function": "NONE", "pot_scale_int16": True}


@pytest.mark.parametrize("table", sorted(set(OPTIONS) & set(OPTION_TABLES)))
def test_every_options_table_is_read_as_the_schema_writes_it(table: str, tmp_path: Path) -> None:
    """Fields are filled with different values by the schema's own names and read back by ours."""
    m = FlatModel()
    x = m.input("x", (4,))
    m.op("ABS", [x], ("y", (4,)))
    m.output(1)
    options = getattr(schema, f"{table}OptionsT")()
    expected = {}
    for number, field in enumerate(OPTIONS[table]):
        first, *rest = field.name.split("_")
        key = first + "".join(part[:1].upper() + part[1:] for part in rest)
        if not hasattr(options, key):
            assert field.name in ("new_height", "new_width"), field.name  # deprecated: writers leave them out
            expected[field.name] = 0
            continue
        if field.type == "string":
            value: Any = f"text {number}"
            expected[field.name] = value
        elif field.vector:
            value = [number + 1, number + 2]
            expected[field.name] = tuple(value)
        else:
            value = 0 if "subgraph" in field.name else not field.default if field.type == "bool" else 1
            expected[field.name] = value
        setattr(options, key, value)
    node = m.graph.operators[0]
    node.builtinOptionsType, node.builtinOptions = OPTION_TABLES.index(table), options
    found = read(m, tmp_path).graphs[0].operators[0].options
    for field in OPTIONS[table]:
        if field.type in ENUMERATIONS and not field.vector:
            expected[field.name] = ENUMERATIONS[field.type][expected[field.name]]
    assert found == expected


def test_names_of_operators_and_types_are_those_of_the_schema() -> None:
    for name, number in vars(schema.BuiltinOperator).items():
        if not name.startswith("_"):
            assert BUILTIN_OPERATORS[number] == name
    for name, number in vars(schema.TensorType).items():
        if not name.startswith("_"):
            assert ELEMENT_TYPES[number] == name.lower()


def test_late_operators_and_custom_ones(tmp_path: Path) -> None:
    m = FlatModel()
    x = m.input("x", (4,))
    y = m.op("GELU", [x], ("y", (4,)), approximate=True)
    z = m.op("Mine", [y], ("z", (4,)), custom=b"\x01\x02")
    m.output(z)
    gelu, mine = read(m, tmp_path).graphs[0].operators
    assert gelu.op == "GELU" and gelu.options == {"approximate": True}
    assert mine.op == "Mine" and mine.custom and mine.custom_options == b"\x01\x02" and mine.options == {}


def test_small_integers_are_unpacked(tmp_path: Path) -> None:
    m = FlatModel()
    x = m.input("x", (3,), "int8")
    numbers = np.array([-8, 7, -1], np.int8)
    packed = bytes([(numbers[0] & 15) | (numbers[1] & 15) << 4, numbers[2] & 15])
    four = m.constant("four", packed, "int4", shape=(3,), scale=0.5)
    two = m.constant("two", bytes([0b11_10_01_00]), "int2", shape=(4,))
    half = m.constant("half", np.array([1.5], np.float32).view(np.uint16)[1:].tobytes(), "bfloat16", shape=(1,))
    m.output(m.op("ADD", [x, four], ("y", (3,), "int8")))
    tensors = read(m, tmp_path).graphs[0].tensors
    assert np.array_equal(tensors[four].data, numbers) and tensors[four].quant.scale[0] == 0.5
    assert np.array_equal(tensors[two].data, [0, 1, -2, -1])
    assert tensors[half].dtype == "bfloat16" and tensors[half].data.view(np.uint16)[0] == 0x3FC0


def test_empty_and_free(tmp_path: Path) -> None:
    """A list of no axes has an empty buffer; scales that are not there mean no quantization."""
    m = FlatModel()
    x = m.input("x", (2, -1))
    axes = m.tensor("axes", (0,), "int32")
    m.graph.tensors[x].quantization = schema.QuantizationParametersT(min=[0.0], max=[1.0])
    m.output(m.op("MEAN", [x, axes], ("y", (2, 1)), keep_dims=True))
    graph = read(m, tmp_path).graphs[0]
    assert graph.tensors[axes].data.shape == (0,) and graph.tensors[axes].data.dtype == np.int32
    assert graph.tensors[x].quant is None
    assert (graph.tensors[x].shape, graph.tensors[x].signature) == ((2, 1), (2, -1))


def test_values_behind_the_flatbuffer(tmp_path: Path) -> None:
    """Files above 2 GB keep constants after the tables, by place and size."""
    m = small()
    del m.buffers[1:]
    m.buffers.append(schema.BufferT(offset=4096, size=WEIGHTS.size))
    data = m.pack()
    path = tmp_path / "m.tflite"
    path.write_bytes(data.ljust(4096, b"\0") + WEIGHTS.tobytes())
    assert np.array_equal(read_tflite(path).graphs[0].tensors[1].data, WEIGHTS)
    refused(data.ljust(4096, b"\0") + WEIGHTS.tobytes()[:-1], tmp_path, "of 24 bytes at byte 4096")


def test_sub_graphs_signatures_and_metadata(tmp_path: Path) -> None:
    m = FlatModel()
    init = m.subgraph("init")
    x = m.input("x", (2,))
    m.op("CALL_ONCE", [], [], init_subgraph_index=init.index)
    m.output(m.op("ABS", [x], ("y", (2,))))
    m.metadata["notes"] = b"hello"
    m.signatures.append(
        schema.SignatureDefT([schema.TensorMapT("sound", 0)], [schema.TensorMapT("score", 1)], "serving_default", 0)
    )
    model = read(m, tmp_path)
    assert [g.name for g in model.graphs] == ["main", "init"]
    assert model.graphs[0].operators[0].options == {"init_subgraph_index": 1}
    assert model.metadata == {"notes": b"hello"}
    (entry,) = model.signatures
    assert (entry.key, entry.graph, entry.inputs, entry.outputs) == (
        "serving_default", 0, {"sound": 0}, {"score": 1},
    )  # fmt: skip


def test_files_zipped_behind_the_model(tmp_path: Path) -> None:
    path = small().save(tmp_path / "m.tflite")
    assert read_tflite(path).files == {}
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("labels.txt", "cat\ndog\n")
    assert read_tflite(path).files == {"labels.txt": b"cat\ndog\n"}
    data = bytearray(path.read_bytes())
    data[data.rindex(b"PK\x01\x02") + 16] ^= 1  # the CRC in the directory
    refused(bytes(data), tmp_path, "zip archive behind the model")


# ---- sparse tensors


def csr(dense: np.ndarray) -> tuple[np.ndarray, Dimension]:
    """Stored values of a matrix and its second dimension."""
    rows = [np.flatnonzero(row) for row in dense]
    segments = np.concatenate([[0], np.cumsum([r.size for r in rows])])
    return dense[dense != 0], Dimension(0, segments.tolist(), np.concatenate(rows).tolist())


def sparse_model(values: np.ndarray, shape: tuple[int, ...], sparse: Any) -> FlatModel:
    m = FlatModel()
    w = m.constant("w", values, shape=shape, sparse=sparse)
    m.output(m.op("DENSIFY", [w], ("y", shape, values.dtype.name)))
    return m


@pytest.mark.parametrize("width", [8, 16, 32])
def test_csr(width: int, tmp_path: Path) -> None:
    dense = np.array([[0, 1, 0, 2], [0, 0, 0, 0], [3, 0, 4, 5]], np.float16)
    values, inner = csr(dense)
    inner.width = width
    tensor = read(sparse_model(values, (3, 4), ([0, 1], [], [Dimension(3), inner])), tmp_path).graphs[0].tensors[0]
    assert tensor.sparse and np.array_equal(tensor.data, dense) and not tensor.data.flags.writeable


def test_blocks_and_columns_first(tmp_path: Path) -> None:
    """2x2 blocks of a 4x4 matrix, and the transposed traversal of a matrix."""
    dense = np.zeros((4, 4), np.float32)
    dense[:2, 2:], dense[2:, :2] = [[1, 2], [3, 4]], [[5, 6], [7, 8]]
    levels = [Dimension(2), Dimension(0, [0, 1, 2], [1, 0]), Dimension(2), Dimension(2)]
    model = sparse_model(np.arange(1, 9, dtype=np.float32), (4, 4), ([0, 1, 2, 3], [0, 1], levels))
    assert np.array_equal(read(model, tmp_path).graphs[0].tensors[0].data, dense)
    values, inner = csr(dense.T)
    model = sparse_model(values, (4, 4), ([1, 0], [], [Dimension(4), inner]))
    assert np.array_equal(read(model, tmp_path).graphs[0].tensors[0].data, dense)


def test_litert_fills_in_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    dense = (rng.standard_normal((6, 8)) * (rng.random((6, 8)) < 0.3)).astype(np.float32)
    values, inner = csr(dense)
    path = sparse_model(values, (6, 8), ([0, 1], [], [Dimension(6), inner])).save(tmp_path / "m.tflite")
    interpreter = Interpreter(str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    interpreter.invoke()
    assert np.array_equal(interpreter.get_tensor(1), read_tflite(path).graphs[0].tensors[0].data)


@pytest.mark.parametrize(
    ("order", "block_map", "levels", "match"),
    [
        ([0, 0], [], [Dimension(3), Dimension(4)], "a permutation"),
        ([0, 1, 2], [], [Dimension(3), Dimension(4)], "a permutation"),
        ([0, 1, 2], [2], [Dimension(3), Dimension(4), Dimension(1)], "block map"),
        ([0, 1, 2], [1], [Dimension(3), Dimension(4), Dimension(3)], "a dense block that divides"),
        ([0, 1], [], [Dimension(3)], "2 dimensions described"),
        ([0, 1], [], [Dimension(2), Dimension(4)], "a dense size of 3"),
        ([0, 1], [], [Dimension(3), Dimension(0, [0, 1, 2], [0, 1])], "4 segments"),
        ([0, 1], [], [Dimension(3), Dimension(0, [0, 2, 1, 3], [0, 1, 2])], "segments of .* that rise"),
        ([0, 1], [], [Dimension(3), Dimension(0, [0, 1, 2, 4], [0, 1, 2])], "segments of .* that rise"),
        ([0, 1], [], [Dimension(3), Dimension(0, [0, 1, 2, 3], [0, 1, 4])], "indices of .* below 4"),
        ([0, 1], [], [Dimension(3), Dimension(0, [0, 3, 3, 3], [0, 2, 2])], "rise within a segment"),
        ([0, 1], [], [Dimension(3), Dimension(0, [0, 1, 2, 2], [0, 1])], "stored values"),
        ([0, 1], [], [Dimension(3), Dimension(4)], "positions for the values"),
    ],
)
def test_wrong_sparsity(order: Any, block_map: Any, levels: Any, match: str, tmp_path: Path) -> None:
    refused(sparse_model(np.ones(3, np.float32), (3, 4), (order, block_map, levels)), tmp_path, match)


# ---- damage


def test_wrong_headers(tmp_path: Path) -> None:
    data = small().pack()
    refused(b"", tmp_path, "at least 8 bytes")
    refused(data[:4] + b"TFL2" + data[8:], tmp_path, "the file identifier TFL3, found 'TFL2'")
    refused(b"\xff\xff\xff\x7f" + data[4:], tmp_path, "the root table")
    m = small().model()
    m.version = 2
    refused(m, tmp_path, "version 3")
    with pytest.raises(FormatError, match="a file that can be read"):
        read_tflite(tmp_path / "missing.tflite")


def wrong_index(m: FlatModel) -> None:
    m.graph.operators[0].inputs = [0, 9, -1]


def wrong_output(m: FlatModel) -> None:
    m.graph.operators[0].outputs = [-1]


def wrong_code(m: FlatModel) -> None:
    m.graph.operators[0].opcodeIndex = 4


def wrong_type(m: FlatModel) -> None:
    m.graph.tensors[0].type = 99


def wrong_buffer(m: FlatModel) -> None:
    m.graph.tensors[1].buffer = 77


def wrong_size(m: FlatModel) -> None:
    m.graph.tensors[1].shape = [3, 2, 2, 3]


def wrong_axis(m: FlatModel) -> None:
    m.graph.tensors[1].quantization.quantizedDimension = 1


def wrong_scale(m: FlatModel) -> None:
    m.graph.tensors[0].quantization.scale = [float("nan")]


def wrong_zero(m: FlatModel) -> None:
    m.graph.tensors[0].quantization.zeroPoint = [128]


def wrong_zeros(m: FlatModel) -> None:
    m.graph.tensors[1].quantization.zeroPoint = [0, 0]


def wrong_shape(m: FlatModel) -> None:
    m.graph.tensors[0].shape = [1, -4, 4, 2]


def wrong_rank(m: FlatModel) -> None:
    m.graph.tensors[0].shapeSignature = [-1, 4]


def huge(m: FlatModel) -> None:
    m.graph.tensors[0].shape = [1 << 30] * 4


def never_made(m: FlatModel) -> None:
    m.graph.inputs = []


def made_twice(m: FlatModel) -> None:
    m.graph.operators.append(m.graph.operators[0])


def no_output(m: FlatModel) -> None:
    m.graph.outputs = [m.tensor("z", (1,))]


def double_input(m: FlatModel) -> None:
    m.graph.inputs = [0, 0]


def wrong_activation(m: FlatModel) -> None:
    m.graph.operators[0].builtinOptions.fusedActivationFunction = 17


def wrong_options(m: FlatModel) -> None:
    m.graph.operators[0].builtinOptionsType = 250


def wrong_signature(m: FlatModel) -> None:
    m.signatures.append(schema.SignatureDefT([schema.TensorMapT("x", 44)], [], "s", 0))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (wrong_index, "a tensor below 3 among the inputs of operator 0, found 9"),
        (wrong_output, "a tensor below 3 among the outputs"),
        (wrong_code, "an operator code below 1"),
        (wrong_type, "an element type below"),
        (wrong_buffer, "a buffer below"),
        (wrong_size, "36 bytes for tensor 1 'w', int8 .*, found a buffer of 24"),
        (wrong_axis, "one scale for tensor 1 'w' or one for each"),
        (wrong_scale, "finite scales above 0"),
        (wrong_zero, "zero points from -128 to 127"),
        (wrong_zeros, "3 zero points"),
        (wrong_shape, "sizes of at least 0"),
        (wrong_rank, "a shape signature of 4 dimensions"),
        (huge, "elements for tensor 0"),
        (never_made, "an earlier operator that makes 'x'"),
        (made_twice, "'y' made once"),
        (no_output, "an operator that makes output 'z'"),
        (double_input, "each input"),
        (wrong_activation, "fused_activation_function of CONV_2D among NONE, RELU"),
        (wrong_options, "options below"),
        (wrong_signature, "a tensor below 3 among the inputs of signature 0"),
    ],
)
def test_wrong_contents(change: Any, match: str, tmp_path: Path) -> None:
    m = small()
    change(m)
    refused(m, tmp_path, match)


def test_cycles_are_refused(tmp_path: Path) -> None:
    m = FlatModel()
    a, b = m.tensor("a", (2,)), m.tensor("b", (2,))
    m.op("ABS", [a], b)
    m.op("NEG", [b], a)
    m.output(a)
    refused(m, tmp_path, "topological order")


def test_sub_graphs_that_are_missing(tmp_path: Path) -> None:
    m = FlatModel()
    x = m.input("x", (), "bool")
    m.output(m.op("IF", [x], ("y", (1,)), then_subgraph_index=1, else_subgraph_index=0))
    refused(m, tmp_path, "a sub-graph below 1 as then_subgraph_index")


def test_quantization_by_blocks_is_named(tmp_path: Path) -> None:
    m = small()
    m.graph.tensors[1].quantization.detailsType = schema.QuantizationDetails.BlockwiseQuantization
    m.graph.tensors[1].quantization.details = schema.BlockwiseQuantizationT(blockSize=32)
    with pytest.raises(UnsupportedError, match="blockwise"):
        read_tflite(m.save(tmp_path / "m.tflite"))


def test_a_file_that_grows_when_decoded_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The account of a file: many tensors may not share one long name, nor zeros fill the memory."""
    monkeypatch.setattr(flat_module, "DECODED_BASE", 1 << 16)
    monkeypatch.setattr(flat_module, "DECODED_PER_BYTE", 2)
    read(small(), tmp_path)
    level = [Dimension(1), Dimension(0, [0, 1], [0])]
    refused(sparse_model(np.ones(1, np.float32), (1, 1 << 20), ([0, 1], [], level)), tmp_path, "bytes when decoded")


def test_no_damage_of_a_byte_escapes_the_checks(tmp_path: Path) -> None:
    """Every byte of a small model set to 0, 255 and one more: read, or refused with a typed error."""
    m = small()
    m.metadata["notes"] = b"hello"
    data = bytearray(m.pack())
    path = tmp_path / "m.tflite"
    for at in range(len(data)):
        old = data[at]
        for new in {0, 255, (old + 1) % 256} - {old}:
            data[at] = new
            path.write_bytes(data)
            with contextlib.suppress(FormatError, UnsupportedError):
                read_tflite(path)
        data[at] = old


def test_truncation_is_named(tmp_path: Path) -> None:
    data = small().pack()
    path = tmp_path / "m.tflite"
    for size in range(0, len(data), 7):
        path.write_bytes(data[:size])
        with pytest.raises(FormatError):
            read_tflite(path)
