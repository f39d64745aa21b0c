"""NeuronFFN: of a gated feed-forward layer, only the neurons whose gate passes a threshold.

The product that makes the gates is an ordinary Gemm (grouped.py and its kin).
"""

from __future__ import annotations

from edgert.format.encodings import NEURONS, neurons_of
from edgert.format.encodings.neurons import BLOCK
from edgert.format.model import StoredTensor
from edgert.kernels_cpu.neurons import ACTIVATIONS as GATES
from edgert.kernels_cpu.neurons import LISTED
from edgert.plan.lowering.api import (
    ACTIVATIONS,
    Buffer,
    Emitter,
    Offer,
    Refusal,
    Site,
    g32_depth,
    layout_nbytes,
    lowers,
)  # fmt: skip
from edgert.plan.lowering.shapes import is_constant, split, too_large

PREPARED = 1024
"""Bytes of 128 values of four rows of x as the up kernel keeps them in scratch, for each term."""
ROWS = 3
"""Rows whose sums the down kernel has in scratch at most, four bytes each."""
ACTIVE = 0.6
"""Share of neurons that a run is expected to need: what work and traffic are predicted with."""
EFFICIENCY = {"avx512vnni": 0.5, "avxvnni": 0.35, "avx2": 0.35, "dotprod": 0.3, "neon": 0.3, "portable": 0.2}
"""Of the float peak, for both products of a neuron together."""


@lowers("NeuronFFN")
def neuron_ffn(site: Site) -> Offer | Refusal:
    """x float32 [T, D] as g32, gate float32 [T, F], neurons4 or neurons8 [F, 2, D] where the file has them.

    Four ops in a row: gate (activations, and a mark for each neuron that any row needs), list (the numbers of those
    that are marked), up (h = a * x . up), down (y = residual + h columns). Where neurons stay in storage, what reads
    them comes between list and up: it needs `listed` whole and says in `slots` where each one is, from the address that
    `data` then is. In memory, slots are the numbers of the neurons themselves.
    """
    kernel = "neurons_up4_f32"
    x, gate, stored = site.inputs[0], site.inputs[1], site.stored[2]
    if x is None or gate is None or x.dtype != "float32" or gate.dtype != "float32":
        return Refusal(kernel, "expected float32 activations and gates")
    if is_constant(site, 0) or is_constant(site, 1) or stored is None or stored.encoding not in NEURONS:
        found = "none" if stored is None else stored.encoding
        return Refusal(kernel, f"expected constant weights in {' or '.join(NEURONS)}, found {found}")
    residual = 3 if len(site.inputs) > 3 and site.inputs[3] is not None else None
    if residual is not None and is_constant(site, residual):
        return Refusal(kernel, "expected an activation as the residual")
    kind = site.node.attr_str("activation", "Silu")
    if kind not in GATES:
        return Refusal(kernel, f"expected an activation among {', '.join(GATES)}, found {kind!r}")
    if 0 in x.static_shape or stored.shape[0] == 0:
        return Refusal(kernel, f"nothing to multiply: {list(x.shape)} by {list(stored.shape)}")
    return _offer(site, stored, kind, residual)


def _offer(site: Site, stored: StoredTensor, kind: str, residual: int | None) -> Offer | Refusal:
    x, gate, y = site.inputs[0], site.inputs[1], site.outputs[0]
    assert x is not None and gate is not None
    (rows, columns), width = x.static_shape, stored.shape[0]
    encoding = neurons_of(stored.encoding)
    neuron, blocks = encoding.neuron_nbytes(columns), encoding.blocks(columns)
    up, down = (f"neurons_{way}{encoding.bits}_f32" for way in ("up", "down"))
    terms, layout = (2 if site.activations == "int16" else 1), ACTIVATIONS[site.activations]
    read = round(ACTIVE * stored.nbytes)
    macs = round(ACTIVE * 2 * rows * width * columns)
    nbytes = read + layout_nbytes(x, layout) + 3 * gate.nbytes + y.nbytes
    common: dict[str, int | float] = {"rows": rows, "width": width, "blocks": blocks, "neuron": neuron}

    def emit(emitter: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        kept, marks = emitter.workspace(gate.nbytes), emitter.workspace(4 * width)
        listed, h = emitter.workspace(LISTED + 4 * width), emitter.workspace(gate.nbytes)
        present = emitter.rows(rows)
        emitter.op(
            "neurons_gate_f32", {"x": inputs[1], "y": kept, "any": marks, "rows_at": present},
            {"kind": GATES.index(kind), "rows": rows, "width": width,
             "threshold": site.node.attr_float("threshold", 0.0)},
            chunks=split(site.threads, -(-width // 64), 2 * gate.nbytes, 40 * gate.numel),
        )  # fmt: skip
        emitter.op("neurons_list_f32", {"any": marks, "listed": listed}, {"width": width}, chunks=1)
        data = emitter.weights(stored, "data")
        # Where all neurons are active, reading them one by one only loses what reading ahead gains.
        rests = site.node.attr_float("threshold", 0.0) > 0 or kind == "Relu"
        slots = emitter.select(stored, "data", listed, count=width, nbytes=neuron) if rests else None
        placed = {"listed": listed, "slots": slots or listed, "data": data, "h": h, "rows_at": present}
        offsets = {"slots": LISTED} if slots is None else {}
        emitter.op(
            up, {"x": inputs[0], "gate": kept, **placed}, {**common, "terms": terms, "depth": g32_depth(columns)},
            chunks=split(site.threads, width, read // 2, macs // 2), scratch=PREPARED * terms * blocks,
            offsets=offsets,
        )  # fmt: skip
        added = None if residual is None else inputs[residual]
        emitter.op(
            down, {**placed, "residual": added, "y": outputs[0]}, {**common, "columns": columns},
            chunks=split(site.threads, blocks, read // 2, macs // 2), scratch=4 * BLOCK * ROWS * blocks,
            offsets=offsets,
        )  # fmt: skip

    reason = f"neurons of {encoding.bits} bits one by one, {_said(site, kind)}"
    layouts = (layout, "row", None, "row" if residual is not None else None)[: len(site.inputs)]
    return too_large(up, nbytes, stored.nbytes, PREPARED * terms * blocks) or Offer(
        up, layouts, ("row",), macs, nbytes, "fma32", EFFICIENCY[site.level.symbol], reason, emit, in_place=residual,
        streamed=read,
    )  # fmt: skip


def _said(site: Site, kind: str) -> str:
    threshold = site.node.attr_float("threshold", 0.0)
    return f"those with {kind} of the gate above {threshold:.3g}" if threshold else f"those with {kind} not 0"
