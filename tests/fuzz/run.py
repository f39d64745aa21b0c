"""python tests/fuzz/run.py: thousands of mutated ONNX and TFLite files, in processes of their own with a memory limit.

python tests/fuzz/run.py                        10,000 of each, seeds 0 to 9,999
python tests/fuzz/run.py --kind onnx --seeds 500 600
python tests/fuzz/run.py --kind onnx --seeds 512 513    one of them again, with its traceback
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

BATCH = 250
"""Files for one process: what one leaves behind does not reach far, and starting is soon paid."""


def batch(kind: str, first: int, last: int) -> tuple[int, str]:
    """(exit status, output) of a process that tries the seeds first..last-1."""
    command = [sys.executable, __file__, "--batch", "--kind", kind, "--seeds", str(first), str(last)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + (done.stderr[-3000:] if done.returncode not in (0, 1) else "")


def work(kind: str, first: int, last: int) -> int:
    """Tries the seeds in this process. Returns the exit status."""
    from attempt import attempts, bound_memory, peak_bytes

    bound_memory()
    counts, failures = attempts(kind, range(first, last))
    print(*(f"{key}={count}" for key, count in counts.items()), f"peak={peak_bytes() >> 20}")
    for seed, text in failures.items():
        print(f"--- {kind} seed {seed}\n{text}")
    return 1 if failures else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=("onnx", "tflite"), action="append")
    parser.add_argument("--seeds", nargs=2, type=int, default=(0, 10_000), metavar=("FIRST", "END"))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--batch", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    first, end = options.seeds
    if options.batch:
        return work(options.kind[0], first, end)
    jobs = [
        (kind, start, min(start + BATCH, end))
        for kind in options.kind or ("onnx", "tflite")
        for start in range(first, end, BATCH)
    ]
    totals: dict[str, Counter[str]] = {}
    peak, bad = 0, 0
    with ThreadPoolExecutor(options.jobs) as pool:
        for job, (status, output) in zip(jobs, pool.map(lambda job: batch(*job), jobs), strict=True):
            head, _, rest = output.partition("\n")
            for word in head.split():
                key, _, number = word.partition("=")
                if key == "peak":
                    peak = max(peak, int(number))
                elif number.isdigit():
                    totals.setdefault(job[0], Counter())[key] += int(number)
            if status != 0:
                bad += 1
                print(f"{job[0]} seeds {job[1]} to {job[2]}: exit status {status}\n{head}\n{rest}", flush=True)
    for kind, counts in totals.items():
        print(f"{kind}: {sum(counts.values())} files: " + ", ".join(f"{n} {key}" for key, n in sorted(counts.items())))
    print(f"most memory of any process: {peak} MB")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    raise SystemExit(main())
