"""VAR_HANDLE, READ_VARIABLE, ASSIGN_VARIABLE, CALL_ONCE, and tensors that live from run to run: states of the graph.
Source: TensorFlow Lite, kernels/var_handle.cc and neighbours. An initialiser runs here, once, at conversion."""

from __future__ import annotations

from math import prod

import numpy as np

from edgert.converters.forms import complete_types
from edgert.converters.tflite.builder import RAISED, Builder, Problem, Refused
from edgert.converters.tflite.lifts import lift, lift_graph
from edgert.converters.tflite.model import TfliteOperator
from edgert.converters.tflite.variables import Variable
from edgert.errors import EdgertError
from edgert.graph.execute import run_graph
from edgert.graph.ir import Array, Graph, TensorType

MAX_INITIAL_BYTES = 1 << 28
"""Of all tensors that initialisers compute: states of real models are kilobytes."""


@lift("VAR_HANDLE")
def var_handle(builder: Builder, op: TfliteOperator) -> None:
    """The output stands for the variable of that name, in this graph and in its initialiser."""
    name = _text(op.options.get("shared_name")) or builder.tensor(op.outputs[0]).name
    container = _text(op.options.get("container"))
    builder.variables.handles[op.outputs[0]] = f"{container}/{name}" if container else name


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")


def _variable(builder: Builder, op: TfliteOperator) -> Variable:
    found = builder.variables.handles.get(op.input(0))
    if found is None:
        raise Refused(
            "resource", "expected a variable of this graph, found one that is handed in; variables are not taken "
            "through control flow, so carry their values instead",
        )  # fmt: skip
    return builder.variables.named(found)


@lift("READ_VARIABLE")
def read_variable(builder: Builder, op: TfliteOperator) -> None:
    """Before an assignment the value of the last run, a past; after it the value assigned."""
    out = op.outputs[0]
    builder.rename(out, read(builder, _variable(builder, op), builder.type(out)))


@lift("ASSIGN_VARIABLE")
def assign_variable(builder: Builder, op: TfliteOperator) -> None:
    """From here on the variable is the second input; what it is at the end is the present."""
    name = builder.data(op.inputs[1])
    assign(_variable(builder, op), name, builder.graph.types.get(name) or builder.type(op.inputs[1]))


@lift("CALL_ONCE")
def call_once(builder: Builder, op: TfliteOperator) -> None:
    """What the initialiser assigns is the first value of the variables, computed here."""
    index = int(op.options.get("init_subgraph_index", 0))
    for name, value in initialised(builder, op, index).items():
        variable = builder.variables.named(name)
        if variable.current:
            raise Refused(f"variable {name!r}", "expected it to be initialised before it is read or assigned")
        variable.initial = value


def initialised(builder: Builder, op: TfliteOperator, index: int) -> dict[str, Array]:
    """Variable -> the value that sub-graph `index` assigns to it. Raises Refused."""
    inner = builder.nested(op, index, "initialiser")
    if inner.source.inputs:
        raise Refused("init_subgraph_index", f"expected a sub-graph without inputs, found {len(inner.source.inputs)}")
    lift_graph(inner)
    made = {v.name: v.current for v in inner.variables.table.values() if v.current}
    if any(v.past for v in inner.variables.table.values()):
        raise Refused("init_subgraph_index", "expected a sub-graph that assigns variables, found one that reads them")
    inner.graph.outputs = list(dict.fromkeys(made.values()))
    held = sum(v.initial.nbytes for v in builder.variables.table.values() if v.initial is not None)
    _check_initialiser(inner.graph, held)
    try:
        values = run_graph(inner.graph, {})
    except EdgertError as error:
        raise Refused("init_subgraph_index", f"its sub-graph cannot be computed: {error}") from None
    return {name: values[tensor] for name, tensor in made.items()}


def _check_initialiser(graph: Graph, held: int) -> None:
    """Raises Refused for one that could take long, or much memory: a file is not trusted. held: bytes that other
    initialisers made."""
    complete_types(graph)
    for node in graph.nodes:
        for name in node.outputs:
            kind = graph.types.get(name)
            held += 0 if kind is None or not kind.is_static else kind.nbytes
            if node.graphs or kind is None or not kind.is_static or held > MAX_INITIAL_BYTES:
                raise Refused(
                    "init_subgraph_index",
                    f"expected tensors of known size, at most {MAX_INITIAL_BYTES >> 20} MiB in all, found node "
                    f"{node.name!r}; let the initialiser assign constants",
                )


# ---- what a variable is at this point of the graph
def read(builder: Builder, variable: Variable, kind: TensorType) -> str:
    """The tensor that holds the variable now: of type `kind`. Raises Refused where another type was assigned."""
    agree(variable, kind)
    if not variable.current:
        variable.past = variable.current = builder.fresh(variable.name)
        builder.graph.types[variable.past] = kind
    return variable.current


def assign(variable: Variable, tensor: str, kind: TensorType) -> None:
    """From here on `tensor`, of type `kind`, holds the variable. Raises Refused where another type was read."""
    agree(variable, kind)
    variable.current = tensor


