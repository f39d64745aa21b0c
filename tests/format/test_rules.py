"""One test or more for every numbered rule of docs/format.md; the number is in the test's name.

F35, which needs memory measurements, is tested in test_damage.py, what came with language models (F39 to F43) in
test_rules_language.py, sparse tensors (F44 to F53) in test_rules_sparse.py.
"""

from __future__ import annotations

import errno
import os
import re
import resource
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgert.errors import EdgertError, FormatError
from edgert.format import Model, StoredTensor, read_model, write_model
from edgert.format import layouts as layout_table
from edgert.format.limits import MAX_NAME_BYTES, MAX_Q8_ROW, MAX_TEXT_BYTES
from edgert.graph.ir import DTYPES, Graph

Forge = Any
Refused = Callable[..., FormatError]


def test_every_rule_has_a_test_and_every_test_a_rule(repo_root: Path) -> None:
    rules = re.findall(r"^\*\*F(\d+)\*\*", (repo_root / "docs/format.md").read_text(), re.MULTILINE)
    assert sorted(map(int, rules)) == list(range(1, len(rules) + 1))
    tests = "".join(p.read_text() for p in sorted((repo_root / "tests/format").glob("test_*.py")))
    assert {int(n) for n in re.findall(r"def test_f(\d+)_", tests)} == {int(n) for n in rules}


def test_the_example_of_the_document_runs(repo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", (repo_root / "docs/format.md").read_text(), re.DOTALL)
    exec(compile(example, "docs/format.md", "exec"), {})


# The file and its prelude


def test_f01_not_an_edge_file(tmp_path: Path, small_file: Path) -> None:
    content = small_file.read_bytes()
    for name, wrong in {"png": b"\x89PNG\r\n\x1a\n" + bytes(99), "short": b"\x89ED", "text": b"hello" * 20}.items():
        (tmp_path / name).write_bytes(wrong)
        with pytest.raises(FormatError, match="magic"):
            read_model(tmp_path / name)
    for size in (8, 63):
        (tmp_path / "cut").write_bytes(content[:size])
        with pytest.raises(FormatError, match="64 bytes"):
            read_model(tmp_path / "cut")


def test_f01_not_a_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "empty").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    cases = {
        tmp_path / "none": "no such file", tmp_path: "regular", tmp_path / "fifo": "regular",
        tmp_path / "empty": "empty", Path("/dev/zero"): "regular", tmp_path / "empty/x": "can be read",
        tmp_path / "loop": "can be read", tmp_path / "a\0b": "can be read", tmp_path / ("n" * 999): "can be read",
    }  # fmt: skip
    for path, reason in cases.items():
        with pytest.raises(FormatError, match=reason):
            read_model(path)


