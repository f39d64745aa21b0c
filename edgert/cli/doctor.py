"""`edgert doctor`: what this machine offers, what edgert makes of it, and whether it computes rightly.

The probes are edgert/device, the levels kernels_cpu/levels.py, the self-test edgert/runtime/selftest.py.
"""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click

from edgert import __version__
from edgert.cache import cache_root
from edgert.cli import doctor_opencl
from edgert.cli.common import compiling, json_option, print_json
from edgert.device.cpu import board, cpu_name, memory, usable_cores
from edgert.errors import EdgertError, KernelError
from edgert.kernels_cpu.installed import chosen, kernel_folder, survey
from edgert.kernels_cpu.levels import LEVELS, host_arch, host_flags, host_levels
from edgert.kernels_cpu.library import load_library
from edgert.plan.budget import show_bytes
from edgert.stream.probe import Storage, measure_storage

EXTRAS = {
    "jit": ("numba", "llvmlite"),
    "convert": ("onnx", "numba", "llvmlite", "flatbuffers", "rich"),
    "image": ("pillow",),
    "gpu": ("pyopencl",),
}
"""Extra -> what it installs, as in pyproject.toml."""


@click.command(short_help="Show what this machine offers and what edgert makes of it.")
@click.option("--no-test", is_flag=True, help="Leave out the self-test and the measurement of peaks.")
@click.option(
    "--storage",
    is_flag=False,
    flag_value=".",
    metavar="[PATH]",
    type=click.Path(exists=True),
    help="Only measure how fast the storage under a file or folder is read, and keep that for plans.",
)
@json_option
def command(no_test: bool, storage: str | None, as_json: bool) -> None:
    """Show processor, ISA levels, kernels, memory, OpenCL devices, cache and extras; then test and measure the kernels.

    The exit code is 1 if no kernels can run or the self-test fails.

    \b
    edgert doctor
    edgert doctor --json > machine.json
    edgert doctor --storage model.edge
    """
    if storage is not None:
        found = measure_storage(storage)
        if as_json:
            print_json(storage_json(found))
        else:
            click.echo("\n".join(storage_table(found)))
        return
    facts = facts_of()
    if not no_test and facts["kernels"]["usable"]:
        facts |= tested()
    if as_json:
        print_json(facts)
    else:
        click.echo("\n".join(describe(facts)))
    if not facts["kernels"]["usable"] or facts.get("self_test"):
        raise click.exceptions.Exit(1)


