"""Lifts of ONNX Runtime's own operators (domain com.microsoft), which its quantizer and optimizer write.
Source: onnxruntime/docs/ContribOperators.md."""

from __future__ import annotations

import numpy as np

from edgert.converters.onnx.builder import Builder, Refused
from edgert.converters.onnx.hints import Hint
from edgert.converters.onnx.normalize import attributes, lift
from edgert.converters.onnx.normalize_nn import activation
from edgert.converters.onnx.normalize_quant import (
    dequantize,
    dequantized,
    fully_connected,
    in_float,
    operand,
    parameters,
    quantize,
    result,
    to_float,
)
from edgert.converters.onnx.reader import MICROSOFT, OnnxNode
from edgert.graph.ir import Quantization


@lift("QuantizeLinear", domain=MICROSOFT)
def quantize_linear(b: Builder, n: OnnxNode) -> None:
    quantize(b, n)


@lift("DequantizeLinear", domain=MICROSOFT)
def dequantize_linear(b: Builder, n: OnnxNode) -> None:
    dequantize(b, n)


@lift("QLinearAdd", "QLinearMul", domain=MICROSOFT)
def qlinear_binary(b: Builder, n: OnnxNode) -> None:
    """Inputs A, A_scale, A_zero_point, B, B_scale, B_zero_point, C_scale, C_zero_point."""
    terms = [operand(b, *_triple(n, 0)), operand(b, *_triple(n, 3))]
    quant, dtype = parameters(b, n.inputs[6], n.input(7))
    b.emit(n, n.op, terms, {}, [result(b, n, quant, dtype)])


@lift("QLinearConcat", domain=MICROSOFT)
def qlinear_concat(b: Builder, n: OnnxNode) -> None:
    """Inputs Y_scale, Y_zero_point, then value, scale and zero point of each part."""
    if len(n.inputs) < 5 or len(n.inputs) % 3 != 2:
        raise Refused("", "expected three inputs for each part")
    parts = [operand(b, *_triple(n, i)) for i in range(2, len(n.inputs), 3)]
    quant, dtype = parameters(b, n.inputs[0], n.inputs[1])
    b.emit(n, "QLinearConcat", parts, {"axis": int(n.attrs.get("axis", 0))}, [result(b, n, quant, dtype)])


@lift("QLinearGlobalAveragePool", "QLinearAveragePool", domain=MICROSOFT)
def qlinear_pool(b: Builder, n: OnnxNode) -> None:
    """Inputs X, x_scale, x_zero_point, y_scale, y_zero_point."""
    if n.attrs.get("channels_last", 0):
        raise Refused("channels_last", "expected channels first (0)")
    x = operand(b, *_triple(n, 0))
    quant, dtype = parameters(b, n.inputs[3], n.input(4))
    b.emit(n, n.op, [x], attributes(n, drop=("channels_last",)), [result(b, n, quant, dtype)])


@lift("QLinearSigmoid", "QLinearLeakyRelu", domain=MICROSOFT)
def qlinear_unary(b: Builder, n: OnnxNode) -> None:
    """Inputs X, X_scale, X_zero_point, Y_scale, Y_zero_point."""
    x = operand(b, *_triple(n, 0))
    quant, dtype = parameters(b, n.inputs[3], n.input(4))
    attrs = {**attributes(n), "op": n.op.removeprefix("QLinear")}
    b.emit(n, "QLinearUnary", [x], attrs, [result(b, n, quant, dtype)])


@lift("QLinearSoftmax", domain=MICROSOFT)
def qlinear_softmax(b: Builder, n: OnnxNode) -> None:
    """Softmax of the real values, quantized. Attribute `opset` tells which Softmax is meant."""
    axis, rank = int(n.attrs.get("axis", -1)), b.rank(n.inputs[0])
    old = int(n.attrs.get("opset", 13)) < 13
    if old and (rank is None or axis % rank != rank - 1):
        raise Refused("opset", "expected Softmax over the last axis or of opset 13")
    x = to_float(b, n, operand(b, *_triple(n, 0)), n.inputs[0])
    quant, dtype = parameters(b, n.inputs[3], n.input(4))
    y = in_float(b, n, "softmax needs real values", "Softmax", [x], {"axis": -1 if old else axis})
    b.emit(n, "QuantizeLinear", [y], {}, [result(b, n, quant, dtype)])


