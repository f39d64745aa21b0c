"""The functions of OpenCL by their addresses, for calls that do not go through pyopencl."""

from __future__ import annotations

import ctypes
from functools import cache

from edgert.errors import DeviceError
from edgert.kernels_gpu.device import import_pyopencl


@cache
def opencl_libraries() -> tuple[ctypes.CDLL, ...]:
    """Where the dynamic linker looks for pyopencl's own calls, in this order: what is loaded for all, then what
    pyopencl's module needs. There may be several libraries of OpenCL in a process; handles are of these."""
    module = import_pyopencl()._cl.__file__
    return ctypes.CDLL(None), ctypes.CDLL(module)


@cache
def function_address(name: str) -> int:
    """Address of the function `name` as pyopencl calls it. Raises DeviceError where it is not found."""
    for library in opencl_libraries():
        found = getattr(library, name, None)
        if found is not None:
            return int(ctypes.cast(found, ctypes.c_void_p).value or 0)
    raise DeviceError(
        f"expected {name} among the functions that pyopencl calls, found none; install pyopencl from its wheel"
    )
