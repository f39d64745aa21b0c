"""Kernels of the elementwise family: their table rows and the opcodes of the kernels that serve several operators.

Sources are the sibling files, imported by the compiler only.
"""

from __future__ import annotations

from edgert.kernels_cpu.spec import KernelSpec

UNARY = (
    "Abs", "Neg", "Exp", "Log", "Sqrt", "Reciprocal", "Floor", "Ceil", "Round", "Relu", "LeakyRelu",
    "ThresholdedRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Swish", "Mish", "Tanh", "Erf", "Gelu", "GeluTanh",
    "Softplus", "Softsign", "Elu", "Celu", "Selu", "Clip",
)  # fmt: skip
"""Operators of unary_f32; the position is the `op` param."""
BINARY = ("Add", "Sub", "Mul", "Div", "Min", "Max", "PRelu")
"""Operators of binary_f32; the position is the `op` param."""
BINARY_Q8 = ("QLinearAdd", "QLinearMul", "FixedPointAdd")
"""Operators of binary_q8; the position is the `op` param."""
FIXED_SHIFT = 12
"""Bits that every fixed-point sum drops first; its shift has at least as many."""
GLU = ("Sigmoid", "Silu", "Gelu", "GeluTanh")
"""Activations of glu_f32_row and glu_f32_g32; the position is the `kind` param."""

_FOLDER = "edgert.kernels_cpu.elementwise"

COMPARE = ("Equal", "NotEqual", "Greater", "GreaterOrEqual", "And", "Or", "Xor")
"""Operators of compare_row; the position is the `op` param."""
COMPARED = ("float32", "int32", "bool", "int64")
"""Types it compares; the position is the `kind` param."""

CAST_TYPES = ("float32", "int64", "int32", "uint8", "int8", "bool")
"""Types of cast_row; `op` is source * len + target."""


def _strides(operand: str) -> str:
    """Bytes between rows of `operand`, and whether one value is its whole row."""
    return f"{operand}_stride0 {operand}_stride1 {operand}_spread"


KERNELS: tuple[KernelSpec, ...] = (
    KernelSpec(
        name="binary_q8",
        module=f"{_FOLDER}.binary_q8",
        function="binary_q8",
        operands="a b y",
        params="op rows row_bytes a_row b_row b_rows y_row spread flip a_zero b_zero a_ratio b_ratio zero_point "
        "low high a_multiplier b_multiplier rounding",
        summary="QLinearAdd and QLinearMul of bytes in any layout, b of the same shape or four bytes per row",
    ),
    KernelSpec(
        name="lookup_q8",
        module=f"{_FOLDER}.lookup_q8",
        function="lookup_q8",
        operands="x table y",
        params="rows row_bytes x_row y_row",
        summary="y = table[x] of bytes: any unary operator, or a change of scale",
    ),
    KernelSpec(
        name="unary_f32",
        module=f"{_FOLDER}.unary_f32",
        function="unary_f32",
        operands="x y rows_at",
        params="op count rows columns alpha beta",
        summary="activation and elementary functions of floats, by polynomials with stated bounds",
    ),
    KernelSpec(
        name="binary_f32",
        module=f"{_FOLDER}.binary_f32",
        function="binary_f32",
        operands="a b y",
        params="op size0 size1 count a_stride0 a_stride1 a_spread b_stride0 b_stride1 b_spread low high",
        summary="arithmetic on floats with broadcasting over rows or within them, and a clamp",
    ),
    KernelSpec(
        name="where_row",
        module=f"{_FOLDER}.where",
        function="where_row",
        operands="c a b y",
        params=f"element size0 size1 count {_strides('c')} {_strides('a')} {_strides('b')}",
        summary="a where c, else b, of 1, 2, 4 or 8 bytes, with broadcasting over rows or within them",
    ),
    KernelSpec(
        name="compare_row",
        module=f"{_FOLDER}.compare",
        function="compare_row",
        operands="a b y",
        params=f"op kind size0 size1 count {_strides('a')} {_strides('b')}",
        summary="comparisons of floats, integers and bytes, and logic of bools, with broadcasting",
    ),
    KernelSpec(
        name="cast_row",
        module=f"{_FOLDER}.cast",
        function="cast_row",
        operands="x y",
        params="op count",
        summary="numbers and bools to another type, floats to integers saturating",
    ),
    KernelSpec(
        name="glu_f32_row",
        module=f"{_FOLDER}.glu",
        function="glu_row",
        operands="x y rows_at",
        params="kind rows width blocks y_row",
        summary="gated linear units of rows, gate and up side by side: an activation of the gate times the other",
    ),
    KernelSpec(
        name="glu_f32_g32",
        module=f"{_FOLDER}.glu",
        function="glu_g32",
        operands="x y rows_at",
        params="kind rows width blocks y_row",
        summary="the same straight to int8 in groups of 32",
    ),
)
