"""LSTM, GRU and RNN: one product of the whole sequence with the input weights, then the steps, sequence by sequence.

The product is the float kernel of `matmul.py`, into memory that lives for the node; its bias has what the steps add.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from edgert.format.layouts import pack
from edgert.graph.infer_recurrent import DIRECTIONS, FUNCTIONS, GATES
from edgert.graph.ir import Array
from edgert.kernels_cpu.recurrent import GROUP, RNN_FUNCTIONS
from edgert.plan.lowering.api import Buffer, Emitter, Offer, Refusal, Site, lowers
from edgert.plan.lowering.matmul import parts
from edgert.plan.lowering.shapes import is_constant, too_large

ROW, HIDDEN_STATE, CELL_STATE, PEEPHOLES = 4, 5, 6, 7
"""Positions of the optional inputs: lengths, initial states, peepholes."""
DEFAULTS = {"LSTM": ["sigmoid", "tanh", "tanh"], "GRU": ["sigmoid", "tanh"], "RNN": ["tanh"]}
KERNELS = {"LSTM": "lstm_f32_row", "GRU": "gru_f32_row", "RNN": "rnn_f32_row"}
STEP_EFFICIENCY = 0.15
"""Share of the peak: most of the work reads weights from the second-level cache, once for every step."""


@dataclass(frozen=True)
class Layer:
    """Sizes of a layer. `padded` is the hidden size in whole lines of 16, by which gates lie apart."""

    op: str
    directions: int
    steps: int
    batch: int
    width: int
    hidden: int
    batchwise: bool

    @classmethod
    def of(cls, site: Site) -> Layer:
        node, x, r = site.node, site.inputs[0], site.inputs[2]
        assert x is not None and r is not None
        first, second, width = x.static_shape
        batchwise = bool(node.attr_int("layout", 0))
        steps, batch = (second, first) if batchwise else (first, second)
        directions = DIRECTIONS[node.attr_str("direction", "forward")]
        return cls(node.op, directions, steps, batch, width, r.static_shape[2], batchwise)

    @property
    def gates(self) -> int:
        return GATES[self.op]

    @property
    def padded(self) -> int:
        return -(-self.hidden // 16) * 16

    @property
    def columns(self) -> int:
        """Columns of the product: all gates of all directions."""
        return self.directions * self.gates * self.padded

    def apart(self, values: Array, groups: int) -> Array:
        """[D, groups * H, ...] with every group of rows padded with zeros: [D, groups * padded, ...]."""
        rest = values.shape[2:]
        made = np.zeros((self.directions, groups, self.padded, *rest), np.float32)
        made[:, :, : self.hidden] = values.reshape(self.directions, groups, self.hidden, *rest)
        return made.reshape(self.directions, groups * self.padded, *rest)


def _constant(site: Site, index: int) -> Array | None:
    """The values of input `index`, None where it is absent or computed."""
    if index >= len(site.inputs) or site.inputs[index] is None:
        return None
    stored = site.stored[index]
    return stored.dense() if stored is not None else site.values[index]


def _given(site: Site, index: int) -> bool:
    return index < len(site.inputs) and site.inputs[index] is not None


def _refused(site: Site) -> str:
    """Why the kernels cannot run the node, '' when they can."""
    node, x = site.node, site.inputs[0]
    if x is None or x.dtype != "float32" or is_constant(site, 0) or x.numel == 0:
        return f"expected float32 activations, found {'nothing' if x is None else x.dtype}"
    for index, what in ((1, "W"), (2, "R"), (3, "B"), (PEEPHOLES, "P")):
        if _given(site, index) and _constant(site, index) is None:
            return f"expected a constant {what}"
    lengths = site.inputs[ROW] if _given(site, ROW) else None
    if lengths is not None and lengths.dtype != "int32":
        return f"expected sequence_lens of int32, found {lengths.dtype}"
    if node.attr_int("input_forget", 0):
        return "input_forget is not computed"
    if not _functions(site):
        return f"activations {node.attrs['activations']} are not computed"
    return ""


def _functions(site: Site) -> list[str]:
    """The activations, one direction's when all are the same; [] when no kernel has them."""
    names = site.node.attrs.get("activations")
    count, default = FUNCTIONS[site.node.op], DEFAULTS[site.node.op]
    if not names or not isinstance(names, list):
        return default
    lower = [str(name).lower() for name in names]
    first = lower[:count]
    known = first == default or (site.node.op == "RNN" and first[0] in RNN_FUNCTIONS)
    return first if known and lower == first * (len(lower) // count) else []


def _input_bias(site: Site, layer: Layer) -> Array:
    """What is added to the product of the input: both biases, but for that which the reset gate meets."""
    both = _constant(site, 3)
    if both is None:
        return np.zeros(-(-layer.columns // 64) * 64, np.float32)
    given, recurrent = np.split(both.astype(np.float32), 2, axis=1)
    if layer.op == "GRU" and site.node.attr_int("linear_before_reset", 0):
        recurrent = recurrent.copy()
        recurrent[:, 2 * layer.hidden :] = 0
    made = np.zeros(-(-layer.columns // 64) * 64, np.float32)
    made[: layer.columns] = layer.apart(given + recurrent, layer.gates).reshape(-1)
    return made


def _recurrent_weights(site: Site, layer: Layer) -> Array:
    """[D, n] float32: lines of the recurrent weights of each direction, then what its steps take besides."""
    weights = _constant(site, 2)
    assert weights is not None
    rows = layer.apart(np.asarray(weights, np.float32), layer.gates)
    made = [pack(np.ascontiguousarray(matrix), "n16k1").reshape(-1) for matrix in rows]
    extra: Array | None = _constant(site, PEEPHOLES) if layer.op == "LSTM" else None
    groups = 3
    if layer.op == "GRU" and _given(site, 3):
        both = _constant(site, 3)
        assert both is not None
        extra, groups = both[:, 5 * layer.hidden :], 1
    if extra is None:
        extra = np.zeros((layer.directions, groups * layer.hidden), np.float32)
    added = layer.apart(np.asarray(extra, np.float32), groups)
    return np.stack([np.concatenate(pair) for pair in zip(made, added, strict=True)])


@lowers("LSTM", "GRU", "RNN")
def recurrent(site: Site) -> Offer | Refusal:
    """float32, constant weights; activations as the layers usually have them."""
    kernel = KERNELS[site.node.op]
    why = _refused(site)
    if why:
        return Refusal(kernel, why)
    layer, node = Layer.of(site), site.node
    rows, columns, hidden = layer.steps * layer.batch, layer.columns, layer.hidden
    product_macs, step_macs = rows * columns * layer.width, rows * columns * hidden
    row_parts, column_parts = parts(site.threads, rows, columns, product_macs)
    product: dict[str, int | float] = {
        "rows": rows, "columns": columns, "steps": layer.width, "row_parts": row_parts, "column_parts": column_parts,
        "x_row": 4 * layer.width, "w_step": 64, "w_block": 64 * layer.width, "y_row": 4 * columns, "x_batch": 0,
        "w_batch": 0, "y_batch": 0, "low": -np.inf, "high": np.inf,
    }  # fmt: skip
    params = _step_params(site, layer)
    present = iter(range(len(site.outputs)))
    places = [next(present) if name else None for name in node.outputs]
    places += [None] * (3 - len(places))

    def emit(emitter: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        w = _constant(site, 1)
        assert w is not None
        lines = layer.apart(np.asarray(w, np.float32), layer.gates).reshape(columns, layer.width)
        made = emitter.workspace(4 * rows * columns)
        operands: dict[str, Buffer | None] = {
            "x": inputs[0], "w": emitter.constant(pack(lines, "n16k1")), "y": made, "residual": None, "rows_at": None,
            "bias": emitter.constant(_input_bias(site, layer)),
        }  # fmt: skip
        emitter.op("gemm_f32_n16k1", operands, product, chunks=row_parts * column_parts)
        weights = _recurrent_weights(site, layer)
        steps: dict[str, Buffer | None] = {"x": made, "w": emitter.constant(weights)}
        where = {"h0": HIDDEN_STATE, "lengths": ROW, "c0": CELL_STATE}
        for name in ("h0", "lengths", "c0") if layer.op == "LSTM" else ("h0", "lengths"):
            steps[name] = _operand(emitter, site, inputs, where[name])
        for name, place in zip(("y", "y_h", "y_c") if layer.op == "LSTM" else ("y", "y_h"), places, strict=False):
            steps[name] = None if place is None else outputs[place]
        chunks = layer.directions * -(-layer.batch // GROUP)
        # Two hidden states, a cell state where there is one, and sums of gates.
        scratch = GROUP * 4 * layer.padded * (layer.gates + (3 if layer.op == "LSTM" else 2))
        params["w_direction"] = weights.strides[0]
        emitter.op(kernel, steps, params, chunks=chunks, scratch=scratch)

    wanted = ["row"] + [
        "row" if _given(site, i) and not is_constant(site, i) else None for i in range(1, len(site.inputs))
    ]
    nbytes = 4 * (rows * (layer.width + 2 * columns) + columns * (layer.width + hidden))
    largest = max(
        4 * rows * columns, 4 * columns * (hidden + 1), *(4 * prod(kind.static_shape) for kind in site.outputs)
    )
    return too_large(kernel, largest) or Offer(
        kernel, tuple(wanted), ("row",) * len(site.outputs), product_macs + step_macs, nbytes, "fma32",
        STEP_EFFICIENCY, "one product for the whole sequence, then step by step", emit,
    )  # fmt: skip


def _operand(emitter: Emitter, site: Site, inputs: tuple[Buffer | None, ...], index: int) -> Buffer | None:
    """An optional input: a constant, the buffer of an activation, or None."""
    value = _constant(site, index)
    if value is not None:
        return emitter.constant(np.ascontiguousarray(value))
    return inputs[index] if _given(site, index) else None


def _step_params(site: Site, layer: Layer) -> dict[str, int | float]:
    """Sizes and strides in bytes of what the steps read and write; what only one of the layers has comes last."""
    node, columns, hidden = site.node, 4 * layer.columns, 4 * layer.hidden
    lead, direction = layer.batch, layer.directions
    params: dict[str, int | float] = {
        "steps": layer.steps, "batch": layer.batch, "hidden": layer.hidden,
        "reverse": int(node.attr_str("direction", "forward") == "reverse"),
        "x_step": columns if layer.batchwise else columns * lead,
        "x_row": columns * layer.steps if layer.batchwise else columns,
        "x_direction": columns // direction,
        "y_step": hidden * direction * (1 if layer.batchwise else lead),
        "y_row": hidden * (direction * layer.steps if layer.batchwise else 1),
        "y_direction": hidden * (1 if layer.batchwise else lead),
        "h_row": hidden * (direction if layer.batchwise else 1),
        "h_direction": hidden * (1 if layer.batchwise else lead),
        "clip": node.attr_float("clip", 0.0) or np.inf,
    }  # fmt: skip
    if layer.op == "LSTM":
        return params | {"peepholes": int(_given(site, PEEPHOLES))}
    if layer.op == "GRU":
        return params | {"linear": int(node.attr_int("linear_before_reset", 0) != 0)}
    return params | {"function": RNN_FUNCTIONS.index(_functions(site)[0])}
