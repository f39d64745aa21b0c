"""Shape functions of matrix products: MatMul, Gemm and Einsum.
What they compute is in `kernels_cpu/reference/matmul.py`."""

from __future__ import annotations

from collections.abc import Sequence

from edgert.graph.broadcast import broadcast, broadcast_dim, merge_dims, not_quantized, same_dtype
from edgert.graph.infer_conv import check_same_shape, split_residual
from edgert.graph.infer_elementwise import FLOATS, NUMBERS, one_of, present
from edgert.graph.ir import Array, Dim, Node, TensorType
from edgert.graph.registry import check, operator


def matmul_shape(a: Sequence[Dim], b: Sequence[Dim]) -> tuple[Dim, ...]:
    """The shape of numpy.matmul of shapes `a` and `b`. Raises UnsupportedError for scalars or unequal K."""
    check(len(a) >= 1 and len(b) >= 1, "operands of rank 1 or more", f"shapes {tuple(a)} and {tuple(b)}")
    rows, columns = tuple(a[-2:-1]), tuple(b[-1:]) if len(b) > 1 else ()
    merge_dims((a[-1], b[-2] if len(b) > 1 else b[0]), "K (the last axis of A, the second last of B)")
    return (*broadcast(a[:-2], b[:-2]), *rows, *columns)


@operator("MatMul", inputs=(2, 2))
def matmul(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """[..., M, K] and [..., K, N] to [..., M, N]; an operand of rank 1 is a row or a column, then dropped."""
    a, b = present(ins)
    not_quantized(a, b)
    return [TensorType(one_of(same_dtype(a, b), NUMBERS), matmul_shape(a.shape, b.shape))]


@operator("Gemm", inputs=(2, 4))
def gemm(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """[M, K] and [K, N], each perhaps transposed, to [M, N]; C broadcasts to that, a residual has that shape."""
    a, b = present(ins[:2])
    not_quantized(a, b)
    check(len(a.shape) == len(b.shape) == 2, "operands of rank 2", f"shapes {a.shape} and {b.shape}")
    left = a.shape[::-1] if node.attr_int("transA", 0) else a.shape
    right = b.shape[::-1] if node.attr_int("transB", 0) else b.shape
    shape, dtype = matmul_shape(left, right), one_of(same_dtype(a, b), NUMBERS)
    c, residual = split_residual(node, ins[2:])
    for added in (t for t in (c, residual) if t is not None):
        not_quantized(added)
        same_dtype(a, added)
    if c is not None:
        check(broadcast(shape, c.shape) == shape, f"C that broadcasts to {shape}", c.shape)
    if residual is not None:
        check_same_shape(shape, residual.shape, "a residual")
    return [TensorType(dtype, shape)]


def parse_equation(equation: str, ranks: Sequence[int]) -> tuple[list[list[str]], list[str]]:
    """The labels of each operand's axes and of the output's. An ellipsis becomes labels `.0`, `.1`, ...
    counted from its last axis, so that operands align there.

    Raises UnsupportedError for an equation that does not fit `ranks`.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    check(len(terms) == len(ranks), f"an equation of {len(ranks)} operands", repr(equation))
    letters = [t.replace("...", "", 1) for t in (*terms, right)]
    check(all(t == "" or (t.isascii() and t.isalpha()) for t in letters), "letters and '...'", repr(equation))
    hidden = [n - len(t) for n, t in zip(ranks, letters, strict=False)]
    fits = all(h == 0 or (h > 0 and "..." in t) for h, t in zip(hidden, terms, strict=True))
    check(fits, f"an equation for operands of ranks {list(ranks)}", repr(equation))

    def labels(term: str, count: int) -> list[str]:
        before, dots, after = term.partition("...")
        return [*before, *([f".{i}" for i in range(count)][::-1] if dots else []), *after]

    operands = [labels(t, h) for t, h in zip(terms, hidden, strict=True)]
    wide = max(hidden, default=0)
    if not arrow:  # implicit output: the ellipsis, then labels that occur once, in alphabetical order
        once = sorted(c for c in set("".join(letters)) if "".join(letters).count(c) == 1)
        right = ("..." if "..." in left else "") + "".join(once)
    return operands, labels(right, wide)


@operator("Einsum", inputs=(1, None))
def einsum(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """The sizes that the labels of `equation` have in the operands."""
    types = present(ins)
    not_quantized(*types)
    equation = node.attr_str("equation", "")
    operands, output = parse_equation(equation, [len(t.shape) for t in types])
    sizes: dict[str, list[Dim]] = {}
    for labels, t in zip(operands, types, strict=True):
        for label, dim in zip(labels, t.shape, strict=True):
            sizes.setdefault(label, []).append(dim)
    good = len(set(output)) == len(output) and set(output) <= set(sizes)
    check(good, "each output label once, and in an operand", repr(equation))
    shape = {label: broadcast_dim(dims) for label, dims in sizes.items()}
    return [TensorType(one_of(same_dtype(*types), NUMBERS), tuple(shape[label] for label in output))]


@operator("Det", inputs=(1, 1))
def det(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Float matrices [*, M, M] to [*]."""
    (x,) = present(ins)
    not_quantized(x)
    check(len(x.shape) >= 2, "an input of rank 2 or more", f"shape {x.shape}")
    merge_dims(x.shape[-2:], "both sides of a square matrix")
    return [TensorType(one_of(x.dtype, FLOATS), x.shape[:-2])]
