"""Matrix products: FULLY_CONNECTED and BATCH_MATMUL.
Products of quantized tensors are in the modules of quantized lifts."""

from __future__ import annotations

import numpy as np

from edgert.converters.tflite.builder import Builder, Refused
from edgert.converters.tflite.lift_conv import bias, weights
from edgert.converters.tflite.lifts import lift
from edgert.converters.tflite.model import TfliteOperator


@lift("FULLY_CONNECTED")
def fully_connected(b: Builder, op: TfliteOperator) -> None:
    """x of any rank as rows of K values, weights [N, K], bias [N]; the output has the rows' axes of x if
    keep_num_dims, else one. Source: TensorFlow Lite, fully_connected.cc."""
    x, w = op.inputs[:2]
    if op.options.get("weights_format", "DEFAULT") != "DEFAULT":
        raise Refused("weights_format", f"expected DEFAULT, found {op.options['weights_format']}; convert anew")
    depth, shape = b.need_size(w, 1, "width of the weights"), b.shape(x)
    name = b.use(x)
    if len(shape) != 2 or shape[1] != depth:
        name = b.step("Reshape", [name, b.ints("rows", [-1, depth])])
    inputs = [name, row_weights(b, w), bias(b, op.input(2))]
    if not op.options.get("keep_num_dims") or len(shape) == 2:
        b.emit_fused(op, "Gemm", inputs, {"transB": 1})
        return
    count, rows = b.need_size(w, 0, "height of the weights"), b.step("Gemm", inputs, {"transB": 1})
    if all(isinstance(size, int) for size in shape[1:-1]):
        target = b.ints("shape", [-1, *map(int, shape[1:-1]), count])
    else:
        lead = b.step("Shape", [b.use(x)], {"end": len(shape) - 1})
        target = b.step("Concat", [lead, b.ints("count", [count])], {"axis": 0})
    b.emit_fused(op, "Reshape", [rows, target])


def row_weights(b: Builder, index: int) -> str:
    """Weights [N, K] as floats. int8 ones (dynamic-range quantization) stay so behind a DequantizeLinear: weight-only
    quantization, as ONNX says it."""
    value = b.value(index)
    if value is None or value.dtype != np.int8 or not b.is_quantized(index):
        return weights(b, index, [0, 1])
    return b.step("DequantizeLinear", [b.use(index)])


@lift("BATCH_MATMUL")
def batch_matmul(b: Builder, op: TfliteOperator) -> None:
    """[..., M, K] and [..., K, N], each perhaps with its last two axes swapped, to [..., M, N]."""
    operands = []
    for index, swap in ((op.inputs[0], "adj_x"), (op.inputs[1], "adj_y")):
        name, rank = b.use(index), b.rank(index)
        if op.options.get(swap):
            perm = [*range(rank - 2), rank - 1, rank - 2]
            name = weights(b, index, perm) if b.value(index) is not None else b.moved(name, perm)
        elif b.value(index) is not None and b.is_quantized(index):
            name = weights(b, index, list(range(rank)))
        operands.append(name)
    b.emit(op, "MatMul", operands)
