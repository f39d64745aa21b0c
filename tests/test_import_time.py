"""`import edgert` and `edgert --help` stay quick: nothing heavy is imported before it is used."""

from __future__ import annotations

import subprocess
import sys

BUDGET_MS = 100.0
TRIES = 5  # the best of a few: a busy machine can only make it slower
HEAVY = ("numba", "llvmlite", "onnx", "onnxruntime", "PIL", "rich", "google.protobuf", "pyopencl")


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_takes_under_100_ms() -> None:
    code = "import time; start = time.perf_counter(); import edgert; print((time.perf_counter() - start) * 1e3)"
    best = min(float(python(code)) for _ in range(TRIES))
    assert best < BUDGET_MS, f"import edgert takes {best:.0f} ms at best"


def test_import_loads_nothing_heavy() -> None:
    code = f"import sys, edgert, edgert.cli.main\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    assert python(code) == "[]"


def test_session_loads_nothing_heavy() -> None:
    """The device has no numba, onnx or pillow; naming the Session must not need them."""
    code = f"import sys, edgert; edgert.Session\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    assert python(code) == "[]"


def test_session_loads_no_compiler() -> None:
    """Where kernels come from a library, what starts compilers would be dead weight."""
    names = ("edgert.kernels_cpu.jit", "importlib.metadata", "secrets", "shutil", "subprocess")
    code = "import sys, numpy\nbefore = set(sys.modules)\nimport edgert\nedgert.Session\n"
    assert python(f"{code}print([n for n in {names!r} if n in sys.modules and n not in before])") == "[]"


def test_public_names_resolve() -> None:
    import edgert

    for name in edgert.__all__:
        assert getattr(edgert, name) is not None
    assert set(edgert.__all__) <= set(dir(edgert))