def test_f02_the_prelude_is_as_documented(small_file: Path) -> None:
    content = small_file.read_bytes()
    magic, version, flags, header, length, data, data_length, size, header_crc, crc = struct.unpack(
        "<8sIIQQQQQII", content[:64]
    )
    assert (magic, version, flags, header) == (b"\x89EDGE\r\n\x1a", 1, 0, 64)
    assert data == -(-(64 + length) // 64) * 64 and data_length % 64 == 0
    assert size == data + data_length == len(content)
    assert header_crc == zlib.crc32(content[64 : 64 + length]) and crc == zlib.crc32(content[:60])


def test_f03_prelude_crc(forge: Forge, refused: Refused) -> None:
    forge.prelude = {"prelude_crc": 0}
    assert refused("prelude CRC-32").offset == 60


def test_f04_other_versions(forge: Forge, refused: Refused) -> None:
    for version in (0, 2, 2**32 - 1):
        forge.prelude = {"version": version}
        assert refused(f"version {version}").offset == 8


def test_f05_unknown_flags(forge: Forge, refused: Refused) -> None:
    for flags in (1, 2**31):
        forge.prelude = {"flags": flags}
        refused("flags 0")


def test_f06_header_place(forge: Forge, refused: Refused) -> None:
    for field, value in {"header_offset": 128, "header_length": 1}.items():
        forge.prelude = {field: value}
        refused("header")
    forge.prelude = {"header_length": (64 << 20) + 1}
    refused("header of 2 to")


def test_f07_padding_after_the_header(forge: Forge, refused: Refused) -> None:
    forge.header["producer"] += "x" * (-(len(forge.bytes()) - len(forge.data)) % 64 + 1)
    text_end = 64 + struct.unpack_from("<Q", forge.bytes(), 24)[0]
    room = -text_end % 64 or 64
    forge.header["producer"] = forge.header["producer"][: -1 if room == 64 else None]
    text_end = 64 + struct.unpack_from("<Q", forge.bytes(), 24)[0]
    forge.pad = bytes(-text_end % 64 - 1) + b"\1"
    assert refused("zero bytes").offset == text_end


def test_f08_file_length(forge: Forge, refused: Refused) -> None:
    forge.tail = b"\0"
    refused("trailing")
    forge.tail = b""
    forge.prelude = {"file_length": len(forge.bytes()) + 64}
    refused("file length")
    forge.prelude = {"data_offset": 64}
    refused("data at byte")
    forge.prelude = {}
    forge.data = forge.data[:-1]
    forge.prelude = {"data_length": len(forge.data) + 1, "file_length": len(forge.bytes()) + 1}
    refused("truncated")


# The header as text


def test_f09_header_crc(forge: Forge, refused: Refused) -> None:
    forge.prelude = {"header_crc": 1}
    assert refused("header CRC-32").offset == 64


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        (b"[]", "one JSON object"), (b'""', "one JSON object"), (b"{}{}", "JSON header"), (b"{,}", "JSON header"),
        (b"\xef\xbb\xbf{}", "JSON header"), (b'{"a":"\xff"}', "UTF-8"), (b"{'a':1}", "JSON header"),
        (b'{"a":1}\0', "JSON header"), (b'{"a":"\n"}', "JSON header"), ('{"a":1}'.encode("utf-16-le"), "JSON"),
        (b'{"a":"\xed\xa0\x80"}', "UTF-8"),
    ],
)  # fmt: skip
def test_f10_not_json(text: bytes, pattern: str, forge: Forge, refused: Refused) -> None:
    forge.header = text
    refused(pattern)


def test_f10_white_space_is_allowed(forge: Forge, accepted: Callable[[], Model]) -> None:
    import json

    forge.header = b" \n\t" + json.dumps(forge.header, indent=3).encode() + b"\r\n "
    assert accepted().info.name == "small"


def test_f11_duplicate_keys(forge: Forge, refused: Refused) -> None:
    forge.header = b'{"a":1,"b":2,"a":1}'
    refused("'a' twice")
    forge.header = b'{"source":[{"k":{"x":1,"x":1}}]}'
    refused("'x' twice")


@pytest.mark.parametrize(
    "number",
    [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999", b"9223372036854775808", b"-9223372036854775809",
     b"9" * 5000],
)  # fmt: skip
def test_f12_numbers(number: bytes, forge: Forge, refused: Refused) -> None:
    forge.header = b'{"source":{"a":' + number + b"}}"
    refused("finite|64 bits")


def test_f13_depth_and_count(forge: Forge, refused: Refused) -> None:
    nested: Any = {}
    for _ in range(40):
        nested = {"a": nested}
    forge.header["report"] = nested
    refused("32 levels")
    forge.header = b"[" * 200_000
    refused("too deep")
    forge.header = b'{"a":[0' + b",0" * (1 << 21) + b"]}"
    refused("at most 2097152 header values")


