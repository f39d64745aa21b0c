"""Lifts of ONNX Runtime's operators (domain com.microsoft) of dynamic quantization, and of some that quantized and
older exports contain. Those of static quantization and fused activations are in `normalize_microsoft.py`.
Source: onnxruntime/docs/ContribOperators.md."""

from __future__ import annotations

from edgert.converters.onnx.builder import Builder, Refused
from edgert.converters.onnx.hints import Hint
from edgert.converters.onnx.normalize import as_is, attributes, lift
from edgert.converters.onnx.normalize_quant import operand, parameters, result, to_float
from edgert.converters.onnx.normalize_sampling import grid_sample
from edgert.converters.onnx.reader import MICROSOFT, OnnxNode


@lift("DynamicQuantizeMatMul", domain=MICROSOFT)
def dynamic_quantize_matmul(b: Builder, n: OnnxNode) -> None:
    """Inputs A float, B 8-bit [K, N], b_scale, b_zero_point, bias: A stays float, B stands behind DequantizeLinear."""
    values = b.value(n.inputs[1])
    if values is None or values.dtype.itemsize != 1 or values.ndim != 2:
        raise Refused("", "expected B as a constant 8-bit matrix")
    quant, _ = parameters(b, n.inputs[2], n.input(3), 1, values.dtype.name)
    stored = b.store(n.inputs[1], values, quant)
    real = b.emit(n, "DequantizeLinear", [stored], {}, [b.between(n, "weights", Hint("float32", values.shape))])
    _with_bias(b, n, "MatMul", [b.use(n.inputs[0]), real], n.input(4))


@lift("MatMulIntegerToFloat", domain=MICROSOFT)
def matmul_integer_to_float(b: Builder, n: OnnxNode) -> None:
    """Inputs A, B, a_scale, b_scale, a_zero_point, b_zero_point, bias: as the quantizer writes it in several nodes."""
    shape = b.hint(n.outputs[0]).shape
    sums = b.between(n, "sums", Hint("int32", shape))
    scale = b.between(n, "scale", Hint("float32"))
    real = b.between(n, "real", Hint("float32", shape))
    zeros = [b.use(n.input(i)) for i in (4, 5)]
    b.emit(n, "MatMulInteger", [b.use(n.inputs[0]), b.use(n.inputs[1]), *zeros], {}, [sums])
    b.emit(n, "Mul", [b.use(n.inputs[2]), b.use(n.inputs[3])], {}, [scale])
    b.emit(n, "Cast", [sums], {"to": "float32"}, [real])
    _with_bias(b, n, "Mul", [real, scale], n.input(6))


def _with_bias(b: Builder, n: OnnxNode, op: str, inputs: list[str], bias: str) -> None:
    """`op`, and the addition of `bias` if there is one, into the output of `n`."""
    if not bias:
        b.emit(n, op, inputs)
        return
    y = b.emit(n, op, inputs, {}, [b.between(n, "product", b.hint(n.outputs[0]))])
    b.emit(n, "Add", [y, b.use(bias)])


@lift("Trilu", domain=MICROSOFT)
def trilu(b: Builder, n: OnnxNode) -> None:
    as_is(b, n)


@lift("GridSample", domain=MICROSOFT)
def sampled_grid(b: Builder, n: OnnxNode) -> None:
    """As GridSample-16: modes have their old names."""
    grid_sample(b, n)


@lift("NhwcMaxPool", domain=MICROSOFT)
def nhwc_max_pool(b: Builder, n: OnnxNode) -> None:
    """MaxPool of 8-bit [N, H, W, C], between two Transposes, which passes cancel."""
    rank = b.rank(n.inputs[0])
    if rank is None or rank < 3:
        raise Refused("", "expected an input of known rank")
    first, back = [0, rank - 1, *range(1, rank - 1)], [0, *range(2, rank), 1]
    dtype = b.dtype(n.inputs[0], "uint8")
    x = b.emit(n, "Transpose", [b.use(n.inputs[0])], {"perm": first}, [b.between(n, "nchw", Hint(dtype))])
    y = b.emit(n, "MaxPool", [x], attributes(n), [b.between(n, "pooled", Hint(dtype))])
    b.emit(n, "Transpose", [y], {"perm": back})


@lift("QLinearWhere", domain=MICROSOFT)
def qlinear_where(b: Builder, n: OnnxNode) -> None:
    """Inputs condition, X, x_scale, x_zero_point, Y, y_scale, y_zero_point, z_scale, z_zero_point."""
    sides = [to_float(b, n, operand(b, n.inputs[i], n.input(i + 1), n.input(i + 2)), n.inputs[i]) for i in (1, 4)]
    quant, dtype = parameters(b, n.inputs[7], n.input(8))
    y = b.between(n, "chosen", Hint("float32", b.hint(n.outputs[0]).shape))
    b.emit(n, "Where", [b.use(n.inputs[0]), *sides], {}, [y])
    b.emit(n, "QuantizeLinear", [y], {}, [result(b, n, quant, dtype)])
