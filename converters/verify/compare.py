"""A source model and the .edge file made of it on the same inputs: the worst difference of each tensor.
The source runs in its own runtime (`source.py`), the file as an application would run it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgert.converters.finish import hash_of
from edgert.converters.passes.sink_transposes import TO_NHWC, TWIN
from edgert.converters.quantize.insert import QUANTIZED
from edgert.converters.verify.source import Source, open_source
from edgert.errors import EdgertError, InputError
from edgert.format import Model, read_model
from edgert.graph.ir import Array, Graph, Node
from edgert.runtime.session import Session
from edgert.runtime.state import State, seen

TOLERANCE, QUANTIZED_TOLERANCE = 1e-3, 0.02
"""Of the largest magnitude of a tensor: what float kernels differ by, and what a step or two of 8 bits make."""

STEPS = 1
"""Quantization steps by which a quantized tensor may differ: kernels that round halves another way do."""

STATEFUL_RUNS = 3
"""Runs of a model with a state, so that what it keeps is compared too."""


@dataclass(frozen=True)
class Difference:
    """The worst difference of one tensor over all runs. absolute: in its own unit; relative: to its largest magnitude
    in the source; steps: of its quantization, None for floats. fault: why it could not be compared, or ''."""

    tensor: str
    absolute: float = 0.0
    relative: float = 0.0
    steps: int | None = None
    fault: str = ""

    def beyond(self, tolerance: float, steps: int) -> bool:
        if self.fault:
            return True
        return self.relative > tolerance if self.steps is None else self.steps > steps

    def joined(self, other: Difference) -> Difference:
        return Difference(
            self.tensor,
            max(self.absolute, other.absolute),
            max(self.relative, other.relative),
            None if self.steps is None or other.steps is None else max(self.steps, other.steps),
            self.fault or other.fault,
        )

    def __str__(self) -> str:
        if self.fault:
            return self.fault
        steps = "" if self.steps is None else f", {self.steps} quantization step{'s' * (self.steps != 1)}"
        return f"absolute {self.absolute:.3g}, relative {self.relative:.3g}{steps}"


@dataclass
class Verification:
    """What was found. first: the first node of the file whose output differs beyond the tolerance, as
    {'name', 'operator', 'tensor', 'difference'}. compared: differences of intermediate tensors, in the order of the
    file. fused: tensors of the source that the file does not make, in no order; changed: tensors inside that have
    another shape in the file, as where channels that say nothing are gone."""

    runtime: str
    tolerance: float
    steps: int
    runs: int
    outputs: list[Difference] = field(default_factory=list)
    compared: list[Difference] = field(default_factory=list)
    first: dict[str, str] | None = None
    fused: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        return not any(output.beyond(self.tolerance, self.steps) for output in self.outputs)

    def as_dict(self) -> dict[str, Any]:
        return {"agrees": self.agrees, **asdict(self)}


def verify(
    src: Path,
    file: Path,
    *,
    feeds: Mapping[str, Array] | None = None,
    shapes: Mapping[str, int] | None = None,
    seed: int = 0,
    runs: int | None = None,
    tolerance: float | None = None,
    steps: int = STEPS,
    session: Session | None = None,
) -> Verification:
    """Runs both on `feeds`, or on `runs` random inputs of the sizes in `shapes`, and compares.

    tolerance: of the largest magnitude of a tensor; default TOLERANCE, or QUANTIZED_TOLERANCE for a file with
    quantized tensors or weights. session: one opened on `file`, if there is one. Raises EdgertError naming the runtime
    to install, InputError for a file that was not made of `src`, UnsupportedError where a side does not run.
    """
    source = open_source(src)
    model = session.model if session is not None else read_model(file)
    visible = seen(model.graph)
    if set(visible.inputs) != set(source.inputs) or not set(visible.outputs) <= set(source.tensors):
        raise InputError(
            f"{file}: expected a file made of {src}, with inputs {source.inputs} and outputs {source.outputs}; "
            f"found {visible.inputs} and {visible.outputs}"
        )
    quantized = any(kind.quant is not None for kind in model.graph.types.values())
    quantized |= any(tensor.encoding.startswith(("q4", "q8")) for tensor in model.tensors.values())
    tolerance = tolerance if tolerance is not None else (QUANTIZED_TOLERANCE if quantized else TOLERANCE)
    runs = 1 if feeds is not None else runs or (STATEFUL_RUNS if model.graph.states else 1)
    found = Verification(source.name, tolerance, steps, runs)
    if model.source.get("sha256") not in (None, hash_of([src])):
        found.notes.append(f"{file.name} was made of another {src.name}: its checksum differs")
    rng = np.random.default_rng(seed)
    given = [feeds if feeds is not None else random_feeds(model.graph, shapes or {}, rng) for _ in range(runs)]
    opened = session or Session(model)
    state = opened.state()
    found.outputs = compare(model.graph, source, state, given, {name: name for name in visible.outputs})
    pairs = intermediates(model.graph, source)
    found.fused = sorted(source.tensors - {*pairs.values(), *visible.outputs, *visible.inputs})
    look_inside(found, source, src, model, given, pairs)
    return found


def look_inside(
    found: Verification,
    source: Source,
    src: Path,
    model: Model,
    given: list[Mapping[str, Array]],
    pairs: dict[str, str],
) -> None:
    """Compares the tensors in `pairs` and finds the first node that differs."""
    graph = model.graph.copy()
    graph.outputs = [*graph.outputs, *pairs]
    again = open_source(src) if model.graph.states else source
    try:
        with Session(replace(model, graph=graph)) as session:
            compared = compare(graph, again, session.state(), given, pairs)
            found.compared = [difference for difference in compared if not difference.fault]
            found.changed = [difference.tensor for difference in compared if difference.fault]
    except EdgertError as error:
        found.notes.append(f"tensors between inputs and outputs can not be compared: {error}")
    known = {difference.tensor: difference for difference in (*found.compared, *found.outputs)}
    for node in model.graph.nodes:
        for name in node.outputs:
            if name in known and known[name].beyond(found.tolerance, found.steps):
                found.first = {
                    "name": node.name, "operator": node.op, "tensor": name, "difference": str(known[name])
                }  # fmt: skip
                return


def intermediates(graph: Graph, source: Source) -> dict[str, str]:
    """Tensor that the graph makes -> the tensor of the source it stands for, without inputs and outputs."""
    ends = {*graph.inputs, *graph.outputs}
    made = [name for node in graph.nodes for name in node.outputs if name and name not in ends and name in graph.types]
    return {name: source_of(name) for name in made if source_of(name) in source.tensors} | {
        name: name for name in made if name in source.tensors
    }


def source_of(name: str) -> str:
    """The name in the source of a tensor laid out in another way, or quantized by the converter."""
    return name.removesuffix(TWIN).removesuffix(QUANTIZED)


def compare(
    graph: Graph, source: Source, state: State, given: list[Mapping[str, Array]], pairs: Mapping[str, str]
) -> list[Difference]:
    """The worst difference of each of `pairs`, tensor of the file -> tensor of the source, over all runs."""
    worst: dict[str, Difference] = {}
    for feeds in given:
        wanted = source.run(feeds, pairs.values())
        found = state.run(feeds)
        for mine, theirs in pairs.items():
            if theirs not in wanted:
                continue
            difference = difference_of(graph, mine, theirs, found[mine], wanted[theirs])
            worst[mine] = worst[mine].joined(difference) if mine in worst else difference
    return list(worst.values())


def difference_of(graph: Graph, mine: str, theirs: str, found: Array, wanted: Array) -> Difference:
    """`found`, tensor `mine` of the graph, against `wanted`, tensor `theirs` of the source."""
    kind = graph.types[mine]
    if mine != theirs and mine.endswith(TWIN) and found.ndim == 4:
        found = found.transpose(TO_NHWC)
    if found.shape != wanted.shape:
        return Difference(mine, fault=f"expected shape {list(wanted.shape)}, found {list(found.shape)}")
    scale = None
    if kind.quant is not None and kind.quant.per_tensor:
        scale = float(kind.quant.scale)
        zero = int(kind.quant.zero_point)
        if wanted.dtype.kind == "f":
            found, scale = (found.astype(np.float32) - zero) * kind.quant.scale, None
        elif found.dtype == np.uint8 and wanted.dtype == np.int8:
            found = found.astype(np.int16) - 128
    if found.dtype.kind in "iub" and wanted.dtype.kind in "iub":
        a, b = found.astype(np.int64), wanted.astype(np.int64)
    else:
        a, b = found.astype(np.float64), wanted.astype(np.float64)
    with np.errstate(invalid="ignore"):
        gap = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0, np.abs(a - b))
        largest = float(np.max(np.abs(np.where(np.isfinite(b), b, 0)), initial=0))
    worst = float(np.max(np.where(np.isnan(gap), np.inf, gap), initial=0))
    relative = worst / largest if largest else (0.0 if worst == 0 else float("inf"))
    return Difference(mine, worst * (scale or 1.0), relative, None if scale is None else int(worst))


def random_feeds(graph: Graph, shapes: Mapping[str, int], rng: np.random.Generator) -> dict[str, Array]:
    """A value for each input: normal floats, all values of quantized and 8-bit integers, valid indices where an
    integer input chooses among rows, else 0 or 1. Raises InputError for a named dimension without a size."""
    feeds: dict[str, Array] = {}
    visible = seen(graph)
    for name in visible.inputs:
        kind = graph.types[name]
        missing = [dim for dim in kind.shape if isinstance(dim, str) and dim not in shapes]
        if missing:
            raise InputError(f"dimension {missing[0]!r} of input {name!r} is free; give its size")
        shape = tuple(shapes[dim] if isinstance(dim, str) else dim for dim in kind.shape)
        dtype = kind.np_dtype
        if dtype.kind == "f":
            feeds[name] = rng.standard_normal(shape).astype(dtype)
        elif dtype.kind == "b":
            feeds[name] = rng.random(shape) < 0.5
        elif dtype.itemsize == 1 or kind.quant is not None:
            info = np.iinfo(dtype)
            feeds[name] = rng.integers(info.min, int(info.max) + 1, shape, dtype)
        else:
            feeds[name] = rng.integers(0, rows_of(graph, name), shape, dtype)
    return feeds


def rows_of(graph: Graph, name: str) -> int:
    """How many values an integer input may have: rows of the table it chooses from, else 2."""
    tables, waiting = [], [name]
    readers: dict[str, list[Node]] = graph.consumers()
    while waiting:
        for node in readers.get(waiting.pop(), ()):
            if node.op in ("Cast", "Reshape", "Squeeze", "Unsqueeze", "Identity", "Flatten"):
                waiting += node.outputs
            elif node.op == "Gather" and node.inputs[1] != node.inputs[0]:
                kind = graph.types.get(node.inputs[0])
                if kind is not None and kind.shape and isinstance(size := kind.shape[node.attr_int("axis", 0)], int):
                    tables.append(size)
    return min(tables, default=2)
