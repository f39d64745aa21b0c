"""Lifts of the quantized operators of the default domain: scales and zero points move into types.
ONNX Runtime's own quantized operators, in `normalize_microsoft.py`, are written with the same functions.

An int8 activation becomes uint8 with its zero point raised by 128. Weights become int8 with zero point 0
when that is exact: w - zero_point must fit in int8. Otherwise the node is written in float between
DequantizeLinear and QuantizeLinear, which can differ from integer arithmetic by one step, and the report
says so.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgert.converters.onnx.builder import Builder, Refused, raised
from edgert.converters.onnx.hints import Hint
from edgert.converters.onnx.normalize import arguments, attributes, lift
from edgert.converters.onnx.normalize_quant_dynamic import (
    all_constant,
    dequantize_plain,
    qlinear_conv_plain,
    qlinear_matmul_plain,
    quantize_plain,
    quantized_type,
)
from edgert.converters.onnx.reader import OnnxNode
from edgert.graph.ir import Array, Attr, Quantization

BYTES = ("int8", "uint8")
CONSTANT_SCALE = "expected constant scale and zero point; quantize the model statically"


def parameters(
    b: Builder, scale: str, zero: str, axis: int | None = None, default: str = "uint8"
) -> tuple[Quantization, str]:
    """(quantization, stored dtype) from the ONNX constants `scale` and `zero` ('' is zero_point 0).

    One value is per tensor, whatever its rank. `default` is the dtype when no zero point says it.
    Raises Refused when they are computed, not positive, or disagree.
    """
    s = b.value(scale)
    z = b.value(zero) if zero else np.zeros((), default)
    if s is None or z is None:
        raise Refused("", CONSTANT_SCALE)
    if s.size == 1:
        s, axis = s.reshape(()), None
    if z.size == 1:
        z = np.broadcast_to(z.reshape(()), s.shape)
    if s.ndim > 1 or z.shape != s.shape:
        raise Refused("", f"expected one scale and zero point per tensor or per channel, found {s.shape}, {z.shape}")
    real = s.astype(np.float32)
    if not np.all(np.isfinite(real)) or not np.all(real > 0):
        raise Refused("", "expected finite scales above 0")
    return Quantization(real, z.astype(np.int32), axis if s.ndim else None), z.dtype.name


def operand(b: Builder, name: str, scale: str, zero: str, axis: int | None = None) -> str:
    """IR tensor of a quantized activation, or of a constant standing for one: uint8, quantized type."""
    dtype = b.hint(name).dtype
    quant, stored = parameters(b, scale, zero, axis, dtype or "uint8")
    value = b.value(name)
    if stored not in ("int8", "uint8") or (dtype and dtype != stored):
        raise Refused("", f"expected 8-bit activations and a zero point of the same type, found {dtype} and {stored}")
    if value is not None:
        if stored == "int8":
            value, quant = (value.astype(np.int16) + 128).astype(np.uint8), raised(quant)
        return b.store(name, value, quant)
    tensor = b.uint8(name, quant)
    b.quantize(tensor, "uint8", raised(quant) if stored == "int8" else quant, name)
    return tensor


def result(b: Builder, n: OnnxNode, quant: Quantization, dtype: str) -> str:
    """IR tensor for the quantized first output of `n`: uint8, quantization in its type."""
    name = n.outputs[0]
    if dtype not in ("int8", "uint8"):
        raise Refused("", f"expected an 8-bit output, found {dtype}; quantize activations to 8 bits")
    tensor = b.define_shifted(name) if dtype == "int8" else name
    b.quantize(tensor, "uint8", raised(quant) if dtype == "int8" else quant, name)
    if not b.hint(name).dtype:
        b.hints[name] = Hint(dtype, b.hint(name).shape)
    return tensor


def symmetric(values: Array, zero_point: npt.NDArray[np.int32], axis: int) -> npt.NDArray[np.int8] | None:
    """values - zero_point as int8, or None when that does not fit. zero_point is [] or along `axis`."""
    shape = [1] * values.ndim
    if zero_point.ndim:
        shape[axis] = -1
    centred = values.astype(np.int32) - zero_point.reshape(shape)
    if centred.size and (centred.min() < -128 or centred.max() > 127):
        return None
    return centred.astype(np.int8)


def weights(b: Builder, name: str, values: Array, quant: Quantization, axis: int) -> str | None:
    """The constant int8 weights with one scale per output channel along `axis`; None if not exact."""
    if quant.scale.ndim and quant.scale.size != values.shape[axis]:
        raise Refused("", f"expected {values.shape[axis]} weight scales, found {quant.scale.size}")
    stored = symmetric(values, quant.zero_point, axis)
    if stored is None:
        return None
    scale = np.broadcast_to(quant.scale, values.shape[axis]).astype(np.float32)
    return b.store(name, stored, Quantization(scale, np.zeros(scale.shape, np.int32), axis))


def dequantized(values: Array, quant: Quantization, axis: int) -> npt.NDArray[np.float32]:
    """scale * (values - zero_point) in float32."""
    shape = [1] * values.ndim
    if quant.scale.ndim:
        shape[axis] = -1
    centred = (values.astype(np.int64) - quant.zero_point.reshape(shape)).astype(np.float32)
    return np.asarray(centred * quant.scale.reshape(shape), np.float32)


def bias(b: Builder, name: str, input_scale: Array, weight_scale: Array, channels: int) -> str:
    """The constant int32 bias with scale input * weight for each channel; '' when absent."""
    if not name:
        return ""
    values = b.value(name)
    if values is None or values.dtype != np.int32 or values.size != channels:
        raise Refused("", f"expected a constant int32 bias of {channels} values")
    scale = np.broadcast_to(input_scale * weight_scale, (channels,)).astype(np.float32)
    return b.store(name, values.reshape(channels), Quantization(scale, np.zeros(channels, np.int32), 0))


def to_float(b: Builder, n: OnnxNode, tensor: str, like: str) -> str:
    """A float32 tensor with the real values of quantized IR tensor `tensor`."""
    name = b.between(n, "real", Hint("float32", b.hint(like).shape))
    return b.emit(n, "DequantizeLinear", [tensor], {}, [name])


def in_float(b: Builder, n: OnnxNode, note: str, op: str, inputs: list[str], attrs: dict[str, Attr]) -> str:
    """Writes `op` on float inputs, and notes in the report why. Returns the float tensor it makes."""
    b.notes.append(f"{n.op} {n.name!r} is computed in float: {note}")
    return b.emit(n, op, inputs, attrs, [b.between(n, "float", Hint("float32", b.hint(n.outputs[0]).shape))])


ASYMMETRIC = "its weights minus their zero point do not fit in int8"


@lift("QLinearConv")
def qlinear_conv(b: Builder, n: OnnxNode) -> None:
    """Inputs x, x_scale, x_zero_point, w, w_scale, w_zero_point, y_scale, y_zero_point, B."""
    if not all_constant(b, n.inputs[1:]):
        qlinear_conv_plain(b, n)
        return
    x = operand(b, n.inputs[0], n.inputs[1], n.inputs[2])
    values = b.value(n.inputs[3])
    if values is None or values.dtype.itemsize != 1 or values.ndim < 3:
        raise Refused("", "expected constant 8-bit weights of rank 3 or more")
    w_quant, _ = parameters(b, n.inputs[4], n.inputs[5], 0)
    y_quant, y_dtype = parameters(b, n.inputs[6], n.inputs[7])
    x_scale = _scale_of(b, x)
    w = weights(b, n.inputs[3], values, w_quant, 0)
    if w is not None:
        c = bias(b, n.input(8), x_scale, w_quant.scale, values.shape[0])
        b.emit(n, "QLinearConv", [x, w, c], attributes(n), [result(b, n, y_quant, y_dtype)])
        return
    real = [to_float(b, n, x, n.inputs[0]), b.store(f"{n.inputs[3]}_real", dequantized(values, w_quant, 0))]
    real.append(_real_bias(b, n.input(8), x_scale * w_quant.scale))
    y = in_float(b, n, ASYMMETRIC, "Conv", real, attributes(n))
    b.emit(n, "QuantizeLinear", [y], {}, [result(b, n, y_quant, y_dtype)])


def _real_bias(b: Builder, name: str, scale: Array) -> str:
    values = b.value(name)
    if values is None:
        return ""
    return b.store(f"{name}_real", np.asarray(values.reshape(-1) * scale, np.float32))


def _scale_of(b: Builder, tensor: str) -> npt.NDArray[np.float32]:
    """The scale of a quantized IR tensor. Raises Refused unless there is one for the whole tensor."""
    quant = b.graph.types[tensor].quant
    if quant is None or not quant.per_tensor:
        raise Refused("", "expected one scale for the whole input; quantize activations per tensor")
    return quant.scale


@lift("QLinearMatMul")
def qlinear_matmul(b: Builder, n: OnnxNode) -> None:
    """Inputs a, a_scale, a_zero_point, b, b_scale, b_zero_point, y_scale, y_zero_point.

    With a matrix times a constant matrix it is QLinearGemm; otherwise both sides are activations.
    """
    if not all_constant(b, [name for i, name in enumerate(n.inputs) if i not in (0, 3)]):
        qlinear_matmul_plain(b, n)
        return
    a = operand(b, n.inputs[0], n.inputs[1], n.inputs[2])
    values = b.value(n.inputs[3])
    y_quant, y_dtype = parameters(b, n.inputs[6], n.inputs[7])
    a_scale = _scale_of(b, a)
    if values is None or values.ndim != 2:
        other = operand(b, n.inputs[3], n.inputs[4], n.inputs[5])
        _scale_of(b, other)
        b.emit(n, "QLinearMatMul", [a, other], {}, [result(b, n, y_quant, y_dtype)])
        return
    w_quant, _ = parameters(b, n.inputs[4], n.inputs[5], 1)
    fully_connected(b, n, a, a_scale, values.T, w_quant, "", y_quant, y_dtype)


def fully_connected(
    b: Builder,
    n: OnnxNode,
    a: str,
    a_scale: npt.NDArray[np.float32],
    values: Array,
    w_quant: Quantization,
    c: str,
    y_quant: Quantization,
    y_dtype: str,
) -> None:
    """Writes y = a @ values.T + c as QLinearGemm (of matrices) or in float; a [..., K], values [N, K]."""
    quant = Quantization(w_quant.scale, w_quant.zero_point, None if w_quant.per_tensor else 0)
    w = weights(b, n.inputs[3], np.ascontiguousarray(values), quant, 0)
    if w is not None and b.rank(n.inputs[0]) == 2:
        bias_name = bias(b, c, a_scale, quant.scale, values.shape[0])
        b.emit(n, "QLinearGemm", [a, w, bias_name], {}, [result(b, n, y_quant, y_dtype)])
        return
    if quant.per_tensor and not c:
        raw = n.inputs[3]
        other = operand(b, raw, n.inputs[4], n.inputs[5])
        b.emit(n, "QLinearMatMul", [a, other], {}, [result(b, n, y_quant, y_dtype)])
        return
    note = ASYMMETRIC if w is None else "it multiplies stacked matrices by weights with a scale per column"
    real = dequantized(values, quant, 0)
    operands = [to_float(b, n, a, n.inputs[0]), b.store(f"{n.inputs[3]}_real", np.ascontiguousarray(real.T))]
    y = in_float(b, n, note, "MatMul", operands, {})
    if c:
        total = b.between(n, "sum", b.hint(n.outputs[0]))
        y = b.emit(n, "Add", [y, _real_bias(b, c, a_scale * quant.scale)], {}, [total])
    b.emit(n, "QuantizeLinear", [y], {}, [result(b, n, y_quant, y_dtype)])


@lift("QuantizeLinear")
def quantize_linear(b: Builder, n: OnnxNode) -> None:
    """Inputs x, y_scale, y_zero_point. A constant x is quantized here and now."""
    quantize(b, n)


def quantize(b: Builder, n: OnnxNode) -> None:
    target, narrow = quantized_type(b, n)
    if narrow or target not in BYTES or n.attrs.get("block_size", 0) or not all_constant(b, n.inputs[1:3]):
        quantize_plain(b, n)
        return
    axis, rank = int(n.attrs.get("axis", 1)), b.rank(n.inputs[0])
    axis = axis % rank if rank else axis
    quant, dtype = parameters(b, n.inputs[1], n.input(2), axis, target)
    value = b.value(n.inputs[0])
    if value is not None:
        b.values[n.outputs[0]] = _quantized(value, quant, dtype)
        return
    x = b.use(n.inputs[0])
    if b.dtype(n.inputs[0]) != "float32":
        like = Hint("float32", b.hint(n.inputs[0]).shape)
        x = b.emit(n, "Cast", [x], {"to": "float32"}, [b.between(n, "float32", like)])
    b.emit(n, "QuantizeLinear", [x], {}, [result(b, n, quant, dtype)])


def _quantized(value: Array, quant: Quantization, dtype: str) -> Array:
    shape = [1] * value.ndim
    if quant.axis is not None:
        shape[quant.axis] = -1
    limits = np.iinfo(dtype)
    steps = np.rint(value.astype(np.float32) / quant.scale.reshape(shape)) + quant.zero_point.reshape(shape)
    return np.asarray(np.clip(steps, limits.min, limits.max)).astype(dtype)


@lift("DequantizeLinear")
def dequantize_linear(b: Builder, n: OnnxNode) -> None:
    """Inputs x, x_scale, x_zero_point. Constant 8-bit x becomes int8, zero point 0, where that is exact."""
    dequantize(b, n)


def dequantize(b: Builder, n: OnnxNode) -> None:
    value, scale = b.value(n.inputs[0]), b.value(n.inputs[1])
    source = b.hint(n.inputs[0])
    stored_type = source.dtype or "uint8"
    plain = stored_type == "float32"  # holds narrow floats
    if value is None:
        plain |= stored_type not in (*BYTES, "int32") or bool(source.narrow) or bool(n.attrs.get("block_size", 0))
    if plain or scale is None or not all_constant(b, n.inputs[2:3]):
        dequantize_plain(b, n)
        return
    if n.attrs.get("block_size", 0) or (scale.ndim > 1 and scale.size > 1):
        if value is None:
            raise Refused("block_size", "expected the size of a block; check the exporter")
        b.values[n.outputs[0]] = _unblocked(b, n, value, scale)
        b.notes.append(f"DequantizeLinear {n.name!r}: blocked weights are kept as {scale.dtype.name}")
        return
    rank = b.rank(n.inputs[0])
    axis = int(n.attrs.get("axis", 1))
    axis = axis % rank if rank else axis
    dtype = b.dtype(n.inputs[0], "")
    quant, stored = parameters(b, n.inputs[1], n.input(2), axis, dtype or "uint8")
    if value is not None:
        if quant.axis is not None and value.shape[quant.axis] != quant.scale.size:
            raise Refused("axis", f"expected {value.shape[quant.axis]} scales, found {quant.scale.size}")
        centred = symmetric(value, quant.zero_point, axis) if value.dtype.itemsize == 1 else None
        if centred is not None:
            value, quant = centred, Quantization(quant.scale, np.zeros_like(quant.zero_point), quant.axis)
        x = b.store(n.inputs[0], value, quant)
    elif stored == "int32":  # the accumulators of MatMulInteger and ConvInteger
        x = b.use(n.inputs[0])
        b.quantize(x, "int32", quant, n.inputs[0])
    else:
        x = operand(b, n.inputs[0], n.inputs[1], n.input(2), axis)
    if scale.dtype == np.float32:
        b.emit(n, "DequantizeLinear", [x])
        return
    like = Hint("float32", b.hint(n.outputs[0]).shape)
    real = b.emit(n, "DequantizeLinear", [x], {}, [b.between(n, "float32", like)])
    b.emit(n, "Cast", [real], {"to": scale.dtype.name})


def _unblocked(b: Builder, n: OnnxNode, value: Array, scale: Array) -> Array:
    """Blocked quantization undone: each scale covers `block_size` values along the axis. ONNX opset 21."""
    zero = b.value(n.input(2)) if n.has(2) else np.zeros(scale.shape, value.dtype)
    axis, block = int(n.attrs.get("axis", 1)) % max(value.ndim, 1), int(n.attrs.get("block_size", 0))
    if zero is None or zero.shape != scale.shape or scale.ndim != value.ndim or block < 1:
        raise Refused("block_size", "expected a constant scale and zero point for each block")
    size = value.shape[axis]
    blocks = [-(-d // block) if i == axis else d for i, d in enumerate(value.shape)]
    if list(scale.shape) != blocks:
        raise Refused("block_size", f"expected scales of shape {blocks}, found {list(scale.shape)}")

    def spread(a: Array) -> Array:
        return np.take(a, np.arange(size) // block, axis=axis)

    real = (value.astype(np.int64) - spread(zero).astype(np.int64)).astype(np.float32)
    return np.asarray(real * spread(scale).astype(np.float32)).astype(scale.dtype)


@lift("DynamicQuantizeLinear", "MatMulInteger", "ConvInteger")
def integer(b: Builder, n: OnnxNode) -> None:
    """Scales are computed when the model runs: inputs and outputs stay as ONNX has them."""
    b.emit(n, n.op, arguments(b, n, n.op), attributes(n))
