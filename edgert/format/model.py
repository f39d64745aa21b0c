"""What a `.edge` file holds, as objects: a graph, stored tensors, and what people need to know of both.

Plain data. Reading and validating is `reader.py`, writing is `writer.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from edgert.format import encodings, layouts
from edgert.graph.ir import Array, Graph, Quantization, TensorType


@dataclass(frozen=True)
class Preprocessing:
    """From an image to the input tensor `input`: x = (pixel - mean) * scale, pixels 0..255.

    resize: pixels of the shorter side, None to resize straight to `crop`. crop: (height, width) cut from
    the centre. resample: the filter, as Pillow names it. mean and scale: one value, or one per channel.
    """

    input: str
    crop: tuple[int, int]
    resize: int | None = None
    resample: str = "bilinear"
    channels: Literal["RGB", "BGR", "L"] = "RGB"
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    mean: list[float] = field(default_factory=lambda: [0.0])
    scale: list[float] = field(default_factory=lambda: [1.0])
    dtype: str = "float32"


@dataclass(frozen=True)
class LanguageInfo:
    """What turns text into the tokens of a language model, and its vectors or logits back.

    architecture: as its source names it, such as 'llama'. context_length: tokens it was trained for.
    tokenizer: the stored tensor, uint8 [n], that holds a Hugging Face tokenizer.json; '' if there is none.
    chat_template: Jinja2 source, '' if none. bos, unk, pad: tokens, -1 if none; eos: any of them ends a text.
    add_bos: whether a text begins with bos. pooling and normalize: how an encoder makes one vector of a
    text, '' if the model generates. layers to head_dim: for people, 0 if unknown.
    """

    architecture: str
    context_length: int
    vocabulary: int
    tokenizer: str = ""
    chat_template: str = ""
    bos: int = -1
    eos: list[int] = field(default_factory=list)
    unk: int = -1
    pad: int = -1
    add_bos: bool = False
    pooling: Literal["", "mean", "cls", "last"] = ""
    normalize: bool = False
    layers: int = 0
    width: int = 0
    heads: int = 0
    kv_heads: int = 0
    head_dim: int = 0


@dataclass
class ModelInfo:
    """What the model is, for people and for `edgert run`. task: 'image-classification', 'text-generation',
    'text-embedding', or '' if unknown. labels: the name of each class, in order. licence: an SPDX
    identifier or a sentence."""

    name: str = ""
    task: str = ""
    labels: list[str] = field(default_factory=list)
    preprocessing: Preprocessing | None = None
    licence: str = ""
    language: LanguageInfo | None = None


@dataclass
class StoredTensor:
    """A constant of the graph as it lies in the file: `parts` in `encoding` and `layout`.

    dtype and shape are logical. `parts` of a tensor that was read are views of the mapped file; each is
    checked when it is first taken, which raises FormatError if the file is damaged there.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    encoding: str
    layout: str
    quant: Quantization | None
    parts: Mapping[str, Array]

    @classmethod
    def pack_dense(
        cls, name: str, array: Array, layout: str = "row", quant: Quantization | None = None
    ) -> StoredTensor:
        """`array` of any IR dtype in `layout`. Raises FormatError if the layout is not for such arrays."""
        parts = encodings.encode_dense(array, layout, quant)
        return cls(name, array.dtype.name, array.shape, "dense", layout, quant, parts)

    @classmethod
    def pack_q8(
        cls,
        name: str,
        values: Array,
        scale: Array,
        layout: str = "row",
        dtype: Literal["int8", "float32"] = "int8",
    ) -> StoredTensor:
        """int8 `values` [N, ...] with `scale` float32 [N] (or [], repeated), logically int8 or float32.

        Raises FormatError if a value is -128 or a scale is not positive.
        """
        parts = encodings.encode_q8(values, scale, layout)
        quant = Quantization(parts["scale"], 0 * parts["sum"], 0) if dtype == "int8" else None
        return cls(name, dtype, values.shape, "q8", layout, quant, parts)

    @classmethod
    def pack_q4(cls, name: str, values: Array, scale: Array) -> StoredTensor:
        """scale * (values - 8): uint8 `values` [N, K] of 0..15, float16 `scale` [N, ceil(K/32)].

        Raises FormatError if they are not that, or a scale is not finite. Scales may be 0 or negative.
        """
        return cls._pack_groups("q4", name, values, scale)

    @classmethod
    def pack_q4m(cls, name: str, values: Array, scale: Array, minimum: Array) -> StoredTensor:
        """scale * values + minimum: as pack_q4, with float16 `minimum` shaped as `scale`."""
        return cls._pack_groups("q4m", name, values, scale, minimum)

    @classmethod
    def pack_q8g(cls, name: str, values: Array, scale: Array) -> StoredTensor:
        """scale * values: int8 `values` [N, K], -128 allowed, float16 `scale` [N, ceil(K/32)]; else as pack_q4."""
        return cls._pack_groups("q8g", name, values, scale)

    @classmethod
    def pack_f16(cls, name: str, array: Array, layout: Literal["row", "n16k1"] = "row") -> StoredTensor:
        """Floating-point `array` rounded to float16, logically float32.

        Raises FormatError if a number is beyond the range of float16, or n16k1 is asked for what is no matrix.
        """
        return cls(name, "float32", array.shape, "f16", layout, None, encodings.encode_f16(array, layout))

    @classmethod
    def _pack_groups(
        cls, encoding: str, name: str, values: Array, scale: Array, minimum: Array | None = None
    ) -> StoredTensor:
        parts = encodings.grouped(encoding).encode(values, scale, minimum)
        return cls(name, "float32", values.shape, encoding, layouts.GROUPED, None, parts)

    @property
    def type(self) -> TensorType:
        return TensorType(self.dtype, self.shape, self.quant)

    @property
    def nbytes(self) -> int:
        """Bytes stored, without the padding between parts."""
        axis = None if self.quant is None else self.quant.axis
        return sum(s.nbytes for s in encodings.part_specs(self.encoding, self.dtype, self.shape, self.layout, axis))

    def dense(self) -> Array:
        """Row-major values in the logical dtype. A view where the file has them so, otherwise a copy."""
        return encodings.decode(self.encoding, self.dtype, self.shape, self.layout, self.parts)

    def groups(self) -> tuple[Array, Array, Array | None]:
        """What pack_q4, pack_q4m or pack_q8g were given: (numbers [N, K], scale [N, K/32], minimum or None).

        Raises FormatError for a tensor of another encoding.
        """
        return encodings.grouped(self.encoding).groups(self.shape, self.parts["data"])


@dataclass
class Model:
    """One `.edge` file. `tensors` has every stored constant of `graph`, by name, and what else is stored, such as
    a tokenizer.

    graph.types has the type of every stored tensor; graph.constants has the values of those that are
    dense in row layout and used, as views. source and report are free-form JSON objects: where the model came
    from, and what the conversion did to it. producer: the program that wrote the file.
    """

    graph: Graph
    tensors: dict[str, StoredTensor] = field(default_factory=dict)
    info: ModelInfo = field(default_factory=ModelInfo)
    source: dict[str, Any] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)
    producer: str = "edgert"

    def unpacked_graph(self) -> Graph:
        """The graph with all its constants as row-major arrays: what reference execution needs."""
        graph = self.graph.copy()
        used = graph.used()
        graph.constants.update({name: tensor.dense() for name, tensor in self.tensors.items() if name in used})
        return graph
