"""Measures what this machine reaches, with real kernels in small models, for the cost model in plan/cost.py.

Takes well under a second once the kernels are compiled. Run by `edgert doctor`, `inspect --plan` and `bench`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import numpy as np

from edgert.format import Model, StoredTensor
from edgert.graph.ir import Graph, Node, Quantization, TensorType
from edgert.kernels_cpu.levels import Level
from edgert.kernels_cpu.library import KernelLibrary, Progress
from edgert.plan.cost import DEFAULT_PEAKS, Peaks, load_peaks, store_peaks
from edgert.plan.planner import make_plan
from edgert.runtime.executable import Executable

CHANNELS, SIZE = 64, 28
"""A pointwise convolution of 3.2 million multiply-adds, resident in the caches."""
MEASURE_SECONDS = 0.1
COPY_BYTES = 1 << 20
"""Half in, half out: like the activations of a vision model, beyond the first-level cache."""
STREAM_BYTES = 64 << 20
"""Read once: like the weights of a language model, beyond all caches."""


def ensure_peaks(level: Level, library: KernelLibrary, progress: Progress | None = None) -> Peaks:
    """The peaks of this machine, measured and stored now if they are not yet. A cache that cannot be written
    does not matter: they are measured again next time."""
    peaks = load_peaks(level)
    if peaks.source == "measured":
        return peaks
    peaks = calibrate(level, library, progress)
    with suppress(OSError):
        store_peaks(level, peaks)
    return peaks


def calibrate(level: Level, library: KernelLibrary, progress: Progress | None = None) -> Peaks:
    """Measures int8 and float multiply-adds and bytes per second of one thread at `level`."""
    peaks = replace(DEFAULT_PEAKS[level.name], source="measured", bytes=_copy_rate(), stream=_stream_rate())
    for unit, model in (("dot8", _int8_model()), ("fma32", _float_model())):
        rate = _rate(model, unit, level, library, peaks, progress)
        peaks = replace(peaks, dot8=rate) if unit == "dot8" else replace(peaks, fma32=rate)
    return peaks


def _rate(
    model: Model, unit: str, level: Level, library: KernelLibrary, peaks: Peaks, progress: Progress | None
) -> float:
    """Multiply-adds per second at efficiency 1, from the convolution of `model` as it is planned."""
    plan = make_plan(model.graph, model.tensors, level=level, threads=1, peaks=peaks)
    step = next((s for s in plan.steps if s.kind == "native" and s.macs), None)
    if step is None:
        return float(getattr(peaks, unit))
    library.prepare(plan.program.kernels, progress)
    executable = Executable(plan, library, None)
    feeds = {name: np.zeros(slot.type.static_shape, slot.type.np_dtype) for name, slot in plan.inputs.items()}

    def once() -> float:
        return next(t.us for t in executable.profile(feeds) if t.node == step.node) / 1e6

    # What the plan predicts at these peaks is right for the peak that makes it true.
    predicted = step.predicted_us / 1e6
    return float(getattr(peaks, unit)) * predicted / _best(once)


def _best(once: Callable[[], float]) -> float:
    """The least seconds of `once` within MEASURE_SECONDS, three times at least."""
    end = time.perf_counter() + MEASURE_SECONDS
    times = [once() for _ in range(3)]
    while time.perf_counter() < end:
        times.append(once())
    return min(times)


def _copy_rate() -> float:
    source, target = np.ones(COPY_BYTES // 2, np.uint8), np.zeros(COPY_BYTES // 2, np.uint8)

    def once() -> float:
        start = time.perf_counter()
        np.copyto(target, source)
        return time.perf_counter() - start

    return COPY_BYTES / _best(once)


def _stream_rate() -> float:
    source = np.ones(STREAM_BYTES // 8, np.int64)

    def once() -> float:
        start = time.perf_counter()
        source.sum()
        return time.perf_counter() - start

    return STREAM_BYTES / _best(once)


def _float_model() -> Model:
    kind = TensorType("float32", (1, CHANNELS, SIZE, SIZE))
    weights = StoredTensor.pack_dense("w", np.ones((CHANNELS, CHANNELS, 1, 1), np.float32), "n4k1")
    node = Node("Conv", ("x", "w"), ("y",), {"kernel_shape": [1, 1]}, "conv")
    graph = Graph("probe", ["x"], ["y"], [node], {"x": kind, "y": kind, "w": weights.type})
    return Model(graph, {"w": weights})


def _int8_model() -> Model:
    kind = TensorType(
        "uint8", (1, CHANNELS, SIZE, SIZE), Quantization(np.array(0.02, np.float32), np.array(128, np.int32))
    )
    values = np.ones((CHANNELS, CHANNELS, 1, 1), np.int8)
    weights = StoredTensor.pack_q8("w", values, np.full(CHANNELS, 0.01, np.float32), "n4k4")
    bias = StoredTensor.pack_dense("b", np.zeros(CHANNELS, np.int32))
    node = Node("QLinearConv", ("x", "w", "b"), ("y",), {"kernel_shape": [1, 1]}, "conv")
    types = {"x": kind, "y": kind, "w": weights.type, "b": bias.type}
    graph = Graph("probe", ["x"], ["y"], [node], types, {"b": bias.parts["data"]})
    return Model(graph, {"w": weights, "b": bias})
