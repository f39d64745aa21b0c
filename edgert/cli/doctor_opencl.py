"""What `edgert doctor` says of OpenCL: platforms and devices as facts, and the same in words.

Asking the drivers is kernels_gpu/survey.py.
"""

from __future__ import annotations

from typing import Any

from edgert.cache import cache_root
from edgert.kernels_gpu.survey import survey
from edgert.plan.budget import show_bytes


def facts() -> dict[str, Any]:
    """platforms, devices and problem, as plain data: see survey.Survey."""
    return vars(survey(cache_root() / "opencl"))


def describe(facts: dict[str, Any]) -> list[str]:
    """A line for all, or for what is absent; then three for each device."""
    devices, platforms = facts["devices"], facts["platforms"]
    lines = [f"opencl     none: {facts['problem']}"]
    if devices:
        names = ", ".join(f"{platform['name']} ({platform['devices']})" for platform in platforms)
        lines = [f"opencl     {len(devices)} device{'s' if len(devices) > 1 else ''} of {names}"]
        lines += [f"  problem  {facts['problem']}"] if facts["problem"] else []
    for device in devices:
        lines += _lines(device)
    return lines


def _lines(device: dict[str, Any]) -> list[str]:
    unified = "unified with the processor's" if device["unified_memory"] else "its own"
    sizes = ", ".join(map(str, device["subgroup_sizes"]))
    can = [
        f"fp16 {_yes(device['fp16'])}",
        f"integer dot product {_dot(device)}",
        f"subgroups {_yes(device['subgroups'])}" + (f" ({sizes})" if sizes else ""),
        f"command buffers {_yes(device['command_buffers'])}",
    ]
    clock = f" at {device['clock_mhz']} MHz" if device["clock_mhz"] else ""
    lines = [
        f"  device   {device['spec']} {device['kind']} {device['name']} ({device['platform']}, driver "
        f"{device['driver']}), {device['compute_units']} units{clock}",
        f"           {', '.join(can)}",
        f"           memory {show_bytes(device['memory'])}, {unified}, largest allocation "
        f"{show_bytes(device['largest_allocation'])}, local {show_bytes(device['local_memory'])}; groups of up to "
        f"{device['work_group']} work-items ({' x '.join(map(str, device['work_items']))})",
    ]
    return [*lines, *(f"           {line}" for line in device["fault"].splitlines())]


def _yes(has: bool) -> str:
    return "yes" if has else "no"


def _dot(device: dict[str, Any]) -> str:
    """What was found in the cache, if the driver has it at all."""
    if not device["integer_dot_product"]:
        return "no"
    found = {None: "not measured yet", True: "used", False: "not used: slower than without"}
    return f"yes, {found[device['integer_dot_product_used']]}"
