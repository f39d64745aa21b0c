"""Lifts of ONNX Runtime's attention: MultiHeadAttention, Attention, RotaryEmbedding, written with products and Softmax.
ONNX's own operators of these names are functions, which `expand.py` writes out; norms beside it are in
`normalize_skip_norm.py`. Source: onnxruntime/docs/ContribOperators.md.
"""

from __future__ import annotations

import numpy as np

from edgert.converters.onnx.builder import Builder, Refused
from edgert.converters.onnx.normalize import lift
from edgert.converters.onnx.reader import MICROSOFT, OnnxNode
from edgert.graph.ir import Array, Attr

LOWEST = float(np.finfo(np.float32).min)
"""What is added to the score of a key that comes later."""


class Steps:
    """Writes the IR nodes that one ONNX node stands for."""

    def __init__(self, b: Builder, n: OnnxNode) -> None:
        self.b, self.n, self.dtype = b, n, b.dtype(n.inputs[0])

    def __call__(self, op: str, *inputs: str, out: str = "", **attrs: Attr) -> str:
        """Adds `op`; returns its output, `out` or a tensor of its own."""
        return self.b.emit(self.n, op, list(inputs), attrs, [out or self.b.between(self.n, op.lower())])

    def ints(self, *values: int) -> str:
        return self.b.ints(self.n, f"ints{'_'.join(map(str, values))}", values)

    def scalar(self, value: float) -> str:
        return self.b.scalar(self.n, f"scalar{value:g}", value, self.dtype)

    def constant(self, what: str, value: Array) -> str:
        return self.b.store(f"{self.n.name}_{what}", value)

    def split(self, x: str, axis: int, sizes: list[int]) -> list[str]:
        names = [self.b.between(self.n, f"part{i}") for i in range(len(sizes))]
        self.b.emit(self.n, "Split", [x, self.ints(*sizes)], {"axis": axis}, names)
        return names

    def heads(self, x: str, count: int) -> str:
        """[B, S, N*d] as [B, N, S, d]."""
        return self("Transpose", self("Reshape", x, self.ints(0, 0, count, -1)), perm=[0, 2, 1, 3])

    def together(self, x: str, out: str) -> str:
        """[B, N, S, d] as [B, S, N*d]."""
        turned = self("Transpose", x, perm=[0, 2, 1, 3])
        return self("Reshape", turned, self.ints(0, 0, -1), out=out)

    def size(self, x: str, axis: int) -> str:
        """Size of an axis as an int64 scalar."""
        at = self.constant(f"axis{axis}", np.array(axis, np.int64))
        return self("Gather", self("Shape", x), at, axis=0)

    def count(self, size: str) -> str:
        """0, 1, ... below the scalar `size`."""
        zero, one = (self.constant(f"number{i}", np.array(i, np.int64)) for i in (0, 1))
        return self("Range", zero, size, one)

    def later(self, q: str, k: str) -> str:
        """LOWEST for keys that come after a query, 0 for the others, [S, T]; the last query sees all."""
        queries, keys = self.size(q, 2), self.size(k, 2)
        at = self("Add", self.count(queries), self("Sub", keys, queries))
        seen = self("LessOrEqual", self.count(keys), self("Unsqueeze", at, self.ints(1)))
        return self("Where", seen, self.scalar(0.0), self.scalar(LOWEST))

    def attend(self, q: str, k: str, v: str, scale: float, biases: list[str]) -> str:
        """softmax(scale q k' + biases) v of [B, N, S, d], [B, N, T, d] and [B, N, T, e]."""
        scores = self("MatMul", self("Mul", q, self.scalar(scale)), self("Transpose", k, perm=[0, 1, 3, 2]))
        for bias in biases:
            scores = self("Add", scores, bias)
        return self("MatMul", self("Softmax", scores, axis=-1), v)


def _heads(n: OnnxNode) -> int:
    heads = int(n.attrs.get("num_heads", 0))
    if heads < 1:
        raise Refused("num_heads", "expected a number of heads above 0")
    return heads


def _depth(b: Builder, name: str, heads: int) -> int:
    """Values of a head of tensor `name` [B, S, N*d] or [..., d]."""
    shape = b.hint(name).shape
    width = shape[-1] if shape else None
    if not isinstance(width, int):
        raise Refused("", "expected an input of known width; export the model with fixed sizes")
    return width // heads if shape is not None and len(shape) == 3 else width


