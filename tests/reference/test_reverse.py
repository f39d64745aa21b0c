"""ReverseSequence means what ONNX Runtime says it means."""

from __future__ import annotations

import numpy as np
import pytest

from edgert.errors import UnsupportedError
from edgert.kernels_cpu.reference import evaluate


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.bool_])
@pytest.mark.parametrize(
    ("shape", "axes"), [((4, 3), (0, 1)), ((3, 4), (1, 0)), ((4, 3, 2), (0, 1)), ((3, 4, 2, 1), (1, 0))]
)
def test_reverse_sequence(agrees, dtype: type, shape: tuple[int, ...], axes: tuple[int, int]) -> None:
    x = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    lengths = np.array([4, 1, 3])
    agrees("ReverseSequence", [x, lengths], {"time_axis": axes[0], "batch_axis": axes[1]})


@pytest.mark.parametrize("axes", [(0, 2), (2, 0), (1, 2), (-1, -2)])
def test_any_two_axes(axes: tuple[int, int]) -> None:
    x = np.random.default_rng(0).standard_normal((3, 3, 3))
    lengths = np.array([2, 0, 3])
    (got,) = evaluate("ReverseSequence", [x, lengths], {"time_axis": axes[0], "batch_axis": axes[1]})
    for b, length in enumerate(lengths):
        mine, theirs = np.moveaxis(got, axes, (0, 1))[:, b], np.moveaxis(x, axes, (0, 1))[:, b]
        np.testing.assert_array_equal(mine, np.concatenate([theirs[:length][::-1], theirs[length:]]))


def test_lengths_are_checked() -> None:
    with pytest.raises(UnsupportedError, match="0 to 2"):
        evaluate("ReverseSequence", [np.zeros((2, 1)), np.array([3])])
