"""What a `.edge` file holds, as objects: a graph, stored tensors, and what people need to know of both.

Plain data. Reading and validating is `reader.py`, writing is `writer.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from edgert.format import encodings, layouts
from edgert.format.parts import Apart, LazyParts, Parts
from edgert.graph.ir import Array, Graph, Quantization, TensorType


@dataclass(frozen=True)
class Preprocessing:
    """From an image to the input tensor `input`: x = (pixel - mean) * scale, pixels 0..255.

    resize: pixels of the shorter side, None to resize straight to `crop`. crop: (height, width) cut from
    the centre. resample: the filter, as Pillow names it. mean and scale: one value, or one per channel.
    standardize: each image then loses its own mean and is divided by its own standard deviation.
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
    standardize: bool = False


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
    _expanded: StoredTensor | None = field(default=None, init=False, repr=False, compare=False)
    _widened: StoredTensor | None = field(default=None, init=False, repr=False, compare=False)
    _narrow: StoredTensor | None = field(default=None, init=False, repr=False, compare=False)

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
    def pack_f16(cls, name: str, array: Array, layout: Literal["row", "n4k1", "n16k1"] = "row") -> StoredTensor:
        """Floating-point `array` rounded to float16, logically float32.

        Raises FormatError if a number is beyond the range of float16, or the layout is not for such a tensor.
        """
        return cls(name, "float32", array.shape, "f16", layout, None, encodings.encode_f16(array, layout))

    @classmethod
    def pack_block(cls, name: str, values: Array, scale: Array | None, layout: str) -> StoredTensor:
        """The blocks of convolution weights [N, C, ...] that are not zero, in one of layouts.BLOCKS.

        int8 `values` with `scale` as in pack_q8, or float32 with None. Raises FormatError if a value is -128, a scale
        is not positive, or the layout is not for such weights.
        """
        parts = encodings.BlockSparse().encode(values, scale, layout)
        quant = None if scale is None else Quantization(parts["scale"], 0 * parts["sum"], 0)
        return cls(name, values.dtype.name, values.shape, "block", layout, quant, parts)

    @classmethod
    def pack_block16(cls, name: str, array: Array, layout: str) -> StoredTensor:
        """Floating-point convolution weights [N, C, ...] rounded to float16, without the blocks that are zero.

        Raises FormatError if a number is beyond the range of float16 or the layout is not for such weights.
        """
        return cls._pack_sparse("block16", name, array, layout, encodings.Block16().encode(array, None, layout))

    @classmethod
    def pack_bitmap8(cls, name: str, values: Array, scale: Array) -> StoredTensor:
        """What pack_q8g takes, without the zeros."""
        return cls._pack_sparse("bitmap8", name, values, layouts.GROUPED, encodings.Bitmap8().encode(values, scale))

    @classmethod
    def pack_bitmap4(cls, name: str, values: Array, scale: Array) -> StoredTensor:
        """What pack_q4 takes, without the zeros, which are the number 8."""
        return cls._pack_sparse("bitmap4", name, values, layouts.GROUPED, encodings.Bitmap4().encode(values, scale))

    @classmethod
    def pack_bitmap16(cls, name: str, array: Array) -> StoredTensor:
        """Floating-point `array` [N, K] rounded to float16, without the zeros; raises FormatError as pack_f16."""
        return cls._pack_sparse("bitmap16", name, array, layouts.GROUPED, encodings.Bitmap16().encode(array))

    @classmethod
    def pack_nm(cls, name: str, values: Array, scale: Array, n: int, m: int) -> StoredTensor:
        """What pack_q8g (int8 `values`) or pack_q4 (uint8) takes, n of every m k of a row.

        Raises FormatError if more are not zero, or m is not 2, 4, 8, 16 or 32, or n not 1 to m - 1.
        """
        encoding = encodings.NM8() if values.dtype.name == "int8" else encodings.NM4()
        return cls._pack_sparse(encoding.name, name, values, f"nm:{n}:{m}", encoding.encode(values, scale, n, m))

    @classmethod
    def pack_group4(cls, name: str, values: Array, scale: Array) -> StoredTensor:
        """What pack_q4 takes, 16 groups of every 32 rows. Raises FormatError if more are not zero (all numbers 8)."""
        return cls._pack_sparse("group4", name, values, layouts.HALVED, encodings.Group4().encode(values, scale))

    @classmethod
    def pack_rowgroup4(cls, name: str, values: Array, scale: Array) -> StoredTensor:
        """What pack_q4 takes, without the groups that are zero (all numbers 8)."""
        return cls._pack_sparse("rowgroup4", name, values, layouts.GROUPED, encodings.RowGroup4().encode(values, scale))

    @classmethod
    def pack_fanin(cls, name: str, values: Array, scale: Array) -> StoredTensor:
        """scale * values, logically float32: int8 `values` [N, K], K at most 65,536, float32 `scale` [N] (or [])."""
        return cls._pack_sparse("fanin", name, values, layouts.SIXTEEN, encodings.FanIn().encode(values, scale))

    @classmethod
    def pack_neurons(
        cls, name: str, values: Array, scale: Array, encoding: Literal["neurons4", "neurons8"] = "neurons4"
    ) -> StoredTensor:
        """scale * (values - 8), or scale * values in neurons8: uint8 `values` [F, 2, D] of 0..15, or int8, the up row
        and the down column of each neuron; float16 `scale` [F, 2, ceil(D/32)].

        Raises FormatError if they are not that, or a scale is not finite.
        """
        parts = encodings.neurons_of(encoding).encode(values, scale)
        return cls(name, "float32", values.shape, encoding, layouts.NEURONS, None, parts)

    @classmethod
    def _pack_sparse(
        cls, encoding: str, name: str, values: Array, layout: str, parts: Mapping[str, Array]
    ) -> StoredTensor:
        return cls(name, "float32", values.shape, encoding, layout, None, parts)

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
        return sum(spec.nbytes for spec in self.specs)

    @property
    def specs(self) -> tuple[encodings.PartSpec, ...]:
        """The parts in file order, with their sizes. Takes none of them from a file."""
        if isinstance(self.parts, Parts):
            return self.parts.specs
        axis = None if self.quant is None or self.encoding != "dense" else self.quant.axis
        return encodings.stored_specs(self.encoding, self.dtype, self.shape, self.layout, axis, self.parts)

    @property
    def sparse(self) -> bool:
        """Whether the encoding leaves zeros out."""
        return encodings.sparse_of(self.encoding) is not None

    @property
    def density(self) -> float:
        """The share of the weights that is stored, 1 if dense; zeros that are stored count. From sizes alone."""
        sparse = encodings.sparse_of(self.encoding)
        return 1.0 if sparse is None else sparse.density(self.shape, self.layout, self.specs)

    @property
    def pattern(self) -> str:
        """Where zeros may be: '4x4', '1x4', '2:4', 'bitmap8', 'group4', 'rowgroup4', 'fanin 12'; '' if dense."""
        sparse = encodings.sparse_of(self.encoding)
        return "" if sparse is None else sparse.pattern(self.layout, self.specs)

    def expanded(self) -> StoredTensor:
        """The dense twin: the same tensor with its zeros. Its parts are made when one is first taken, and kept.

        A dense tensor is its own.
        """
        sparse = encodings.sparse_of(self.encoding)
        if sparse is None:
            return self
        if self._expanded is None:
            encoding, layout = sparse.twin(self.dtype, self.layout)
            specs = encodings.part_specs(encoding, self.dtype, self.shape, layout)
            parts = LazyParts(specs, lambda: sparse.expand(self.dtype, self.shape, self.layout, self.parts))
            self._expanded = StoredTensor(self.name, self.dtype, self.shape, encoding, layout, self.quant, parts)
        return self._expanded

    def widened(self) -> StoredTensor:
        """The same numbers in float32, for a tensor that has them in float16 and a layout of float32 kernels. Its parts
        are made when one is first taken, and kept. Any other tensor is its own.
        """
        wide = encodings.wide_of(self.encoding)
        if not wide:
            return self
        if self._widened is None:
            kinds = encodings.part_specs(wide, self.dtype, self.shape, self.layout)
            pairs = zip(kinds, self.specs, strict=True)
            specs = tuple(replace(kind, shape=own.shape, free=None) for kind, own in pairs)
            parts = LazyParts(specs, lambda: encodings.widen(self.encoding, self.parts))
            self._widened = StoredTensor(self.name, self.dtype, self.shape, wide, self.layout, self.quant, parts)
            self._widened._narrow = self
        return self._widened

    @property
    def narrow(self) -> StoredTensor | None:
        """The tensor that this one is the widened form of."""
        return self._narrow

    def forget_copies(self) -> None:
        """Lets go of what `expanded` and `widened` made."""
        self._expanded = self._widened = None

    def apart(self) -> StoredTensor:
        """The same tensor, of which a part can be taken without the others being read, so unchecked with them. What is
        expanded or widened comes from parts that were."""
        if not isinstance(self.parts, Parts):
            return self
        same = replace(self, parts=Apart(self.parts))
        same._expanded = self.expanded() if self.sparse else None
        same._widened = self.widened() if encodings.wide_of(self.encoding) else None
        return same

    def dense(self) -> Array:
        """Row-major values in the logical dtype. A view where the file has them so, otherwise a copy."""
        return encodings.decode(self.encoding, self.dtype, self.shape, self.layout, self.parts)

    def groups(self) -> tuple[Array, Array, Array | None]:
        """What pack_q4, pack_q4m or pack_q8g were given: (numbers [N, K], scale [N, K/32], minimum or None).

        So for the sparse encodings by groups, with the zeros that they leave out; where a whole group is left out its
        scale is 0. Raises FormatError for a tensor of another encoding.
        """
        return encodings.groups_of(self.encoding, self.shape, self.layout, self.parts)


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

    def drop_pages(self) -> None:
        """Gives the memory that its file takes back to the system, and that of copies made of parts, expanded or
        widened: what is needed is read and made again."""
        for tensor in self.tensors.values():
            tensor.forget_copies()
        for tensor in self.tensors.values():
            if isinstance(tensor.parts, Parts) and tensor.parts.drop_pages():
                return

    def unpacked_graph(self) -> Graph:
        """The graph with all its constants as row-major arrays: what reference execution needs."""
        whole = self.graph.copy()
        for graph in (whole, *whole.bodies()):
            used = graph.used()
            graph.constants.update({name: tensor.dense() for name, tensor in self.tensors.items() if name in used})
        return whole
