"""Fourier transforms of TFLite and the complex numbers they make, down to magnitudes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from compare import litert
from flat_model import FlatModel

from edgert.converters.tflite.importer import check_tflite, import_tflite
from edgert.graph.execute import run_graph

RNG = np.random.default_rng(2)


def magnitudes(shape: tuple[int, ...], lengths: tuple[int, int], part: str) -> FlatModel:
    """x -> RFFT2D -> EXPAND_DIMS, SQUEEZE, RESHAPE, as exporters surround it -> magnitudes."""
    m = FlatModel()
    x = m.input("x", shape)
    size = (*shape[:-2], lengths[0], lengths[1] // 2 + 1)
    y = m.op("RFFT2D", [x, m.constant("lengths", np.int32(lengths))], ("f", size, "complex64"))
    y = m.op("EXPAND_DIMS", [y, m.constant("axis", np.int32(-1))], ("e", (*size, 1), "complex64"))
    y = m.op("SQUEEZE", [y], ("s", size, "complex64"), squeeze_dims=[-1])
    flat = (int(np.prod(size[:-1])), size[-1])
    y = m.op("RESHAPE", [y, m.constant("flat", np.int32([-1, size[-1]]))], ("r", flat, "complex64"))
    m.output(m.op(part, [y], ("y", flat, "float32")))
    return m


@pytest.mark.parametrize("part", ["COMPLEX_ABS", "REAL", "IMAG"])
@pytest.mark.parametrize(
    ("shape", "lengths"), [((3, 1, 16), (1, 16)), ((2, 1, 12), (1, 16)), ((2, 8, 16), (8, 16)), ((1, 4, 20), (4, 8))]
)
def test_transform(part: str, shape: tuple[int, ...], lengths: tuple[int, int], tmp_path: Path) -> None:
    path = magnitudes(shape, lengths, part).save(tmp_path / "m.tflite")
    x = RNG.standard_normal(shape).astype(np.float32)
    got = run_graph(import_tflite(path), {"x": x})["y"]
    whole = np.fft.rfft2(x, s=lengths).reshape(got.shape)
    wanted = {"COMPLEX_ABS": np.abs, "REAL": np.real, "IMAG": np.imag}[part](whole)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)
    if lengths[1] <= shape[-1]:  # LiteRT pads nothing
        np.testing.assert_allclose(got, litert(path, [x])[0], rtol=1e-4, atol=1e-5)


def test_other_operators_on_complex_numbers_are_refused(tmp_path: Path) -> None:
    m = FlatModel()
    x = m.input("x", (1, 8))
    y = m.op("RFFT2D", [x, m.constant("lengths", np.int32([1, 8]))], ("f", (1, 5), "complex64"))
    z = m.op("ADD", [y, y], ("z", (1, 5), "complex64"))
    m.output(m.op("COMPLEX_ABS", [z], ("w", (1, 5), "float32")))
    (problem,) = check_tflite(m.save(tmp_path / "m.tflite"))
    assert problem.op == "ADD"
