"""Where, comparisons, logic and casts, in row layout: operators whose inputs or outputs are truth or indices.

Arithmetic of floats is in elementwise.py.
"""

from __future__ import annotations

import numpy as np

from edgert.graph.ir import Array
from edgert.kernels_cpu.elementwise import CAST_TYPES, COMPARE, COMPARED
from edgert.plan.lowering.api import Buffer, Emitter, Offer, Refusal, Site, lowers
from edgert.plan.lowering.broadcasting import walk_inputs
from edgert.plan.lowering.shapes import is_constant, split, too_large

LANES = 16
"""Values of the widest vector, for cutting the work."""


@lowers("Where")
def where(site: Site) -> Offer | Refusal:
    """Values of any type of 1, 2, 4 or 8 bytes."""
    return _walked(site, "where_row", 3, "cab", {"element": site.outputs[0].np_dtype.itemsize}, "one of two by a byte")


@lowers("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Xor")
def compare(site: Site) -> Offer | Refusal:
    """float32, int32, int64 and bool; what is less is greater the other way round."""
    x = site.inputs[0]
    if x is None or x.dtype not in COMPARED:
        return Refusal("compare_row", f"expected inputs of {', '.join(COMPARED)}, found {x.dtype if x else 'none'}")
    op = {"Less": "Greater", "LessOrEqual": "GreaterOrEqual"}.get(site.node.op, site.node.op)
    names = "ab" if op == site.node.op else "ba"
    return _walked(site, "compare_row", 2, names, _compared(op, x.dtype), "byte by byte of truth")


@lowers("IsNaN", "Not")
def test(site: Site) -> Offer | Refusal:
    """What does not equal itself is no number; what equals 0 is not true."""
    x, dtype = site.inputs[0], {"IsNaN": "float32", "Not": "bool"}[site.node.op]
    if x is None or x.dtype != dtype or is_constant(site, 0):
        return Refusal("compare_row", f"expected {dtype} activations, found {x.dtype if x else 'none'}")
    count = x.numel
    strides = {f"{side}_{what}": 0 for side in "ab" for what in ("stride0", "stride1", "spread")}
    zero: Array | None = np.zeros(1, bool) if dtype == "bool" else None
    params = {**_compared("Equal" if zero is not None else "NotEqual", dtype), **strides,
              "b_spread": int(zero is not None), "size0": 1, "size1": 1, "count": count}  # fmt: skip
    nbytes = x.nbytes + count

    def emit(emitter: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        if count:
            other = inputs[0] if zero is None else emitter.constant(zero)
            chunks = split(site.threads, -(-count // LANES), nbytes)
            emitter.op("compare_row", {"a": inputs[0], "b": other, "y": outputs[0]}, params, chunks=chunks)

    return too_large("compare_row", nbytes) or Offer(
        "compare_row", ("row",), ("row",), 0, nbytes, "bytes", 0.3, "compared as it lies", emit
    )


def _compared(op: str, dtype: str) -> dict[str, int]:
    return {"op": COMPARE.index(op), "kind": COMPARED.index(dtype)}


def _walked(site: Site, kernel: str, count: int, names: str, params: dict[str, int], reason: str) -> Offer | Refusal:
    """The offer of a kernel over `count` broadcast inputs, its operands `names` in the order of the inputs."""
    y = site.outputs[0]
    kinds = [k for k in site.inputs[:count] if k is not None]
    found = walk_inputs(site, count) if len(kinds) == count else None
    if found is None or all(is_constant(site, i) for i in range(count)):
        return Refusal(kernel, f"no broadcast of {[list(k.shape) for k in kinds]}")
    (size0, size1, inner), operands = found
    params = {**params, "size0": size0, "size1": size1, "count": inner}
    for name, kind, operand in zip(names, kinds, operands, strict=True):
        size = kind.np_dtype.itemsize
        params |= {f"{name}_stride0": size * operand.stride0, f"{name}_stride1": size * operand.stride1,
                   f"{name}_spread": int(operand.spread)}  # fmt: skip
    nbytes = y.nbytes + sum(k.nbytes for k in kinds)
    chunks = split(site.threads, size0 * size1 * -(-inner // LANES), nbytes)

    def emit(emitter: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        if y.numel:
            places = {n: o.buffer(emitter, x) for n, o, x in zip(names, operands, inputs, strict=True)}
            emitter.op(kernel, {**places, "y": outputs[0]}, params, chunks=chunks)

    filled = inner / (-(-inner // LANES) * LANES) if inner else 1.0
    return too_large(kernel, nbytes) or Offer(
        kernel, tuple(o.layout for o in operands), ("row",), 0, nbytes, "bytes", 0.3 * filled, reason, emit
    )


@lowers("Cast")
def cast(site: Site) -> Offer | Refusal:
    """Among float32, int64, int32, 8-bit integers and bool."""
    x, y = site.inputs[0], site.outputs[0]
    if x is None or is_constant(site, 0) or x.dtype not in CAST_TYPES or y.dtype not in CAST_TYPES:
        found = "nothing" if x is None else f"{x.dtype} to {y.dtype}"
        return Refusal("cast_row", f"expected activations among {', '.join(CAST_TYPES)}, found {found}")
    count, nbytes = x.numel, x.nbytes + y.nbytes
    params = {"op": CAST_TYPES.index(x.dtype) * len(CAST_TYPES) + CAST_TYPES.index(y.dtype), "count": count}

    def emit(emitter: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        if count:
            chunks = split(site.threads, -(-count // LANES), nbytes)
            emitter.op("cast_row", {"x": inputs[0], "y": outputs[0]}, params, chunks=chunks)

    return too_large("cast_row", nbytes) or Offer(
        "cast_row", ("row",), ("row",), 0, nbytes, "bytes", 0.3, f"{x.dtype} to {y.dtype}", emit
    )
