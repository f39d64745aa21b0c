"""Reductions along axes, positions of extremes and running sums.
Pooling over windows is in `lift_pool.py`."""

from __future__ import annotations

from edgert.converters.tflite.builder import Builder, Refused
from edgert.converters.tflite.lifts import lift
from edgert.converters.tflite.model import TfliteOperator
from edgert.graph.ir import DTYPES

REDUCE = {"SUM": "ReduceSum", "MEAN": "ReduceMean", "REDUCE_MAX": "ReduceMax", "REDUCE_MIN": "ReduceMin",
          "REDUCE_PROD": "ReduceProd"}  # fmt: skip


def axes_of(b: Builder, index: int, rank: int) -> list[int] | None:
    """Constant axes from the front, each once, in order; None when they are computed at run time."""
    value = b.value(index)
    if value is None:
        return None
    axes = [int(a) for a in value.ravel()]
    if any(not -rank <= a < rank for a in axes):
        raise Refused("axis", f"expected axes in [{-rank}, {rank}), found {axes}")
    return sorted({a % rank for a in axes})


@lift(*REDUCE)
def reduce(b: Builder, op: TfliteOperator) -> None:
    """The mean (of floats or integers), sum ... over the axes of the second input. Over the places of an image
    [B, H, W, C] it is written on [B, C, H, W], where it is pooling."""
    x, keep = op.inputs[0], int(bool(op.options["keep_dims"]))
    kind, rank = REDUCE[op.op], b.rank(x)
    axes = axes_of(b, op.inputs[1], rank)
    if axes == []:
        b.emit(op, "Identity", [b.use(x)])
    elif axes == [1, 2] and rank == 4 and DTYPES[b.dtype(x)].kind == "f":
        inputs, attrs = [b.nchw(x), b.ints("axes", [2, 3])], {"keepdims": keep}
        if keep:
            b.emit_nchw(op, kind, inputs, dict(attrs))
        else:
            b.emit(op, kind, inputs, dict(attrs))
    else:
        given = b.int64(op.inputs[1]) if axes is None else b.ints("axes", axes)
        b.emit(op, kind, [b.use(x), given], {"keepdims": keep})


@lift("REDUCE_ANY", "REDUCE_ALL")
def reduce_bools(b: Builder, op: TfliteOperator) -> None:
    """Whether any, or all, are true: the maximum, or minimum, of bools."""
    axes = axes_of(b, op.inputs[1], b.rank(op.inputs[0]))
    given = b.int64(op.inputs[1]) if axes is None else b.ints("axes", axes)
    kind = "ReduceMax" if op.op == "REDUCE_ANY" else "ReduceMin"
    attrs = {"keepdims": int(bool(op.options["keep_dims"])), "noop_with_empty_axes": 1}
    b.emit(op, kind, [b.use(op.inputs[0]), given], dict(attrs))


@lift("ARG_MAX", "ARG_MIN")
def arg_extreme(b: Builder, op: TfliteOperator) -> None:
    """The position of the first extreme value along the axis, in the type of the output."""
    axis = b.need_ints(op.inputs[1], "axis")
    if len(axis) != 1:
        raise Refused("axis", f"expected one axis, found {axis}")
    kind, dtype = "ArgMax" if op.op == "ARG_MAX" else "ArgMin", b.dtype(op.outputs[0])
    found = b.step(kind, [b.use(op.inputs[0])], {"axis": axis[0], "keepdims": 0})
    b.emit(op, "Cast", [found], {"to": dtype})


@lift("CUMSUM")
def cumsum(b: Builder, op: TfliteOperator) -> None:
    axis = b.int64(op.inputs[1])
    flags = {key: int(bool(op.options[key])) for key in ("exclusive", "reverse")}
    b.emit(op, "CumSum", [b.use(op.inputs[0]), axis], dict(flags))
