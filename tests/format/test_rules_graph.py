"""Rules F17 to F23 of docs/format.md: the graph, its types, attributes and preprocessing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from edgert.errors import FormatError
from edgert.format import Model

Forge = Any
Refused = Callable[..., FormatError]


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
