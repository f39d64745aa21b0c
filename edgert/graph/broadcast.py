"""Arithmetic on shapes whose sizes may be names: broadcasting, products, sums, and reading constant inputs.
The shape functions that use it are in the `infer_*` modules."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgert.errors import UnsupportedError
from edgert.graph.ir import Array, Dim, Quantization, TensorType
from edgert.graph.registry import check, need_const

MAX_DIM_NAME = 128
"""Longest derived name of a size. Names grow with every operator, and a hostile graph would double them."""

BIND = "bind the named dimensions with shapes={...}"


def derived(expression: str) -> str:
    """The name of a size computed from named sizes: equal names mean equal sizes.

    Raises UnsupportedError when the expression is too long to carry along.
    """
    check(
        len(expression) <= MAX_DIM_NAME,
        f"a size of at most {MAX_DIM_NAME} characters",
        f"{expression[:40]}...; {BIND}",
    )
    return expression


def product(dims: Sequence[Dim]) -> Dim:
    """The product of sizes: an int, a name, or a derived name such as `4*N`."""
    known = math.prod(d for d in dims if isinstance(d, int))
    names = sorted(d if d.isidentifier() else f"({d})" for d in dims if isinstance(d, str))
    if not names or known == 0:
        return known
    if len(names) == 1 and known == 1:
        return next(d for d in dims if isinstance(d, str))
    return derived("*".join([str(known)] * (known != 1) + names))


def total(dims: Sequence[Dim]) -> Dim:
    """The sum of sizes: an int, a name, or a derived name such as `H+2`."""
    known = sum(d for d in dims if isinstance(d, int))
    names = sorted(d for d in dims if isinstance(d, str))
    if not names:
        return known
    if len(names) == 1 and known == 0:
        return names[0]
    return derived("+".join(names) + (f"{known:+d}" if known else ""))


def broadcast_dim(dims: Sequence[Dim]) -> Dim:
    """The size that `dims` broadcast to. A name beside a known size > 1 must turn out equal to it, or 1.

    Raises UnsupportedError for sizes that differ, and for two different names.
    """
    wide = {d for d in dims if d != 1}
    known, names = {d for d in wide if isinstance(d, int)}, {d for d in wide if isinstance(d, str)}
    check(len(known) <= 1, "sizes that are equal or 1", sorted(known))
    if known:
        return known.pop()
    check(len(names) <= 1, "one named size", f"{sorted(names)}, which may differ; {BIND}")
    return names.pop() if names else 1


def broadcast(*shapes: Sequence[Dim]) -> tuple[Dim, ...]:
    """The shape that all `shapes` broadcast to, aligned at the last axis (ONNX: multidirectional).

    Raises UnsupportedError naming the shapes when they do not.
    """
    rank = max((len(s) for s in shapes), default=0)
    padded = [(1,) * (rank - len(s)) + tuple(s) for s in shapes]
    try:
        return tuple(broadcast_dim(dims) for dims in zip(*padded, strict=True))
    except UnsupportedError as error:
        listed = " and ".join(str(tuple(s)) for s in shapes)
        raise UnsupportedError(f"shapes {listed} do not broadcast: {error}") from None


def merge_dims(dims: Sequence[Dim], what: str) -> Dim:
    """The size that must be the same in all `dims`; a known one wins over names."""
    known = {d for d in dims if isinstance(d, int)}
    check(len(known) <= 1, f"equal sizes of {what}", sorted(known))
    return known.pop() if known else dims[0]


def axis_of(axis: int, rank: int) -> int:
    """`axis` counted from the front. Raises UnsupportedError outside [-rank, rank)."""
    check(-rank <= axis < rank, f"an axis in [{-rank}, {rank})", axis)
    return axis % rank


def axes_of(axes: Sequence[int], rank: int) -> list[int]:
    """`axes` counted from the front. Raises UnsupportedError for one out of range or given twice."""
    found = [axis_of(a, rank) for a in axes]
    check(len(set(found)) == len(found), "each axis once", list(axes))
    return found


def known_size(dim: Dim, what: str) -> int:
    """`dim`, which must be a number by now. Raises UnsupportedError naming `what`."""
    if isinstance(dim, int):
        return dim
    raise UnsupportedError(f"expected a known {what}, found the name {dim!r}; {BIND}")


def constant_ints(value: Array | None, what: str) -> list[int]:
    """The integers in the constant scalar or vector `value`.

    Raises NeedsValue when it is computed at run time, UnsupportedError when it is something else.
    """
    array = need_const(value, f"{what} (if it comes from a shape, {BIND})")
    good = array.ndim <= 1 and array.dtype.kind in "iu"
    check(good, f"{what}: a vector of integers", f"{array.dtype} of shape {array.shape}")
    return [int(v) for v in array.ravel()]


def optional_ints(consts: Sequence[Array | None], at: int, present: bool, what: str) -> list[int] | None:
    """The integers of optional input number `at`, None when it is absent."""
    return constant_ints(consts[at], what) if present else None


def same_dtype(*types: TensorType) -> str:
    """The dtype that all `types` share. Raises UnsupportedError when they differ."""
    found = sorted({t.dtype for t in types})
    check(len(found) == 1, "inputs of one dtype", " and ".join(found))
    return found[0]


def same_quant(*types: TensorType) -> Quantization | None:
    """The quantization that all `types` share, for operators that pass stored values on.

    Raises UnsupportedError when they differ, or are quantized per channel.
    """
    quant = types[0].quant
    equal = all(t.quant == quant for t in types)
    check(equal, "inputs quantized alike", "different scales or zero points; requantize them first")
    check(quant is None or quant.per_tensor, "one scale for the whole tensor", "a scale per channel")
    return quant


def not_quantized(*types: TensorType) -> None:
    """Raises UnsupportedError when one of `types` is quantized: its stored values are not its meaning."""
    found = all(t.quant is None for t in types)
    check(found, "inputs that are not quantized", "a scale and zero point; use the QLinear form")
