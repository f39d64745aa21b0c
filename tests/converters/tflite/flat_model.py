"""Writes small .tflite models from a description, with the public schema's own object API.

    m = FlatModel()
    x = m.input("x", (1, 4, 4, 2))                                   # float32 unless said otherwise
    w = m.constant("w", weights, scale=[0.1, 0.2], zero_point=[0, 0], axis=0)
    y = m.op("CONV_2D", [x, w, -1], ("y", (1, 4, 4, 3), "float32"), padding="SAME", stride_w=1, stride_h=1)
    m.output(y)
    path = m.save(tmp_path / "m.tflite")                             # or m.pack() for the bytes

`input`, `constant` and `tensor` return tensor indices; -1 is an absent input. All take scale, zero_point and axis to
quantize, and dtype by NumPy's name, 'int4', 'resource' ... `op` takes one output, (name, shape, dtype) with an
optional dict of quantization, or a list of them, or indices of tensors made before; it returns the index of the
output, or a list. Options have their names and values as in the schema: stride_w=2, fused_activation_function="RELU".
`m.op(..., custom=b"...")` writes a custom operator. `m.subgraph("body")` starts another sub-graph, a FlatModel of its
own with an `index` for If, While and CallOnce, that is packed with the first. `sparse=` of `constant` is a
(traversal order, block map, dimensions) description: see `Dimension`. `m.metadata`, `m.signatures` and `m.buffers`
are there to be changed, and `m.model()` gives the object before it is packed, for files that must be wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgert.converters.tflite.schema import BUILTIN_OPERATORS, ELEMENT_TYPES, ENUMERATIONS, OPTIONS

Output = tuple[Any, ...]

OPTION_TABLE = {
    "CONV_2D": "Conv2D", "DEPTHWISE_CONV_2D": "DepthwiseConv2D", "CONV_3D": "Conv3D", "CONV_3D_TRANSPOSE": "Conv3D",
    "AVERAGE_POOL_2D": "Pool2D", "MAX_POOL_2D": "Pool2D", "L2_POOL_2D": "Pool2D", "L2_NORMALIZATION": "L2Norm",
    "MEAN": "Reducer", "SUM": "Reducer", "REDUCE_MAX": "Reducer", "REDUCE_MIN": "Reducer", "REDUCE_PROD": "Reducer",
    "REDUCE_ANY": "Reducer", "REDUCE_ALL": "Reducer", "MAXIMUM": "MaximumMinimum", "MINIMUM": "MaximumMinimum",
    "TOPK_V2": "TopKV2", "PADV2": "PadV2", "SELECT_V2": "SelectV2", "REVERSE_V2": "ReverseV2", "RFFT2D": "Rfft2d",
    "UNIDIRECTIONAL_SEQUENCE_RNN": "SequenceRNN", "RANDOM_STANDARD_NORMAL": "Random", "RANDOM_UNIFORM": "Random",
    "MULTINOMIAL": "Random", "NON_MAX_SUPPRESSION_V4": "NonMaxSuppressionV4", "STABLEHLO_COMPOSITE":
    "StableHLOComposite", "NON_MAX_SUPPRESSION_V5": "NonMaxSuppressionV5",
}  # fmt: skip
"""Operators whose table of options is not found by their own name."""


@dataclass
class Dimension:
    """One dimension of a sparse tensor, in traversal order. segments and indices make it a CSR one."""

    size: int = 0
    segments: Sequence[int] | None = None
    indices: Sequence[int] | None = None
    width: int = 32


class FlatModel:
    """One sub-graph; the first also holds the buffers, operator codes and other sub-graphs of the file."""

    def __init__(self, name: str = "main", root: FlatModel | None = None) -> None:
        self.graph = schema.SubGraphT(tensors=[], inputs=[], outputs=[], operators=[], name=name)
        self.root = root or self
        self.index = 0
        if root is None:
            self.graphs = [self.graph]
            self.buffers = [schema.BufferT()]
            self.codes: list[Any] = []
            self.metadata: dict[str, bytes] = {}
            self.signatures: list[Any] = []
            self.description = "test"

    def subgraph(self, name: str) -> FlatModel:
        other = FlatModel(name, self.root)
        other.index = len(self.root.graphs)
        self.root.graphs.append(other.graph)
        return other

    def buffer(self, data: bytes) -> int:
        self.root.buffers.append(schema.BufferT(data=np.frombuffer(data, np.uint8)))
        return len(self.root.buffers) - 1

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        dtype: str = "float32",
        *,
        signature: Sequence[int] | None = None,
        scale: Any = None,
        zero_point: Any = 0,
        axis: int = 0,
        buffer: int = 0,
        variable: bool = False,
    ) -> int:
        made = schema.TensorT(shape=list(shape), type=ELEMENT_TYPES.index(dtype), buffer=buffer, name=name)
        made.shapeSignature = None if signature is None else list(signature)
        made.isVariable = variable
        if scale is not None:
            scales = np.atleast_1d(np.asarray(scale, np.float32))
            zeros = np.broadcast_to(np.asarray(zero_point, np.int64), scales.shape)
            made.quantization = schema.QuantizationParametersT(
                scale=scales.tolist(), zeroPoint=zeros.tolist(), quantizedDimension=axis
            )
        self.graph.tensors.append(made)
        return len(self.graph.tensors) - 1

    def input(self, name: str, shape: Sequence[int], dtype: str = "float32", **more: Any) -> int:
        self.graph.inputs.append(self.tensor(name, shape, dtype, **more))
        return int(self.graph.inputs[-1])

    def constant(
        self,
        name: str,
        value: Any,
        dtype: str | None = None,
        *,
        shape: Sequence[int] | None = None,
        sparse: tuple[Sequence[int], Sequence[int], Sequence[Dimension]] | None = None,
        **more: Any,
    ) -> int:
        """value: an array, or bytes together with shape and dtype. With `sparse` it holds the stored values only."""
        raw = value if isinstance(value, bytes) else np.ascontiguousarray(value).tobytes()
        kind = dtype or np.asarray(value).dtype.name
        sizes = np.shape(value) if shape is None else shape
        index = self.tensor(name, sizes, kind, buffer=self.buffer(raw), **more)
        if sparse is not None:
            self.graph.tensors[index].sparsity = _sparsity(*sparse)
        return index

    def op(
        self,
        op: str,
        inputs: Sequence[int],
        outputs: Output | Sequence[Output | int] | int,
        *,
        custom: bytes | None = None,
        version: int = 1,
        intermediates: Sequence[int] | None = None,
        **options: Any,
    ) -> Any:
        single = isinstance(outputs, int | tuple)
        given = [outputs] if single else list(outputs)  # type: ignore[arg-type]
        made = [o if isinstance(o, int) else self._declare(o) for o in given]
        node = schema.OperatorT(opcodeIndex=self._code(op, custom, version), inputs=list(inputs), outputs=made)
        if intermediates is not None:
            node.intermediates = list(intermediates)
        if custom is not None:
            node.customOptions = list(custom)
        elif (table := _table(op)) is not None:
            name, number, made_options = table
            if hasattr(schema.BuiltinOptions, f"{name}Options"):
                node.builtinOptionsType, node.builtinOptions = number, made_options
            else:
                node.builtinOptions2Type, node.builtinOptions2 = number, made_options
            for key, value in options.items():
                setattr(made_options, _camel(key), _encoded(name, key, value))
        elif options:
            raise AssertionError(f"{op} has no options")
        self.graph.operators.append(node)
        return made[0] if single else made

    def output(self, *indices: int) -> None:
        self.graph.outputs.extend(indices)

    def _declare(self, output: Output) -> int:
        name, shape, *rest = output
        more = rest.pop() if rest and isinstance(rest[-1], dict) else {}
        return self.tensor(name, shape, *rest, **more)

    def _code(self, op: str, custom: bytes | None, version: int) -> int:
        number = BUILTIN_OPERATORS.index("CUSTOM" if custom is not None else op)
        key = number, op if custom is not None else None, version
        codes = self.root.codes
        if key not in codes:
            codes.append(key)
        return int(codes.index(key))

    def model(self) -> Any:
        """The schema's ModelT. Metadata buffers are added to it."""
        root = self.root
        metadata = [schema.MetadataT(name=name, buffer=self.buffer(data)) for name, data in root.metadata.items()]
        codes = [
            schema.OperatorCodeT(
                deprecatedBuiltinCode=min(number, 127), builtinCode=number, customCode=custom, version=version
            )
            for number, custom, version in root.codes
        ]
        return schema.ModelT(
            version=3,
            description=root.description,
            operatorCodes=codes,
            subgraphs=root.graphs,
            buffers=root.buffers,
            metadata=metadata or None,
            signatureDefs=root.signatures or None,
        )

    def pack(self) -> bytes:
        return pack(self.model())

    def save(self, path: Path) -> Path:
        path.write_bytes(self.pack())
        return path