def _padding(steps: Steps, name: str, keys: str) -> str:
    """What is added to scores for a mask int32 [B, T] of 0 and 1, [B, S, T], or [B] numbers of keys; refuses others."""
    b, n = steps.b, steps.n
    rank, low = b.rank(name), float(n.attrs.get("mask_filter_value", -10000.0))
    mask = b.use(name)
    if rank == 1:
        lengths = steps("Unsqueeze", steps("Cast", mask, to="int64"), steps.ints(1))
        kept = steps("Less", steps.count(steps.size(keys, 2)), lengths)
    elif rank in (2, 3):
        kept = steps("Cast", mask, to="bool")
    else:
        raise Refused("", "expected a mask of rank 1 to 3; export the model without fusion")
    added = steps("Where", kept, steps.scalar(0.0), steps.scalar(low))
    return steps("Unsqueeze", added, steps.ints(*([1] if rank == 3 else [1, 2])))


def _softcap_free(n: OnnxNode) -> None:
    if n.attrs.get("softcap", 0.0) or n.attrs.get("do_rotary", 0):
        raise Refused("softcap", "expected no cap and no rotation; export the model without fusion")


@lift("MultiHeadAttention", domain=MICROSOFT)
def multi_head_attention(b: Builder, n: OnnxNode) -> None:
    """Inputs query, key, value, bias, key_padding_mask, attention_bias, past_key, past_value; query alone may hold all
    three [B, S, N, 3, d], key both [B, T, N, 2, d], or key and value come as heads [B, N, T, d]."""
    _softcap_free(n)
    if any(n.has(i) for i in (8, 9)) or (len(n.outputs) > 3 and n.outputs[3] in b.wanted):
        raise Refused("", "expected no past_sequence_length, cache_indirection or qk output; export without fusion")
    heads, steps = _heads(n), Steps(b, n)
    biases: list[str | None] = [None, None, None]
    if n.has(3):
        value, depth = b.value(n.inputs[3]), _depth(b, n.inputs[0], heads)
        if value is None or value.ndim != 1 or not n.has(2):
            raise Refused("", "expected a constant bias, and query, key and value apart")
        parts = np.split(value, [heads * depth, 2 * heads * depth])
        biases = [steps.constant(f"bias{i}", part) for i, part in enumerate(parts)]

    def head(at: int) -> str:
        x = b.use(n.inputs[at])
        if b.rank(n.inputs[at]) == 4:
            return x
        bias = biases[at]
        return steps.heads(steps("Add", x, bias) if bias is not None else x, heads)

    def packed(at: int, count: int) -> list[str]:
        parts = steps.split(b.use(n.inputs[at]), 3, [1] * count)
        return [steps("Transpose", steps("Squeeze", p, steps.ints(3)), perm=[0, 2, 1, 3]) for p in parts]

    if not n.has(1):
        q, k, v = packed(0, 3)
    elif not n.has(2):
        q, (k, v) = head(0), packed(1, 2)
    else:
        q, k, v = head(0), head(1), head(2)
    if n.has(6):
        k, v = (_joined(steps, n.inputs[6 + i], new, i) for i, new in enumerate((k, v)))
    elif any(name in b.wanted for name in n.outputs[1:3] if name):
        for name, tensor in zip(n.outputs[1:3], (k, v), strict=False):
            steps("Identity", tensor, out=name)
    scale = float(n.attrs.get("scale", 0.0)) or 1 / np.sqrt(_depth(b, n.inputs[0], heads))
    added = [_padding(steps, n.inputs[4], k)] if n.has(4) else []
    added += [b.use(n.inputs[5])] if n.has(5) else []
    added += [steps.later(q, k)] if n.attrs.get("unidirectional", 0) else []
    steps.together(steps.attend(q, k, v, float(scale), added), n.outputs[0])


def _joined(steps: Steps, past: str, new: str, at: int) -> str:
    """The past [B, N, P, d] and what is new, which is an output if that is wanted."""
    outputs = steps.n.outputs
    out = outputs[1 + at] if len(outputs) > 1 + at and outputs[1 + at] in steps.b.wanted else ""
    return steps("Concat", steps.b.use(past), new, axis=2, out=out)