def agree(variable: Variable, kind: TensorType) -> None:
    """One variable has one type: a past and its present must agree."""
    if variable.type is None:
        variable.type = kind
    known = variable.type
    same_shape = known.shape == kind.shape or not (known.is_static and kind.is_static)
    if known.dtype != kind.dtype or known.quant != kind.quant or not same_shape:
        raise Refused(
            f"variable {variable.name!r}",
            f"expected one type and quantization, found {_show(known)} and {_show(kind)}; convert the model again "
            "with the same scale where the variable is read and where it is assigned",
        )


def _show(kind: TensorType) -> str:
    return f"{kind.dtype}{list(kind.shape)}" + (f" scale {kind.quant.scale.ravel()[:1]}" if kind.quant else "")


# ---- tensors that live from run to run (is_variable), without an operator that reads or assigns them
def take_variables(builder: Builder) -> None:
    """Every variable tensor of the graph stands for its past. To be called after `Builder.take_inputs`.

    Raises Refused for one that an operator writes as its output, or that is not of numbers.
    """
    made = {index for op in builder.source.operators for index in op.outputs}
    for tensor in builder.source.tensors:
        if tensor.variable and tensor.data is None and tensor.index not in builder.source.inputs:
            if tensor.index in made:
                raise Refused(f"tensor {tensor.name!r}", "expected a variable tensor to be no output of an operator")
            name = tensor.name or "state"
            variable = builder.variables.named(f"{name}_{tensor.index}" if name in builder.variables.table else name)
            builder.variables.handles[tensor.index] = variable.name
            if builder.is_raised(tensor.index) and tensor.quant is not None:
                # Before the first run such a tensor holds zero points.
                if prod(tensor.shape) > MAX_INITIAL_BYTES:
                    found = f"expected at most {MAX_INITIAL_BYTES} values, found {list(tensor.shape)}"
                    builder.problems.append(Problem(name, "variable", 0, "shape", found))
                    continue
                variable.initial = np.full(tensor.shape, tensor.quant.zero_point[0], np.int8)
            builder.rename(tensor.index, read(builder, variable, builder.type(tensor.index)))


def assigned(builder: Builder, index: int, name: str) -> None:
    """An operator has changed variable tensor `index`, as LSTM and SVDF do: its new value is the tensor `name`, whose
    type is that of the variable. Operators that come later read it."""
    if index not in builder.variables.handles:
        raise Refused(f"tensor {builder.tensor(index).name!r}", "expected a variable tensor, found another")
    assign(builder.variables.named(builder.variables.handles[index]), name, builder.type(index))
    builder.rename(index, name)


# ---- the ends of the graph
def give_states(builder: Builder) -> None:
    """Declares pasts as inputs and presents as outputs of the graph, last. To be called after `Builder.give_outputs`.

    A variable that is never assigned is a constant; one that is never read is dropped.
    """
    used = builder.graph.used()
    for variable in builder.variables.table.values():
        idle = variable.current == variable.past and variable.past not in used
        if not variable.past or variable.type is None or idle:
            builder.graph.types.pop(variable.past, None)
            continue
        try:
            _give(builder, variable, variable.type)
        except Refused as refusal:
            problem = Problem(variable.name, "VAR_HANDLE", 0, refusal.what, refusal.advice)
            builder.problems.append(problem)


def _give(builder: Builder, variable: Variable, kind: TensorType) -> None:
    graph, past, present = builder.graph, variable.past, variable.current
    first = _initial_value(variable, kind)
    if first is not None:
        kind = graph.types[past] = kind.with_shape(first.shape)
    if present == past:
        if first is None and kind.nbytes > MAX_INITIAL_BYTES:
            raise Refused(
                f"variable {variable.name!r}", f"expected at most {MAX_INITIAL_BYTES} bytes, found {_show(kind)}"
            )
        graph.constants[past] = np.zeros(kind.static_shape, kind.np_dtype) if first is None else first
        return
    if present in {*graph.inputs, *graph.constants, *graph.outputs}:
        present = builder.step("Identity", [present])
        graph.types[present] = kind
    graph.inputs.append(past)
    graph.outputs.append(present)
    graph.states[past] = present
    if first is not None and first.any():
        graph.initial[past] = first


def _initial_value(variable: Variable, kind: TensorType) -> Array | None:
    """What the variable is at first, as the graph stores it: int8 activations are raised. None for zeros."""
    value = variable.initial
    if value is None:
        return None
    if kind.dtype == "uint8" and value.dtype == np.int8:
        value = (value.astype(np.int16) + RAISED).astype(np.uint8)
    fits = value.ndim == len(kind.shape) and all(
        isinstance(d, str) or d == n for d, n in zip(kind.shape, value.shape, strict=True)
    )
    if value.dtype != kind.np_dtype or not fits:
        found = f"{value.dtype}{list(value.shape)}"
        raise Refused(f"variable {variable.name!r}", f"expected the initial value {_show(kind)}, found {found}")
    return np.ascontiguousarray(value)
