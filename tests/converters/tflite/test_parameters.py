"""Parameters of Silicon Labs' toolkit: every kind of value, and what labels and pictures they make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from flat_model import FlatModel

from edgert.converters.convert import convert
from edgert.converters.tflite.importer import graph_of
from edgert.converters.tflite.info import info_of, preprocessing, preprocessing_by
from edgert.converters.tflite.metadata import TensorMetadata
from edgert.converters.tflite.parameters import KEY, read_parameters
from edgert.converters.tflite.reader import read_tflite
from edgert.errors import FormatError
from edgert.format import ModelInfo, read_model
from edgert.graph.ir import Quantization, TensorType

VALUES = {
    "samplewise_norm.mean_and_std": (1, False),
    "samplewise_norm.rescale": (11, 0.0),
    "loud": (1, True),
    "count": (3, 200),
    "depth": (4, -300),
    "gain": (10, 0.5),
    "half": (11, 0.25),
    "name": (12, "pets"),
    "classes": (13, ["cat", "dog"]),
    "numbers": (14, None),
}


def dictionary(values: dict[str, tuple[int, Any]]) -> bytes:
    """The blob for {name: (kind of the union, value)}; defaults are left out, as the toolkit leaves them out."""
    b = flatbuffers.Builder(0)
    slots = {
        1: b.PrependBoolSlot, 3: b.PrependUint8Slot, 4: b.PrependInt16Slot, 10: b.PrependFloat32Slot,
        11: b.PrependFloat64Slot,
    }  # fmt: skip
    entries = []
    for name, (kind, value) in values.items():
        key = b.CreateString(name)
        if kind in (12, 13):
            strings = [b.CreateString(text) for text in ([value] if kind == 12 else value)]
            if kind == 13:
                strings = [vector(b, strings)]
        b.StartObject(1)
        if kind in slots:
            slots[kind](0, value, 0)
        elif kind != 14:
            b.PrependUOffsetTRelativeSlot(0, strings[0], 0)
        table = b.EndObject()
        b.StartObject(3)
        b.PrependUOffsetTRelativeSlot(0, key, 0)
        b.PrependUint8Slot(1, kind, 0)
        b.PrependUOffsetTRelativeSlot(2, table, 0)
        entries.append(b.EndObject())
    listed = vector(b, entries)
    b.StartObject(2)
    b.PrependUint8Slot(0, 1, 0)
    b.PrependUOffsetTRelativeSlot(1, listed, 0)
    b.Finish(b.EndObject())
    return bytes(b.Output())


def vector(b: Any, offsets: list[int]) -> int:
    b.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return int(b.EndVector())


def model(folder: Path, blob: bytes | None) -> Path:
    """Two scores of a picture, or of whatever [1, 2, 2, 3] is."""
    m = FlatModel()
    x = m.input("x", (1, 2, 2, 3))
    w = m.constant("w", np.ones((2, 12), np.float32))
    flat = m.op("RESHAPE", [x, m.constant("s", np.int32([1, 12]))], ("f", (1, 12)))
    m.output(m.op("FULLY_CONNECTED", [flat, w, -1], ("y", (1, 2))))
    if blob is not None:
        m.metadata[KEY] = blob
    return Path(m.save(folder / "m.tflite"))


def info(path: Path) -> ModelInfo | None:
    source = read_tflite(path)
    return info_of(source, graph_of(source))


def test_every_kind_is_read(tmp_path: Path) -> None:
    found = read_parameters(read_tflite(model(tmp_path, dictionary(VALUES))))
    assert found == {name: value for name, (kind, value) in VALUES.items() if kind != 14}
    assert found["loud"] is True and isinstance(found["samplewise_norm.rescale"], float)
    assert read_parameters(read_tflite(model(tmp_path, None))) == {} and info(model(tmp_path, None)) is None


def test_labels_and_pixels_as_they_are(tmp_path: Path) -> None:
    found = info(model(tmp_path, dictionary(VALUES)))
    assert found is not None and (found.name, found.task) == ("pets", "image-classification")
    assert found.labels == ["cat", "dog"] and found.preprocessing is not None
    assert (found.preprocessing.mean, found.preprocessing.scale) == ([0.0], [1.0])
    assert (found.preprocessing.layout, found.preprocessing.crop) == ("NHWC", (2, 2))
    three = info(model(tmp_path, dictionary(VALUES | {"classes": (13, ["a", "b", "c"])})))
    assert three is not None and three.labels == [], "names that are not those of the outputs"


PICTURE = TensorType("float32", (1, 8, 8, 3))
GRAY = TensorType("float32", (1, 8, 8, 1))
INT8 = TensorType("int8", (1, 8, 8, 3), Quantization(np.float32(1 / 128), np.int32(0)))
PLAIN = {"samplewise_norm.rescale": 0.0, "samplewise_norm.mean_and_std": False}


def test_normalisation() -> None:
    scaled = preprocessing_by("x", GRAY, {"samplewise_norm.rescale": 1 / 255})
    assert scaled is not None and scaled.channels == "L"
    assert (scaled.mean, scaled.scale) == ([0.0], [pytest.approx(1 / 255)])
    whole = preprocessing_by("x", INT8, PLAIN)
    assert whole is not None and (whole.mean, whole.scale, whole.dtype) == ([128.0], [1.0], "int8")
    assert preprocessing_by("x", PICTURE, PLAIN) is not None
    own = preprocessing_by("x", GRAY, PLAIN | {"samplewise_norm.mean_and_std": True})
    assert own is not None and own.standardize and (own.mean, own.scale) == ([0.0], [1.0])
    for kind, parameters in (
        (GRAY, PLAIN),  # the features of sound look so too
        (INT8, PLAIN | {"samplewise_norm.mean_and_std": True}),
        (PICTURE, PLAIN | {"fe.fft_length": 512}),
        (PICTURE, {"name": "wand"}),
        (PICTURE, PLAIN | {"samplewise_norm.rescale": "much"}),
        (TensorType("float32", (1, 8)), PLAIN),
    ):
        assert preprocessing_by("x", kind, dict(parameters)) is None


def test_damage_is_named(tmp_path: Path) -> None:
    whole, refused = dictionary(VALUES), 0
    for at in range(0, len(whole) - 3, 4):
        damaged = bytearray(whole)
        damaged[at : at + 4] = b"\xff\xff\xff\x7f"
        try:
            read_parameters(read_tflite(model(tmp_path, bytes(damaged))))
        except FormatError:
            refused += 1
    assert refused > 20


def test_words_for_people_fit_into_a_file(tmp_path: Path) -> None:
    """Control characters and endless names would be refused when the file is read."""
    words = {"name": (12, "pets\n\x1b[31m" + "x" * 500), "classes": (13, ["a\tcat", "dog\r\n"])}
    convert(model(tmp_path, dictionary(VALUES | words)), tmp_path / "m.edge")
    found = read_model(tmp_path / "m.edge").info
    assert found.name.startswith("pets [31mxx") and len(found.name) < 200
    assert found.labels == ["a cat", "dog"]


@pytest.mark.parametrize("std", [0.0, 1e-40, float("nan"), float("inf")])
def test_deviations_that_are_none(std: float) -> None:
    assert preprocessing("x", PICTURE, TensorMetadata(mean=(1.0,), std=(std,))) is None
