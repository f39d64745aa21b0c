"""Functions of one float, flat over a buffer: row and kp alike, padding included.

`op` is chosen outside the loops; its names are in this folder's __init__.
"""

from __future__ import annotations

from edgert.kernels_cpu.elementwise import UNARY
from edgert.kernels_cpu.elementwise.functions import (
    ceil,
    const,
    erf,
    exp,
    expm1,
    floor,
    log,
    rint,
    sigmoid,
    softplus,
    tanh,
)  # fmt: skip
from edgert.kernels_cpu.elementwise.gates import gelu, gelu_tanh
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    LANES,
    VECTOR_BYTES,
    absolute,
    helper,
    load_f32,
    load_f32v,
    load_i32,
    load_i64,
    maximum,
    minimum,
    select_gt,
    share,
    splat_f32,
    sqrt,
    store_first_f32v,
    udiv,
)  # fmt: skip
from edgert.kernels_cpu.simd.rows import present_rows

F = record_fields("unary_f32")


@helper
def absolute_value(x, alpha, beta):  # type: ignore[no-untyped-def]
    return absolute(x)


@helper
def negated(x, alpha, beta):  # type: ignore[no-untyped-def]
    return const(0.0) - x


@helper
def exponential(x, alpha, beta):  # type: ignore[no-untyped-def]
    return exp(x)


@helper
def logarithm(x, alpha, beta):  # type: ignore[no-untyped-def]
    return log(x)


@helper
def square_root(x, alpha, beta):  # type: ignore[no-untyped-def]
    return sqrt(x)


@helper
def reciprocal(x, alpha, beta):  # type: ignore[no-untyped-def]
    return const(1.0) / x


@helper
def rounded_down(x, alpha, beta):  # type: ignore[no-untyped-def]
    return floor(x)


@helper
def rounded_up(x, alpha, beta):  # type: ignore[no-untyped-def]
    return ceil(x)


@helper
def rounded(x, alpha, beta):  # type: ignore[no-untyped-def]
    return rint(x)


@helper
def relu(x, alpha, beta):  # type: ignore[no-untyped-def]
    return maximum(const(0.0), x)


@helper
def leaky_relu(x, alpha, beta):  # type: ignore[no-untyped-def]
    return select_gt(const(0.0), x, alpha * x, x)


@helper
def thresholded_relu(x, alpha, beta):  # type: ignore[no-untyped-def]
    return select_gt(x, alpha, x, const(0.0))


@helper
def logistic(x, alpha, beta):  # type: ignore[no-untyped-def]
    return sigmoid(x)


@helper
def hard_sigmoid(x, alpha, beta):  # type: ignore[no-untyped-def]
    return minimum(const(1.0), maximum(const(0.0), alpha * x + beta))


@helper
def hard_swish(x, alpha, beta):  # type: ignore[no-untyped-def]
    return x * minimum(const(1.0), maximum(const(0.0), x / const(6.0) + const(0.5)))


@helper
def swish(x, alpha, beta):  # type: ignore[no-untyped-def]
    return x * sigmoid(alpha * x)


@helper
def mish(x, alpha, beta):  # type: ignore[no-untyped-def]
    return x * tanh(softplus(x))


@helper
def hyperbolic_tangent(x, alpha, beta):  # type: ignore[no-untyped-def]
    return tanh(x)


@helper
def error_function(x, alpha, beta):  # type: ignore[no-untyped-def]
    return erf(x)


@helper
def gelu_exact(x, alpha, beta):  # type: ignore[no-untyped-def]
    return gelu(x)


@helper
def gelu_by_tanh(x, alpha, beta):  # type: ignore[no-untyped-def]
    return gelu_tanh(x)


@helper
def soft_plus(x, alpha, beta):  # type: ignore[no-untyped-def]
    return softplus(x)


@helper
def softsign(x, alpha, beta):  # type: ignore[no-untyped-def]
    return x / (const(1.0) + absolute(x))


@helper
def elu(x, alpha, beta):  # type: ignore[no-untyped-def]
    return select_gt(x, const(0.0), x, alpha * expm1(minimum(const(0.0), x)))


@helper
def celu(x, alpha, beta):  # type: ignore[no-untyped-def]
    return select_gt(x, const(0.0), x, alpha * expm1(minimum(const(0.0), x) / alpha))


@helper
def selu(x, alpha, beta):  # type: ignore[no-untyped-def]
    return beta * elu(x, alpha, beta)


@helper
def clip(x, alpha, beta):  # type: ignore[no-untyped-def]
    return minimum(beta, maximum(alpha, x))


FUNCTIONS = (
    absolute_value, negated, exponential, logarithm, square_root, reciprocal, rounded_down, rounded_up, rounded, relu,
    leaky_relu, thresholded_relu, logistic, hard_sigmoid, hard_swish, swish, mish, hyperbolic_tangent, error_function,
    gelu_exact, gelu_by_tanh, soft_plus, softsign, elu, celu, selu, clip,
)  # fmt: skip
"""In the order of UNARY."""
assert len(FUNCTIONS) == len(UNARY)


def _loop(function):  # type: ignore[no-untyped-def]
    """A function running `function` over vectors start .. stop-1 of x into y."""

    @helper
    def loop(x, y, start, stop, count, alpha, beta):  # type: ignore[no-untyped-def]
        for i in range(start, stop):
            value = function(load_f32v(x + VECTOR_BYTES * i), alpha, beta)
            store_first_f32v(y + VECTOR_BYTES * i, value, count - LANES * i)

    return loop


def _chain(number):  # type: ignore[no-untyped-def]
    """A function that runs operator `number` when `op` says so, and asks the chain of those after it when not."""
    loop = _loop(FUNCTIONS[number])
    if number + 1 == len(FUNCTIONS):

        @helper
        def last(op, x, y, start, stop, count, alpha, beta):  # type: ignore[no-untyped-def]
            loop(x, y, start, stop, count, alpha, beta)

        return last
    rest = _chain(number + 1)

    @helper
    def choose(op, x, y, start, stop, count, alpha, beta):  # type: ignore[no-untyped-def]
        if op == number:
            loop(x, y, start, stop, count, alpha, beta)
        else:
            rest(op, x, y, start, stop, count, alpha, beta)

    return choose


_apply = _chain(0)


def unary_f32(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of vectors. Of a matrix, only the rows that the run has are computed."""
    count = load_i32(record + F.count)
    if load_i64(record + F.rows_at) != 0:
        count = load_i32(record + F.columns) * present_rows(record + F.rows_at, record + F.rows)
    vectors = udiv(count + LANES - 1, LANES)
    alpha, beta = splat_f32(load_f32(record + F.alpha)), splat_f32(load_f32(record + F.beta))
    start, stop = share(record, vectors, chunk), share(record, vectors, chunk + 1)
    _apply(
        load_i32(record + F.op), load_i64(record + F.x), load_i64(record + F.y), start, stop, count, alpha, beta
    )  # fmt: skip
