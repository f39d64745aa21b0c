"""OpenCL programs: source put together from cl/, built for one device, and binaries kept from run to run.

Which kernels there are is table.py.
"""

from __future__ import annotations

import hashlib
import threading
import warnings
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from edgert.errors import KernelError
from edgert.kernels_cpu.registry import kernels
from edgert.kernels_gpu.choices import store_whole
from edgert.kernels_gpu.context import Context, translated
from edgert.kernels_gpu.device import Capabilities
from edgert.kernels_gpu.table import Case, Twin

SOURCES = Path(__file__).parent / "cl"
MAGIC = b"EDGECL1\n"
"""An entry of the cache is this, the SHA-256 of what follows, and the binary."""
KEPT = 1024
"""Entries of the cache; the oldest go first. A model has 5 to 30."""
LOG_LINES = 8
"""Of a failed build, in the message."""
RESERVED = frozenset(("half", "kernel"))
"""Params whose names are words of OpenCL C: sources write `p.half_`."""


def source_of(twin: Twin, case: Case) -> str:
    """The whole text of the program for one op: constants, prelude.cl, the record, the twin's files."""
    workspace = twin.workspace(case) > 0
    halves = {"HALF_MATH": int(twin.halves and case.device.half_math)}
    head = prelude(case.device, case.signed, {**halves, **case.tile, **twin.defines(case)})
    return "\n".join([head, _record(twin, workspace), *map(_text, twin.files)])


def prelude(can: Capabilities, signed: bool, more: Mapping[str, int]) -> str:
    """Constants, and prelude.cl behind them."""
    constants: dict[str, int] = {
        "ACT_SIGNED": int(signed),
        "HAS_FMA": int(can.fma),
        "HAS_FP16": int(can.fp16),
        "HAS_INTEGER_DOT": int(can.integer_dot),
        "HAS_SUBGROUPS": int(can.subgroups),
        **more,
    }
    lines = [f"#define {name} {value}" for name, value in sorted(constants.items())]
    return "\n".join([*lines, _text("prelude.cl")])


@cache
def _text(name: str) -> str:
    return (SOURCES / name).read_text("utf-8")


def _record(twin: Twin, workspace: bool) -> str:
    """The kernel's record as OpenCL C: params_t, KERNEL(name) and OPERANDS, see prelude.cl."""
    spec = kernels()[twin.kernel]
    floats, written = set(twin.floats.split()), {*twin.writes.split(), "workspace"}
    params = spec.params.split() or ["none"]
    fields = " ".join(f"{'float' if n in floats else 'int'} {n}{'_' * (n in RESERVED)};" for n in params)
    names = [*spec.operands.split(), *(["workspace"] if workspace else [])]
    kinds = {name: f"__global {'' if name in written else 'const '}uchar *" for name in names}
    arguments = "".join(f"{kinds[name]}{name}_base, ulong {name}_at, " for name in names)
    operands = " ".join(
        f"{kinds[name]}const {name} = {name}_at == ABSENT ? ({kinds[name]})0 : {name}_base + {name}_at; (void){name};"
        for name in names
    )
    return (
        f"typedef struct {{ {fields} }} params_t;\n"
        f"#define KERNEL(name) __kernel void name({arguments}params_t p)\n"
        f"#define OPERANDS {operands}\n"
    )


def options_of(can: Capabilities) -> tuple[str, ...]:
    """Compiler options; everything else is in the source."""
    standard = "CL3.0" if can.version >= (3, 0) else "CL2.0" if can.version >= (2, 0) else "CL1.2"
    return (f"-cl-std={standard}",)


class Programs:
    """The programs of one context, each built once; binaries lie in `folder`, one file per program and driver."""

    def __init__(self, context: Context, folder: Path) -> None:
        self.context, self.folder = context, folder
        self.options = options_of(context.device.capabilities)
        self.built = 0
        """From source, since this object was made."""
        self.loaded = 0
        """From the cache."""
        self._ready: dict[str, Any] = {}
        self._lock = threading.Lock()

    def kernels(self, twin: Twin, case: Case) -> list[Any]:
        """New kernel objects (their arguments are their own), one per function of the twin. Raises KernelError."""
        return self.functions(twin.kernel, source_of(twin, case), twin.entries)

    def functions(self, name: str, source: str, functions: Iterable[str]) -> list[Any]:
        """The same of any text. name: for people."""
        with self._lock:
            if source not in self._ready:
                self._ready[source] = self._program(name, source)
            program = self._ready[source]
        with translated(self.context.device, f"functions of {name} were sought"):
            return [self.context.cl.Kernel(program, function) for function in functions]

    def key(self, source: str) -> str:
        """Of a cache entry: the text, the options, the device and its driver."""
        text = "\0".join((source, " ".join(self.options), self.context.device.identity))
        return hashlib.sha256(text.encode()).hexdigest()

    def path(self, source: str) -> Path:
        """Where the binary of `source` is kept."""
        return self.folder / f"{self.key(source)}.bin"

    def _program(self, name: str, source: str) -> Any:
        path = self.path(source)
        program = self._from_binary(path)
        if program is None:
            program = self._from_source(name, source)
            self._keep(path, program)
        return program

    def _from_binary(self, path: Path) -> Any | None:
        """The program in a cache entry; None where there is none, it is damaged, or the driver refuses it."""
        cl = self.context.cl
        try:
            entry = path.read_bytes()
        except OSError:
            return None
        head = len(MAGIC) + 32
        if entry[: len(MAGIC)] != MAGIC or entry[len(MAGIC) : head] != hashlib.sha256(entry[head:]).digest():
            return None
        try:
            with _quiet():
                program = cl.Program(self.context.handle, [self.context.device.handle], [entry[head:]])
                program.build(list(self.options))
        except cl.Error:
            return None
        self.loaded += 1
        return program

    def _from_source(self, name: str, source: str) -> Any:
        cl, device = self.context.cl, self.context.device
        try:
            with _quiet():
                program = cl.Program(self.context.handle, source).build(list(self.options), cache_dir=False)
        except cl.Error as error:
            log = [line for line in str(error).splitlines() if line.strip()]
            first = next((i for i, line in enumerate(log) if "error" in line.lower() and "clBuild" not in line), 0)
            text = "\n  ".join(log[first : first + LOG_LINES])
            raise KernelError(
                f"{name} can not be built for {device.spec} {device.name} ({device.platform}, driver {device.driver}); "
                f"the compiler says:\n  {text}\n"
                "update the driver or run with --device cpu; if the driver is current, report this as a bug of edgert"
            ) from error
        self.built += 1
        return program

    def _keep(self, path: Path, program: Any) -> None:
        """Writes a cache entry, whole or not at all. Where that is impossible the next start builds again."""
        cl = self.context.cl
        try:
            (binary,) = program.get_info(cl.program_info.BINARIES)
            store_whole(path, MAGIC + hashlib.sha256(binary).digest() + binary)
            entries = sorted(path.parent.glob("*.bin"), key=lambda p: p.stat().st_mtime)
            for old in entries[:-KEPT]:
                old.unlink(missing_ok=True)
        except (OSError, cl.Error, ValueError):
            return


def with_tile(case: Case, tile: Mapping[str, int]) -> Case:
    """The same op with another choice of constants."""
    return Case(case.params, case.nbytes, case.device, case.signed, tile)


def _quiet() -> warnings.catch_warnings[None]:
    """Compilers have remarks on correct sources, and pyopencl passes them on as warnings."""
    return warnings.catch_warnings(action="ignore")
