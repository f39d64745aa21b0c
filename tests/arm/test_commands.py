"""The command line of the installed wheel on an emulated ARM processor, with NumPy and click alone."""

from __future__ import annotations

import json
from typing import Any

CPU = "cortex-a72"


def command(arm64: Any, *arguments: str) -> dict[str, Any]:
    """What `edgert *arguments --json` says."""
    done = arm64.python(CPU, "-m", "edgert.cli.main", *arguments, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_quickstart(arm64: Any) -> None:
    found = command(arm64, "quickstart")
    assert {form: model["right_samples"] for form, model in found["models"].items()} == {"int8": 10, "sparse int8": 10}


def test_doctor_says_why_a_library_is_not_used(arm64: Any) -> None:
    found = command(arm64, "doctor", "--no-test")
    assert found["kernels"]["level"] == "armv8-a"
    assert found["kernels"]["origin"] == "AOT"
    states = {row["level"]: (row["state"], row["reason"]) for row in found["libraries"]}
    assert states["armv8-a"] == ("in use", "verified by its SHA-256")
    assert states["armv8.2-dotprod"] == ("unfit", "this processor lacks asimddp, asimdhp, atomics")
    assert found["extras"]["jit"] == {"numba": None, "llvmlite": None}
