"""Shape functions of arithmetic, comparison, logic, bit and cast operators: broadcasting and dtypes.
What they compute is in `kernels_cpu/reference/elementwise.py` and `logic.py`."""

from __future__ import annotations

from collections.abc import Sequence

from edgert.errors import UnsupportedError
from edgert.graph.broadcast import broadcast, not_quantized, same_dtype, same_quant
from edgert.graph.ir import DTYPES, Array, Node, TensorType
from edgert.graph.registry import check, need, operator

ONNX_DTYPES: dict[int, str] = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool",
    10: "float16", 11: "float64", 12: "uint32", 13: "uint64",
}  # fmt: skip
"""TensorProto.DataType numbers, which dtype attributes may hold as ONNX does."""

FLOATS = ("float32", "float64", "float16")
NUMBERS = tuple(name for name in DTYPES if name != "bool")
INTEGERS = tuple(name for name in NUMBERS if name not in FLOATS)
SIGNED = tuple(name for name in NUMBERS if not name.startswith("uint"))


def dtype_attr(node: Node, key: str, default: str | None = None) -> str:
    """The dtype that attribute `key` names: a NumPy name or a TensorProto.DataType number.

    Raises UnsupportedError for other types, and when the attribute is missing without a default.
    """
    value = node.attrs.get(key, default)
    name = ONNX_DTYPES.get(value) if isinstance(value, int) else value
    if isinstance(name, str) and name in DTYPES:
        return name
    raise UnsupportedError(f"expected attribute {key!r} to be one of {', '.join(DTYPES)}, found {value!r}")


def present(ins: Sequence[TensorType | None]) -> list[TensorType]:
    """All of `ins`, none of which may be absent."""
    return [need(t, f"number {i}") for i, t in enumerate(ins)]


def one_of(dtype: str, allowed: Sequence[str]) -> str:
    """`dtype`. Raises UnsupportedError unless it is among `allowed`."""
    check(dtype in allowed, f"an input of {', '.join(allowed)}", dtype)
    return dtype


def _broadcast(types: Sequence[TensorType], allowed: Sequence[str], out: str | None = None) -> list[TensorType]:
    """One output of the common dtype (or `out`) and the broadcast shape."""
    not_quantized(*types)
    dtype = one_of(same_dtype(*types), allowed)
    return [TensorType(out or dtype, broadcast(*(t.shape for t in types)))]


@operator("Add", "Sub", "Mul", "Div", "Mod", inputs=(2, 2))
def arithmetic(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Numbers of one dtype, broadcast."""
    return _broadcast(present(ins), NUMBERS)


@operator("Pow", inputs=(2, 2))
def power(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """The dtype of the base; the exponent's may differ."""
    base, exponent = present(ins)
    not_quantized(base, exponent)
    one_of(exponent.dtype, NUMBERS)
    return [TensorType(one_of(base.dtype, NUMBERS), broadcast(base.shape, exponent.shape))]


@operator("Min", "Max", inputs=(1, None))
def extremes(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Any number of inputs; order survives quantization, so inputs quantized alike pass it on."""
    types = present(ins)
    dtype = one_of(same_dtype(*types), NUMBERS)
    return [TensorType(dtype, broadcast(*(t.shape for t in types)), same_quant(*types))]


@operator("Sum", "Mean", inputs=(1, None))
def sums(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Any number of float inputs, broadcast."""
    return _broadcast(present(ins), FLOATS)


@operator(
    "Exp", "Log", "Sqrt", "Reciprocal", "Floor", "Ceil", "Round", "Sin", "Cos", "Tan", "Asin", "Acos", "Atan",
    "Sinh", "Cosh", "Asinh", "Acosh", "Atanh", inputs=(1, 1),
)  # fmt: skip
def float_unary(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """One float input; the output is like it."""
    return _broadcast(present(ins), FLOATS)


@operator("Abs", "Sign", "Neg", inputs=(1, 1))
def sign_unary(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """One number; the output is like it."""
    return _broadcast(present(ins), SIGNED if node.op == "Neg" else NUMBERS)


@operator("IsNaN", "IsInf", inputs=(1, 1))
def float_tests(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """bool of one float input."""
    return _broadcast(present(ins), FLOATS, "bool")


@operator("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", inputs=(2, 2))
def comparisons(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """bool of two inputs of one dtype, broadcast."""
    return _broadcast(present(ins), tuple(DTYPES) if node.op == "Equal" else NUMBERS, "bool")


@operator("And", "Or", "Xor", inputs=(2, 2))
@operator("Not", inputs=(1, 1))
def logic(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """bool of bool inputs, broadcast."""
    return _broadcast(present(ins), ("bool",))


@operator("BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitShift", inputs=(2, 2))
@operator("BitwiseNot", inputs=(1, 1))
def bits(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Integers of one dtype, broadcast."""
    if node.op == "BitShift":
        direction = node.attr_str("direction", "")
        check(direction in ("LEFT", "RIGHT"), "direction LEFT or RIGHT", repr(direction))
    return _broadcast(present(ins), INTEGERS)


@operator("Where", inputs=(3, 3))
def where(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """A bool condition and two inputs of one dtype, all broadcast; inputs quantized alike pass it on."""
    condition, x, y = present(ins)
    one_of(condition.dtype, ("bool",))
    return [TensorType(same_dtype(x, y), broadcast(condition.shape, x.shape, y.shape), same_quant(x, y))]


@operator("Cast", inputs=(1, 1))
def cast(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Attribute `to` names the dtype. Of a quantized input the stored values are cast."""
    (x,) = present(ins)
    return [TensorType(dtype_attr(node, "to"), x.shape)]


@operator("BitCast", inputs=(1, 1))
def bit_cast(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Attribute `to` names a dtype of as many bytes."""
    (x,) = present(ins)
    dtype = dtype_attr(node, "to")
    size = x.np_dtype.itemsize
    check(DTYPES[dtype].itemsize == size, f"a dtype of {size} bytes in attribute 'to'", dtype)
    return [TensorType(dtype, x.shape)]


@operator("CastLike", inputs=(2, 2))
def cast_like(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Cast to the dtype of the second input."""
    x, target = present(ins)
    return [TensorType(target.dtype, x.shape)]