def test_f14_text(forge: Forge, refused: Refused, accepted: Callable[[], Model]) -> None:
    for bad, reason in {
        "\ud800": "surrogate", "a\x1b[2J": "control", "a\x00": "control", "\x85": "control",
        "é" * (MAX_NAME_BYTES // 2 + 1): "255 bytes",
    }.items():  # fmt: skip
        for owner, key in ((forge.header, "producer"), (forge.header["model"], "task")):
            before, owner[key] = owner[key], bad
            refused(reason)
            owner[key] = before
        forge.header["graph"]["types"]["x"]["shape"][0] = bad
        refused(reason)
        forge.header["graph"]["types"]["x"]["shape"][0] = "N"
    forge.header["report"] = {"deep": [{"k": "\udfff"}]}
    refused("surrogate")
    forge.header["report"] = {"\udfff": 1}
    refused("surrogate")
    forge.header["report"] = {}
    forge.header["model"]["licence"] = "a" * (MAX_TEXT_BYTES + 1)
    refused("1048576 bytes")
    forge.header["model"]["licence"] = "two\nlines"
    forge.header["producer"] = ""
    assert accepted().info.licence == "two\nlines"
    forge.header["tensors"][0]["name"] = ""
    refused("a name")


def objects(value: Any) -> list[dict[str, Any]]:
    """All objects with fixed keys in a header."""
    items = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    return ([value] if isinstance(value, dict) else []) + [o for item in items for o in objects(item)]


def test_f15_keys(forge: Forge, refused: Refused, accepted: Callable[[], Model]) -> None:
    header = forge.header
    header["source"], header["report"] = {}, {}
    free = [
        header["source"],
        header["report"],
        header["graph"]["types"],
        *(n["attrs"] for n in header["graph"]["nodes"]),
    ]
    for table in objects(header):
        if any(table is other for other in free):
            continue
        table["more"] = 1
        refused("unknown key|absent")
        del table["more"]
        for key in list(table):
            if key in ("quant", "axis"):  # optional
                continue
            kept = dict(table)
            del table[key]
            refused(f"the key '{key}'")
            table.clear()
            table.update(kept)
    header["source"]["anything"] = {"at": ["all"]}
    assert accepted().source == {"anything": {"at": ["all"]}}


def test_f16_no_conversions(forge: Forge, refused: Refused, accepted: Callable[[], Model]) -> None:
    header = forge.header
    cases: list[tuple[dict[str, Any] | list[Any], Any, list[Any]]] = [
        (header, "producer", [1, None, [], {}]),
        (header, "source", [[], None, ""]),
        (header, "tensors", [{}, None, "x"]),
        (header["graph"], "types", [[], 1]),
        (header["graph"]["inputs"], 0, [1, None, ["x"]]),
        (header["graph"]["types"]["x"]["shape"], 1, [True, 3.0, -1, None]),
        (header["graph"]["types"]["x"]["quant"], "scale", [True, "1", None, []]),
        (header["graph"]["types"]["x"]["quant"], "zero_point", [True, 1.0, "1"]),
        (header["graph"]["nodes"][0], "attrs", [[], None]),
        (header["model"]["preprocessing"], "crop", [4, [4], [4, 4, 4], [4.0, 4], [0, 4]]),
        (header["tensors"][0]["parts"][0], "offset", [False, 0.0, "0"]),
        (header["tensors"][0]["parts"][0], "crc32", [True, 1.5, -1, 2**32]),
    ]
    for owner, key, wrong in cases:
        right = owner[key]
        for value in wrong:
            owner[key] = value
            refused("expected")
        owner[key] = right
    header["model"]["preprocessing"]["mean"] = [127]
    steps = accepted().info.preprocessing
    assert steps is not None and steps.mean == [127.0]


# The graph


def test_f17_types(forge: Forge, refused: Refused) -> None:
    kind = forge.header["graph"]["types"]["y"]
    for shape, pattern in [
        ([1] * 9, "8 items"), ([2**47], "from 0"), ([2**40, 2**10], "bytes"), ([2**45, 0, 2], "bytes"),
        ([-1], "from 0"), ([""], "a name"),
    ]:  # fmt: skip
        kind["shape"] = shape
        refused(pattern)
    kind["shape"] = []
    for dtype in ("bfloat16", "<f4", "object", "Float32", ""):
        kind["dtype"] = dtype
        refused("one of")


def test_f18_the_types_table(forge: Forge, refused: Refused, accepted: Callable[[], Model]) -> None:
    types = forge.header["graph"]["types"]
    for name in ("w", "nobody"):
        types[name] = {"dtype": "int8", "shape": []}
        refused(f"a type of '{name}'")
        del types[name]
    for name in ("x", "y"):
        kept = types.pop(name)
        refused(f"no type of '{name}'")
        types[name] = kept
    del types["h"]
    assert "h" not in accepted().graph.types


def test_f19_each_tensor_is_defined_once_and_before_its_use(forge: Forge, refused: Refused) -> None:
    graph = forge.header["graph"]
    first, second = graph["nodes"]
    for owner, key, value, pattern in [
        (graph, "nodes", [second, first], "earlier node"),
        (graph, "nodes", [first, first, second], "not defined yet"),
        (graph, "inputs", ["x", "x"], "not defined yet"),
        (graph, "inputs", ["x", "w"], "not defined yet"),
        (graph, "inputs", ["x", ""], "a name"),
        (graph, "outputs", [], "at least one output"),
        (graph, "outputs", ["y", "y"], "each once"),
        (graph, "outputs", ["z"], "earlier node"),
        (first, "inputs", ["x", "y", "b"], "earlier node"),
        (first, "inputs", ["x", "h", "b"], "earlier node"),
        (first, "outputs", ["w"], "not defined yet"),
        (first, "outputs", ["h", "h"], "not defined yet"),
        (first, "outputs", [], "named output"),
        (first, "outputs", [""], "named output"),
    ]:
        right, owner[key] = owner[key], value
        refused(pattern)
        owner[key] = right


def test_f20_operators(forge: Forge, refused: Refused, accepted: Callable[[], Model]) -> None:
    node, other = forge.header["graph"]["nodes"]
    for op in ("", "a b", "../x", "com.x.Op", "1x", "x" * 65, "Ω"):
        node["op"] = op
        refused("identifier|a name")
    node["op"] = "FromTheFuture_9"
    assert accepted().graph.nodes[0].op == "FromTheFuture_9"
    other["name"] = node["name"]
    refused("'c' twice")
    other["name"] = node["name"] = ""
    accepted()


def test_f21_attributes(forge: Forge, refused: Refused, accepted: Callable[[], Model]) -> None:
    attrs = forge.header["graph"]["nodes"][0]["attrs"]
    for value in (None, True, [1, 2.0], [1, "a"], [[1]], {}, {"float": "nan"}, {"float": 1}, {"float": "inf", "a": 1}):
        attrs["x"] = value
        refused("expected")
    attrs["x"] = [0] * 65537
    refused("65536 items")
    attrs["x"] = [{"float": "-inf"}, 1.0]
    assert accepted().graph.nodes[0].attrs["x"] == [float("-inf"), 1.0]
    attrs["a b"] = 1
    refused("identifier")
    attrs.clear()
    attrs.update({f"a{i}": 0 for i in range(65)})
    refused("64 entries")


def test_f22_inline_quantization(forge: Forge, refused: Refused, accepted: Callable[[], Model]) -> None:
    kind = forge.header["graph"]["types"]["h"]
    for quant in [
        {"scale": 0, "zero_point": 0}, {"scale": -1.0, "zero_point": 0}, {"scale": 0.1, "zero_point": 0},
        {"scale": 1e39, "zero_point": 0}, {"scale": 1.0, "zero_point": 256}, {"scale": 1.0, "zero_point": -1},
        {"scale": [1.0], "zero_point": [0]}, {"scale": [1.0], "zero_point": [0], "axis": 1},
        {"scale": [1.0] * 5, "zero_point": [0] * 4, "axis": 1}, {"scale": 1.0, "zero_point": 0, "axis": 1},
        {"scale": [1.0] * 5, "zero_point": [0] * 5, "axis": 4}, {"scale": [1.0] * 5, "zero_point": [0] * 5, "axis": -1},
        {"scale": [1.0] * 4 + [0.0], "zero_point": [0] * 5, "axis": 1}, {"scale": 1e-46, "zero_point": 0},
    ]:  # fmt: skip
        kind["quant"] = quant
        refused("expected")
    kind["quant"] = {"scale": [0.5] * 5, "zero_point": [255] * 5, "axis": 1}
    assert accepted().graph.types["h"].quant is not None
    kind["dtype"] = "float32"
    refused("quantized")


def test_f23_preprocessing(forge: Forge, refused: Refused, accepted: Callable[[], Model]) -> None:
    steps = forge.header["model"]["preprocessing"]
    for key, wrong in {
        "input": ["y", "nobody", ""], "resize": [0, -1, 2**20], "resample": ["cubic", 1], "channels": ["RGBA"],
        "layout": ["CHW"], "mean": [[], [1, 2], [1, 2, 3, 4]], "scale": [[1, 2]], "dtype": ["f4"],
    }.items():  # fmt: skip
        right = steps[key]
        for value in wrong:
            steps[key] = value
            refused(rf"preprocessing\.{key}")
        steps[key] = right
    steps["resize"], steps["mean"] = None, [1, 2, 3]
    plain = accepted().info.preprocessing
    assert plain is not None and plain.standardize is False
    for value in (1, "true", None):
        steps["standardize"] = value
        refused(r"preprocessing\.standardize")
    steps["standardize"] = True
    assert accepted().info.preprocessing == replace(plain, standardize=True)
    forge.header["model"]["preprocessing"] = None
    assert accepted().info.preprocessing is None


# Stored tensors


def test_f24_tensors(forge: Forge, refused: Refused) -> None:
    weights, bias = forge.header["tensors"][:2]
    for key, wrong in {
        "encoding": ["q4", "q5", "f16", "", None], "layout": ["n4k1", "n16k4", "nchw", 1], "dtype": ["uint8", "int32"],
        "shape": [["N", 3, 1, 2], [5, 6], [1, 5, 3, 1, 2], [], [5, -3, 1, 2]], "name": [bias["name"]],
    }.items():  # fmt: skip
        right = weights[key]
        for value in wrong:
            weights[key] = value
            refused(r"tensors\[[01]\]")
        weights[key] = right
    for wrong_row in (MAX_Q8_ROW + 1, 2**40):
        weights["shape"], weights["layout"] = [1, wrong_row], "row"
        refused("q8 rows")


def test_f25_parts(forge: Forge, refused: Refused) -> None:
    weights = forge.header["tensors"][0]
    parts = weights["parts"]
    for wrong in (parts[:2], parts[::-1], [parts[0], parts[2], parts[1]], [*parts, parts[0]], []):
        weights["parts"] = wrong
        refused(r"tensors\[0\]\.parts")
    weights["parts"] = parts
    for key, values in {"role": ["sum", "Data"], "dtype": ["uint8"], "nbytes": [0, 47, 49, 2**63 - 1, -48]}.items():
        right = parts[0][key]
        for value in values:
            parts[0][key] = value
            refused(rf"parts\[0\]\.{key}")
        parts[0][key] = right
    weights["shape"] = [9, 3, 1, 2]
    refused("nbytes")


def test_f26_places(forge: Forge, refused: Refused) -> None:
    tensors = forge.header["tensors"]
    part = tensors[0]["parts"][1]
    for offset in (0, part["offset"] - 64, part["offset"] + 64, part["offset"] + 1, -64, 2**62):
        right, part["offset"] = part["offset"], offset
        refused("offset")
        part["offset"] = right
    forge.data += bytes(64)
    refused("fill the data section")
    forge.data = forge.data[:-128]
    refused("fill the data section")
    tensors.reverse()
    refused("offset")


def test_f27_padding_between_parts(forge: Forge, refused: Refused) -> None:
    for tensor in forge.header["tensors"]:
        for part in tensor["parts"]:
            end = part["offset"] + part["nbytes"]
            for place in range(end, -(-end // 64) * 64, 9):
                forge.data[place] = 1
                refused("zero bytes", "all")
                forge.data[place] = 0


def test_f28_part_crc(forge: Forge, refused: Refused, tmp_path: Path) -> None:
    for tensor in forge.header["tensors"]:
        for part in tensor["parts"]:
            forge.data[part["offset"]] ^= 1
            error = refused("CRC-32", "all")
            assert error.offset is not None and error.offset % 64 == 0
            forge.data[part["offset"]] ^= 1
    forge.patch("w", "data", 0, b"\1", fix_crc=False)
    (tmp_path / "lazy.edge").write_bytes(forge.bytes())
    model = read_model(tmp_path / "lazy.edge")
    with pytest.raises(FormatError, match="CRC-32"):
        model.tensors["w"].dense()
    with pytest.raises(ValueError, match="verify"):
        read_model(tmp_path / "lazy.edge", verify="some")  # type: ignore[arg-type]


def test_f29_layout_padding(forge: Forge, refused: Refused) -> None:
    # w is [5,3,1,2] in n4k4: byte 3 is input channel 3 of output 0, which it does not have.
    forge.patch("w", "data", 3, b"\1")
    refused("zero padding in layout n4k4")


def test_f29_layouts_are_those_of_the_document(repo_root: Path) -> None:
    text = (repo_root / "docs/format.md").read_text()
    table = text[text.index("**F29**") : text.index("**F30**")]
    assert re.findall(r"^\| `([\w:]+)`", table, re.MULTILINE) == list(layout_table.LAYOUTS)


def test_f30_bool(forge: Forge, refused: Refused) -> None:
    forge.patch("mask", "data", 1, b"\2")
    refused("bool values 0 and 1")


@pytest.mark.parametrize("scale", [0.0, -0.5, float("inf"), float("nan")])
def test_f31_q8_scales(scale: float, forge: Forge, refused: Refused) -> None:
    forge.patch("w", "scale", 4, struct.pack("<f", scale))
    refused("finite and > 0")


def test_f31_q8_values(forge: Forge, refused: Refused) -> None:
    forge.patch("w", "data", 0, b"\x80")
    refused("at least -127")
    with pytest.raises(FormatError, match="at least -127"):
        StoredTensor.pack_q8("w", np.full((1, 1), -128, np.int8), np.ones(1, np.float32))


def test_f31_q8_type(forge: Forge, refused: Refused, accepted: Callable[[], Model]) -> None:
    tensor = accepted().tensors["w"]
    assert tensor.quant is not None and tensor.quant.axis == 0 and not tensor.quant.zero_point.any()
    forge.header["tensors"][0]["dtype"] = "float32"
    tensor = accepted().tensors["w"]
    assert tensor.quant is None and tensor.dense().dtype == np.float32
    forge.header["tensors"][0]["quant"] = {"scale": 1.0, "zero_point": 0}
    refused("absent")


def test_f32_q8_sums(forge: Forge, refused: Refused, tmp_path: Path) -> None:
    forge.patch("w", "sum", 0, struct.pack("<i", 12345))
    refused("sums of the rows", "all")
    (tmp_path / "touch.edge").write_bytes(forge.bytes())
    assert read_model(tmp_path / "touch.edge").tensors["w"].parts["sum"][0] == 12345


def test_f33_quantization_of_dense_tensors(forge: Forge, refused: Refused, accepted: Callable[[], Model]) -> None:
    bias = forge.header["tensors"][1]
    assert bias["quant"] == {"axis": 0} and [p["role"] for p in bias["parts"]] == ["data", "scale", "zero_point"]
    assert accepted().tensors["b"].quant is not None
    for quant in ({"axis": 1}, {"axis": -1}, {"axis": 0, "scale": 1.0}, {"scale": 1.0, "zero_point": 0}, {}, None):
        bias["quant"] = quant
        refused(r"tensors\[1\]")
    bias["quant"] = {"axis": 0}
    forge.patch("b", "scale", 0, struct.pack("<f", -1.0))
    refused("finite and > 0")


def test_f33_zero_points_are_values_of_the_dtype(tmp_path: Path) -> None:
    from edgert.graph.ir import Quantization

    quant = Quantization(np.ones(2, np.float32), np.array([0, 128], np.int32), 0)
    tensor = StoredTensor.pack_dense("t", np.zeros(2, np.int8), quant=quant)
    with pytest.raises(FormatError, match="zero points of int8"):
        write_model(Model(Graph(outputs=["t"]), {"t": tensor}), tmp_path / "m.edge")


# What a file can not do


def test_f34_nothing_to_execute_and_nowhere_to_go(forge: Forge, refused: Refused, repo_root: Path) -> None:
    weights = forge.header["tensors"][0]
    for key in ("external", "location", "path", "url", "pickle", "compression"):
        weights[key] = "../../etc/passwd"
        refused("unknown key")
        del weights[key]
    assert all(not dtype.hasobject for dtype in DTYPES.values())
    for source in (repo_root / "edgert/format").rglob("*.py"):
        assert not re.search(r"\b(pickle|marshal|eval|exec|subprocess|urllib|allow_pickle)\b", source.read_text())


# Writing


def test_f36_deterministic(model: Model, small_file: Path, tmp_path: Path) -> None:
    content = small_file.read_bytes()
    write_model(model, tmp_path / "b.edge")
    assert (tmp_path / "b.edge").read_bytes() == content
    model.tensors = dict(reversed(model.tensors.items()))
    model.graph.types = dict(reversed(model.graph.types.items()))
    for node in model.graph.nodes:
        node.attrs = dict(reversed(node.attrs.items()))
    write_model(model, tmp_path / "c.edge")
    assert (tmp_path / "c.edge").read_bytes() == content
    # Tensors that no node uses come last, by name.
    for name in ("zz", "aa"):
        model.tensors[name] = StoredTensor.pack_dense(name, np.ones(1))
    write_model(model, tmp_path / "d.edge")
    assert list(read_model(tmp_path / "d.edge").tensors) == ["w", "b", "mask", "aa", "zz"]


def test_f36_the_bytes_are_those_of_version_1(small_file: Path) -> None:
    """Changes of this number change every file that users have: then the version must change too."""
    assert zlib.crc32(small_file.read_bytes()) == 3524476907


@pytest.mark.parametrize("moment", ["open", "write", "fsync", "replace"])
@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_f37_nothing_stays_behind(
    moment: str, failure: BaseException, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "m.edge"
    target.write_bytes(b"old")

    def fail(*_: Any, **__: Any) -> None:
        raise failure

    if moment == "write":
        monkeypatch.setattr("edgert.format.writer.bytes", fail, raising=False)
    else:
        monkeypatch.setattr(
            *{"open": (Path, "open"), "fsync": (os, "fsync"), "replace": (Path, "replace")}[moment], fail
        )
    expected = KeyboardInterrupt if isinstance(failure, KeyboardInterrupt) else EdgertError
    with pytest.raises(expected) as caught:
        write_model(model, target)
    monkeypatch.undo()
    if expected is EdgertError:
        assert re.search(r"No space left on device.*needs \d+ bytes, \d+ bytes are free in", str(caught.value))
    assert [p.name for p in tmp_path.iterdir()] == ["m.edge"] and target.read_bytes() == b"old"


def test_f37_a_real_limit_of_the_disk(model: Model, tmp_path: Path) -> None:
    model.graph.constants["big"] = np.ones(1 << 16)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 12, limits[1]))
    try:
        with pytest.raises(EdgertError, match=r"needs \d+ bytes"):
            write_model(model, tmp_path / "m.edge")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert not list(tmp_path.iterdir())


def test_f37_an_interrupted_process(small_file: Path, tmp_path: Path) -> None:
    """A real SIGINT while the file is being written."""
    (folder := tmp_path / "out").mkdir()
    script = (
        "import os, sys, signal; from edgert.format import read_model, write_model\n"
        "fsync = os.fsync\n"
        "def interrupted(handle): os.kill(os.getpid(), signal.SIGINT); fsync(handle)\n"
        "os.fsync = interrupted\n"
        "write_model(read_model(sys.argv[1]), sys.argv[2])"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, small_file, folder / "m.edge"], capture_output=True, check=False, text=True
    )
    assert run.returncode != 0 and "KeyboardInterrupt" in run.stderr
    assert not list(folder.iterdir())


def test_f37_targets_that_can_not_be_written(model: Model, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "fifo", tmp_path / "none/m.edge", tmp_path / "file/m.edge", tmp_path / "a\0b"):
        with pytest.raises(EdgertError):
            write_model(model, path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fifo", "file"]


def test_f38_replacing_a_file_in_use_is_safe(model: Model, small_file: Path) -> None:
    before = model.tensors["w"].dense()
    reading = read_model(small_file)
    write_model(Model(Graph(outputs=["t"]), {"t": StoredTensor.pack_dense("t", np.ones(3))}), small_file)
    np.testing.assert_array_equal(reading.tensors["w"].dense(), before)
    assert list(read_model(small_file).tensors) == ["t"]
    # A model can be written over the file that it is read from.
    write_model(read_model(small_file), small_file)