def pack(model: Any) -> bytes:
    """A ModelT as the bytes of a file."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _table(op: str) -> tuple[str, int, Any] | None:
    """(name in the schema, number in its union, the object) of the options of `op`."""
    unions = {**vars(schema.BuiltinOptions2), **vars(schema.BuiltinOptions)}
    names = {name.upper().removesuffix("OPTIONS"): name for name in unions}
    name = OPTION_TABLE.get(op, op.replace("_", "")).upper()
    if name not in names:
        return None
    found = names[name]
    return found.removesuffix("Options"), unions[found], getattr(schema, f"{found}T")()


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


def _encoded(table: str, key: str, value: Any) -> Any:
    """An option by the name of its enumeration becomes the number."""
    kind = next(field.type for field in OPTIONS[table] if field.name == key)
    if isinstance(value, str) and kind in ENUMERATIONS:
        return ENUMERATIONS[kind].index(value)
    return list(value) if isinstance(value, tuple) else value


def _sparsity(order: Sequence[int], block_map: Sequence[int], dimensions: Sequence[Dimension]) -> Any:
    widths = {32: (1, schema.Int32VectorT), 16: (2, schema.Uint16VectorT), 8: (3, schema.Uint8VectorT)}
    levels = []
    for dimension in dimensions:
        level = schema.DimensionMetadataT(format=int(dimension.segments is not None), denseSize=dimension.size)
        if dimension.segments is not None:
            number, kind = widths[dimension.width]
            level.arraySegmentsType = level.arrayIndicesType = number
            level.arraySegments = kind(values=list(dimension.segments))
            level.arrayIndices = kind(values=list(dimension.indices or ()))
        levels.append(level)
    return schema.SparsityParametersT(list(order), list(block_map) or None, levels)
