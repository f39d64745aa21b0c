"""What the tests on OpenCL devices share: the first device here that builds a program, and a context on it.

Where there is none they fail and say what to install.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

import opencl

from edgert.cache import cache_root
from edgert.errors import DeviceError, KernelError
from edgert.kernels_cpu.levels import active_level
from edgert.kernels_cpu.library import open_library
from edgert.kernels_gpu.choices import Choices
from edgert.kernels_gpu.context import Context
from edgert.kernels_gpu.device import DeviceInfo, devices
from edgert.kernels_gpu.programs import Programs
from edgert.kernels_gpu.replay import Enqueuer
from edgert.kernels_gpu.table import case_of, twins
from edgert.kernels_gpu.tune import Tuner


def pytest_report_header() -> str:
    """Where the tests of this folder run, when they are asked for by name."""
    return f"OpenCL: {opencl.described()}"


@pytest.fixture(scope="session", autouse=True)
def driver() -> str:
    """Provided to every test of this folder; where the one that was asked for can not run, all are skipped."""
    return opencl.provide()


@pytest.fixture(scope="session")
def device(driver: str, tmp_path_factory: pytest.TempPathFactory) -> DeviceInfo:
    """The first device that works: a driver may be too old for the processor that it runs on."""
    faults = []
    try:
        for found in devices():
            try:
                twin = twins()["fill_row"]
                case = case_of(twin, {"nbytes": 4, "pattern": 0}, {"y": 4}, found.capabilities, False)
                Programs(Context(found), tmp_path_factory.mktemp("trial")).kernels(twin, case)
                return found
            except (DeviceError, KernelError) as error:
                faults.append(str(error))
    except DeviceError as error:
        faults.append(str(error))
    pytest.fail("no OpenCL device works here; on Debian and Ubuntu: apt install pocl-opencl-icd\n" + "\n".join(faults))


@pytest.fixture(scope="session")
def context(device: DeviceInfo) -> Context:
    return Context(device)


@pytest.fixture(scope="session")
def enqueuer() -> Enqueuer:
    """The native loop, ahead of time or compiled here."""
    return Enqueuer(open_library(active_level(), cache_root()))


@pytest.fixture(autouse=True)
def first_tiles(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Nothing is searched but in the tests of the search: every tile more is a program more to build."""
    measuring = ("tune", "choices", "probes", "measure", "survey")
    if not request.module.__name__.endswith(measuring) and "tiles" not in request.node.name:
        monkeypatch.setattr(Tuner, "_search", lambda *args: 0)
        monkeypatch.setattr(Choices, "_write", lambda self: None)


@pytest.fixture
def programs(context: Context, tmp_path: Path) -> Programs:
    """With an empty cache."""
    return Programs(context, tmp_path / "opencl")
