"""SVDF of floats, written with products and sums: a layer of rank-`rank` filters over the last inputs.
The integer form is in `lift_recurrent_quantized.py`.

Source: TensorFlow Lite, kernels/internal/reference/svdf.h; Nakkiran et al. 2015, section 3.
"""

from __future__ import annotations

from edgert.converters.tflite.builder import Builder, Refused
from edgert.converters.tflite.lift_recurrent import floats, function_of
from edgert.converters.tflite.lift_state import assigned
from edgert.converters.tflite.lifts import lift
from edgert.converters.tflite.model import ABSENT, TfliteOperator


@lift("SVDF")
def svdf(b: Builder, op: TfliteOperator) -> None:
    """x [B, I], features [F, I], times [F, M], bias [U], history [B, F*M]: every filter loses its oldest value and
    gains one; a unit is the sum over its filters and their history, weighted by time."""
    x, features, times, bias, state = (op.input(at) for at in range(5))
    weights, clock = floats(b, features, "features"), floats(b, times, "times")
    filters, memory = clock.shape
    rank = int(op.options.get("rank", 1))
    if rank < 1 or filters % rank or len(weights) != filters:
        raise Refused("rank", f"expected a divisor of {filters} filters, found {rank}")
    name, past = b.use(x), b.use(state)
    found = b.step("MatMul", [name, b.constant("features", weights.T)], of=b.named(op.outputs[0]))
    newest = b.step("Reshape", [found, b.ints("shape", [-1, filters, 1])])
    history = b.step("Reshape", [past, b.ints("shape", [-1, filters, memory])])
    ends = [b.ints(what, [value]) for what, value in (("starts", 1), ("ends", memory), ("axes", 2))]
    kept = b.step("Slice", [history, *ends])
    history = b.step("Concat", [kept, newest], {"axis": 2})
    assigned(b, state, b.step("Reshape", [history, b.ints("shape", [-1, filters * memory])]))
    weighted = b.step("Mul", [history, b.constant("times", clock)])
    # Filters of a unit are neighbours, so that their values are one row.
    rows = b.step("Reshape", [weighted, b.ints("shape", [-1, filters // rank, rank * memory])])
    y = b.step("ReduceSum", [rows, b.ints("axes", [2])], {"keepdims": 0})
    if bias != ABSENT:
        y = b.step("Add", [y, b.constant("bias", floats(b, bias, "bias"))])
    function = function_of(op)
    b.append(function, [y], [b.declare(op.outputs[0])], {}, op)
