"""Kernels of recurrent layers: their table rows. Sources are the sibling files, imported by the compiler only."""

from __future__ import annotations

from edgert.kernels_cpu.spec import KernelSpec

GROUP = 4
"""Sequences of a chunk: they go side by side and share the reading of weights."""
RNN_FUNCTIONS = ("tanh", "relu", "sigmoid")
"""Activations of rnn_f32_row; the position is the `function` param."""

_FOLDER = "edgert.kernels_cpu.recurrent"
_SIZES = (
    "steps batch hidden reverse x_step x_row x_direction w_direction y_step y_row y_direction h_row h_direction clip"
)

KERNELS: tuple[KernelSpec, ...] = (
    KernelSpec(
        name="lstm_f32_row",
        module=f"{_FOLDER}.lstm",
        function="lstm",
        operands="x w h0 c0 lengths y y_h y_c",
        params=f"{_SIZES} peepholes",
        summary="the steps of an LSTM, given the products of its input: gates from the last state, cell, output",
    ),
    KernelSpec(
        name="gru_f32_row",
        module=f"{_FOLDER}.gru",
        function="gru",
        operands="x w h0 lengths y y_h",
        params=f"{_SIZES} linear",
        summary="the steps of a GRU, given the products of its input; the reset gate before or after the product",
    ),
    KernelSpec(
        name="rnn_f32_row",
        module=f"{_FOLDER}.rnn",
        function="rnn",
        operands="x w h0 lengths y y_h",
        params=f"{_SIZES} function",
        summary="the steps of a plain recurrent layer, given the products of its input",
    ),
)
