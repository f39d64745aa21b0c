"""GGUF files are read as they were written, and hostile ones are one error each, before memory is spent."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgert.converters.gguf import reader
from edgert.converters.gguf.reader import is_gguf, read_gguf
from edgert.errors import FormatError

U32, STRING, ARRAY = 4, 8, 9
Small = Callable[..., Any]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


@pytest.mark.parametrize("version", [2, 3])
def test_contents(small: Small, path: Path, version: int) -> None:
    path.write_bytes(bytes(small(version=version)))
    model = read_gguf(path)
    assert model.metadata == {
        "general.architecture": "llama",
        "llama.block_count": 2,
        "llama.rope.freq_base": 1e5,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.tokens": ["<s>", "Ġthe", "…"],
        "tokenizer.ggml.token_type": [3, 1, 1],
    }
    assert model.metadata["tokenizer.ggml.add_bos_token"] is False
    assert [(t.name, t.type.name, t.shape) for t in model.tensors.values()] == [
        ("norm.weight", "F32", (32,)),
        ("ffn.weight", "Q4_0", (3, 64)),
        ("embd.weight", "F16", (2, 5)),
    ]
    content = path.read_bytes()
    for tensor, written in zip(model.tensors.values(), small().tensors, strict=True):
        assert tensor.data.tobytes() == written.data
        assert content[tensor.offset :].startswith(written.data)
        assert not tensor.data.flags.writeable


def test_every_value_type(small: Small, path: Path) -> None:
    values: dict[str, tuple[int, Any]] = {
        "u8": (0, 255), "i8": (1, -128), "u16": (2, 65535), "i16": (3, -32768), "u32": (4, 2**32 - 1),
        "i32": (5, -(2**31)), "f32": (6, 0.5), "bool": (7, 1), "string": (8, "日本 🙂"), "u64": (10, 2**64 - 1),
        "i64": (11, -(2**63)), "f64": (12, 1e300), "empty": (9, (4, [])), "nested": (9, (9, [(0, [1, 2]), (8, ["x"])])),
    }  # fmt: skip
    path.write_bytes(bytes(small([(key, *value) for key, value in values.items()])))
    found = read_gguf(path).metadata
    for key, (kind, value) in values.items():
        if kind != ARRAY:
            assert found[key] == value
    assert (found["empty"], found["nested"]) == ([], [[1, 2], ["x"]])


def test_what_the_gguf_package_writes(path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_custom_alignment(64)
    writer.add_context_length(8192)
    writer.add_token_list([f"<{i}>" for i in range(100)])
    writer.add_token_scores([float(-i) for i in range(100)])
    writer.add_bool("flag", True)
    rng = np.random.default_rng(0)
    weight, norm = rng.normal(size=(48, 96)).astype(np.float32), rng.normal(size=96).astype(np.float32)
    kind = gguf.GGMLQuantizationType.Q8_0
    writer.add_tensor("weight", gguf.quants.quantize(weight, kind), raw_dtype=kind)
    writer.add_tensor("norm", norm)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    model = read_gguf(path)
    reference = gguf.GGUFReader(path)
    for key, value in model.metadata.items():
        assert reference.get_field(key).contents() == value
    assert model.metadata["llama.context_length"] == 8192
    assert len(model.tensors) == len(reference.tensors) == 2
    for tensor in reference.tensors:
        mine = model.tensors[tensor.name]
        assert mine.shape == tuple(int(dim) for dim in reversed(tensor.shape))
        assert mine.offset == tensor.data_offset
        assert mine.data.tobytes() == tensor.data.tobytes()


HOSTILE: dict[str, tuple[Callable[[Small, Any], Any], str]] = {
    "magic": (lambda small, info: small(magic=b"GGML"), "magic GGUF, found b'GGML'"),
    "version 1": (lambda small, info: small(version=1), "found version 1"),
    "version 4": (lambda small, info: small(version=4), "found version 4"),
    "big-endian": (lambda small, info: small(version=3 << 24), "big-endian"),
    "tensor count": (lambda small, info: small(tensor_count=2**64 - 1), "at most 131072 tensors"),
    "tensor count beyond the file": (lambda small, info: small(tensor_count=1000), "expected 1000 tensors"),
    "key count": (lambda small, info: small(key_count=2**63), "at most 16384 keys"),
    "key count beyond the file": (lambda small, info: small(key_count=5000), "expected 5000 keys"),
    "empty key": (lambda small, info: small([("", U32, 1)]), "not empty"),
    "key twice": (lambda small, info: small([("llama.block_count", U32, 1)]), "'llama.block_count'"),
    "long key": (lambda small, info: small([("k" * 65536, U32, 1)]), "at most 65535 bytes"),
    "key not UTF-8": (lambda small, info: small([(b"\xff\xfe", U32, 1)]), "UTF-8 in a key"),
    "value not UTF-8": (lambda small, info: small([("x", STRING, b"\xc3")]), "UTF-8 in the value of 'x'"),
    "value type": (lambda small, info: small([("x", 13, b"1234")]), "value type from 0 to 12 for 'x', found 13"),
    "array type": (lambda small, info: small([("x", ARRAY, (77, [b"12345678"]))]), "value type from 0 to 12"),
    "bool": (lambda small, info: small([("x", 7, 2)]), "0 or 1"),
    "bool in an array": (lambda small, info: small([("x", ARRAY, (7, [0, 1, 7, 1]))]), "0 or 1"),
    "huge array": (
        lambda small, info: small([("x", ARRAY, bytes([4, 0, 0, 0]) + b"\xff" * 8)]),
        "at most 4194298 values in 'x'",
    ),
    "array beyond the file": (
        lambda small, info: small([("x", ARRAY, bytes([4, 0, 0, 0]) + (1 << 20).to_bytes(8, "little"))]),
        "1048576 values in 'x', found the end",
    ),
    "huge string": (lambda small, info: small([("x", 9, bytes([8, 0, 0, 0]) + bytes([1, *bytes(7)]) + b"\xff" * 8)]),
                    "at most 67108864 bytes"),
    "nesting": (lambda small, info: small([("x", ARRAY, bytes([9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]) * 50)]),
                "nested at most 4 deep"),
    "alignment 0": (lambda small, info: small([("general.alignment", U32, 0)]), "power of two"),
    "alignment 24": (lambda small, info: small([("general.alignment", U32, 24)]), "power of two"),
    "alignment huge": (lambda small, info: small([("general.alignment", U32, 1 << 31)]), "power of two"),
    "alignment a text": (lambda small, info: small([("general.alignment", STRING, "32")]), "power of two"),
    "alignment true": (lambda small, info: small([("general.alignment", 7, 1)]), "power of two"),
    "rank": (lambda small, info: small(tensors=[info("w", (1,) * 5)]), "at most 4 dimensions"),
    "rank huge": (lambda small, info: small(tensors=[info("w", rank=2**32 - 1)]), "at most 4 dimensions"),
    "dimension 0": (lambda small, info: small(tensors=[info("w", (4, 0))]), "dimensions from 1"),
    "dimension huge": (lambda small, info: small(tensors=[info("w", (2**63,))]), "dimensions from 1"),
    "product wraps to 0": (lambda small, info: small(tensors=[info("w", (2**32, 2**32))]), "'w' inside the file"),
    "product wraps to 16": (
        lambda small, info: small(tensors=[info("w", (2**31 + 1, 2**33))]),
        "'w' inside the file",
    ),
    "offset beyond": (lambda small, info: small(tensors=[info("w", offset=1 << 20)]), "'w' inside the file"),
    "offset wraps": (lambda small, info: small(tensors=[info("w", offset=2**64 - 32)]), "'w' inside the file"),
    "offset odd": (lambda small, info: small(tensors=[info("w", offset=8)]), "aligned to 32"),
    "overlap": (lambda small, info: small(tensors=[info("v"), info("w", offset=0)]), "behind the tensor before"),
    "row of half a block": (lambda small, info: small(tensors=[info("w", (48,), 2)]), "multiple of 32 values"),
    "type 99": (lambda small, info: small(tensors=[info("w", kind=99)]), "'w' of a known type .* found type 99"),
    "withdrawn type": (lambda small, info: small(tensors=[info("w", kind=4)]), "found type 4"),
    "name twice": (lambda small, info: small(tensors=[info("w"), info("w")]), "'w' twice"),
    "no name": (lambda small, info: small(tensors=[info("")]), "tensor name"),
    "long name": (lambda small, info: small(tensors=[info("w" * 256)]), "at most 255 bytes"),
    "no data": (lambda small, info: small(tensors=[info("w", data=b"")]), "'w' inside the file"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile(case: str, small: Small, info: Any, path: Path) -> None:
    make, message = HOSTILE[case]
    path.write_bytes(bytes(make(small, info)))
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match=message) as caught:
            read_gguf(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.file == path
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    assert peak < 1 << 20


def test_strings_together_are_bounded(small: Small, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_TEXT_BYTES", 200)
    path.write_bytes(bytes(small([("a", STRING, "x" * 60), ("b", STRING, "x" * 60)])))
    with pytest.raises(FormatError, match="of at most"):
        read_gguf(path)


def test_values_together_are_bounded(small: Small, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_VALUES", 10)
    path.write_bytes(bytes(small([("a", ARRAY, (0, [1, 2])), ("b", ARRAY, (0, [1, 2, 3]))])))
    with pytest.raises(FormatError, match="at most 2 values in 'b'"):
        read_gguf(path)


def test_truncation_at_and_beside_every_boundary(small: Small, path: Path) -> None:
    file = small()
    data = bytes(file)
    ends = {at + beside for at in file.boundaries for beside in (-1, 0, 1)} | {len(data) - 1}
    for end in sorted(ends & set(range(len(data)))):
        path.write_bytes(data[:end])
        with pytest.raises(FormatError):
            read_gguf(path)


def test_padding_behind_the_last_tensor_may_be_there(small: Small, path: Path) -> None:
    path.write_bytes(bytes(small()) + bytes(12))
    assert len(read_gguf(path).tensors) == 3


def test_no_tensors_at_all(small: Small, path: Path) -> None:
    data = bytes(small(tensors=[]))
    path.write_bytes(data.rstrip(b"\0") + b"\0\0\0")  # the last number keeps its zeros; the padding is gone
    assert read_gguf(path).tensors == {}


@pytest.mark.parametrize("kind", ["absent", "folder", "empty", "pipe"])
def test_what_is_no_file(kind: str, path: Path) -> None:
    if kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "pipe":
        os.mkfifo(path)  # opening it would wait for a writer
    with pytest.raises(FormatError):
        read_gguf(path)
    assert is_gguf(path) == (kind != "folder")


def test_is_gguf(small: Small, path: Path, tmp_path: Path) -> None:
    other = tmp_path / "weights"
    other.write_bytes(bytes(small()))
    path.write_bytes(b"nonsense")
    assert is_gguf(other)
    assert is_gguf(path)
    assert is_gguf(tmp_path / "absent.gguf")
    assert not is_gguf(tmp_path / "absent.safetensors")
    assert not is_gguf(tmp_path)


class TestSplit:
    """A model in several files."""

    def write(self, folder: Path, small: Small, info: Any, change: Callable[[int, Any], None] | None = None) -> Path:
        for number in range(3):
            file = small(tensors=[info(f"w{number}", data=bytes([number] * 16))])
            file.metadata = [("split.no", 2, number), ("split.count", 2, 3), ("split.tensors.count", 5, 3)]
            if number == 0:
                file.metadata.append(("general.architecture", STRING, "llama"))
            if change:
                change(number, file)
            (folder / f"model-{number + 1:05d}-of-00003.gguf").write_bytes(bytes(file))
        return folder / "model-00001-of-00003.gguf"

    def test_together(self, small: Small, info: Any, tmp_path: Path) -> None:
        model = read_gguf(self.write(tmp_path, small, info))
        assert list(model.tensors) == ["w0", "w1", "w2"]
        assert [int(tensor.data[0]) for tensor in model.tensors.values()] == [0, 1, 2]
        assert model.metadata["general.architecture"] == "llama"

    def test_second_file_names_the_first(self, small: Small, info: Any, tmp_path: Path) -> None:
        self.write(tmp_path, small, info)
        with pytest.raises(FormatError, match=r"found number 2; open model-00001-of-00003\.gguf"):
            read_gguf(tmp_path / "model-00002-of-00003.gguf")

    def test_missing_file(self, small: Small, info: Any, tmp_path: Path) -> None:
        first = self.write(tmp_path, small, info)
        (tmp_path / "model-00003-of-00003.gguf").unlink()
        with pytest.raises(FormatError, match=r"00003-of-00003\.gguf: expected a file that can be read"):
            read_gguf(first)

    def test_renamed(self, small: Small, info: Any, tmp_path: Path) -> None:
        first = self.write(tmp_path, small, info).rename(tmp_path / "first.gguf")
        with pytest.raises(FormatError, match="keep the names"):
            read_gguf(first)

    @pytest.mark.parametrize(
        ("message", "change"),
        [
            ("'w0' in two", lambda number, file: setattr(file.tensors[0], "name", f"w{number % 2}")),
            ("split.no 1", lambda number, file: number and file.metadata.pop(0)),
            ("split.count up to", lambda number, file: file.metadata.__setitem__(1, ("split.count", STRING, "3"))),
            ("split.count up to", lambda number, file: file.metadata.__setitem__(1, ("split.count", 4, 1 << 30))),
            ("split.no 2", lambda number, file: file.metadata.__setitem__(0, ("split.no", 2, min(number, 1)))),
            ("expected 9 tensors", lambda number, file: file.metadata.__setitem__(2, ("split.tensors.count", 5, 9))),
        ],
        ids=["twice", "no number", "count a text", "count huge", "wrong number", "total"],
    )  # fmt: skip
    def test_that_do_not_fit(
        self, message: str, change: Callable[[int, Any], None], small: Small, info: Any, tmp_path: Path
    ) -> None:
        with pytest.raises(FormatError, match=message):
            read_gguf(self.write(tmp_path, small, info, change))
