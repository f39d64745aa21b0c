"""What a .tflite file holds once it is read and checked: graphs, tensors, operators, signatures, metadata.
`reader.py` makes it from bytes; the `lift_*` modules turn it into edgert's graph. Nothing here computes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgert.graph.ir import Array

ABSENT = -1
"""Where an optional input has no tensor."""


@dataclass(frozen=True, eq=False)
class TfliteQuantization:
    """real = scale * (stored - zero_point). scale float32 [n], zero_point int64 [n], n = 1 (per tensor) or the size
    of dimension `axis` of the TFLite shape. Scales are finite and > 0."""

    scale: npt.NDArray[np.float32]
    zero_point: npt.NDArray[np.int64]
    axis: int = 0

    @property
    def per_tensor(self) -> bool:
        return self.scale.size == 1


@dataclass
class TfliteTensor:
    """dtype: NumPy's name, or 'string', 'resource', 'variant', 'bfloat16', 'int4', 'uint4', 'int2'.

    shape: as in the file, sizes >= 0. signature: the same with -1 where a size is free, equal to shape if the file
    has none. data: the values of a constant, row-major and read-only, zeros of sparse tensors filled in and 4-bit
    numbers unpacked to int8; None for what is computed. sparse: the file has it without its zeros.
    variable: a legacy state tensor (is_variable) that lives from run to run.
    """

    index: int
    name: str
    dtype: str
    shape: tuple[int, ...]
    signature: tuple[int, ...]
    quant: TfliteQuantization | None = None
    data: Array | None = None
    sparse: bool = False
    variable: bool = False


@dataclass
class TfliteOperator:
    """One operator. op: the builtin name, such as 'CONV_2D', or the custom code. options: the fields of its options
    table by their schema names, defaults filled in; enums by name ('SAME', 'RELU6'). custom_options: flexbuffer bytes
    of a custom operator. inputs, outputs: tensor indices, ABSENT where an optional input is left out."""

    index: int
    op: str
    custom: bool
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)
    custom_options: bytes = b""
    intermediates: tuple[int, ...] = ()

    def input(self, at: int) -> int:
        """Tensor index of input number `at`, ABSENT when it is not given."""
        return self.inputs[at] if at < len(self.inputs) else ABSENT


@dataclass
class TfliteGraph:
    """One sub-graph; operators in the order of the file, every tensor made before it is read."""

    name: str
    tensors: list[TfliteTensor]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    operators: list[TfliteOperator]


@dataclass
class TfliteSignature:
    """A named entry: names that people see -> tensor indices of graph number `graph`."""

    key: str
    graph: int
    inputs: dict[str, int]
    outputs: dict[str, int]


@dataclass
class TfliteModel:
    """One file. graphs[0] is the model; others are bodies of control flow and initialisers.
    metadata: named blobs, such as TFLITE_METADATA (labels, normalisation). files: files zipped behind the model
    (label lists) by name."""

    path: Path
    description: str
    graphs: list[TfliteGraph]
    signatures: list[TfliteSignature]
    metadata: dict[str, bytes]
    files: dict[str, bytes] = field(default_factory=dict)
