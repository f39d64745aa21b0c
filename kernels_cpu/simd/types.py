"""SIMD values for Numba: a type whose data model is an LLVM vector, with operators.

A `Vec` lives in variables, loops and tuples and stays in registers. Loads, dot products and packing
are in the sibling modules; everything is re-exported by `edgert.kernels_cpu.simd`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin, models, register_model

from edgert.kernels_cpu.simd.target import VECTOR_BYTES

I1, I8, I16, I32, I64 = (ir.IntType(n) for n in (1, 8, 16, 32, 64))
F32, F64, F16 = ir.FloatType(), ir.DoubleType(), ir.HalfType()
VOID = ir.VoidType()
ELEMENTS = {"i8": I8, "i16": I16, "i32": I32, "i64": I64, "f32": F32, "f16": F16}
SCALARS = {"i8": types.int8, "i16": types.int16, "i32": types.int32, "i64": types.int64, "f32": types.float32}


class Vec(types.Type):
    """A vector of `lanes` elements of one kind: i8 i16 i32 i64 f16 f32."""

    def __init__(self, elem: str, lanes: int) -> None:
        self.elem, self.lanes = elem, lanes
        super().__init__(name=f"{elem}x{lanes}")

    @property
    def llvm(self) -> ir.VectorType:
        return ir.VectorType(ELEMENTS[self.elem], self.lanes)

    @property
    def is_float(self) -> bool:
        return self.elem[0] == "f"


@register_model(Vec)
class _VecModel(models.PrimitiveModel):
    def __init__(self, manager: Any, vec: Vec) -> None:
        super().__init__(manager, vec, vec.llvm)


VB = VECTOR_BYTES
i8v, i16v, i32v, f32v = Vec("i8", VB), Vec("i16", VB // 2), Vec("i32", VB // 4), Vec("f32", VB // 4)
"""The natural vectors: VB bytes each. i8v holds signed or unsigned bytes alike."""


# ---- code generation helpers, used by every intrinsic
def const(vt: ir.VectorType, values: Any) -> ir.Constant:
    """A constant vector: one value for all lanes, or a sequence."""
    if not isinstance(values, Sequence):
        values = [values] * vt.count
    return ir.Constant(vt, [ir.Constant(vt.element, v) for v in values])


def undef(t: Any) -> ir.Constant:
    return ir.Constant(t, ir.Undefined)


def shuffle(b: Any, x: Any, y: Any, index: Sequence[int]) -> Any:
    mask = ir.Constant(ir.VectorType(I32, len(index)), [ir.Constant(I32, i) for i in index])
    return b.shuffle_vector(x, y, mask)


def splat(b: Any, value: Any, vt: ir.VectorType) -> Any:
    v = b.insert_element(undef(vt), value, ir.Constant(I32, 0))
    return shuffle(b, v, undef(vt), [0] * vt.count)


def halves(b: Any, v: Any) -> tuple[Any, Any]:
    n, u = v.type.count, undef(v.type)
    return shuffle(b, v, u, range(n // 2)), shuffle(b, v, u, range(n // 2, n))


def concat(b: Any, x: Any, y: Any) -> Any:
    return shuffle(b, x, y, range(2 * x.type.count))


def call(b: Any, name: str, result: Any, *args: Any) -> Any:
    """Calls an LLVM intrinsic by name."""
    kind = ir.FunctionType(result, [a.type for a in args])
    return b.call(cgutils.get_or_insert_function(b.module, kind, name), list(args))


def pointer(b: Any, address: Any, element: Any) -> Any:
    return b.inttoptr(address, element.as_pointer())


# ---- operators on vectors of one type
def _binary(op: Callable[..., Any], for_float: str, for_int: str) -> None:
    @infer_global(op)
    class _Template(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            if len(args) == 2 and isinstance(args[0], Vec) and args[0] == args[1]:
                return signature(args[0], *args)
            return None

    @lower_builtin(op, Vec, Vec)
    def _lower(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return getattr(b, for_float if sig.args[0].is_float else for_int)(*args)


for _op, _float, _int in (
    (operator.add, "fadd", "add"),
    (operator.sub, "fsub", "sub"),
    (operator.mul, "fmul", "mul"),
    (operator.truediv, "fdiv", "sdiv"),
    (operator.and_, "and_", "and_"),
    (operator.or_, "or_", "or_"),
    (operator.xor, "xor", "xor"),
):
    _binary(_op, _float, _int)