def facts_of() -> dict[str, Any]:
    """Everything that is known without running a kernel."""
    ram = memory()
    return {
        "edgert": __version__,
        "python": platform.python_version(),
        "numpy": _version("numpy"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": cpu_name(),
        "board": board(),
        "cores": {"usable": usable_cores(), "all": os.cpu_count()},
        "memory": {"total": ram.total, "available": ram.available},
        "levels": [
            {
                "name": level.name,
                "arch": level.arch,
                "runs": level in _host_levels(),
                "missing": sorted(level.needs - host_flags()) if level.arch == host_arch() else [level.arch],
            }
            for level in LEVELS.values()
        ],
        "kernels": (kernels := _kernels()),
        "libraries": _libraries(kernels.get("library")),
        "cache": str(cache_root()),
        "cache_bytes": _folder_bytes(cache_root()),
        "opencl": doctor_opencl.facts(),
        "extras": {name: {p: _version(p) for p in packages} for name, packages in EXTRAS.items()},
    }


def _host_levels() -> tuple[Any, ...]:
    try:
        return host_levels()
    except KernelError:
        return ()


def _kernels() -> dict[str, Any]:
    """Level and origin of the kernels a session would use, and why; or why there are none."""
    try:
        choice = chosen()
        load_library(choice, cache_root())
    except KernelError as error:
        return {"usable": False, "why": str(error)}
    by = "the widest level that runs and has a library" if choice.origin == "AOT" else "the widest level that runs"
    return {
        "usable": True,
        "level": choice.level.name,
        "chosen": f"EDGERT_ISA={forced}" if (forced := os.environ.get("EDGERT_ISA")) else by,
        "origin": choice.origin,
        "why": choice.why,
        "library": None if choice.path is None else str(choice.path),
    }


def _libraries(used: str | None) -> list[dict[str, str]]:
    """What there is to say of the ahead-of-time library of each level, the widest first."""
    return [
        {
            "level": found.level.name,
            "file": str(found.path),
            "state": "in use" if str(found.path) == used else found.state,
            "reason": found.reason,
        }
        for found in survey(kernel_folder())
    ]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0


def tested() -> dict[str, Any]:
    """The self-test's faults and the measured peaks of one thread."""
    from edgert.runtime.calibrate import ensure_peaks
    from edgert.runtime.selftest import self_test

    choice = chosen()
    try:
        faults = self_test(compiling())
        peaks = ensure_peaks(choice.level, load_library(choice, cache_root()), compiling())
    except EdgertError as error:
        return {"self_test": [str(error)]}
    return {"self_test": faults, "peaks": vars(peaks)}


def describe(facts: dict[str, Any]) -> list[str]:
    """The facts in words."""
    ram, kernels = facts["memory"], facts["kernels"]
    lines = [
        f"edgert     {facts['edgert']}, Python {facts['python']} at {sys.executable}, NumPy {facts['numpy']}",
        f"system     {facts['system']}" + (f", {facts['board']}" if facts["board"] else ""),
        f"processor  {facts['cpu']}, {facts['cores']['usable']} of {facts['cores']['all']} cores usable",
    ]
    if ram["total"]:
        lines.append(f"memory     {show_bytes(ram['total'])}, {show_bytes(ram['available'] or 0)} available")
    if kernels["usable"]:
        lines.append(f"kernels    {kernels['level']} ({kernels['chosen']}), {kernels['origin']}: {kernels['why']}")
    else:
        lines.append(f"kernels    none: {kernels['why']}")
    for level in facts["levels"]:
        if level["arch"] == host_arch():
            state = "runs" if level["runs"] else f"needs {', '.join(level['missing']) or 'what the system refuses'}"
            lines.append(f"  level    {level['name']:16} {state}")
    there = [found for found in facts["libraries"] if Path(found["file"]).is_file()]
    lines.append(f"libraries  {'in' if there else 'none in'} {kernel_folder()}")
    for found in facts["libraries"] if there else []:
        if found in there or found["state"] != "unfit":
            reason = f": {found['reason']}" if found in there else ""
            lines.append(f"  library  {found['level']:16} {found['state']}{reason}")
    lines += doctor_opencl.describe(facts["opencl"])
    lines.append(f"cache      {facts['cache']}, {show_bytes(facts['cache_bytes'])}")
    for name, packages in facts["extras"].items():
        missing = [package for package, found in packages.items() if found is None]
        state = f"missing {', '.join(missing)}: pip install 'edgert[{name}]'" if missing else "installed"
        lines.append(f"  extra    {name:16} {state}")
    if "peaks" in facts:
        peaks = facts["peaks"]
        lines.append(
            f"peaks      {peaks['dot8'] / 1e9:.0f} GMAC/s int8, {peaks['fma32'] / 1e9:.0f} GMAC/s float, "
            f"{peaks['bytes'] / 1e9:.0f} GB/s in cache, {peaks['stream'] / 1e9:.0f} GB/s from memory, one thread "
            f"({peaks['source']})"
        )
    if "self_test" in facts:
        lines.append("self-test  " + ("; ".join(facts["self_test"]) or "float and int8 agree with the reference"))
    return lines


def storage_table(storage: Storage) -> list[str]:
    """A line for each size of a read, a column for each number of reads at a time."""
    depths = sorted({depth for _, depth in storage.rates})
    size, depth = storage.best
    lines = [f"storage    {storage.where}, {storage.how}, random reads, MB/s", f"{'read':>10}"]
    lines[-1] += "".join(f"{f'{d} at a time':>13}" for d in depths)
    for block in sorted({block for block, _ in storage.rates}):
        cells = (f"{storage.rates[block, d] / 1e6:.1f}" if (block, d) in storage.rates else "" for d in depths)
        lines.append((f"{show_bytes(block):>10}" + "".join(f"{cell:>13}" for cell in cells)).rstrip())
    lines.append(f"best       {storage.most / 1e6:.0f} MB/s: reads of {show_bytes(size)}, {depth} at a time")
    useful = ", ".join(f"{show_bytes(storage.worth_while(d))} at depth {d}" for d in depths)
    lines.append(f"half of the best rate of a depth is reached by reads of {useful}")
    return lines


def storage_json(storage: Storage) -> dict[str, Any]:
    """The same as plain data; rates in bytes per second."""
    block, depth = storage.best
    rates = [{"block": b, "depth": d, "bytes_per_second": round(rate)} for (b, d), rate in storage.rates.items()]
    return {
        "where": storage.where, "how": storage.how, "source": storage.source, "rates": rates,
        "best": {"block": block, "depth": depth, "bytes_per_second": round(storage.most)},
        "worth_while": {str(d): storage.worth_while(d) for d in sorted({d for _, d in storage.rates})},
    }  # fmt: skip
