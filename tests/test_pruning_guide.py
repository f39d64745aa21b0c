"""The program in docs/pruning.md trains a sparse network that edgert stores as one. It needs PyTorch."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
GUIDE = (ROOT / "docs" / "pruning.md").read_text("utf-8")
(PROGRAM,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
MAX_LINES = 80


def test_program_is_short_and_python() -> None:
    assert len(PROGRAM.splitlines()) < MAX_LINES
    compile(PROGRAM, "docs/pruning.md", "exec")


def test_what_is_linked_exists() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)", GUIDE):
        assert (ROOT / "docs" / target).exists(), target


def test_program_makes_a_sparse_file(tmp_path: Path, rng: np.random.Generator) -> None:
    """On made-up images: what counts is that the zeros arrive in the .edge file."""
    pytest.importorskip("torch")
    from edgert.converters.convert import convert
    from edgert.format import read_model

    images, labels = rng.integers(0, 256, (1024, 28, 28)), rng.integers(0, 10, 1024)
    for name, array in (("images-idx3", images), ("labels-idx1", labels)):
        sizes = np.array(array.shape, ">u4").tobytes()
        data = bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()
        (tmp_path / f"train-{name}-ubyte").write_bytes(data)
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(tmp_path), "2"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    convert(
        tmp_path / "sparse.onnx", out := tmp_path / "sparse.edge", weights="int8", calib=tmp_path / "calibration.npz"
    )
    sparse = [tensor for tensor in read_model(out).tensors.values() if tensor.sparse]
    assert len(sparse) == 3
    for tensor in sparse:
        assert tensor.pattern == "4x4" and tensor.density < 0.3