@lift("QGemm", domain=MICROSOFT)
def qgemm(b: Builder, n: OnnxNode) -> None:
    """Inputs A, a_scale, a_zero_point, B, b_scale, b_zero_point, C int32, y_scale, y_zero_point.

    Y = alpha * a_scale * b_scale * ((A - a_zero) @ (B - b_zero) + C): alpha goes into the weight scale.
    Without y_scale the output is float.
    """
    values = b.value(n.inputs[3])
    if values is None or values.ndim != 2 or values.dtype.itemsize != 1:
        raise Refused("", "expected B as a constant 8-bit matrix")
    # Per channel, the scale runs along the columns of op(B): the rows of the [N, K] form used below.
    quant, _ = parameters(b, n.inputs[4], n.input(5), 0)
    alpha = float(n.attrs.get("alpha", 1.0))
    if alpha <= 0:
        raise Refused("alpha", "expected a value above 0")
    scaled = Quantization((quant.scale * np.float32(alpha)).astype(np.float32), quant.zero_point, quant.axis)
    rows = values if n.attrs.get("transB", 0) else values.T
    a = operand(b, *_triple(n, 0))
    kind = b.graph.types[a].quant
    if kind is None or not kind.per_tensor:
        raise Refused("", "expected one scale for A")
    if n.attrs.get("transA", 0):
        shape = b.hint(n.inputs[0]).shape
        turned = b.between(n, "transposed", Hint("uint8", shape[::-1] if shape else None))
        a = b.emit(n, "Transpose", [a], {"perm": [1, 0]}, [turned])
        b.quantize(a, "uint8", kind, n.inputs[0])
    b.hints[n.inputs[0]] = Hint(b.dtype(n.inputs[0]), b.hint(n.inputs[0]).shape or ("rows", "columns"))
    if n.has(7):
        y_quant, y_dtype = parameters(b, n.inputs[7], n.input(8))
        fully_connected(b, n, a, kind.scale, rows, scaled, n.input(6), y_quant, y_dtype)
        return
    weights = b.store(f"{n.inputs[3]}_real", dequantized(rows, scaled, 0))
    inputs = [to_float(b, n, a, n.inputs[0]), weights]
    c = b.value(n.input(6))
    if n.has(6):
        if c is None:
            raise Refused("", "expected a constant C")
        inputs.append(b.store(f"{n.inputs[6]}_real", np.asarray(c * (kind.scale * scaled.scale), np.float32)))
    b.notes.append(f"QGemm {n.name!r} is computed in float: its output is float")
    b.emit(n, "Gemm", inputs, {"transB": 1})


@lift("FusedConv", domain=MICROSOFT)
def fused_conv(b: Builder, n: OnnxNode) -> None:
    """Inputs X, W, B, Z: activation(Conv(X, W, B) + Z)."""
    like = b.hint(n.outputs[0])
    kind = str(n.attrs.get("activation", ""))
    attrs = attributes(n, drop=("activation", "activation_params"))
    stages = 1 + n.has(3) + bool(kind)
    y = b.emit(n, "Conv", [b.use(n.input(i)) for i in range(3)], attrs, _stage(b, n, "conv", like, stages == 1))
    if n.has(3):
        y = b.emit(n, "Add", [y, b.use(n.inputs[3])], {}, _stage(b, n, "sum", like, not kind))
    if kind:
        activation(b, n, y, kind, list(n.attrs.get("activation_params", [])))


def _stage(b: Builder, n: OnnxNode, what: str, like: Hint, last: bool) -> list[str] | None:
    """Where a step of a fused operator writes: the node's output (None) for the last step."""
    return None if last else [b.between(n, what, like)]


@lift("FusedGemm", domain=MICROSOFT)
def fused_gemm(b: Builder, n: OnnxNode) -> None:
    """activation(Gemm(A, B, C)); parameters are attributes of their own."""
    own = ("activation", "activation_alpha", "activation_beta", "activation_gamma")
    kind = str(n.attrs.get("activation", ""))
    last = _stage(b, n, "gemm", b.hint(n.outputs[0]), not kind)
    y = b.emit(n, "Gemm", [b.use(name) for name in n.inputs], attributes(n, drop=own), last)
    if kind:
        activation(b, n, y, kind, [float(n.attrs[key]) for key in own[1:] if key in n.attrs])


@lift("Gelu", domain=MICROSOFT)
def gelu(b: Builder, n: OnnxNode) -> None:
    b.emit(n, "Gelu", [b.use(n.inputs[0])], {"approximate": "none"})


@lift("BiasGelu", "FastGelu", domain=MICROSOFT)
def bias_gelu(b: Builder, n: OnnxNode) -> None:
    """Gelu(x + bias); FastGelu takes the tanh form and its bias is optional."""
    x = b.use(n.inputs[0])
    if n.has(1):
        x = b.emit(n, "Add", [x, b.use(n.inputs[1])], {}, [b.between(n, "sum", b.hint(n.inputs[0]))])
    b.emit(n, "Gelu", [x], {"approximate": "tanh" if n.op == "FastGelu" else "none"})


