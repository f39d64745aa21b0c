"""A session on an ahead-of-time library: no Numba, no LLVM, the same bits."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from networks import float_model, image, int8_model

from edgert.format import write_model
from edgert.kernels_cpu.levels import LEVELS, host_levels
from edgert.runtime.session import Session

LEVEL = LEVELS["x86-64-v3"]
CODE = """
import sys
sys.modules["numba"] = sys.modules["llvmlite"] = None  # importing either fails
import edgert, numpy as np
model, feeds, out = sys.argv[1:]
session = edgert.load(model, threads=2)
with np.load(feeds) as arrays:
    np.savez(out, **session.run(dict(arrays)))
print(session.summary())
"""


@pytest.mark.slow
@pytest.mark.skipif(LEVEL not in host_levels(), reason=f"this machine cannot run {LEVEL.name}")
def test_jit_and_aot_give_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aot = pytest.importorskip("edgert.kernels_cpu.aot")
    pytest.importorskip("ziglang")
    monkeypatch.setenv("EDGERT_ISA", LEVEL.name)
    np.savez(tmp_path / "feeds.npz", **image(2))
    models = {"float": float_model(), "int8": int8_model()}
    answers, kernels = {}, set()
    for name, model in models.items():
        write_model(model, tmp_path / f"{name}.edge")
        with Session(model, threads=2) as session:
            answers[name] = session.run(image(2))
            kernels |= set(session.plan().program.kernels)
            assert session.kernels == "JIT"
    aot.build_library(LEVEL, tmp_path / "kernels", sorted(kernels))
    monkeypatch.setenv("EDGERT_KERNEL_FOLDER", str(tmp_path / "kernels"))
    for name, right in answers.items():
        files = [str(tmp_path / f"{name}.edge"), str(tmp_path / "feeds.npz"), str(tmp_path / f"{name}.npz")]
        command = [sys.executable, "-c", CODE, *files]
        done = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert "kernels AOT" in done.stdout
        with np.load(files[2]) as found:
            for key, value in right.items():
                assert found[key].tobytes() == value.tobytes()
