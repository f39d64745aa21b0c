"""Reads a .tflite file into `TfliteModel`: parsed, checked, constants as views of the mapped file.
Bytes are read in `flat.py`, tensors in `tensors.py`; what the operators mean is the business of the lifts.

Checked here: the identifier and version, that every index is in range, that operators come in topological order (a
tensor is made once and before it is read), and that sub-graphs that are called exist.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from edgert.converters.tflite.files import attached_files
from edgert.converters.tflite.flat import Flat, Table
from edgert.converters.tflite.model import (
    ABSENT,
    TfliteGraph,
    TfliteModel,
    TfliteOperator,
    TfliteSignature,
    TfliteTensor,
)
from edgert.converters.tflite.schema import (
    BUILTIN_OPERATORS,
    CUSTOM,
    ENUMERATIONS,
    FILE_IDENTIFIER,
    OPTION_TABLES,
    OPTION_TABLES_2,
    OPTIONS,
    PLACEHOLDER,
    VERSION,
    Field,
)
from edgert.converters.tflite.tensors import Buffers, outside, read_tensor
from edgert.errors import FormatError

MAX_GRAPHS = 1 << 10
MAX_TENSORS = 1 << 17
MAX_OPERATORS = 1 << 17
"""Of one sub-graph; the same as for nodes and tensors of .edge files."""

MAX_OPERATOR_CODES = 1 << 12
MAX_METADATA = 1 << 10
MAX_SIGNATURES = 1 << 8
MAX_SIGNATURE_TENSORS = 1 << 12


def read_tflite(path: str | os.PathLike[str]) -> TfliteModel:
    """The model in `path`. Constants stay views of the mapped file as long as the model lives.

    Raises FormatError with the place where the file is not what the schema and the rules above promise, and
    UnsupportedError for a few forms that no other runtime on the device reads either.
    """
    path = Path(path)
    flat = _map(path)
    model = flat.root(FILE_IDENTIFIER)
    if (version := model.integer(0, "uint")) != VERSION:
        raise flat.error(model.at, f"version {VERSION} of the schema", str(version))
    buffers = Buffers(model)
    codes = [_operator_code(code) for code in model.tables(1, "operator codes", MAX_OPERATOR_CODES)]
    count = model.count(2, "sub-graphs")
    if count == 0:
        raise flat.error(model.at, "at least one sub-graph", "none")
    graphs = [_graph(graph, codes, buffers, count) for graph in model.tables(2, "sub-graph", MAX_GRAPHS)]
    return TfliteModel(
        path,
        model.text(3, "the description"),
        graphs,
        [_signature(entry, graphs) for entry in model.tables(7, "signature", MAX_SIGNATURES)],
        _metadata(model, buffers),
        attached_files(flat),
    )


def _map(path: Path) -> Flat:
    try:
        if path.is_file() and path.stat().st_size < 8:
            raise FormatError(path, None, "a TFLite model of at least 8 bytes", f"{path.stat().st_size}")
        mapped = np.memmap(path, np.uint8, "r")
    except OSError as error:
        raise FormatError(path, None, "a file that can be read", error.strerror or str(error)) from error
    return Flat(path, np.asarray(mapped))


def _operator_code(table: Table) -> tuple[str, bool, int]:
    """(name, whether it is a custom operator, version)."""
    flat = table.flat
    early = table.integer(0, "byte")
    code = max(early, table.integer(3, "int")) if early in (0, PLACEHOLDER) or table.has(3) else early
    version = table.integer(2, "int", 1)
    if not 0 <= code < len(BUILTIN_OPERATORS) or code == PLACEHOLDER:
        raise flat.error(table.at, f"a builtin operator below {len(BUILTIN_OPERATORS)}", f"number {code}")
    if code != CUSTOM:
        return BUILTIN_OPERATORS[code], False, version
    name = table.text(1, "the name of a custom operator")
    if not name:
        raise flat.error(table.at, "the name of a custom operator", "none")
    return name, True, version


def _graph(table: Table, codes: list[tuple[str, bool, int]], buffers: Buffers, graphs: int) -> TfliteGraph:
    flat, name = table.flat, table.text(4, "the name of a sub-graph")
    tensors = [read_tensor(tensor, i, buffers) for i, tensor in enumerate(table.tables(0, "tensor", MAX_TENSORS))]
    graph = TfliteGraph(
        name,
        tensors,
        _tensor_indices(table, 1, "inputs", len(tensors)),
        _tensor_indices(table, 2, "outputs", len(tensors)),
        [],
    )
    if len(set(graph.inputs)) != len(graph.inputs):
        raise flat.error(table.at, f"each input of {table.what} once", str(graph.inputs)[:80])
    made = _made_before(graph)
    for i, operator in enumerate(table.tables(3, "operator", MAX_OPERATORS)):
        graph.operators.append(_operator(operator, i, codes, tensors, graphs))
        _check_order(operator, graph.operators[-1], tensors, made)
    for output in graph.outputs:
        if not _is_made(tensors[output], made):
            expected = f"an operator that makes output {tensors[output].name!r} of {table.what}"
            raise flat.error(table.at, expected, "none")
    return graph


def _made_before(graph: TfliteGraph) -> set[int]:
    """Tensors that exist before the first operator runs."""
    constant = {t.index for t in graph.tensors if t.data is not None or t.variable}
    return constant | set(graph.inputs)


def _is_made(tensor: TfliteTensor, made: set[int]) -> bool:
    """Whether `tensor` may be read now. One without elements that nothing makes is a constant: an empty list of
    axes, say, has an empty buffer. So are constant strings, whose values are not read."""
    if tensor.index not in made and tensor.data is None and 0 in tensor.shape and _numeric(tensor):
        tensor.data = np.zeros(tensor.shape, tensor.dtype)
        made.add(tensor.index)
    return tensor.index in made or tensor.dtype == "string"


def _numeric(tensor: TfliteTensor) -> bool:
    try:
        return bool(np.dtype(tensor.dtype).kind in "fiubc")
    except TypeError:
        return False


def _check_order(table: Table, op: TfliteOperator, tensors: list[TfliteTensor], made: set[int]) -> None:
    """Raises FormatError unless the inputs of `op` are made by now and its outputs are not."""
    for index in op.inputs:
        if index != ABSENT and not _is_made(tensors[index], made):
            expected = f"an earlier operator that makes {tensors[index].name!r}, which {op.op} reads"
            raise table.flat.error(table.at, expected, "none; operators must be in topological order")
    for index in op.outputs:
        if index in made and not tensors[index].variable:
            raise table.flat.error(table.at, f"{tensors[index].name!r} made once", f"{op.op} makes it again")
        made.add(index)


def _operator(
    table: Table, index: int, codes: list[tuple[str, bool, int]], tensors: list[TfliteTensor], graphs: int
) -> TfliteOperator:
    flat, code = table.flat, table.integer(0, "uint")
    if code >= len(codes):
        raise flat.error(table.at, f"an operator code below {len(codes)} for {table.what}", str(code))
    name, custom, version = codes[code]
    op = TfliteOperator(
        index,
        name,
        custom,
        version,
        _tensor_indices(table, 1, "inputs", len(tensors), optional=True),
        _tensor_indices(table, 2, "outputs", len(tensors)),
        {} if custom else _options(table, name),
        _custom_options(table),
        _tensor_indices(table, 8, "intermediates", len(tensors), optional=True),
    )
    for key, value in op.options.items():
        called = value if isinstance(value, tuple) else (value,)
        if (key.endswith("subgraph_index") or key in ("subgraph", "branch_subgraph_indices")) and any(
            not 0 <= number < graphs for number in called
        ):
            raise flat.error(table.at, f"a sub-graph below {graphs} as {key} of {name}", str(value))
    return op


def _tensor_indices(table: Table, slot: int, role: str, count: int, optional: bool = False) -> tuple[int, ...]:
    """Vector of tensor indices below `count`, ABSENT among them where `optional`."""
    indices = table.ints(slot, f"{role} of {table.what}")
    for index in indices:
        if not (0 <= index < count or (optional and index == ABSENT)):
            raise table.flat.error(table.at, f"a tensor below {count} among the {role} of {table.what}", str(index))
    return indices


def _custom_options(table: Table) -> bytes:
    raw = table.raw(5, f"custom options of {table.what}")
    offset, size = table.integer(9, "ulong"), table.integer(10, "ulong")
    if raw or offset <= 1:
        return raw
    what = f"custom options of {table.what}"
    view = outside(table.flat, offset, size, table.at, what)
    table.flat.charge(view.size, table.at, what)
    return view.tobytes()


def _options(table: Table, name: str) -> dict[str, Any]:
    """The fields of the options table, or of both; {} for an operator without one."""
    found: dict[str, Any] = {}
    for slot, union in ((3, OPTION_TABLES), (11, OPTION_TABLES_2)):
        kind = table.integer(slot, "ubyte")
        if kind >= len(union):
            raise table.flat.error(table.at, f"options below {len(union)} for {name}", f"number {kind}")
        options = table.table(slot + 1, f"the options of {name}") if kind else None
        for field in OPTIONS.get(union[kind], ()):
            found[field.name] = _option(table.flat, options, field, name)
    return found


def _option(flat: Flat, options: Table | None, field: Field, name: str) -> Any:
    """One option, its default where the table or the field is left out. Vectors are tuples."""
    names = ENUMERATIONS.get(field.type)
    kind = "byte" if names else field.type
    what = f"option {field.name} of {name}"
    if field.vector:
        if options is None:
            return ()
        return options.floats(field.slot, what) if kind == "float" else options.ints(field.slot, what, kind)
    if kind == "string":
        return "" if options is None else options.text(field.slot, what)
    if field.name == "reduce_function":  # the one enumeration of 32 bits
        kind = "int"
    value = field.default if options is None else options.scalar(field.slot, kind, field.default)
    if names is None:
        return bool(value) if kind == "bool" else float(value) if kind == "float" else value
    if not 0 <= int(value) < len(names):
        at = None if options is None else options.at
        raise flat.error(at, f"{what} among {', '.join(names)}", f"number {value}")
    return names[int(value)]


def _signature(table: Table, graphs: list[TfliteGraph]) -> TfliteSignature:
    number = table.integer(4, "uint")
    if number >= len(graphs):
        raise table.flat.error(table.at, f"a sub-graph below {len(graphs)} for {table.what}", str(number))
    count = len(graphs[number].tensors)
    sides: list[dict[str, int]] = []
    for slot, role in ((0, "inputs"), (1, "outputs")):
        names: dict[str, int] = {}
        for entry in table.tables(slot, f"{role} of {table.what}", MAX_SIGNATURE_TENSORS):
            index = entry.integer(1, "uint")
            if index >= count:
                raise table.flat.error(entry.at, f"a tensor below {count} among the {role} of {table.what}", str(index))
            names[entry.text(0, entry.what)] = index
        sides.append(names)
    return TfliteSignature(table.text(2, table.what), number, *sides)


def _metadata(model: Table, buffers: Buffers) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for entry in model.tables(6, "metadata", MAX_METADATA):
        blob = buffers.get(entry.integer(1, "uint"), entry)
        model.flat.charge(blob.size, entry.at, entry.what)
        found[entry.text(0, entry.what)] = blob.tobytes()
    return found
