"""What OpenCL there is, asked in a process of its own: a driver that aborts or hangs takes only that one with it.

Choosing a device for work is device.py, in the process that works.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgert.errors import DeviceError, KernelError
from edgert.kernels_gpu.choices import Choices, store_whole
from edgert.kernels_gpu.context import Context
from edgert.kernels_gpu.device import DeviceInfo, describe, drivers, handles, no_device, platforms
from edgert.kernels_gpu.probes import integer_dot_pays
from edgert.kernels_gpu.programs import Programs
from edgert.kernels_gpu.table import case_of, twins

SECONDS = 30.0
"""That drivers have to answer. Building the first program takes some of them several."""
MATTERS = ("OCL_", "OPENCL_", "POCL_", "CL_", "LD_", "PATH", "PYTHON")
"""Beginnings of the names of what drivers see of the environment."""
TRIAL = "fill_row"
"""The kernel that is built to see whether a driver builds any: some are older than their processor."""


@dataclass
class Survey:
    """platforms: name, version, and how many devices each has. devices: see facts_of(). problem: why there is none, or
    why the answer is not whole; with what to do. '' without one. broken: a driver took its process with it."""

    platforms: list[dict[str, Any]] = field(default_factory=list)
    devices: list[dict[str, Any]] = field(default_factory=list)
    problem: str = ""
    broken: bool = False


def check_drivers(folder: Path) -> None:
    """Raises DeviceError if a driver would abort or hang this process: asked once for the drivers that there are, and
    again where that can not be kept in `folder`."""
    mark = folder / f"asked-{_state_of_drivers()}"
    if mark.exists():
        return
    found = survey(folder)
    if found.broken:
        raise DeviceError(found.problem)
    with suppress(OSError):
        store_whole(mark, b"")


def _state_of_drivers() -> str:
    """What their answer depends on."""
    listed = drivers()
    times = [Path(driver).stat().st_mtime_ns for driver in listed if Path(driver).is_file()]
    seen = sorted(f"{name}={value}" for name, value in os.environ.items() if name.startswith(MATTERS))
    return hashlib.sha256(json.dumps([listed, times, seen]).encode()).hexdigest()[:16]


def survey(folder: Path, seconds: float = SECONDS) -> Survey:
    """Asks every driver here. folder: where programs and choices are kept. Raises nothing of what drivers do."""
    # Its modules are those of this process, wherever it found them.
    paths = os.pathsep.join(path for path in sys.path if path)
    command = [sys.executable, "-m", "edgert.kernels_gpu.survey", str(folder)]
    found, problem = Survey(), ""
    try:
        with subprocess.Popen(
            command, env={**os.environ, "PYTHONPATH": paths}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, errors="replace",
        ) as child:  # fmt: skip
            try:
                out, err = child.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                child.kill()
                out, err = child.communicate()
                problem = f"no answer within {seconds:g} s"
            except BaseException:
                child.kill()
                raise
    except OSError as error:
        return Survey(problem=f"drivers could not be asked: {error.strerror}")
    asked = None
    for line in out.splitlines():
        asked = _heard(line, found, asked)
    if child.returncode and not problem:
        said = [line.strip() for line in err.splitlines() if line.strip()]
        line = next((line for line in said if "error" in line.lower()), said[-1] if said else "it said nothing")
        how = f"signal {-child.returncode}" if child.returncode < 0 else f"exit code {child.returncode}"
        problem = f"the process that asked it ended by {how} ({line})"
    if problem and asked is None:  # it did not come to ask: the fault is not a driver's
        found.problem = f"drivers could not be asked: {problem}"
    elif problem:
        whom = asked or f"one of the drivers ({', '.join(drivers()) or 'none are listed'})"
        found.problem = f"{whom}: {problem}; update or remove that driver, or name others in OCL_ICD_VENDORS"
        found.broken = True
    return found


def _heard(line: str, found: Survey, asked: str | None) -> str | None:
    """Takes one line of what the process says into `found`; gives who is being asked now, '' for a driver without a
    name."""
    try:
        kind, value = json.loads(line)
    except (ValueError, TypeError):  # drivers print as well
        return asked
    if kind == "asks":
        return str(value)
    if kind == "platform":
        found.platforms.append(value)
    elif kind == "device":
        found.devices.append(value)
    elif kind == "problem":
        found.problem = str(value)
    return asked


def facts_of(device: DeviceInfo, pays: bool | None, fault: str) -> dict[str, Any]:
    """One device as plain data; sizes are bytes. pays: whether its integer dot product is used, None where that was not
    measured. fault: why it builds no programs, ''."""
    can = device.capabilities
    return {
        "spec": device.spec, "kind": device.kind, "name": device.name, "platform": device.platform,
        "vendor": device.vendor, "version": device.version, "driver": device.driver,
        "compute_units": can.compute_units, "clock_mhz": can.clock_mhz,
        "unified_memory": can.unified, "memory": can.global_memory, "largest_allocation": can.max_allocation,
        "local_memory": can.local_memory, "work_group": can.work_group, "work_items": list(can.work_items),
        "fp16": can.fp16, "integer_dot_product": can.integer_dot, "integer_dot_product_used": pays,
        "subgroups": can.subgroups, "subgroup_sizes": list(can.subgroup_sizes), "command_buffers": can.command_buffer,
        "fault": fault,
    }  # fmt: skip


def _say(kind: str, value: Any) -> None:
    print(f"\n{json.dumps([kind, value])}", flush=True)  # on a line of its own, whatever drivers print


def _trial(device: DeviceInfo, folder: Path) -> str:
    """Why the device builds no programs, '' if it does."""
    twin = twins()[TRIAL]
    try:
        case = case_of(twin, {"nbytes": 4, "pattern": 0}, {"y": 4}, device.capabilities, False)
        Programs(Context(device), folder).kernels(twin, case)
    except (DeviceError, KernelError) as error:
        return str(error)
    return ""


def main(folder: Path) -> None:
    """What the process does: a line of JSON for each platform and device, after one that says who is asked."""
    _say("asks", "")
    try:
        found = platforms()
    except DeviceError as error:
        _say("problem", str(error))
        return
    index = 0
    for platform in found:
        name = platform.name.strip()
        _say("asks", name)
        all_of = handles(platform)
        _say("platform", {"name": name, "version": platform.version.strip(), "devices": len(all_of)})
        for handle in all_of:
            index += 1
            try:
                device = describe(index - 1, handle)
            except DeviceError as error:
                _say("problem", str(error))
                continue
            _say("asks", f"{device.spec} {device.name} ({device.platform})")
            pays = integer_dot_pays(device, Choices(device, folder))
            _say("device", facts_of(device, pays, _trial(device, folder)))
    if index == 0:
        _say("problem", str(no_device([platform.name.strip() for platform in found])))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
