"""Unary and binary operators, float32 and 8-bit: one flat pass over memory each, in whatever layout is at hand.

8-bit unary operators, and changes of scale, are a table of 256 bytes that the reference makes.
"""

from __future__ import annotations

import math

import numpy as np

from edgert.graph.ir import Array, Node, TensorType
from edgert.kernels_cpu.elementwise import BINARY, BINARY_Q8, FIXED_SHIFT, UNARY
from edgert.kernels_cpu.reference import evaluate
from edgert.kernels_cpu.reference.activation import SELU_ALPHA, SELU_GAMMA
from edgert.kernels_cpu.reference.quantization import fixed_sum, ratio
from edgert.kernels_cpu.reference.registry import Quant
from edgert.plan.lowering.api import Buffer, Emitter, Offer, Refusal, Site, layout_nbytes, lowers
from edgert.plan.lowering.broadcasting import Operand, Walk, channel_values, walk_planes, walk_rows
from edgert.plan.lowering.requantize import activation_bytes, activation_floats, shift
from edgert.plan.lowering.shapes import (
    Planes,
    flip,
    has_planes,
    is_constant,
    per_tensor,
    plane_layout,
    split,
    too_large,
)  # fmt: skip

MAX_RATIO = 2.0**15
"""Scales further apart than this would round values beyond 32 bits."""


def unary_params(node: Node, values: tuple[Array | None, ...]) -> tuple[str, float, float] | None:
    """(name in UNARY, alpha, beta) of a unary node; None when a bound is not a constant."""
    op = node.op
    if op == "Gelu":
        return ("GeluTanh" if node.attr_str("approximate", "none") == "tanh" else "Gelu"), 0.0, 0.0
    if op == "Clip":
        bounds = [-math.inf, math.inf]
        for i in (1, 2):
            if i < len(node.inputs) and node.inputs[i]:
                value = values[i]
                if value is None:
                    return None
                bounds[i - 1] = float(value.reshape(()))
        return op, bounds[0], bounds[1]
    alpha, beta = _DEFAULTS.get(op, (0.0, 0.0))
    if op == "Selu":
        return op, node.attr_float("alpha", alpha), node.attr_float("gamma", beta)
    return op, node.attr_float("alpha", alpha), node.attr_float("beta", beta)


_DEFAULTS = {
    "LeakyRelu": (0.01, 0.0), "ThresholdedRelu": (1.0, 0.0), "HardSigmoid": (0.2, 0.5), "Swish": (1.0, 0.0),
    "Elu": (1.0, 0.0), "Celu": (1.0, 0.0), "Selu": (SELU_ALPHA, SELU_GAMMA),
}  # fmt: skip
_DEAR = {"Exp", "Log", "Sigmoid", "Swish", "Mish", "Tanh", "Erf", "Gelu", "GeluTanh", "Softplus", "Elu", "Celu", "Selu"}


@lowers(*(name for name in UNARY if name != "GeluTanh"))
def unary(site: Site) -> list[Offer | Refusal]:
    """float32, row or kp."""
    x = site.inputs[0]
    params = unary_params(site.node, site.values)
    if x is None or x.dtype != "float32" or is_constant(site, 0) or params is None:
        found = "no input" if x is None else x.dtype
        return [Refusal("unary_f32", f"expected float32 activations and constant bounds, found {found}")]
    op, alpha, beta = params
    return [_unary(site, x, layout, op, alpha, beta) for layout in _layouts(x)]


def _layouts(kind: TensorType) -> list[str]:
    planes = plane_layout(kind)
    return [planes, "row"] if planes else ["row"]