@lift("QuickGelu", domain=MICROSOFT)
def quick_gelu(b: Builder, n: OnnxNode) -> None:
    """x * sigmoid(alpha * x)."""
    like = b.hint(n.inputs[0])
    x = b.use(n.inputs[0])
    factor = b.scalar(n, "alpha", float(n.attrs.get("alpha", 1.702)), b.dtype(n.inputs[0]))
    scaled = b.emit(n, "Mul", [x, factor], {}, [b.between(n, "scaled", like)])
    gate = b.emit(n, "Sigmoid", [scaled], {}, [b.between(n, "gate", like)])
    b.emit(n, "Mul", [x, gate])


@lift("SkipLayerNormalization", domain=MICROSOFT)
def skip_layer_normalization(b: Builder, n: OnnxNode) -> None:
    """LayerNormalization(input + skip + bias); the fourth output is the sum."""
    if any(name in b.wanted for name in n.outputs[1:3] if name):
        raise Refused("", "mean and inverse deviation are used; export the model for inference")
    like = b.hint(n.inputs[0])
    summed = n.outputs[3] if len(n.outputs) > 3 and n.outputs[3] else b.between(n, "sum", like)
    b.hints.setdefault(summed, like)
    first = [b.between(n, "skip", like)] if n.has(4) else [summed]
    y = b.emit(n, "Add", [b.use(n.inputs[0]), b.use(n.inputs[1])], {}, first)
    if n.has(4):
        y = b.emit(n, "Add", [y, b.use(n.inputs[4])], {}, [summed])
    inputs = [y, b.use(n.inputs[2]), b.use(n.input(3))]
    b.emit(
        n,
        "LayerNormalization",
        inputs,
        {"axis": -1, "epsilon": float(n.attrs.get("epsilon", 1e-12))},
        n.outputs[:1],
    )


@lift("MatMulNBits", domain=MICROSOFT)
def matmul_nbits(b: Builder, n: OnnxNode) -> None:
    """Inputs A, B, scales, zero_points, g_idx, bias: kept, with blocks in order along K."""
    if n.has(4):
        raise Refused("", "g_idx (reordered groups) is not supported; quantize without act_order")
    if n.attrs.get("bits", 4) != 4:
        raise Refused("bits", "expected 4")
    keys = ("K", "N", "bits", "block_size")
    missing = [key for key in ("K", "N", "block_size") if key not in n.attrs]
    if missing:
        raise Refused(missing[0], "the attribute is required; check the exporter")
    if any(b.value(n.inputs[i]) is None for i in (1, 2)):
        raise Refused("", "expected constant weights and scales")
    shape = b.hint(n.inputs[0]).shape
    if shape is not None:
        known = Hint(b.dtype(n.inputs[0]), (*shape[:-1], int(n.attrs["N"])))
        b.hints[n.outputs[0]] = known
    attrs = attributes(n, drop=[key for key in n.attrs if key not in keys])
    b.emit(n, "MatMulNBits", [b.use(name) for name in n.inputs], attrs)


@lift("FusedMatMul", domain=MICROSOFT)
def fused_matmul(b: Builder, n: OnnxNode) -> None:
    """alpha * op(A) @ op(B): op transposes the last two axes, and before that may make the first one the second to
    last (transBatch)."""
    sides = []
    for name, key, batch in zip(n.inputs, ("transA", "transB"), ("transBatchA", "transBatchB"), strict=False):
        side, rank = b.use(name), b.rank(name)
        if n.attrs.get(key, 0) or n.attrs.get(batch, 0):
            if rank is None or rank < 2:
                raise Refused(key, "expected an input of known rank; export the model without fusion")
            # Batch axes come second to last first: [M, batch, K] holds what [batch, M, K] does.
            axes = [*range(1, rank - 1), 0, rank - 1] if n.attrs.get(batch, 0) else list(range(rank))
            perm = [*axes[:-2], axes[-1], axes[-2]] if n.attrs.get(key, 0) else axes
            side = b.emit(n, "Transpose", [side], {"perm": perm}, [b.between(n, key, Hint(b.dtype(name)))])
        sides.append(side)
    alpha = float(n.attrs.get("alpha", 1.0))
    like = b.hint(n.outputs[0])
    y = b.emit(n, "MatMul", sides, {}, _stage(b, n, "product", like, alpha == 1.0))
    if alpha != 1.0:
        b.emit(n, "Mul", [y, b.scalar(n, "alpha", alpha, b.dtype(n.inputs[0]))])


def _triple(n: OnnxNode, first: int) -> tuple[str, str, str]:
    """(value, scale, zero point) from three consecutive inputs."""
    return n.input(first), n.input(first + 1), n.input(first + 2)
