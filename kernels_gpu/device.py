"""OpenCL devices: which there are, what each can do, and choosing one by 'opencl' or 'opencl:1'.

Nothing is allocated here; a context on a device is context.py.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from edgert.errors import DeviceError

DRIVERS = (
    "install a driver with an ICD: Debian and Ubuntu have pocl-opencl-icd (any processor), mesa-opencl-icd and "
    "intel-opencl-icd (GPUs); for Mali and Adreno, the board's or phone's vendor has one; `clinfo -l` lists them"
)
"""What to do where no driver answers."""

NO_PLATFORM = "no OpenCL platform was found"
VENDORS = Path("/etc/OpenCL/vendors")
"""Where loaders look for drivers, but for OCL_ICD_VENDORS."""

KINDS = {4: "GPU", 8: "accelerator", 2: "CPU"}
"""CL_DEVICE_TYPE bits -> what people call them, in the order of preference."""


@dataclass(frozen=True)
class Capabilities:
    """What a device can do. Sizes are bytes.

    fp16: arithmetic on halves (loading and storing them works everywhere). fma: a product and a sum of floats with one
    rounding (CL_FP_FMA). integer_dot: one instruction for four products of bytes (cl_khr_integer_dot_product).
    subgroup_sizes: those a kernel may ask for; empty where only the driver knows them. unified: the device computes in
    the host's memory. local_dedicated: local memory is a memory of its own, and no cached global one. images: widest
    and highest 2D image, (0, 0) without images. vector_floats: of the widest register, 1 where lanes are work-items.
    half_math: whether products of floats are made in halves: asked for, where there is fp16.
    """

    version: tuple[int, int]
    fp16: bool
    fma: bool
    integer_dot: bool
    subgroups: bool
    subgroup_sizes: tuple[int, ...]
    command_buffer: bool
    unified: bool
    compute_units: int
    clock_mhz: int
    work_group: int
    work_items: tuple[int, ...]
    local_memory: int
    local_dedicated: bool
    global_memory: int
    max_allocation: int
    alignment: int
    parameter_bytes: int
    images: tuple[int, int]
    vector_floats: int = 1
    half_math: bool = False


@dataclass(frozen=True)
class DeviceInfo:
    """One device of one platform. `index` counts over all platforms: the number in 'opencl:1'."""

    index: int
    name: str
    kind: str
    platform: str
    vendor: str
    version: str
    driver: str
    capabilities: Capabilities
    handle: Any = field(repr=False, compare=False)

    @property
    def spec(self) -> str:
        """How the command line asks for it."""
        return f"opencl:{self.index}"

    @property
    def identity(self) -> str:
        """What a compiled program depends on: another driver or device has another one."""
        return "\0".join((self.name, self.kind, self.platform, self.vendor, self.version, self.driver))

    @property
    def short(self) -> str:
        """What the first line of a run says."""
        return f"{self.spec} {self.kind} {self.name} ({self.platform}){self.capabilities.half_math * ' in fp16'}"

    def described(self) -> str:
        """One line for people."""
        can = self.capabilities
        words = [
            word
            for word, has in (
                ("fp16", can.fp16), ("integer dot product", can.integer_dot), ("subgroups", can.subgroups),
                ("unified memory", can.unified), ("command buffers", can.command_buffer),
            )
            if has
        ]  # fmt: skip
        return f"{self.spec} {self.kind} {self.name} ({self.platform}, driver {self.driver}): {', '.join(words)}"


def import_pyopencl() -> Any:
    """The module. Raises DeviceError where it is not installed or finds no libOpenCL."""
    try:
        return import_module("pyopencl")
    except ImportError as error:
        raise DeviceError(
            f"--device opencl needs pyopencl, which can not be imported ({error}); run: pip install 'edgert[gpu]'",
            why=f"pyopencl can not be imported ({error})",
        ) from error


def platforms() -> list[Any]:
    """Every platform. Raises DeviceError without pyopencl or a platform."""
    cl = import_pyopencl()
    try:
        found = list(cl.get_platforms())
    except cl.Error as error:  # PLATFORM_NOT_FOUND_KHR: the loader runs, and has nothing to load
        raise _no_platform(f" ({error})") from error
    if not found:
        raise _no_platform("")
    return found


def drivers() -> list[str]:
    """The libraries that a loader would try, as far as that is known."""
    named = os.environ.get("OCL_ICD_VENDORS", "")
    folder = Path(named or VENDORS)
    files = sorted(folder.glob("*.icd")) if folder.is_dir() else [folder] if folder.is_file() else []
    try:
        return [file.read_text("utf-8", "replace").strip() for file in files]
    except OSError:
        return [str(file) for file in files]


def _no_platform(detail: str) -> DeviceError:
    expected = f"expected an OpenCL platform, found none{detail}"
    listed = ", ".join(drivers())
    if not listed:
        return DeviceError(f"{expected}; {DRIVERS}", NO_PLATFORM)
    return DeviceError(
        f"{expected}: of the drivers that are installed ({listed}) none works; `ldd` says what libraries they lack; or "
        f"{DRIVERS}",
        f"no OpenCL driver works ({listed})",
    )


def devices() -> list[DeviceInfo]:
    """Every device of every platform. Raises DeviceError without pyopencl, a platform, or any device."""
    there = platforms()
    found = [handle for platform in there for handle in handles(platform)]
    if not found:
        raise no_device([platform.name.strip() for platform in there])
    return [describe(index, handle) for index, handle in enumerate(found)]


def no_device(names: list[str]) -> DeviceError:
    """The error for platforms that have no device."""
    listed = ", ".join(names)
    return DeviceError(
        f"expected an OpenCL device, found none: the platforms here ({listed}) have no device that is available to "
        f"this user; look whether you may open /dev/dri/* or /dev/mali0, or {DRIVERS}",
        why=f"no OpenCL platform here ({listed}) has a device",
    )


def choose(spec: str) -> DeviceInfo:
    """The device that 'opencl' (the first GPU, else what there is) or 'opencl:N' names. Raises DeviceError."""
    name, _, number = spec.partition(":")
    if name != "opencl" or (":" in spec and not number.isdecimal()):
        raise DeviceError(f"expected a device 'opencl' or 'opencl:N', found {spec!r}")
    found = devices()
    if not number:
        order = list(KINDS.values())
        return min(found, key=lambda device: (order.index(device.kind), device.index))
    if int(number) >= len(found):
        listed = "; ".join(f"{device.spec} {device.name} ({device.platform})" for device in found)
        raise DeviceError(f"there is no {spec}; found {listed}")
    return found[int(number)]


def halving(device: DeviceInfo) -> DeviceInfo:
    """The same device, on which products of floats are made in halves. Raises DeviceError where it has no fp16."""
    if device.capabilities.fp16:
        return replace(device, capabilities=replace(device.capabilities, half_math=True))
    others = ", ".join(other.short for other in devices() if other.capabilities.fp16)
    raise DeviceError(
        f"precision fp16: expected a device that computes in halves (cl_khr_fp16), found {device.short}; "
        f"leave --precision at fp32, or choose a device that does: here {others or 'none'}",
        why=f"{device.short} does not compute in halves (precision fp16)",
    )


def handles(platform: Any) -> list[Any]:
    """What the driver of a platform calls its devices; none where it has none or refuses."""
    cl = import_pyopencl()
    try:
        return list(platform.get_devices())
    except cl.Error:  # DEVICE_NOT_FOUND
        return []


def describe(index: int, handle: Any) -> DeviceInfo:
    """One device. Raises DeviceError where its driver does not say what it can do."""
    cl = import_pyopencl()
    kind, platform = next((name for bit, name in KINDS.items() if handle.type & bit), "accelerator"), handle.platform
    try:
        return DeviceInfo(
            index, handle.name.strip(), kind, platform.name.strip(), handle.vendor.strip(),
            f"{platform.version.strip()} / {handle.version.strip()}", handle.driver_version.strip(),
            _capabilities(handle), handle,
        )  # fmt: skip
    except (cl.Error, ValueError, IndexError) as error:
        raise DeviceError(
            f"opencl:{index} of {platform.name.strip()} does not say what it can do ({error}); update or remove its "
            "driver, or name others in OCL_ICD_VENDORS"
        ) from error


def _capabilities(handle: Any) -> Capabilities:
    extensions = set(handle.extensions.split())
    version = _version(handle.version)
    subgroups = "cl_khr_subgroups" in extensions or bool(_info(handle, "max_num_sub_groups", 0))
    images = bool(handle.image_support)
    return Capabilities(
        version=version,
        fp16="cl_khr_fp16" in extensions,
        fma=bool(int(handle.single_fp_config) & _FP_FMA),
        integer_dot="cl_khr_integer_dot_product" in extensions,
        subgroups=subgroups,
        subgroup_sizes=_subgroup_sizes(handle, extensions) if subgroups else (),
        command_buffer="cl_khr_command_buffer" in extensions,
        unified=bool(_info(handle, "host_unified_memory", False)),
        compute_units=int(handle.max_compute_units),
        clock_mhz=int(_info(handle, "max_clock_frequency", 0)),
        work_group=int(handle.max_work_group_size),
        work_items=tuple(int(size) for size in handle.max_work_item_sizes),
        local_memory=int(handle.local_mem_size),
        local_dedicated=int(handle.local_mem_type) == 1,
        global_memory=int(handle.global_mem_size),
        max_allocation=int(handle.max_mem_alloc_size),
        alignment=max(64, int(handle.mem_base_addr_align) // 8),
        parameter_bytes=int(handle.max_parameter_size),
        images=(int(handle.image2d_max_width), int(handle.image2d_max_height)) if images else (0, 0),
        vector_floats=int(_info(handle, "native_vector_width_float", 1)),
    )


def _info(handle: Any, name: str, default: Any) -> Any:
    """A property that drivers of older versions do not have."""
    cl = import_pyopencl()
    try:
        return getattr(handle, name)
    except (cl.Error, AttributeError):
        return default


_FP_FMA = 1 << 5
"""CL_FP_FMA of CL_DEVICE_SINGLE_FP_CONFIG."""
_SUB_GROUP_SIZES_INTEL = 0x4108
"""CL_DEVICE_SUB_GROUP_SIZES_INTEL, of cl_intel_required_subgroup_size."""


def _subgroup_sizes(handle: Any, extensions: set[str]) -> tuple[int, ...]:
    if "cl_intel_required_subgroup_size" not in extensions:
        return ()
    cl = import_pyopencl()
    try:
        return tuple(int(size) for size in handle.get_info(_SUB_GROUP_SIZES_INTEL))
    except (cl.Error, TypeError, ValueError):
        return ()


def _version(text: str) -> tuple[int, int]:
    """(3, 0) of 'OpenCL 3.0 PoCL HSTR: ...'."""
    major, _, minor = text.split()[1].partition(".")
    return int(major), int(minor)
