"""Makes this folder's helpers (harness, lower, offers) and tests/networks.py importable, and compiles for many tests at
once."""

from __future__ import annotations

import os
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))

DEVICE = os.environ.get("EDGERT_TEST_DEVICE", "")
"""Where it is '', nothing here looks for a driver."""
MANY = 200
"""Tests of kernels from which on all kernels are compiled at once, on all cores, and not one after the other."""


@pytest.fixture(scope="session", autouse=True)
def compiled_kernels(request: pytest.FixtureRequest) -> None:
    """Every kernel at every level, and the model of AMX tiles, if most of them will be needed anyway."""
    from harness import AOT_FOLDER, DEVICE_LEVELS

    folder = Path(__file__).parent
    if AOT_FOLDER or DEVICE_LEVELS or sum(folder in item.path.parents for item in request.session.items) < MANY:
        return
    from harness import CACHE, LEVELS

    from edgert.kernels_cpu import jit
    from edgert.kernels_cpu.levels import LEVELS as ALL_LEVELS
    from edgert.kernels_cpu.registry import kernels

    for level in LEVELS:
        names = [name for name, spec in kernels().items() if spec.available(level)]
        jit.compile_missing(jit.cache_folder(CACHE, level), level, ["engine", *names])
    amx = ALL_LEVELS["x86-64-amx"]
    if ALL_LEVELS["x86-64-v4-vnni"] in LEVELS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("EDGERT_AMX_MODEL", "1")
            tiles = [name for name in kernels() if name.endswith("_amx")]
            jit.compile_missing(jit.cache_folder(CACHE, amx), amx, ["engine", *tiles])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On an OpenCL device EDGERT_TEST_SHARE=20 runs every twentieth test, always the same ones."""
    if not DEVICE:
        return
    import twins

    if twins.SHARE > 1:
        left = [item for item in items if zlib.crc32(item.nodeid.partition("/")[2].encode()) % twins.SHARE]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Which twins ran, for the test that wants all of them to."""
    if DEVICE:
        import twins

        terminalreporter.write_line(f"twins: {' '.join(sorted(twins.ran()))}")


@pytest.fixture(autouse=True)
def tolerance(monkeypatch: pytest.MonkeyPatch) -> None:
    """On an OpenCL device (EDGERT_TEST_DEVICE) floats of a test may differ a little: twins add in another order."""
    if DEVICE:
        import twins

        equal, near = twins.tolerant(np.testing.assert_array_equal, np.testing.assert_allclose)
        monkeypatch.setattr(np.testing, "assert_array_equal", equal)
        monkeypatch.setattr(np.testing, "assert_allclose", near)