def _unary(site: Site, x: TensorType, layout: str, op: str, alpha: float, beta: float) -> Offer | Refusal:
    nbytes = layout_nbytes(x, layout)
    count = nbytes // 4
    chunks = split(site.threads, -(-count // 16), 2 * nbytes, count * 20 if op in _DEAR else 0)

    def emit(emitter: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        if count:
            matrix = len(x.shape) == 2 and count == x.numel  # without padding
            rows, columns = x.static_shape if matrix else (0, 0)
            params: dict[str, int | float] = {
                "op": UNARY.index(op), "count": count, "rows": rows, "columns": columns, "alpha": alpha, "beta": beta
            }  # fmt: skip
            operands = {"x": inputs[0], "y": outputs[0], "rows_at": emitter.rows(rows) if matrix else None}
            emitter.op("unary_f32", operands, params, chunks=chunks)

    absent = (None,) * (len(site.inputs) - 1)
    return too_large("unary_f32", nbytes) or Offer(
        "unary_f32", (layout, *absent), (layout,), 0, 2 * nbytes, "bytes", 0.12 if op in _DEAR else 0.5,
        f"{op} over the values as they lie", emit, in_place=0,
    )  # fmt: skip


@lowers("Pow")
def power(site: Site) -> list[Offer | Refusal]:
    """Constant exponents 2 (a product) and 0.5 (a square root)."""
    x, exponent = site.inputs[0], site.values[1]
    if x is None or x.dtype != "float32" or is_constant(site, 0) or exponent is None or exponent.size != 1:
        return [Refusal("binary_f32", "Pow needs a float32 activation and one constant exponent")]
    e = float(exponent.reshape(()))
    if e not in (0.5, 2.0) or site.outputs[0].shape != x.shape:
        return [Refusal("binary_f32", f"Pow has exponents 2 and 0.5, found {e:g}")]
    if e == 0.5:
        return [_unary(site, x, layout, "Sqrt", 0.0, 0.0) for layout in _layouts(x)]
    offers: list[Offer | Refusal] = []
    for layout in _layouts(x):
        flat = Operand(layout, 0, 0, False)
        square = Walk(1, 1, layout_nbytes(x, layout) // 4, flat, flat)
        offers.append(_binary(site, square, layout, "Mul", (layout, None), (0, 0), (-math.inf, math.inf)))
    return offers


@lowers("Add", "Sub", "Mul", "Div", "Min", "Max", "PRelu", "Sum")
def binary(site: Site) -> list[Offer | Refusal]:
    """float32, row or kp, with broadcasting and a fused activation."""
    kernel = "binary_f32"
    if len(site.inputs) != 2 or any(x is None or x.dtype != "float32" for x in site.inputs):
        found = [x.dtype if x else "none" for x in site.inputs]
        return [Refusal(kernel, f"expected two float32 inputs, found {found}")]
    op = "Add" if site.node.op == "Sum" else site.node.op
    bounds = activation_floats(site.node)
    offers: list[Offer | Refusal] = []
    for layout, walk in (("kp", walk_planes(site)), ("row", walk_rows(site))):
        if walk is None or all(is_constant(site, i) for i in (0, 1)):
            shapes = [list(x.shape) for x in site.inputs if x is not None]
            offers.append(Refusal(kernel, f"no broadcast of {shapes} in {layout}"))
        else:
            offers.append(_binary(site, walk, layout, op, (walk.a.layout, walk.b.layout), (0, 1), bounds))
    return offers


def _binary(
    site: Site, walk: Walk, layout: str, op: str, layouts: tuple[str | None, str | None], sides: tuple[int, int],
    bounds: tuple[float, float],
) -> Offer | Refusal:  # fmt: skip
    y = site.outputs[0]
    read = sum(layout_nbytes(k, at) for k, at in zip(site.inputs, layouts, strict=True) if k is not None and at)
    nbytes = layout_nbytes(y, layout) + read
    vectors = walk.size0 * walk.size1 * -(-walk.count // 16)
    chunks = split(site.threads, vectors, nbytes)
    params: dict[str, int | float] = {
        "op": BINARY.index(op), "size0": walk.size0, "size1": walk.size1, "count": walk.count,
        "a_stride0": 4 * walk.a.stride0, "a_stride1": 4 * walk.a.stride1, "a_spread": int(walk.a.spread),
        "b_stride0": 4 * walk.b.stride0, "b_stride1": 4 * walk.b.stride1, "b_spread": int(walk.b.spread),
        "low": bounds[0], "high": bounds[1],
    }  # fmt: skip

    def emit(emitter: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        if y.numel:
            a, b = walk.a.buffer(emitter, inputs[sides[0]]), walk.b.buffer(emitter, inputs[sides[1]])
            emitter.op("binary_f32", {"a": a, "b": b, "y": outputs[0]}, params, chunks=chunks)

    # Rows much shorter than a vector waste most of it.
    filled = walk.count / (-(-walk.count // 16) * 16) if walk.count else 1.0
    # The output may take over an input only where every value is read once, at the place it is written.
    whole = [not o.spread and o.constant is None for o in (walk.a, walk.b)]
    same = [k is not None and k.shape == y.shape for k in site.inputs]
    taken = next((i for i in (0, 1) if sides[i] == i and whole[i] and same[i]), None)
    return too_large("binary_f32", nbytes) or Offer(
        "binary_f32", layouts, (layout,), 0, nbytes, "bytes", 0.5 * filled, f"{op} over the values as they lie", emit,
        in_place=taken if sides == (0, 1) else None,
    )  # fmt: skip


def _as_quant(kind: TensorType) -> Quant:
    assert kind.quant is not None
    return Quant(kind.quant.scale, kind.quant.zero_point, kind.quant.axis)


def _table(values: Array, site: Site, layout: str) -> Array:
    """A table over true unsigned bytes as the layout's bytes want it: k4p is shifted where activations are signed,
    on the way in and on the way out."""
    mask = flip(site.level) & 255 if layout == "k4p" else 0
    return np.ascontiguousarray(values[np.arange(256) ^ mask] ^ np.uint8(mask))


@lowers("QLinearUnary")
def unary_q8(site: Site) -> list[Offer | Refusal]:
    """8-bit with one scale, through a table: uint8 in k4p or row, int8 in row."""
    x, y = site.inputs[0], site.outputs[0]
    if x is None or not _is_whole_byte(x) or not _is_whole_byte(y) or is_constant(site, 0):
        return [Refusal("lookup_q8", "expected 8-bit activations with one scale each")]
    every = np.arange(256, dtype=np.uint8).view(x.np_dtype)
    made = evaluate("QLinearUnary", [every], dict(site.node.attrs), [_as_quant(x)], [_as_quant(y)], [y.dtype])
    layouts = _layouts(x) if x.dtype == y.dtype == "uint8" else ["row"]
    return [_lookup(site, layout, [(0, made[0].view(np.uint8))]) for layout in layouts]


def _is_whole_byte(kind: TensorType) -> bool:
    """Whether the tensor is of 8-bit integers with one scale."""
    return kind.dtype in ("uint8", "int8") and kind.quant is not None and kind.quant.per_tensor


@lowers("QLinearConcat")
def concat_q8(site: Site) -> list[Offer | Refusal]:
    """Inputs of different scales: each through the table that brings it to the output's."""
    y = site.outputs[0]
    kinds = [x for x in site.inputs if x is not None]
    usable = all(per_tensor(k) is not None for k in (*kinds, y)) and not any(
        is_constant(site, i) for i in range(len(site.inputs))
    )
    if not usable or len(kinds) != len(site.inputs):
        return [Refusal("lookup_q8", "expected uint8 activations with one scale each")]
    axis = site.node.attr_int("axis", 0) % len(y.shape)
    every = np.arange(256, dtype=np.uint8)
    tables = [
        evaluate("QLinearConcat", [every], {"axis": 0}, [_as_quant(k)], [_as_quant(y)], ["uint8"])[0] for k in kinds
    ]
    offers = [_lookup(site, "row", list(enumerate(tables)), axis)]
    if axis == 1 and all(has_planes(k) for k in kinds) and all(k.static_shape[1] % 4 == 0 for k in kinds[:-1]):
        offers.insert(0, _lookup(site, "k4p", list(enumerate(tables)), axis))
    return offers


def _lookup(site: Site, layout: str, parts: list[tuple[int, Array]], axis: int | None = None) -> Offer | Refusal:
    """One table per input, side by side along `axis` of the output; without an axis the one input is the whole."""
    y = site.outputs[0]
    total = layout_nbytes(y, layout)
    rows = 1
    if axis is not None:
        shape = y.static_shape
        rows = shape[0] if layout == "k4p" else math.prod(shape[:axis])
    y_row = total // rows if rows else 0
    # one instruction looks up a vector of bytes, or every byte is looked up alone
    speed = 0.6 if site.level.features & {"avx512", "neon"} else 0.09

    def emit(emitter: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        place = 0
        for index, table in parts:
            kind = site.inputs[index]
            assert kind is not None
            nbytes = layout_nbytes(kind, layout)
            if nbytes == 0:
                continue
            row = nbytes // rows
            emitter.op(
                "lookup_q8",
                {"x": inputs[index], "table": emitter.constant(_table(table, site, layout)), "y": outputs[0]},
                {"rows": rows, "row_bytes": row, "x_row": row, "y_row": y_row},
                chunks=split(site.threads, rows * -(-row // 64), 4 * nbytes), offsets={"y": place},
            )  # fmt: skip
            place += row

    return too_large("lookup_q8", total) or Offer(
        "lookup_q8", (layout,) * len(parts), (layout,), 0, 2 * total, "bytes", speed, "a table of 256 bytes", emit,
        in_place=0 if axis is None else None,
    )  # fmt: skip


@lowers("QLinearAdd", "QLinearMul")
def binary_q8(site: Site) -> list[Offer | Refusal]:
    """uint8, k4p or row; one input may be a value per channel, or a constant of one value per channel or in all."""
    kernel = "binary_q8"
    a, b, y = site.inputs[0], site.inputs[1], site.outputs[0]
    if a is None or b is None or any(per_tensor(k) is None for k in (a, b, y)):
        return [Refusal(kernel, "expected uint8 tensors with one scale each")]
    if a.shape != y.shape or is_constant(site, 0):
        if b.shape != y.shape or is_constant(site, 1):
            return [Refusal(kernel, f"neither input has the output's shape {list(y.shape)}")]
        order = (1, 0)
    else:
        order = (0, 1)
    return [_binary_q8(site, layout, order) for layout in _layouts(y)]


def _binary_q8(site: Site, layout: str, order: tuple[int, int]) -> Offer | Refusal:
    kernel = "binary_q8"
    a, b, y = site.inputs[order[0]], site.inputs[order[1]], site.outputs[0]
    assert a is not None and b is not None
    factors = _ratios(site.node, a, b, y)
    if max(factors) > MAX_RATIO:
        return Refusal(kernel, f"a ratio of scales of {max(factors):g} overflows")
    arithmetic = _arithmetic(site.node, factors)
    found = _walk_q8(site, layout, order[1])
    if found is None:
        return Refusal(kernel, f"no broadcast of {list(b.shape)} over {list(y.shape)} in {layout}")
    walk, values = found
    offset, total = shift(site.level), layout_nbytes(y, layout)
    low, high = activation_bytes(site.node, y, site.level)
    params: dict[str, int | float] = {
        **arithmetic, **walk, "flip": flip(site.level) if layout == "row" else 0,
        "a_zero": _zero(a) - offset, "b_zero": _zero(b) - offset, "zero_point": _zero(y) - offset,
        "low": low, "high": high,
    }  # fmt: skip
    nbytes = 2 * total + (layout_nbytes(b, layout) if values is None else 0)
    chunks = split(site.threads, walk["rows"] * -(-walk["row_bytes"] // 64), 4 * nbytes)

    def emit(emitter: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        if y.numel:
            other = inputs[order[1]] if values is None else emitter.constant(values)
            emitter.op(kernel, {"a": inputs[order[0]], "b": other, "y": outputs[0]}, params, chunks=chunks)

    layouts: list[str | None] = [None, None]
    layouts[order[0]] = layout
    layouts[order[1]] = layout if values is None else None
    form = "as they lie" if walk["rows"] == 1 else "plane by plane, one value per channel"
    return too_large(kernel, total) or Offer(
        kernel, tuple(layouts), (layout,), 0, nbytes, "bytes", 0.25, f"{site.node.op} of bytes, {form}", emit,
        in_place=order[0],
    )  # fmt: skip


def _arithmetic(node: Node, factors: tuple[float, ...]) -> dict[str, int | float]:
    """Params of binary_q8 that say what is computed with each pair of bytes."""
    params = {"a_multiplier": 0, "b_multiplier": 0, "rounding": 0, "a_ratio": factors[0], "b_ratio": factors[-1]}
    if not node.attr_int("fixed_point", 0):
        return {**params, "op": BINARY_Q8.index(node.op)}
    form = fixed_sum(*factors)
    step = 2.0 ** (FIXED_SHIFT - form.shift)
    return {
        "op": BINARY_Q8.index("FixedPointAdd"), "a_multiplier": form.first, "b_multiplier": form.second,
        "rounding": 1 << (form.shift - 1), "a_ratio": step, "b_ratio": step / 2 - 0.5,
    }  # fmt: skip


def _walk_q8(site: Site, layout: str, other: int) -> tuple[dict[str, int], Array | None] | None:
    """(walk params, bytes of a constant operand) of binary_q8, whose input number `other` may be broadcast."""
    b, y, value = site.inputs[other], site.outputs[0], site.values[other]
    assert b is not None
    flat = {"rows": 1, "row_bytes": layout_nbytes(y, layout), "a_row": 0, "b_row": 0, "b_rows": 1, "y_row": 0}
    if not is_constant(site, other) and b.shape == y.shape:
        return flat | {"spread": 0}, None
    mask = np.uint8(flip(site.level) & 255 if layout == "k4p" else 0)
    if value is not None and value.size == 1:
        return flat | {"spread": 1}, np.repeat(value.reshape(1), 4) ^ mask
    if layout != "k4p":
        return None
    planes = Planes.of(y)
    row = 4 * planes.padded
    walk = {"rows": planes.batch * planes.groups, "row_bytes": row, "a_row": row, "y_row": row, "spread": 1}
    if is_constant(site, other):
        channels = None if value is None else channel_values(value, len(y.shape), planes.channels)
        if channels is None:
            return None
        padded = np.zeros(4 * planes.groups, np.uint8)
        padded[: len(channels)] = channels
        return walk | {"b_row": 4, "b_rows": planes.groups}, padded ^ mask
    own = Planes.of(b) if has_planes(b) and len(b.shape) == len(y.shape) else None
    if own is None or own.pixels != 1 or own.channels != planes.channels:
        return None
    return walk | {"b_row": 4 * own.padded, "b_rows": own.batch * own.groups}, None


def _zero(kind: TensorType) -> int:
    found = per_tensor(kind)
    assert found is not None
    return found[1]


def _ratios(node: Node, a: TensorType, b: TensorType, y: TensorType) -> tuple[float, ...]:
    """Multipliers to the output's scale: of each summand, or of the product."""
    qa, qb, qy = (_as_quant(k).scale for k in (a, b, y))
    if node.op == "QLinearMul":
        return (float(ratio((qa, qb), qy)),)
    return float(ratio((qa,), qy)), float(ratio((qb,), qy))
