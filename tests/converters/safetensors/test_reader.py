"""safetensors files are read as the `safetensors` package wrote them; abuse is one typed error each."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgert.converters.safetensors import reader
from edgert.converters.safetensors.reader import load, parse_object, read_safetensors
from edgert.errors import FormatError, UnsupportedError


def content(header: dict[str, Any] | bytes, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(dtype: str = "F32", shape: Any = (2, 2), offsets: Any = (0, 16)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


def test_what_the_package_writes(path: Path) -> None:
    writer = pytest.importorskip("safetensors.numpy")
    rng = np.random.default_rng(0)
    arrays = {
        "b.weight": rng.normal(size=(3, 5)).astype(np.float32),
        "a.weight": rng.normal(size=(2, 3, 4)).astype(np.float16),
        "scalar": np.array(2.5, np.float32),
        "empty": np.empty((0, 7), np.float32),
        "ids": np.arange(6),
    }
    writer.save_file(arrays, path, metadata={"format": "np"})
    tensors = read_safetensors(path)
    assert set(tensors) == set(arrays)
    for name, array in arrays.items():
        assert tensors[name].shape == array.shape
        assert tensors[name].data.tobytes() == array.tobytes()
        assert not tensors[name].data.flags.writeable or not array.size
        if name != "ids":
            found = load(tensors[name])
            assert found.dtype == np.float32
            assert found.flags.owndata
            assert np.array_equal(found, array.astype(np.float32))
    with pytest.raises(UnsupportedError, match="'ids' stored as F32, F16, BF16, found I64"):
        load(tensors["ids"])


def test_bfloat16_is_widened(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "CHUNK", 3)
    exact = np.array([0, -0.0, 1, -1.5, 3.140625, 1e-40, 3e38, 2.0**-133], np.float32)
    bits = exact.view(np.uint32) >> 16
    expected = (bits << 16).astype(np.uint32).view(np.float32)
    path.write_bytes(content({"x": entry("BF16", [2, 4], [0, 16])}, bits.astype("<u2").tobytes()))
    assert load(read_safetensors(path)["x"]).tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2", "I8", "F64", "BOOL"])
def test_other_dtypes_are_named(dtype: str, path: Path) -> None:
    size = reader.BITS[dtype] // 8 * 4
    path.write_bytes(content({"x": entry(dtype, [4], [0, size])}, bytes(size)))
    with pytest.raises(UnsupportedError, match=f"'x' stored as F32, F16, BF16, found {dtype}; save the model"):
        load(read_safetensors(path)["x"])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_nan_and_infinity_are_named(dtype: str, bad: float, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "CHUNK", 4)
    values = np.ones((3, 3), np.float32)
    values[2, 1] = bad
    stored = values.astype(np.float16) if dtype == "F16" else values
    data = (values.view(np.uint32) >> 16).astype("<u2").tobytes() if dtype == "BF16" else stored.tobytes()
    path.write_bytes(content({"w": entry(dtype, [3, 3], [0, len(data)])}, data))
    with pytest.raises(FormatError, match=rf"'w' \({dtype}\), found NaN or infinity at \[2, 1\]") as caught:
        load(read_safetensors(path)["w"])
    assert caught.value.offset is not None
    assert path.read_bytes()[caught.value.offset :] == data[7 * len(data) // 9 :]


HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "8 bytes"),
    "short": (b"1234567", "8 bytes"),
    "header beyond the file": (content({}, length=3), "inside the file of 10"),
    "header huge": (content({}, length=2**64 - 1), "at most 33554432 bytes"),
    "not JSON": (content(b"{'x'}"), "a JSON object"),
    "not UTF-8": (content(b'{"\xff":1}'), "a JSON object in UTF-8"),
    "a list": (content(b"[1]"), "a JSON object, found list"),
    "deep": (content(b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "nesting too deep"),
    "wide": (content(b'{"x":[' + b"[]," * (1 << 21) + b"[]]}"), "at most 2097152 JSON values"),
    "long number": (content(b'{"x":' + b"9" * 10_000 + b"}"), "a JSON object"),
    "name twice": (content(b'{"x":{},"x":{}}'), "'x' twice"),
    "key twice": (content(b'{"x":{"dtype":"F32","dtype":"F16"}}'), "'dtype' twice"),
    "no entry": (content({"x": 1}), "dtype, shape and data_offsets"),
    "missing": (content({"x": {"dtype": "F32", "shape": [1]}}), "dtype, shape and data_offsets"),
    "surplus": (content({"x": {**entry(), "more": 1}}, bytes(16)), "dtype, shape and data_offsets"),
    "unknown dtype": (content({"x": entry("F7")}, bytes(16)), "one of the dtypes"),
    "dtype a list": (content({"x": entry(["F32"])}, bytes(16)), "one of the dtypes"),  # type: ignore[arg-type]
    "shape a number": (content({"x": entry(shape=4)}, bytes(16)), "a shape"),
    "shape negative": (content({"x": entry(shape=[-2, -2])}, bytes(16)), "a shape"),
    "shape of floats": (content({"x": entry(shape=[2.0, 2])}, bytes(16)), "a shape"),
    "shape true": (content({"x": entry(shape=[True, 4])}, bytes(16)), "a shape"),
    "rank": (content({"x": entry(shape=[1] * 9, offsets=[0, 4])}, bytes(4)), "at most 8 dimensions"),
    "huge": (content({"x": entry(shape=[2**41])}, bytes(16)), "up to 1099511627776"),
    "wraps": (content({"x": entry(shape=[2**32, 2**32], offsets=[0, 0])}), "bytes for F32"),
    "size": (content({"x": entry(offsets=[0, 12])}, bytes(12)), "16 bytes for F32"),
    "offsets": (content({"x": entry(offsets=[0, 16, 32])}, bytes(16)), "two data_offsets"),
    "backwards": (content({"x": entry(offsets=[16, 0])}, bytes(16)), "16 bytes for F32"),
    "beyond": (content({"x": entry()}, bytes(12)), "from byte 0 of 12"),
    "hole": (content({"x": entry(offsets=[4, 20])}, bytes(20)), "from byte 0 of 20 on, found 4 to 20"),
    "overlap": (content({"x": entry(), "y": entry(offsets=[8, 24])}, bytes(24)), "from byte 16"),
    "rest": (content({"x": entry()}, bytes(20)), "found 4 bytes of no tensor"),
    "long name": (content({"x" * 256: entry()}, bytes(16)), "1 to 255 bytes"),
    "no name": (content({"": entry()}, bytes(16)), "1 to 255 bytes"),
    "surrogate": (content(b'{"\\ud800":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}', bytes(16)), "a name"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile(case: str, path: Path) -> None:
    data, message = HOSTILE[case]
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match=message) as caught:
            read_safetensors(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.file == path
    assert len(str(caught.value)) < 600
    assert peak < (1 << 20) + 3 * len(data)


def test_a_pipe_is_refused_and_not_waited_for(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(FormatError, match="a regular file"):
        read_safetensors(path)


def test_many_equal_keys_take_no_time() -> None:
    text = b"{" + b",".join(b'"%d":0' % (number // 2 + 100_000) for number in range(200_000)) + b"}"
    with pytest.raises(FormatError, match="twice"):
        parse_object(text, Path("config.json"))


def test_every_truncation(path: Path) -> None:
    data = content({"x": entry(), "y": entry("F16", [4], [16, 24])}, bytes(24))
    for end in range(len(data)):
        path.write_bytes(data[:end])
        with pytest.raises(FormatError):
            read_safetensors(path)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 150), replacement=st.binary(max_size=6), skip=st.integers(0, 6))
def test_damage(at: int, replacement: bytes, skip: int, tmp_path: Path) -> None:
    data = content({"x": entry(), "y": entry("F16", [4], [16, 24])}, bytes(24))
    path = tmp_path / "model.safetensors"
    path.write_bytes(data[:at] + replacement + data[at + skip :])
    try:
        for tensor in read_safetensors(path).values():
            load(tensor)
    except (FormatError, UnsupportedError) as error:
        assert len(str(error)) < 600
