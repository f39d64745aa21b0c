"""The intermediate representation: a typed graph in SSA form with ONNX operator semantics.

Graph, Node, TensorType and Quantization live here, and nothing that computes. What an operator
means is in `operators.py` (shapes) and `kernels_cpu/reference/` (values).

Canonical form, which importers must produce and everything downstream may rely on:

* Operator names and semantics are those of ONNX opset 23 (default domain). Importers lift older forms:
  `Clip` bounds, `Squeeze`/`Unsqueeze`/`Reduce*` axes, `Slice` starts/ends/axes/steps, `Pad` pads,
  `Split` sizes, `TopK` k, `Dropout` ratio are inputs, never attributes.
* `auto_pad` is resolved at shape binding, so `Conv`/pool nodes may carry it.
* `Constant` nodes do not exist: their values are in `Graph.constants`.
* Quantized operators are named `QLinear*` and take no scale inputs: scale and zero point of every quantized
  tensor are in its `TensorType.quant`. `QuantizeLinear` / `DequantizeLinear` likewise read them from the
  type of their quantized side and have one input and one output.
* An absent optional input is the empty string.
* Control flow holds its bodies in `Node.graphs`. A body sees its own inputs and constants alone: what an ONNX body
  takes from around it comes last among the inputs of the node and of the body, `captured` (an attribute) of them.
  `If` (condition, *captured), `Loop` (trip count, condition, *carried, *captured), `Scan` (*carried, *sequences,
  *captured); see `control.py`. Tensor names are unique over all graphs of a model.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from edgert.errors import UnsupportedError

Dim: TypeAlias = int | str
"""A size, or the name of a size that is bound when the model is loaded or run."""

Attr: TypeAlias = int | float | str | list[int] | list[float] | list[str]
Array: TypeAlias = npt.NDArray[Any]

DTYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype(name)
    for name in (
        "float32", "float16", "float64", "int8", "uint8", "int16", "uint16",
        "int32", "uint32", "int64", "uint64", "bool",
    )
}  # fmt: skip
"""Element types of the IR, by NumPy name. `bfloat16` weights are widened by importers."""


@dataclass(frozen=True, eq=False)
class Quantization:
    """Affine quantization: real = scale * (stored - zero_point).

    scale: float32, shape [] (per tensor) or [C] (per channel along `axis`); finite, > 0.
    zero_point: int32, same shape; within the range of the stored dtype.
    Source: Jacob et al. 2018, section 2.1; ONNX QuantizeLinear.
    """

    scale: npt.NDArray[np.float32]
    zero_point: npt.NDArray[np.int32]
    axis: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", np.asarray(self.scale, np.float32))
        object.__setattr__(self, "zero_point", np.asarray(self.zero_point, np.int32))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Quantization)
            and self.axis == other.axis
            and np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero_point, other.zero_point)
        )

    @property
    def per_tensor(self) -> bool:
        return self.scale.ndim == 0


@dataclass(frozen=True)
class TensorType:
    """dtype (NumPy name), shape (ints or dimension names) and, for quantized tensors, quantization."""

    dtype: str
    shape: tuple[Dim, ...]
    quant: Quantization | None = None

    @property
    def np_dtype(self) -> np.dtype[Any]:
        return DTYPES[self.dtype]

    @property
    def is_static(self) -> bool:
        return all(isinstance(d, int) for d in self.shape)

    @property
    def static_shape(self) -> tuple[int, ...]:
        """The shape as ints. Raises UnsupportedError while a dimension is unbound."""
        if not self.is_static:
            raise UnsupportedError(f"shape {self.shape} has unbound dimensions; bind them with shapes={{...}}")
        return tuple(int(d) for d in self.shape)

    @property
    def numel(self) -> int:
        n = 1
        for d in self.static_shape:
            n *= d
        return n

    @property
    def nbytes(self) -> int:
        return self.numel * self.np_dtype.itemsize

    def with_shape(self, shape: tuple[Dim, ...]) -> TensorType:
        return replace(self, shape=shape)


@dataclass
class Node:
    """One operator application. `name` is unique in its graph; '' in inputs is an absent optional."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: dict[str, Attr] = field(default_factory=dict)
    name: str = ""
    graphs: dict[str, Graph] = field(default_factory=dict)
    """Bodies of control flow by ONNX attribute name: 'then_branch', 'else_branch', 'body'."""

    def copy(self) -> Node:
        """A copy whose attributes and bodies are its own."""
        graphs = {key: graph.copy() for key, graph in self.graphs.items()}
        return Node(self.op, self.inputs, self.outputs, copy.deepcopy(self.attrs), self.name, graphs)

    def attr_int(self, key: str, default: int) -> int:
        return int(self.attrs.get(key, default))  # type: ignore[arg-type]

    def attr_float(self, key: str, default: float) -> float:
        return float(self.attrs.get(key, default))  # type: ignore[arg-type]

    def attr_str(self, key: str, default: str) -> str:
        return str(self.attrs.get(key, default))

    def attr_ints(self, key: str, default: list[int]) -> list[int]:
        return [int(v) for v in self.attrs.get(key, default)]  # type: ignore[union-attr]


@dataclass
class Graph:
    """Nodes in topological order. `types` has every named tensor once its type is known;
    `constants` holds the values of tensors that never change (row-major arrays).

    states: past -> present, an input and an output of equal type. The present of one run is the past of the
    next; before the first run it is `initial[past]`, zeros where there is none."""

    name: str = "graph"
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    types: dict[str, TensorType] = field(default_factory=dict)
    constants: dict[str, Array] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    initial: dict[str, Array] = field(default_factory=dict)

    def producers(self) -> dict[str, Node]:
        """Tensor name -> the node that makes it."""
        return {out: node for node in self.nodes for out in node.outputs if out}

    def consumers(self) -> dict[str, list[Node]]:
        """Tensor name -> the nodes that read it, in order."""
        table: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                if name:
                    table.setdefault(name, []).append(node)
        return table

    def used(self) -> set[str]:
        """Names of the tensors that a node reads or the graph gives out."""
        return {*self.outputs, *(name for node in self.nodes for name in node.inputs if name)}

    def add_constant(self, name: str, value: Array, quant: Quantization | None = None) -> str:
        """Adds a constant under `name`, made unique if taken. Returns the name used."""
        name = self.unique(name)
        self.constants[name] = value
        self.types[name] = TensorType(value.dtype.name, tuple(value.shape), quant)
        return name

    def bodies(self) -> Iterator[Graph]:
        """Every graph inside a node of this one, and inside those."""
        for node in self.nodes:
            for graph in node.graphs.values():
                yield graph
                yield from graph.bodies()

    def unique(self, name: str) -> str:
        """`name`, or `name_1`, `name_2`, ... : one that no tensor has yet."""
        if name not in self.types and name not in self.constants:
            return name
        i = 1
        while f"{name}_{i}" in self.types or f"{name}_{i}" in self.constants:
            i += 1
        return f"{name}_{i}"

    def copy(self) -> Graph:
        """A copy whose nodes, types and tables are its own; constant arrays are shared."""
        return Graph(
            self.name, list(self.inputs), list(self.outputs),
            [node.copy() for node in self.nodes],
            dict(self.types), dict(self.constants), dict(self.states), dict(self.initial),
        )  # fmt: skip
