"""Makes this folder's helpers (harness, lower, offers) and tests/networks.py importable, and compiles for many tests at
once."""

from __future__ import annotations

import os
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))

DEVICE = os.environ.get("EDGERT_TEST_DEVICE", "")
"""Where it is '', nothing here looks for a driver."""
MANY = 200
"""Tests of kernels from which on all kernels are compiled at once, on all cores, and not one after the other."""
STARTED = pytest.StashKey[Any]()
"""The process that compiles ahead."""


def needs_all(session: pytest.Session) -> bool:
    """Whether most kernels will be needed, compiled by this machine."""
    from harness import AOT_FOLDER, DEVICE_LEVELS

    folder = Path(__file__).parent
    ours = sum(folder in item.path.parents for item in session.items)
    return not AOT_FOLDER and not DEVICE_LEVELS and ours >= MANY


def pytest_collection_finish(session: pytest.Session) -> None:
    """Most other tests keep one core busy: the next one compiles meanwhile."""
    others_first = session.items and Path(__file__).parent not in session.items[0].path.parents
    if others_first and not session.config.option.collectonly and needs_all(session) and hasattr(os, "killpg"):
        from ahead import Ahead

        session.config.stash[STARTED] = Ahead()


def pytest_sessionfinish(session: pytest.Session) -> None:
    if STARTED in session.config.stash:
        session.config.stash[STARTED].stop()


@pytest.fixture(scope="session", autouse=True)
def compiled_kernels(request: pytest.FixtureRequest) -> None:
    """All of them, on all cores, where they are not compiled yet; who compiles ahead takes part."""
    if needs_all(request.session):
        from ahead import compile_all

        compile_all()


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
