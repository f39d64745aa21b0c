"""Small models that use every encoding, and a forge of files that break one rule at a time."""

from __future__ import annotations

import json
import re
import struct
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgert.errors import FormatError
from edgert.format import LanguageInfo, Model, ModelInfo, Preprocessing, StoredTensor, read_model, write_model
from edgert.graph.ir import Graph, Node, Quantization, TensorType

sys.path.insert(0, str(Path(__file__).parent))


def build_model() -> Model:
    """Two nodes, a q8 convolution, a per-channel bias, odd sizes; a file of about 2 KB."""
    values = (np.arange(30) * 37 % 255 - 127).astype(np.int8).reshape(5, 3, 1, 2)
    conv = StoredTensor.pack_q8("w", values, np.array([0.1, 0.2, 0.3, 0.4, 0.5], np.float32), "n4k4")
    bias_quant = Quantization(np.full(5, 0.25, np.float32), np.zeros(5, np.int32), 0)
    bias = StoredTensor.pack_dense("b", np.arange(5, dtype=np.int32), quant=bias_quant)
    graph = Graph(
        "small",
        ["x"],
        ["y"],
        [
            Node("QLinearConv", ("x", "w", "b"), ("h",), {"strides": [1, 1], "clip_max": float("inf")}, "c"),
            Node("Where", ("mask", "", "h"), ("y", ""), {"a": 0.5, "s": "é", "m": [1.0, 2.5], "n": ["p"]}),
        ],
        {
            "x": TensorType("uint8", ("N", 3, 4, 4), Quantization(np.float32(0.1), np.int32(128))),
            "h": TensorType("uint8", ("N", 5, 4, 3), Quantization(np.float32(0.3), np.int32(0))),
            "y": TensorType("float32", ("N", 5, 4, 3)),
        },
        {"mask": np.array([True, False, True])},
    )
    steps = Preprocessing("x", (4, 4), 5, mean=[127.0], scale=[1 / 128], dtype="uint8")
    info = ModelInfo("small", "image-classification", ["cat", "dög"], steps, "MIT")
    return Model(graph, {"w": conv, "b": bias}, info, {"format": "onnx"}, {"bytes": [1, 2.5, None, True]})


def build_language_model() -> Model:
    """A state, every encoding for language models at sizes that need padding, and a tokenizer."""
    rng = np.random.default_rng(0)
    shape, groups = (17, 40), (17, 2)
    nibbles = rng.integers(0, 16, shape).astype(np.uint8)
    scale, minimum = (rng.normal(size=groups).astype(np.float16) for _ in range(2))
    stored = [
        StoredTensor.pack_f16("table", rng.normal(size=(9, 40))),
        StoredTensor.pack_q4("a", nibbles, scale),
        StoredTensor.pack_q4m("b", nibbles, scale, minimum),
        StoredTensor.pack_q8g("c", rng.integers(-128, 128, shape).astype(np.int8), scale),
        StoredTensor.pack_f16("d", rng.normal(size=shape), "n16k1"),
        StoredTensor.pack_dense("tokenizer", np.frombuffer(b'{"version": "1.0"}', np.uint8)),
    ]
    cache, row = TensorType("float32", (1, "C", 8)), TensorType("float32", ("T", 17))
    graph = Graph(
        "language",
        ["tokens", "past"],
        ["logits", "present"],
        [
            Node("Gather", ("table", "tokens"), ("x",), {"axis": 0}),
            Node("GroupQueryAttention", ("x", "past"), ("y", "present")),
            *(Node("Gemm", ("x", name), (f"x{name}",), {"transB": 1}) for name in "abcd"),
            Node("Sum", ("xa", "xb", "xc", "xd"), ("logits",)),
        ],
        {"tokens": TensorType("int32", ("T",)), "past": cache, "present": cache, "logits": row},
        states={"past": "present"},
    )
    language = LanguageInfo(
        "llama", 2048, 9, "tokenizer", "{% for m in messages %}\n{{ m }}{% endfor %}", 1, [2, 3], 0, -1, True,
        layers=1, width=40, heads=4, kv_heads=1, head_dim=8,
    )  # fmt: skip
    return Model(graph, {t.name: t for t in stored}, ModelInfo("tiny", "text-generation", language=language))


