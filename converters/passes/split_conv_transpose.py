"""ConvTranspose becomes convolutions whose outputs are interleaved: every kernel for Conv then serves it.
What a transposed convolution means is in `kernels_cpu/reference/conv.py`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from edgert.converters.passes.rewrite import Rewriter
from edgert.graph.infer import node_types
from edgert.graph.infer_conv import PROBE
from edgert.graph.ir import Array, Attr, Graph, Node
from edgert.kernels_cpu.reference.window import Window, transposed_window

MAX_CONVS = 16
"""More convolutions than this for one node cost more in calls than they save."""


@dataclass(frozen=True)
class Phase:
    """Output positions stride * q + phase of one axis: sum over t of x[q + start + t * step] * w[taps[t]]."""

    taps: tuple[int, ...]
    start: int
    step: int


def phases_of(win: Window, axis: int) -> list[Phase] | None:
    """The phases of one axis, `strides[axis]` of them; None where one has no tap, or begins past the first value.

    Output y takes x[i] * w[k] for y + before = stride * i + dilation * k.
    """
    stride, dilation = win.strides[axis], win.dilations[axis]
    found = []
    for phase in range(stride):
        at = phase + win.before[axis]
        taps = [k for k in range(win.kernel[axis]) if (at - k * dilation) % stride == 0][::-1]
        start = (at - taps[0] * dilation) // stride if taps else 1
        if start > 0:
            return None
        found.append(Phase(tuple(taps), start, dilation // math.gcd(stride, dilation)))
    return found


def split_conv_transpose(graph: Graph) -> Graph:
    """Writes each ConvTranspose with constant weights over one or two axes as one Conv per group of output phases
    that see the same inputs, and DepthToSpace. With stride 1 that is one Conv with its kernel turned around.

    Source: Shi et al. 2016, 'Is the deconvolution layer the same as a convolutional layer?'.
    """
    rw = Rewriter(graph)
    for node in list(rw.graph.nodes):
        if node.op == "ConvTranspose":
            nodes = _split(rw, node)
            if nodes:
                rw.replace([node], nodes)
    return rw.finish()


def _split(rw: Rewriter, node: Node) -> list[Node] | None:
    """What stands for `node`, with the types of its tensors; None where it stays as it is."""
    x, w, bias = rw.type_of(node.inputs[0]), rw.constant(node.inputs[1]), (*node.inputs, "")[2]
    rank = 0 if x is None else len(x.shape) - 2
    if x is None or w is None or rank not in (1, 2) or not w.size or w.dtype.kind != "f":
        return None
    if bias and rw.constant(bias) is None:
        return None
    sizes = [d if isinstance(d, int) else PROBE for d in x.shape[2:]]
    named = any(isinstance(d, str) for d in x.shape[2:])
    if named and (node.attrs.get("output_shape") or node.attr_str("auto_pad", "NOTSET") != "NOTSET"):
        return None  # the pads depend on the size
    win = transposed_window(sizes, w.shape[2:], node.attrs)
    axes = [phases_of(win, axis) for axis in range(rank)]
    if any(phases is None for phases in axes):
        return None
    known = [phases for phases in axes if phases is not None]
    equal = len(set(win.strides)) == 1
    if not equal and named:
        return None
    # Positions of q that every phase computes, at least those the output has.
    counts = [
        max(-(-o // s), *(n - (len(p.taps) - 1) * p.step - p.start for p in phases))
        for o, s, n, phases in zip(win.out, win.strides, sizes, known, strict=True)
    ]
    merged = node.attr_int("group", 1) == 1
    groups = [_grouped(phases, merged) for phases in known]
    if math.prod(len(g) for g in groups) > MAX_CONVS:
        return None
    made = _Made(rw, node)
    parts, order = [], []
    for chosen in product(*groups):
        numbers = list(product(*chosen))
        order += [np.ravel_multi_index(number, win.strides) for number in numbers]
        first = [phases[c[0]] for phases, c in zip(known, chosen, strict=True)]
        parts.append(_conv(made, w, first, numbers, known, counts, sizes))
    joined = parts[0] if len(parts) == 1 else made.node("Concat", parts, {"axis": 1}, "phases")
    filters = w.shape[1] * node.attr_int("group", 1)
    if order != sorted(order):
        places = np.argsort(order)[:, None] * filters + np.arange(filters)
        joined = made.node("Gather", [joined, made.constant("order", places.ravel())], {"axis": 1}, "ordered")
    whole = _interleaved(made, joined, win.strides, filters)
    extra = [c * s - o for c, s, o in zip(counts, win.strides, win.out, strict=True)]
    if any(extra):
        ends = np.array([-e if e else np.iinfo(np.int64).max for e in extra])
        limits = [made.constant("starts", np.zeros(rank, np.int64)), made.constant("ends", ends)]
        whole = made.node("Slice", [whole, *limits, made.constant("axes", np.arange(2, 2 + rank))], {}, "whole")
    if rw.type_of(whole) != rw.type_of(node.outputs[0]):
        return None  # a named size has another name, and might no longer be known to equal others
    made.nodes[-1].outputs = node.outputs
    return made.nodes


class _Made:
    """The nodes that replace one, in order."""

    def __init__(self, rw: Rewriter, node: Node) -> None:
        self.rw, self.source, self.nodes = rw, node, list[Node]()
        self.stem = node.name or node.outputs[0]

    def constant(self, what: str, value: Array) -> str:
        return self.rw.add_constant(f"{self.stem}_{what}", value)

    def node(self, op: str, inputs: Sequence[str], attrs: dict[str, Attr], what: str) -> str:
        """Adds a node; returns its output."""
        output = self.rw.add_tensor(f"{self.source.outputs[0]}/{what}", None)
        made = Node(op, tuple(inputs), (output,), attrs, f"{self.stem}/{what}{len(self.nodes) or ''}")
        self.rw.graph.types.update(node_types(self.rw.graph, made, self.rw.graph.constants))
        self.nodes.append(made)
        return output


def _grouped(phases: Sequence[Phase], merged: bool) -> list[list[int]]:
    """Numbers of the phases, those together that read the same inputs."""
    if not merged:
        return [[i] for i in range(len(phases))]
    groups: dict[tuple[int, int], list[int]] = {}
    for i, phase in enumerate(phases):
        groups.setdefault((phase.start, len(phase.taps)), []).append(i)
    return list(groups.values())


def _conv(
    made: _Made, w: Array, first: Sequence[Phase], numbers: Sequence[tuple[int, ...]],
    known: Sequence[Sequence[Phase]], counts: Sequence[int], sizes: Sequence[int],
) -> str:  # fmt: skip
    """One Conv for the phases `numbers`, which read what the phases `first` of each axis read: [B, phases * N, *]."""
    node, rw = made.source, made.rw
    group = node.attr_int("group", 1)
    channels, filters = w.shape[0] // group, w.shape[1]
    split = w.reshape(group, channels, filters, *w.shape[2:]).swapaxes(1, 2)
    kernels = []
    for number in numbers:
        taps = [phases[i].taps for phases, i in zip(known, number, strict=True)]
        chosen = split
        for axis, places in enumerate(taps, 3):
            chosen = np.take(chosen, places, axis)
        kernels.append(chosen.reshape(group * filters, channels, *(len(t) for t in taps)))
    inputs = [node.inputs[0], made.constant("weight", np.concatenate(kernels))]
    if len(node.inputs) > 2 and node.inputs[2]:
        inputs.append(made.constant("bias", np.tile(rw.graph.constants[node.inputs[2]], len(numbers))))
    before = [-p.start for p in first]
    after = [
        c + p.start + (len(p.taps) - 1) * p.step - n for c, p, n in zip(counts, first, sizes, strict=True)
    ]  # fmt: skip
    attrs: dict[str, Attr] = {
        "kernel_shape": [len(p.taps) for p in first], "pads": before + after, "dilations": [p.step for p in first],
        "strides": [1] * len(first), "group": group,
    }  # fmt: skip
    attrs |= {key: node.attrs[key] for key in ("activation", "clip_min", "clip_max") if key in node.attrs}
    return made.node("Conv", inputs, attrs, "phase")


def _interleaved(made: _Made, x: str, strides: Sequence[int], filters: int) -> str:
    """[B, phases * N, *S] as [B, N, *(S * strides)]."""
    if math.prod(strides) == 1:
        return x
    if len(strides) == 2 and strides[0] == strides[1]:
        return made.node("DepthToSpace", [x], {"blocksize": strides[0], "mode": "DCR"}, "interleaved")
    rank, spatial = len(strides), made.rw.graph.types[x].shape[2:]
    if rank == 1:
        apart, whole = [0, strides[0], filters, -1], [0, 0, -1]
    else:
        sizes = [int(n) for n in spatial]
        apart, whole = [0, *strides, filters, *sizes], [0, 0, *(n * s for n, s in zip(sizes, strides, strict=True))]
    perm = [0, rank + 1, *(place for axis in range(rank) for place in (rank + 2 + axis, 1 + axis))]
    x = made.node("Reshape", [x, made.constant("apart", np.array(apart))], {}, "apart")
    x = made.node("Transpose", [x], {"perm": perm}, "together")
    return made.node("Reshape", [x, made.constant("shape", np.array(whole))], {}, "interleaved")
