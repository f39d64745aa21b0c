"""Alternating measurement: A B C A B C ..., best, median and ratios of medians, with the machine beside the numbers.

Peers spin their thread pools for a while after a call; before each measured call the process sleeps and makes a
few warm calls, so that nobody pays for another's spinning, and everybody starts with their own data in the cache
and their own threads awake (a virtual core that was halted can take milliseconds to come back).
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.peers import Feeds, Runner

REST = 0.08
"""Seconds between runtimes: ONNX Runtime's pool was seen to spin for 35 ms after a run."""
WARM = 10
"""Unmeasured calls before each measured one."""


def alternate(runners: Sequence[Runner], feeds: Feeds, rounds: int) -> dict[str, dict[str, Any]]:
    """Milliseconds per call of each runner: {'name': {'min', 'median', 'max', 'runs'}}."""
    times: dict[str, list[float]] = {r.name: [] for r in runners}
    for runner in runners:
        for _ in range(3):
            runner.run(feeds)
    for _ in range(rounds):
        for runner in runners:
            time.sleep(REST)
            if runner.timed is not None:
                times[runner.name].append(runner.timed(WARM))
                continue
            for _ in range(WARM):
                runner.run(feeds)
            start = time.perf_counter()
            runner.run(feeds)
            times[runner.name].append(1e3 * (time.perf_counter() - start))
    return {
        name: {
            "min": round(min(t), 4), "median": round(statistics.median(t), 4), "max": round(max(t), 4),
            "runs": [round(v, 4) for v in t],
        }
        for name, t in times.items()
    }  # fmt: skip


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    from edgert.device.cpu import cpu_name
    from edgert.kernels_cpu.installed import chosen
    from edgert.kernels_cpu.levels import host_flags

    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    return {
        "cpu": cpu_name(), "arch": platform.machine(), "level": chosen().level.name, "flags": sorted(host_flags()),
        "python": platform.python_version(), "commit": commit, "command": " ".join(["python -m bench", *sys.argv[1:]]),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }  # fmt: skip


def save(path: Path, record: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n")


def table(title: str, results: dict[str, dict[str, Any]], base: str) -> str:
    """Results as text; ratio = median / median of `base`."""
    lines = [title]
    width = max(len(name) for name in results)
    for name, r in sorted(results.items(), key=lambda item: item[1]["median"]):
        ratio = r["median"] / results[base]["median"]
        lines.append(f"  {name:{width}}  min {r['min']:8.3f}  median {r['median']:8.3f} ms  x{ratio:.2f}")
    return "\n".join(lines)
