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
BINARY_Q8 = ("QLinearAdd", "QLinearMul")
"""Operators of binary_q8; the position is the `op` param."""
GLU = ("Sigmoid", "Silu", "Gelu", "GeluTanh")
"""Activations of glu_f32_row and glu_f32_g32; the position is the `kind` param."""

_FOLDER = "edgert.kernels_cpu.elementwise"

KERNELS: tuple[KernelSpec, ...] = (
    KernelSpec(
        name="binary_q8",
        module=f"{_FOLDER}.binary_q8",
        function="binary_q8",
        operands="a b y",
        params="op rows row_bytes a_row b_row b_rows y_row spread flip a_zero b_zero a_ratio b_ratio zero_point "
        "low high",
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
