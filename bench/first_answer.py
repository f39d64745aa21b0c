"""From the start of a process to the first answer: the wheel of this machine in a fresh environment.

    make wheels && python -m bench.first_answer

Beside it what NumPy alone takes. Best and median of many, in turn; CPU time does not depend on what else runs.
"""

from __future__ import annotations

import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.measure import machine, save

RUNS = 40
OUT = Path("bench/results/first-answer-x86-64.json")
MODEL = "fashion_mnist-int8.edge"
ANSWER = (
    "import sys, numpy, edgert; "
    "print(edgert.load(sys.argv[1]).run(None, {'image': numpy.zeros((1, 1, 28, 28), 'float32')})[0].argmax())"
)
PROGRAMS = {"python": "pass", "python, import numpy": "import numpy", "first answer": ANSWER}


def main() -> None:
    """Installs, measures and prints; raw numbers go to OUT."""
    wheels = sorted(Path("dist").glob(f"edgert-*{platform.machine()}.whl"))
    if len(wheels) != 1:
        raise SystemExit(f"dist/ holds {len(wheels)} wheels of edgert for this machine, expected one; run: make wheels")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        python = Path(folder, "bin", "python")
        subprocess.run([python, "-m", "pip", "install", "--quiet", wheels[0]], check=True)
        (model,) = Path(folder).glob(f"lib/python*/site-packages/edgert/models/{MODEL}")
        environment = {**os.environ, "EDGERT_CACHE": str(Path(folder, "cache"))}
        results: dict[str, dict[str, list[float]]] = {name: {"wall_ms": [], "cpu_ms": []} for name in PROGRAMS}
        for _ in range(RUNS):
            for name, code in PROGRAMS.items():
                wall, cpu = timed([str(python), "-c", code, str(model)], environment, Path(folder))
                results[name]["wall_ms"].append(wall)
                results[name]["cpu_ms"].append(cpu)
    record: dict[str, Any] = {
        "machine": machine(),
        "command": "python -m bench.first_answer",
        "load": os.getloadavg()[0],
        "wheel": wheels[0].name,
        "results": results,
    }
    save(OUT, record)
    print(table(results))


def timed(command: list[str], environment: dict[str, str], folder: Path) -> tuple[float, float]:
    """(wall, CPU) milliseconds of a process, from its start to its end."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, env=environment, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return 1e3 * wall, 1e3 * cpu


def table(results: dict[str, dict[str, list[float]]]) -> str:
    """Best and median milliseconds as text."""
    lines = [f"{'':24}{'best':>8}{'median':>8}{'CPU, best':>11}"]
    for name, times in results.items():
        wall = times["wall_ms"]
        lines.append(f"{name:24}{min(wall):8.0f}{statistics.median(wall):8.0f}{min(times['cpu_ms']):11.0f}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