def sparse_tensors() -> list[StoredTensor]:
    """Every sparse encoding in every layout, at sizes that need padding."""
    rng = np.random.default_rng(0)
    kept = rng.random((17, 40)) < 0.4
    scale = rng.normal(size=(17, 2)).astype(np.float16)
    numbers = (rng.integers(-128, 128, kept.shape) * kept).astype(np.int8)
    nibbles = np.where(kept, rng.integers(0, 16, kept.shape), 8).astype(np.uint8)
    two_of_four = np.where(np.tile([True, False, True, False], 10), nibbles, 8).astype(np.uint8)
    whole_groups = nibbles.copy()
    whole_groups[:, :32][::2] = 8
    whole_groups[:, 32:][1:6] = 8
    weights = (np.maximum(numbers[:5, :18], -127) * (rng.random((5, 18)) < 0.5)).astype(np.int8).reshape(5, 6, 1, 3)
    five, real = np.arange(1, 6, dtype=np.float32), weights.astype(np.float32) / 8
    return [
        *(StoredTensor.pack_block(layout, weights, five, layout) for layout in ("b4x4", "b2x4", "b1x4", "b64x4")),
        *(StoredTensor.pack_block(layout, real[:, :, 0], None, layout) for layout in ("b4x1", "b2x1", "b1x1")),
        StoredTensor.pack_bitmap8("bitmap8", numbers, scale),
        StoredTensor.pack_bitmap4("bitmap4", nibbles, scale),
        StoredTensor.pack_bitmap16("bitmap16", numbers / 8),
        StoredTensor.pack_nm("nm8", (two_of_four.astype(np.int8) - 8).astype(np.int8), scale, 2, 4),
        StoredTensor.pack_nm("nm4", two_of_four, scale, 2, 4),
        StoredTensor.pack_group4("group4", whole_groups, scale),
        StoredTensor.pack_rowgroup4("rowgroup4", whole_groups, scale),
        StoredTensor.pack_fanin("fanin", numbers, np.arange(1, 18, dtype=np.float32)),
    ]


def build_sparse_model() -> Model:
    """The sparse tensors as the outputs of a graph."""
    tensors = {tensor.name: tensor for tensor in sparse_tensors()}
    return Model(Graph("sparse", outputs=list(tensors)), tensors)


