"""A straightforward OpenCL runtime to compare with: the kernels of naive.cl, a buffer for every tensor, and operator by
operator `kernel(queue, ...)` from Python, which sets the arguments each time.

It knows the operators of EfficientNet-Lite0 (float, int8) and of decoders of the llama family, batch 1, a token a run.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgert.errors import UnsupportedError
from edgert.format import Model
from edgert.graph.evaluate import as_quant
from edgert.graph.infer import infer_types
from edgert.graph.ir import Array, Node, Quantization, TensorType
from edgert.kernels_cpu.reference.fused import bounds, split_residual
from edgert.kernels_cpu.reference.quantization import ratio, stored_bounds
from edgert.kernels_cpu.reference.registry import Call
from edgert.kernels_cpu.reference.window import window

SOURCE = Path(__file__).with_name("naive.cl")
SEEN = -1
"""A size that is the number of positions in the cache."""

Launch = tuple[Any, tuple[int, ...], tuple[Any, ...]]
"""A kernel, its work-items, its arguments."""


class Naive:
    """`model` on an OpenCL device. bindings: its free dimensions. Raises UnsupportedError for other operators."""

    def __init__(self, cl: Any, device: Any, model: Model, bindings: Mapping[str, int]) -> None:
        self.graph, self._tensors, self._cl = infer_types(model.graph, bindings), model.tensors, cl
        self._context = cl.Context([device])
        self._queue = cl.CommandQueue(self._context)
        with warnings.catch_warnings(action="ignore"):  # compilers have remarks, which pyopencl passes on
            program = cl.Program(self._context, SOURCE.read_text()).build()
        self._kernels = {kernel.function_name: kernel for kernel in program.all_kernels()}
        self._buffers: dict[str, Any] = {}
        self._launches: list[Launch] = []
        states = {present: past for past, present in self.graph.states.items()}
        for name in self.graph.inputs:
            if name in self.graph.states:  # begins with zeros
                self._buffers[name] = self._made(np.zeros(self._type(name).static_shape, self._type(name).np_dtype))
        for node in self.graph.nodes:
            for name in node.outputs:
                past = states.get(name)
                # The present is written into the past.
                self._buffers[name] = self._buffers[past] if past else self._empty(self._type(name).nbytes)
            make = OPERATORS.get(node.op)
            if make is None:
                raise UnsupportedError(f"node {node.name!r}: expected one of {', '.join(OPERATORS)}, found {node.op}")
            make(self, node)

    @property
    def launches(self) -> int:
        """Kernels in a run."""
        return len(self._launches)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name, but for states, which stay on the device."""
        self._enqueue(self._queue, feeds)
        found = {}
        for name in self.graph.outputs:
            if name not in self.graph.states.values():
                found[name] = np.empty(self._type(name).static_shape, self._type(name).np_dtype)
                self._cl.enqueue_copy(self._queue, found[name], self._buffers[name])
        return found

    def profile(self, feeds: Mapping[str, Array]) -> list[tuple[str, float]]:
        """(kernel, microseconds by the device's clock) of each launch of a run."""
        flags = self._cl.command_queue_properties
        queue = self._cl.CommandQueue(self._context, properties=flags.PROFILING_ENABLE)
        events = self._enqueue(queue, feeds)
        queue.finish()
        names = (kernel.function_name for kernel, _, _ in self._launches)
        return [(name, (e.profile.end - e.profile.start) / 1e3) for name, e in zip(names, events, strict=True)]

    def _enqueue(self, queue: Any, feeds: Mapping[str, Array]) -> list[Any]:
        """Events of all launches."""
        for name, value in feeds.items():
            self._cl.enqueue_copy(queue, self._buffer(name), np.ascontiguousarray(value), is_blocking=False)
        seen = int(feeds["positions"][-1]) + 1 if "positions" in feeds else 0
        events = []
        for kernel, items, arguments in self._launches:
            if items[0] == SEEN:
                items = (seen, *items[1:])
            events.append(kernel(queue, items, None, *arguments))
        return events

    # ---- memory
    def _type(self, name: str) -> TensorType:
        return self.graph.types[name]

    def _empty(self, nbytes: int) -> Any:
        return self._cl.Buffer(self._context, self._cl.mem_flags.READ_WRITE, nbytes)

    def _made(self, value: Array) -> Any:
        flags = self._cl.mem_flags
        return self._cl.Buffer(
            self._context, flags.READ_WRITE | flags.COPY_HOST_PTR, hostbuf=np.ascontiguousarray(value)
        )

    def _buffer(self, name: str) -> Any:
        """Of an input, a result or a constant; null for what is absent."""
        if not name:
            return None
        if name not in self._buffers:
            constant = self.graph.constants.get(name)
            if constant is None and name in self._tensors:
                constant = self._tensors[name].dense()
            self._buffers[name] = self._empty(self._type(name).nbytes) if constant is None else self._made(constant)
        return self._buffers[name]

    def _launch(self, kernel: str, items: tuple[int, ...], *arguments: Any) -> None:
        """Names of tensors, ints and floats as OpenCL takes them."""
        plain: dict[type, Callable[[Any], Any]] = {str: self._buffer, int: np.int32, float: np.float32}
        values = (plain[type(value)](value) if type(value) in plain else value for value in arguments)
        self._launches.append((self._kernels[kernel], items, tuple(values)))

    # ---- networks
    def _call(self, node: Node) -> Call:
        """`node` as the reference operators know it."""
        kinds = [self._type(name) for name in node.outputs]
        quants = [as_quant(self._type(name).quant) if name else None for name in node.inputs]
        outs = tuple(as_quant(kind.quant) for kind in kinds)
        return Call(node.op, dict(node.attrs), tuple(quants), outs, tuple(kind.dtype for kind in kinds))

    def _quant(self, name: str) -> Quantization:
        quant = self._type(name).quant
        assert quant is not None
        return quant

    def _rest(self, node: Node) -> tuple[str, str]:
        """(bias, residual), '' for one that is absent."""
        bias, residual = split_residual(self._call(node), tuple(node.inputs[2:]))  # type: ignore[arg-type]
        return str(bias or ""), str(residual or "")

    def _storing(self, node: Node) -> tuple[int, int, int, int]:
        """Zero points of input and output, the least and the largest byte of the output."""
        low, high = stored_bounds(self._call(node))
        zeros = (self._quant(name).zero_point.item() for name in (node.inputs[0], node.outputs[0]))
        return (*zeros, low, high)  # type: ignore[return-value]

    def _multiplier(self, node: Node) -> Array:
        x, w, y = (self._quant(name) for name in (*node.inputs[:2], node.outputs[0]))
        return ratio((x.scale, w.scale), y.scale)

    def conv(self, node: Node) -> None:
        x, w, y = node.inputs[0], node.inputs[1], node.outputs[0]
        (_, _, height, width), (count, channels, *kernel) = self._type(x).static_shape, self._type(w).static_shape
        place = window((height, width), kernel, node.attrs)
        if set(place.dilations) != {1}:
            raise UnsupportedError(f"node {node.name!r}: expected no dilation, found {place.dilations}")
        bias, residual = self._rest(node)
        shape = [height, width, channels, count // node.attr_int("group", 1), *kernel, *place.strides, *place.before]
        items = (place.out[1], place.out[0], count)
        if node.op == "Conv":
            self._launch("conv_f32", items, x, w, bias, residual, y, *shape, *map(float, bounds(self._call(node))))
            return
        more = (0, 0.0)
        if residual:
            quant = self._quant(residual)
            more = (quant.zero_point.item(), float(ratio((quant.scale,), self._quant(y).scale)))
        scale = self._made(np.broadcast_to(self._multiplier(node), (count,)))
        self._launch("conv_u8", items, x, w, bias, residual, y, *shape, scale, *self._storing(node), *more)

    def average(self, node: Node) -> None:
        (x,), (y,) = node.inputs, node.outputs
        channels, size = self._type(x).static_shape[1], int(np.prod(self._type(x).static_shape[2:]))
        if node.op == "GlobalAveragePool":
            self._launch("average_f32", (channels,), x, y, size)
            return
        scale = float(ratio((self._quant(x).scale,), self._quant(y).scale * np.float64(size)))
        self._launch("average_u8", (channels,), x, y, size, scale, *self._storing(node))

    def flatten(self, node: Node) -> None:
        self._buffers[node.outputs[0]] = self._buffers[node.inputs[0]]

    def quantize(self, node: Node) -> None:
        (x,), (y,) = node.inputs, node.outputs
        name, quant = ("quantize", self._quant(y)) if node.op == "QuantizeLinear" else ("dequantize", self._quant(x))
        self._launch(name, (self._type(x).numel,), x, y, float(quant.scale), quant.zero_point.item())

    def gemm(self, node: Node) -> None:
        x, w, y = node.inputs[0], node.inputs[1], node.outputs[0]
        (rows, depth), count = self._type(x).static_shape, self._type(w).static_shape[0]
        bias, residual = self._rest(node)
        encoding = self._tensors[w].encoding
        if rows != 1 or not node.attr_int("transB", 0):
            raise UnsupportedError(f"node {node.name!r}: expected a row times a transposed matrix")
        if encoding in ("q4", "q8g"):
            self._launch(f"matvec_{encoding}", (count,), x, *self._groups(w), residual, y, depth)
        elif node.op == "QLinearGemm":
            scale = self._made(np.broadcast_to(self._multiplier(node), (count,)))
            self._launch("gemm_u8", (count,), x, w, bias, y, depth, scale, *self._storing(node))
        else:
            limits = map(float, bounds(self._call(node)))
            self._launch("gemm_f32", (count, rows), x, w, bias, residual, y, depth, *limits)

    # ---- language models
    def _groups(self, name: str) -> tuple[Any, Any]:
        """(numbers, scales) of weights in groups of 32, rows as they are; numbers of q4 two in a byte."""
        if name not in self._buffers:
            numbers, scale, _ = self._tensors[name].groups()
            if self._tensors[name].encoding == "q4":
                numbers = numbers[:, 0::2] | numbers[:, 1::2] << 4
            self._buffers[name] = (self._made(numbers), self._made(scale))
        numbers, scale = self._buffers[name]
        return numbers, scale

    def gather(self, node: Node) -> None:
        table, token = node.inputs
        depth = self._type(table).static_shape[1]
        self._launch("gather_q8g", (depth,), *self._groups(table), token, node.outputs[0], depth)

    def norm(self, node: Node) -> None:
        x, weight = node.inputs
        depth = self._type(x).static_shape[-1]
        self._launch("rms_norm", (depth,), x, weight, node.outputs[0], depth, node.attr_float("epsilon", 1e-5))

    def glu(self, node: Node) -> None:
        width = self._type(node.outputs[0]).static_shape[-1]
        if node.attr_str("activation", "Silu") != "Silu":
            raise UnsupportedError(f"node {node.name!r}: expected Silu")
        self._launch("silu_times", (width,), node.inputs[0], node.outputs[0], width)

    def attention(self, node: Node) -> None:
        qkv, past_key, past_value, positions, inv_freq = node.inputs
        heads, kv_heads = node.attr_int("num_heads", 1), node.attr_int("kv_num_heads", 1)
        _, context, depth = self._type(past_key).static_shape
        if 2 * self._type(inv_freq).static_shape[0] != depth or set(node.attrs) > {
            "num_heads",
            "kv_num_heads",
            "causal",
        }:
            raise UnsupportedError(f"node {node.name!r}: expected plain attention, found {node.attrs}")
        query, scores = self._empty(4 * heads * depth), self._empty(4 * heads * context)
        self._launch(
            "rope", (depth, heads + 2 * kv_heads), qkv, positions, inv_freq, query, past_key, past_value, heads,
            kv_heads, context, depth**-0.5,
        )  # fmt: skip
        self._launch("scores", (SEEN, heads), query, past_key, scores, heads // kv_heads, context, depth)
        self._launch("softmax", (heads,), scores, positions, context)
        self._launch(
            "weighted", (depth, heads), scores, past_value, positions, node.outputs[0], heads // kv_heads, context
        )


OPERATORS: dict[str, Callable[[Naive, Node], None]] = {
    "Conv": Naive.conv, "QLinearConv": Naive.conv,
    "GlobalAveragePool": Naive.average, "QLinearGlobalAveragePool": Naive.average,
    "Flatten": Naive.flatten, "Gemm": Naive.gemm, "QLinearGemm": Naive.gemm,
    "QuantizeLinear": Naive.quantize, "DequantizeLinear": Naive.quantize,
    "Gather": Naive.gather, "RMSNormalization": Naive.norm, "GLU": Naive.glu,
    "GroupQueryAttention": Naive.attention,
}  # fmt: skip
