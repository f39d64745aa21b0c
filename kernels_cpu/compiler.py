"""Kernel sources -> one LLVM module -> an object for one ISA level. The only user of Numba in edgert.

Runs as its own process (`python -m edgert.kernels_cpu.compiler`): it points Numba's CPU target at the level's
machine, which must not happen in a user's process, and one process can serve one level. JIT and AOT are this
same path, so their results are the same bits; jit.py loads the object, aot.py links it.
Source of the technique: IR is generated for the target from the start, because retargeted host IR loses
its dot products; both optimisation hooks are off and LLVM's O3 runs once, on the whole module, with the
target's machine description.
"""

from __future__ import annotations

import argparse
import gc
import os
import re
import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

import llvmlite.binding as ll
from llvmlite import ir

from edgert.kernels_cpu.abi import ABI_VERSION
from edgert.kernels_cpu.claims import claimed
from edgert.kernels_cpu.freestanding import FUNCTIONS, named_text, runtime_functions
from edgert.kernels_cpu.jit import LISTING, object_name
from edgert.kernels_cpu.levels import Level, level_named
from edgert.kernels_cpu.listing import instructions
from edgert.kernels_cpu.registry import kernels

ENGINE = {"run_single": 4, "run": 8, "worker": 2}
"""Engine entry points and their argument counts (all int64)."""
COUNTED = re.compile(r"B\d+v\d+(?=B)")
"""What Numba puts into the name of a function to count them: an object is the same whatever was compiled before it."""
PATIENCE = 60.0
"""Seconds to wait for another process that compiles the same kernel, which takes one or two."""
MATH_FLAGS = {"nsz"}
"""No contraction: a multiply-add fuses only where a kernel says `fma`, so results agree between levels."""


def _codegen_classes() -> tuple[Any, Any]:
    from numba.core import codegen

    class CrossLibrary(codegen.AOTCodeLibrary):  # type: ignore[misc]
        """Collects raw IR: nothing is optimised or finalised per function."""

        def get_pointer_to_function(self, name: str) -> int:
            return 16  # nested dispatchers ask for it and never call it

        def _finalize_final_module(self) -> None:
            self._finalize_dynamic_globals()
            self._finalized = True

        def _optimize_functions(self, module: Any) -> None:
            module.data_layout = self._codegen._data_layout

        def _optimize_final_module(self) -> None:
            pass

    class CrossCodegen(codegen.AOTCPUCodegen):  # type: ignore[misc]
        """Numba's code generator for a level instead of the host."""

        _library_class = CrossLibrary

        def __init__(self, level: Level) -> None:
            self.level = level
            super().__init__("edgert")

        def _init(self, llvm_module: Any) -> None:
            ll.initialize_all_targets()
            ll.initialize_all_asmprinters()
            target = ll.Target.from_triple(self.level.triple)
            self._tm_features = self.level.llvm_features
            self._tm = target.create_target_machine(
                cpu=self.level.cpu, features=self.level.llvm_features, opt=3, reloc="pic", codemodel="small"
            )
            self._target_data = self._tm.target_data
            self._data_layout = str(self._target_data)
            self._engine = None
            self._loopvect, self._opt_level = False, 0

        def set_env(self, name: str, env: Any) -> None:
            pass

        def _check_llvm_bugs(self) -> None:
            pass

        def _create_empty_module(self, name: str) -> Any:
            module = super()._create_empty_module(name)
            module.triple = self.level.triple
            return module

    return CrossLibrary, CrossCodegen


def _sources(names: Iterable[str], engine: bool) -> dict[str, tuple[Any, int]]:
    """Exported symbol -> (Python function, argument count)."""
    table = kernels()
    found: dict[str, tuple[Any, int]] = {}
    for name in names:
        spec = table[name]
        found[f"edgert_k_{name}"] = (getattr(import_module(spec.module), spec.function), 3)
    if engine:
        module = import_module("edgert.kernels_cpu.engine")
        for name, count in ENGINE.items():
            found[f"edgert_{name}"] = (getattr(module, name), count)
    return found