@dataclass
class Forge:
    """A file taken apart: change `header` (an object, or bytes as they shall stand), `data` or fields of
    the `prelude`, and write. Lengths and checksums are made right, unless `prelude` says otherwise."""

    header: Any
    data: bytearray
    prelude: dict[str, int] = field(default_factory=dict)
    tail: bytes = b""
    pad: bytes | None = None

    @classmethod
    def take_apart(cls, content: bytes) -> Forge:
        length, start = struct.unpack_from("<QQ", content, 24)
        return cls(json.loads(content[64 : 64 + length]), bytearray(content[start:]))

    def part(self, name: str, role: str) -> dict[str, Any]:
        """The header entry of one part."""
        (tensor,) = (t for t in self.header["tensors"] if t["name"] == name)
        return next(p for p in tensor["parts"] if p["role"] == role)

    def patch(self, name: str, role: str, offset: int, value: bytes, *, fix_crc: bool = True) -> None:
        """Overwrites bytes of a part, and makes its CRC right again."""
        part = self.part(name, role)
        self.data[part["offset"] + offset : part["offset"] + offset + len(value)] = value
        if fix_crc:
            part["crc32"] = zlib.crc32(self.data[part["offset"] : part["offset"] + part["nbytes"]])

    def bytes(self) -> bytes:
        text = self.header if isinstance(self.header, bytes) else json.dumps(self.header).encode()
        start = -(-(64 + len(text)) // 64) * 64
        fields = {
            "version": 1, "flags": 0, "header_offset": 64, "header_length": len(text), "data_offset": start,
            "data_length": len(self.data), "file_length": start + len(self.data),
            "header_crc": zlib.crc32(text),
        } | self.prelude  # fmt: skip
        crc = fields.pop("prelude_crc", None)
        head = struct.pack("<8sIIQQQQQI", b"\x89EDGE\r\n\x1a", *fields.values())
        head += struct.pack("<I", zlib.crc32(head) if crc is None else crc)
        pad = bytes(start - 64 - len(text)) if self.pad is None else self.pad
        return head + text + pad + bytes(self.data) + self.tail


@pytest.fixture
def model() -> Model:
    return build_model()


@pytest.fixture
def small_file(tmp_path: Path) -> Path:
    """The small model, written."""
    write_model(build_model(), path := tmp_path / "small.edge")
    return path


@pytest.fixture
def language_file(tmp_path: Path) -> Path:
    """The small language model, written."""
    write_model(build_language_model(), path := tmp_path / "language.edge")
    return path


@pytest.fixture
def sparse_file(tmp_path: Path) -> Path:
    """A tensor of every sparse encoding and layout, written."""
    write_model(build_sparse_model(), path := tmp_path / "sparse.edge")
    return path


@pytest.fixture
def sparse() -> dict[str, StoredTensor]:
    """A tensor of every sparse encoding and layout; blocks are named after their layout."""
    return {tensor.name: tensor for tensor in sparse_tensors()}


@pytest.fixture
def forge(small_file: Path) -> Forge:
    """The small model's file, taken apart."""
    return Forge.take_apart(small_file.read_bytes())


@pytest.fixture
def refused(forge: Forge, tmp_path: Path) -> Callable[..., FormatError]:
    """`refused(pattern)`: the forged file is refused with a message that has `pattern`."""

    def check(pattern: str, verify: Any = "touch") -> FormatError:
        path = tmp_path / "forged.edge"
        path.write_bytes(forge.bytes())
        with pytest.raises(FormatError) as caught:
            model = read_model(path, verify=verify)
            for tensor in model.tensors.values():
                tensor.dense()
        assert caught.value.file == path
        # Without the path, in which the name of the test would match.
        message = str(caught.value).removeprefix(str(path))
        assert re.search(pattern, message), message
        return caught.value

    return check


@pytest.fixture
def accepted(forge: Forge, tmp_path: Path) -> Callable[[], Model]:
    """Reads the forged file, which must be valid."""

    def check() -> Model:
        path = tmp_path / "forged.edge"
        path.write_bytes(forge.bytes())
        return read_model(path, verify="all")

    return check


@pytest.fixture
def same_model() -> Callable[[Model, Model], None]:
    """Asserts that two models say the same, value by value."""

    def check(a: Model, b: Model) -> None:
        assert a.info == b.info
        assert (a.source, a.report, a.producer) == (b.source, b.report, b.producer)
        assert (a.graph.name, a.graph.inputs, a.graph.outputs) == (
            b.graph.name,
            b.graph.inputs,
            b.graph.outputs,
        )
        assert a.graph.states == b.graph.states
        assert a.graph.nodes == b.graph.nodes
        assert a.graph.types == b.graph.types
        assert a.tensors.keys() == b.tensors.keys()
        for name, tensor in a.tensors.items():
            other = b.tensors[name]
            assert tensor.type == other.type
            assert (tensor.encoding, tensor.layout) == (other.encoding, other.layout)
            assert tensor.parts.keys() == other.parts.keys()
            for role, part in tensor.parts.items():
                assert part.dtype == other.parts[role].dtype
                assert part.tobytes() == other.parts[role].tobytes()

    return check
