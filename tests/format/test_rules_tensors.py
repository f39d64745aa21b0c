"""Rules F24 to F34 of docs/format.md: stored tensors, their places and values, and what a file can not do."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgert.errors import FormatError
from edgert.format import Model, StoredTensor, read_model, write_model
from edgert.format import layouts as layout_table
from edgert.format.limits import MAX_Q8_ROW
from edgert.graph.ir import DTYPES, Graph

Forge = Any
Refused = Callable[..., FormatError]


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