def build_module(level: Level, names: Iterable[str], engine: bool) -> tuple[Any, Any]:
    """Numba IR of the given kernels, linked into one unoptimised module. Returns (codegen, module)."""
    from numba.core import types
    from numba.core.compiler import Flags, compile_extra
    from numba.core.cpu_options import FastMathOptions
    from numba.core.registry import cpu_target

    _, cross_codegen = _codegen_classes()
    codegen = cross_codegen(level)
    context, typing = cpu_target.target_context, cpu_target.typing_context
    context.refresh()
    typing.refresh()
    context._internal_codegen = codegen  # from here on everything compiles for the level
    libraries, exports = [], []
    for symbol, (function, count) in _sources(names, engine).items():
        function = getattr(function, "py_func", function)
        flags = Flags()
        flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
        flags.error_model, flags.boundscheck, flags.nrt, flags.release_gil = "numpy", False, False, True
        flags.fastmath = FastMathOptions(MATH_FLAGS)
        library = codegen.create_library(symbol)
        arguments = (types.int64,) * count
        result = compile_extra(typing, context, function, arguments, types.void, flags, locals={}, library=library)
        wrapper = library.create_ir_module(f"wrap_{symbol}")
        description = result.fndesc
        kind = context.call_conv.get_function_type(description.restype, description.argtypes)
        native = ir.Function(wrapper, kind, description.llvm_func_name)
        entry = ir.Function(wrapper, ir.FunctionType(ir.VoidType(), [ir.IntType(64)] * count), symbol)
        builder = ir.IRBuilder(entry.append_basic_block("entry"))
        context.call_conv.call_function(builder, native, description.restype, description.argtypes, list(entry.args))
        builder.ret_void()
        library.add_ir_module(wrapper)
        library.finalize()
        libraries.append(library)
        exports.append(symbol)
    module = ll.parse_assembly(str(codegen._create_empty_module("edgert")))
    for library in libraries:
        module.link_in(library._final_module, preserve=True)
    for text in runtime_functions(level):
        module.link_in(ll.parse_assembly(text))
    if engine:
        module.link_in(ll.parse_assembly(f"@edgert_abi_version = constant i64 {ABI_VERSION}\n"))
        module.link_in(ll.parse_assembly(named_text("edgert_level", level.name)))
    module.triple, module.data_layout = level.triple, codegen._data_layout
    _internalise(module, exports)
    module.verify()
    return codegen, module


def _internalise(module: Any, exports: list[str]) -> None:
    """Keeps the entry points visible; everything else may be inlined away. Nothing unwinds."""
    for function in module.functions:
        if not function.is_declaration:
            if function.name not in exports and function.name not in FUNCTIONS:
                function.linkage = "internal"
                function.name = COUNTED.sub("", function.name)
            function.add_function_attribute("nounwind")
    for variable in list(module.global_variables):
        if variable.name.startswith("_ZN08NumbaEnv"):
            variable.linkage = "internal"


def optimise(codegen: Any, module: Any) -> None:
    """LLVM's O3 once over the whole module, with the level's machine."""
    options = ll.create_pipeline_tuning_options()
    options.speed_level = 3
    options.loop_vectorization = options.slp_vectorization = True
    options.loop_unrolling = options.loop_interleaving = True
    builder = ll.create_pass_builder(codegen._tm, options)
    builder.getModulePassManager().run(module, builder)


def undefined_symbols(module: Any) -> list[str]:
    """Functions the module would need from outside: must be none, the library is freestanding."""
    return sorted(f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm."))


def compile_object(level: Level, names: Iterable[str], engine: bool) -> tuple[bytes, str]:
    """The object file with symbols edgert_k_<kernel> (and the engine's edgert_run... when asked), and its assembly."""
    from numba.core.compiler_lock import global_compiler_lock

    with global_compiler_lock:
        codegen, module = build_module(level, names, engine)
    optimise(codegen, module)
    missing = undefined_symbols(module)
    if missing:
        raise RuntimeError(f"kernels must be freestanding; they call {', '.join(missing)}")
    copy = ll.parse_bitcode(module.as_bitcode())  # writing code changes a module
    return bytes(codegen._tm.emit_object(module)), str(codegen._tm.emit_assembly(copy))


def main() -> None:
    parser = argparse.ArgumentParser(description="compile edgert kernels for one ISA level")
    parser.add_argument("--level", required=True)
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for NAME-HASH.o and .isa, one object per kernel"
    )
    parser.add_argument("--assembly", action="store_true", help="write NAME.s beside each object")
    parser.add_argument("names", nargs="*", help="kernel names, or 'engine'")
    options = parser.parse_args()
    level = level_named(options.level)
    _hasten()
    options.out.mkdir(parents=True, exist_ok=True)
    busy = [name for name in options.names if not _make(level, name, options.out, options.assembly, patience=0)]
    for name in busy:
        _make(level, name, options.out, options.assembly, patience=PATIENCE)


def _make(level: Level, name: str, folder: Path, assembly: bool, *, patience: float) -> bool:
    """Makes the object of kernel `name`, or of 'engine', unless it is there. False if `patience` is 0 and another
    process is at it; one that is at it for longer than `patience` seconds is no longer waited for."""
    engine, path = name == "engine", folder / object_name(name)
    with claimed(path, patience) as mine:
        if not mine and not patience:
            return False
        if assembly or not path.exists():
            data, text = compile_object(level, () if engine else (name,), engine)
            if assembly:
                (folder / f"{name}.s").write_text(text)
            _write(path.with_suffix(LISTING), "\n".join(instructions(text)).encode())
            _write(path, data)  # last: who finds the object finds its listing
    return True


def _hasten() -> None:
    """An eighth of the time goes into looking for garbage among what is still needed, and into telling nobody of every
    call of LLVM."""
    from numba.core import event

    gc.freeze()
    gc.set_threshold(100_000, 50, 50)
    event.start_event = event.end_event = lambda *_, **__: None


def _write(path: Path, data: bytes) -> None:
    """Atomically: a reader sees a whole object or none."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    temporary.write_bytes(data)
    temporary.replace(path)


if __name__ == "__main__":
    if "--level" in sys.argv[:-1]:
        # before any kernel source is imported
        os.environ["EDGERT_KERNEL_LEVEL"] = sys.argv[sys.argv.index("--level") + 1]
    main()
