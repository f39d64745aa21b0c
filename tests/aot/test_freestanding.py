"""The functions that LLVM calls by itself do what their names promise; here they run as code of this machine."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import pytest

from edgert.kernels_cpu.freestanding import FUNCTIONS, named_text, runtime_functions
from edgert.kernels_cpu.levels import LEVELS

I32, I64 = ctypes.c_int32, ctypes.c_int64
VALUES = [
    0,
    1,
    2,
    3,
    7,
    10,
    255,
    65537,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**32,
    2**32 + 1,
    10**15,
    2**63 - 1,
    2**63,
    2**64 - 1,
]


class Quotient(ctypes.Structure):
    _fields_ = (("quotient", ctypes.c_uint64), ("remainder", ctypes.c_uint64))


@pytest.fixture(scope="module")
def functions() -> Iterator[dict[str, int]]:
    """Addresses of ARM's functions under their names, visible and compiled for this machine."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    _, text = runtime_functions(LEVELS["armv7-neon"])
    module = llvm.parse_assembly(text.replace("weak hidden ", "").replace("@__aeabi_", "@edgert_"))
    engine = llvm.create_mcjit_compiler(module, llvm.Target.from_default_triple().create_target_machine())
    engine.finalize_object()
    yield {name: engine.get_function_address(f"edgert_{name}") for name in ("uldivmod", "f2lz", "l2f")}
    del engine


@pytest.mark.parametrize("divisor", VALUES[1:])
def test_division(functions: dict[str, int], divisor: int) -> None:
    divide = ctypes.CFUNCTYPE(Quotient, ctypes.c_uint64, ctypes.c_uint64)(functions["uldivmod"])
    for number in VALUES:
        found = divide(number, divisor)
        assert (found.quotient, found.remainder) == divmod(number, divisor)


def test_float_to_integer(functions: dict[str, int]) -> None:
    """Towards zero; what does not fit is clamped."""
    convert: Any = ctypes.CFUNCTYPE(I64, I32)(functions["f2lz"])
    for value in (0.0, -0.0, 0.5, -0.99, 1.0, -1.5, 8388607.5, 16777216.0, -(2.0**31), 2.0**40 + 2.0**20, -(2.0**62)):
        (bits,) = struct.unpack("<i", struct.pack("<f", value))
        assert convert(bits) == int(np.float32(value))
    for value, expected in ((1e30, 2**63 - 1), (-1e30, -(2**63)), (2.0**63, 2**63 - 1)):
        (bits,) = struct.unpack("<i", struct.pack("<f", value))
        assert convert(bits) == expected


def test_integer_to_float(functions: dict[str, int]) -> None:
    """Rounded to nearest, ties to even."""
    convert: Any = ctypes.CFUNCTYPE(I32, I64)(functions["l2f"])
    values = [
        0,
        1,
        -1,
        16777215,
        16777217,
        16777219,
        2**31,
        2**53 + 1,
        2**62 + 2**38,
        2**62 + 2**38 + 1,
        2**63 - 1,
        -(2**63),
    ]
    rng = np.random.default_rng(0)
    values += [int(v) >> shift for shift in range(0, 60, 3) for v in rng.integers(-(2**63), 2**63 - 1, 20)]
    for value in values:
        (found,) = struct.unpack("<f", struct.pack("<i", convert(value)))
        assert found == np.float32(np.int64(value)), value


@pytest.mark.parametrize("level", LEVELS.values(), ids=lambda level: level.name)
def test_every_function_is_weak_hidden_and_known(level: Any) -> None:
    """One copy survives linking, none is seen from outside, and the compiler leaves their names alone."""
    for text in runtime_functions(level):
        for function in llvm.parse_assembly(text).functions:
            if not function.is_declaration:
                assert function.name in FUNCTIONS
                assert (function.linkage.name, function.visibility.name) == ("weak_any", "hidden")


def test_memory_functions() -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    text = runtime_functions(LEVELS["x86-64"])[0].replace("weak hidden ", "").replace("@mem", "@edgert_mem")
    engine = llvm.create_mcjit_compiler(
        llvm.parse_assembly(text), llvm.Target.from_default_triple().create_target_machine()
    )
    engine.finalize_object()
    kind = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, I64)
    fill = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, I32, I64)(engine.get_function_address("edgert_memset"))
    copy = kind(engine.get_function_address("edgert_memcpy"))
    for count in (0, 1, 7, 64, 1000):
        target, source = np.zeros(1001, np.uint8), np.arange(1001).astype(np.uint8)
        assert fill(target.ctypes.data, 0x1A5, count) == target.ctypes.data
        assert (target[:count] == 0xA5).all()
        assert not target[count:].any()
        copy(target.ctypes.data, source.ctypes.data, count)
        np.testing.assert_array_equal(target[:count], source[:count])
        assert not target[count:].any()


def test_text_in_a_symbol() -> None:
    module = llvm.parse_assembly(named_text("edgert_level", "armv8-a"))
    (variable,) = module.global_variables
    assert variable.name == "edgert_level"
    assert "constant [32 x i8]" in str(module)
    assert 'c"armv8-a\\00' in str(module)