@lift("Attention", domain=MICROSOFT)
def packed_attention(b: Builder, n: OnnxNode) -> None:
    """Inputs x [B, S, D], weights [D, (N+N+N)*d], bias, mask_index, past [2, B, N, P, d], attention_bias."""
    _softcap_free(n)
    if n.has(6):
        raise Refused("", "expected no past_sequence_length; export the model without fusion")
    heads, steps = _heads(n), Steps(b, n)
    shape = b.hint(n.inputs[1]).shape
    width = shape[-1] if shape else None
    sizes = [int(v) for v in n.attrs.get("qkv_hidden_sizes", [])]
    if not sizes and isinstance(width, int):
        sizes = [width // 3] * 3
    if len(sizes) != 3 or sum(sizes) != width or any(s % heads for s in sizes):
        raise Refused("qkv_hidden_sizes", f"expected three sizes that {heads} heads divide and that make {width}")
    rows = steps("MatMul", b.use(n.inputs[0]), b.use(n.inputs[1]))
    if n.has(2):
        rows = steps("Add", rows, b.use(n.inputs[2]))
    q, k, v = (steps.heads(part, heads) for part in steps.split(rows, 2, sizes))
    if n.has(4):
        old = [steps("Squeeze", p, steps.ints(0)) for p in steps.split(b.use(n.inputs[4]), 0, [1, 1])]
        k, v = (steps("Concat", past, new, axis=2) for past, new in zip(old, (k, v), strict=True))
    if len(n.outputs) > 1 and n.outputs[1] in b.wanted:
        pair = [steps("Unsqueeze", x, steps.ints(0)) for x in (k, v)]
        steps("Concat", *pair, axis=0, out=n.outputs[1])
    scale = float(n.attrs.get("scale", 0.0)) or 1 / np.sqrt(sizes[0] // heads)
    added = [_padding(steps, n.inputs[3], k)] if n.has(3) else []
    added += [b.use(n.inputs[5])] if n.has(5) else []
    added += [steps.later(q, k)] if n.attrs.get("unidirectional", 0) else []
    steps.together(steps.attend(q, k, v, float(scale), added), n.outputs[0])


@lift("RotaryEmbedding", domain=MICROSOFT)
def rotary_embedding(b: Builder, n: OnnxNode) -> None:
    """Inputs x [B, S, N*d] or [B, N, S, d], position_ids [B, S] or [1] (of the first), cos_cache and sin_cache
    [positions, r/2]."""
    if n.attrs.get("is_packed_batching", 0) or float(n.attrs.get("scale", 1.0)) != 1.0:
        raise Refused("scale", "expected 1, without packed batching; export the model without fusion")
    steps, rank = Steps(b, n), b.rank(n.inputs[0])
    table = b.hint(n.inputs[2]).shape
    half = table[-1] if table else None
    heads = int(n.attrs.get("num_heads", 0))
    if rank not in (3, 4) or not isinstance(half, int):
        raise Refused("", "expected an input of rank 3 or 4 and tables of known width")
    if rank == 3 and heads < 1:
        width = b.hint(n.inputs[0]).shape
        if width is None or not isinstance(width[-1], int) or n.attrs.get("rotary_embedding_dim", 0):
            raise Refused("num_heads", "expected a number of heads above 0")
        heads = width[-1] // (2 * half)
    x = steps.heads(b.use(n.inputs[0]), heads) if rank == 3 else b.use(n.inputs[0])
    at = b.use(n.inputs[1])
    if b.rank(n.inputs[1]) == 1:
        at = steps("Unsqueeze", steps("Add", at, steps.count(steps.size(x, 2))), steps.ints(0))
    cos, sin = (steps("Unsqueeze", steps("Gather", b.use(n.inputs[i]), at, axis=0), steps.ints(1)) for i in (2, 3))
    depth = _depth(b, n.inputs[0], heads)
    kept = [] if depth == 2 * half else [depth - 2 * half]
    turned, *rest = steps.split(x, 3, [2 * half, *kept]) if kept else [x]
    if n.attrs.get("interleaved", 0):
        pairs = steps("Reshape", turned, steps.ints(0, 0, 0, half, 2))
        low, high = (steps("Squeeze", p, steps.ints(4)) for p in steps.split(pairs, 4, [1, 1]))
    else:
        low, high = steps.split(turned, 3, [half, half])
    real = steps("Sub", steps("Mul", low, cos), steps("Mul", high, sin))
    imaginary = steps("Add", steps("Mul", high, cos), steps("Mul", low, sin))
    if n.attrs.get("interleaved", 0):
        made = steps("Concat", *(steps("Unsqueeze", v, steps.ints(4)) for v in (real, imaginary)), axis=4)
        parts = [steps("Reshape", made, steps.ints(0, 0, 0, 2 * half)), *rest]
    else:
        parts = [real, imaginary, *rest]
    if rank == 4:
        steps("Concat", *parts, axis=3, out=n.outputs[0])
    else:
        steps.together(steps("Concat", *parts, axis=3), n.outputs[0])
