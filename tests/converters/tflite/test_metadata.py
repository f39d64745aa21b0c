"""Metadata of TFLite files, written here field by field as metadata_schema.fbs numbers them."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import flatbuffers
import pytest
from flat_model import FlatModel

from edgert.converters.tflite.metadata import KEY, read_metadata
from edgert.converters.tflite.reader import read_tflite
from edgert.errors import FormatError


def table(builder: Any, fields: dict[int, tuple[str, Any]]) -> int:
    """A table with ('offset' | 'byte' | 'uint', value) by slot."""
    builder.StartObject(max(fields, default=0) + 1)
    for slot, (kind, value) in fields.items():
        if kind == "offset":
            builder.PrependUOffsetTRelativeSlot(slot, value, 0)
        elif kind == "byte":
            builder.PrependByteSlot(slot, value, 0)
        else:
            builder.PrependUint32Slot(slot, value, 0)
    return int(builder.EndObject())


def vector(builder: Any, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def floats(builder: Any, values: list[float]) -> int:
    builder.StartVector(4, len(values), 4)
    for value in reversed(values):
        builder.PrependFloat32(value)
    return int(builder.EndVector())


def metadata() -> bytes:
    """A classifier of images 32 wide and 24 high with (127, 2) as mean and deviation, and a list of labels."""
    b = flatbuffers.Builder(0)
    name, author, licence = b.CreateString("pets"), b.CreateString("me"), b.CreateString("MIT")
    size = table(b, {0: ("uint", 32), 1: ("uint", 24)})
    properties = table(b, {0: ("byte", 1), 1: ("offset", size)})
    content = table(b, {0: ("byte", 2), 1: ("offset", properties)})
    options = table(b, {0: ("offset", floats(b, [127.0])), 1: ("offset", floats(b, [2.0]))})
    unit = table(b, {0: ("byte", 1), 1: ("offset", options)})
    image = b.CreateString("image")
    units = vector(b, [unit])
    inputs = vector(b, [table(b, {0: ("offset", image), 3: ("offset", content), 4: ("offset", units)})])
    file_name = b.CreateString("labels.txt")
    files = vector(b, [table(b, {0: ("offset", file_name), 2: ("byte", 2)})])
    scores = b.CreateString("scores")
    outputs = vector(b, [table(b, {0: ("offset", scores), 6: ("offset", files)})])
    graphs = vector(b, [table(b, {2: ("offset", inputs), 3: ("offset", outputs)})])
    root = table(
        b, {0: ("offset", name), 3: ("offset", graphs), 4: ("offset", author), 5: ("offset", licence)}
    )  # fmt: skip
    b.Finish(root, file_identifier=b"M001")
    return bytes(b.Output())


def model(folder: Path, blob: bytes) -> Path:
    m = FlatModel()
    m.output(m.op("ABS", [m.input("x", (1,))], ("y", (1,))))
    m.metadata[KEY] = blob
    path = m.save(folder / "m.tflite")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels.txt", "cat\ndog\n\n")
    return path


def test_everything_is_read(tmp_path: Path) -> None:
    about = read_metadata(read_tflite(model(tmp_path, metadata())))
    assert (about.name, about.author, about.licence, about.labels) == ("pets", "me", "MIT", ["cat", "dog"])
    (image,), (scores,) = about.inputs, about.outputs
    assert (image.name, image.content, image.color, image.size) == ("image", "image", "RGB", (24, 32))
    assert (image.mean, image.std, scores.files) == ((127.0,), (2.0,), {"labels.txt": "axis labels"})


def test_a_file_without_metadata(tmp_path: Path) -> None:
    m = FlatModel()
    m.output(m.op("ABS", [m.input("x", (1,))], ("y", (1,))))
    about = read_metadata(read_tflite(m.save(tmp_path / "m.tflite")))
    assert about.name == "" and about.inputs == [] and about.labels == []


def test_damage_is_named(tmp_path: Path) -> None:
    whole = metadata()
    with pytest.raises(FormatError, match="identifier M001"):
        read_metadata(read_tflite(model(tmp_path, whole[:4] + b"M000" + whole[8:])))
    refused = 0
    for at in range(8, len(whole), 4):
        damaged = bytearray(whole)
        damaged[at : at + 4] = b"\xff\xff\xff\x7f"
        try:
            read_metadata(read_tflite(model(tmp_path, bytes(damaged))))
        except FormatError:
            refused += 1
    assert refused > 20


def test_lists_of_labels_have_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = read_tflite(model(tmp_path, metadata()))
    read.files["labels.txt"] = b"ab\n" * 100
    monkeypatch.setattr("edgert.converters.tflite.metadata.MAX_LABEL_BYTES", 300)
    assert read_metadata(read).labels == ["ab"] * 100
    read.files["labels.txt"] += b"c"
    with pytest.raises(FormatError, match="at most 300 bytes of labels"):
        read_metadata(read)
