"""Shape functions of signal operators: transforms, windows and mel weights; their lengths must be known.
What they compute is in `kernels_cpu/reference/signal.py`."""

from __future__ import annotations

from collections.abc import Sequence

from edgert.graph.broadcast import axis_of, constant_ints, known_size, not_quantized, same_dtype
from edgert.graph.infer_elementwise import FLOATS, INTEGERS, NUMBERS, dtype_attr, one_of, present
from edgert.graph.ir import Array, Dim, Node, TensorType
from edgert.graph.registry import check, need, operator

MAX_POINTS = 1 << 28
"""Most values of a window or matrix whose size a model states: 1 GiB of floats."""


def _number(ins: Sequence[TensorType | None], consts: Sequence[Array | None], at: int, what: str) -> int | None:
    """The one integer in input `at`, which must be known; None when the input is absent."""
    if at >= len(ins) or ins[at] is None:
        return None
    found = constant_ints(consts[at], what)
    check(len(found) == 1, f"one {what}", found)
    return found[0]


def _signal(x: TensorType) -> TensorType:
    not_quantized(x)
    one_of(x.dtype, FLOATS)
    check(len(x.shape) >= 2 and x.shape[-1] in (1, 2), "a signal [..., 1 or 2]", f"shape {x.shape}")
    return x


@operator("DFT", inputs=(1, 3))
def dft(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Pairs of the input's dtype; `length`, or half of it, in place of the axis."""
    x = _signal(need(ins[0], "signal"))
    given = _number(ins, consts, 2, "axis")
    axis = axis_of(-2 if given is None else given, len(x.shape))
    check(axis != len(x.shape) - 1, "an axis before the last", axis)
    inverse, onesided = node.attr_int("inverse", 0), node.attr_int("onesided", 0)
    length = _number(ins, consts, 1, "dft_length")
    size: Dim = x.shape[axis] if length is None else length
    check(length is None or 1 <= length <= MAX_POINTS, f"dft_length in [1, {MAX_POINTS}]", length)
    if onesided:
        known = known_size(size, "length of the transform")
        real = inverse or x.shape[-1] == 1
        check(bool(real), "real values, whose transform is half redundant", "onesided 1 of complex ones")
        size = known if inverse and length is not None else 2 * (known - 1) if inverse else known // 2 + 1
        check(size >= 1, "a transform of at least one value", size)
    pair = 1 if inverse and onesided else 2
    return [TensorType(x.dtype, (*x.shape[:axis], size, *x.shape[axis + 1 : -1], pair))]


@operator("STFT", inputs=(2, 4))
def stft(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """x [B, samples, 1 or 2] to [B, frames, frequencies, 2]."""
    x = _signal(need(ins[0], "signal"))
    check(len(x.shape) == 3, "a signal of rank 3", f"shape {x.shape}")
    samples = known_size(x.shape[1], "number of samples")
    step = _number(ins, consts, 1, "frame_step")
    check(step is not None and step >= 1, "frame_step >= 1", step)
    window = ins[2] if len(ins) > 2 else None
    length = _number(ins, consts, 3, "frame_length")
    if window is not None:
        not_quantized(window)
        same_dtype(x, window)
        check(len(window.shape) == 1, "a window of rank 1", f"shape {window.shape}")
        size = known_size(window.shape[0], "length of the window")
        check(length in (None, size), f"frame_length {size}, as the window has", length)
        length = size
    length = samples if length is None else length
    check(1 <= length <= samples, f"frame_length in [1, {samples}]", length)
    onesided = node.attr_int("onesided", 1)
    check(not onesided or x.shape[-1] == 1, "real values, whose transform is half redundant", "complex ones")
    bins = length // 2 + 1 if onesided else length
    assert step is not None
    return [TensorType(x.dtype, (x.shape[0], (samples - length) // step + 1, bins, 2))]


def _output(node: Node, shape: tuple[int, ...]) -> list[TensorType]:
    """A tensor of `output_datatype` (float32)."""
    return [TensorType(one_of(dtype_attr(node, "output_datatype", "float32"), NUMBERS), shape)]


@operator("HannWindow", "HammingWindow", "BlackmanWindow", inputs=(1, 1))
def window_function(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """[size], a scalar input that must be known."""
    one_of(need(ins[0], "size").dtype, INTEGERS)
    size = _number(ins, consts, 0, "size")
    check(size is not None and 0 <= size <= MAX_POINTS, f"a size in [0, {MAX_POINTS}]", size)
    assert size is not None
    return _output(node, (size,))


@operator("MelWeightMatrix", inputs=(5, 5))
def mel_weight_matrix(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """[dft_length // 2 + 1, num_mel_bins], scalar inputs of which the first three must be known."""
    present(ins)
    bins, length, rate = (
        _number(ins, consts, i, what) for i, what in enumerate(("num_mel_bins", "dft_length", "sample_rate"))
    )
    assert bins is not None and length is not None and rate is not None
    check(bins >= 0 and length >= 1 and rate >= 1, "sizes and a rate above 0", (bins, length, rate))
    points = (length // 2 + 1) * bins
    check(points <= MAX_POINTS, f"at most {MAX_POINTS} weights", points)
    return _output(node, (length // 2 + 1, bins))
