"""`python -m bench opencl`: EfficientNet-Lite0 (float, int8) and SmolLM2 (q4) on an OpenCL device that is the processor
itself, beside the native path on the same cores and a straightforward OpenCL runtime (naive.py).

EDGERT_BENCH_DEVICE names the device ('opencl:1'). Each number of threads is a process of its own, since drivers take
theirs when they start. A result whose answers differ is not reported.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import edgert
from bench.gpu.naive import Naive
from bench.gpu.overhead import enqueuing
from bench.gpu.split import by_kernel, empty, split
from bench.measure import REST, machine, save
from edgert.format import read_model
from edgert.graph.ir import Array
from edgert.kernels_gpu.device import choose, import_pyopencl
from edgert.llm.decoder import Decoder
from edgert.runtime.gpu_executable import GpuExecutable

DEVICE = os.environ.get("EDGERT_BENCH_DEVICE", "opencl")
FLOAT, INT8, LANGUAGE = "EfficientNet-Lite0 float", "EfficientNet-Lite0 int8", "SmolLM2-135M q4"
NATIVE, OURS, NAIVE = "native", "opencl", "naive opencl"
IMAGE = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
IDS = np.random.default_rng(7).integers(1000, 40000, 64).tolist()
CONTEXT, PAST, TOKENS = 256, 32, 4
"""Of the language model: a measured call decodes TOKENS after the first PAST."""
WARM_SECONDS, WARM_CALLS = 0.05, 10
"""Unmeasured calls before a measured one: until either is reached, none before calls that take longer."""


@dataclass
class Case:
    """One model in all three forms. per: tokens, or 1, of a call. check: raises SystemExit for wrong answers and says
    how far they are apart."""

    calls: dict[str, Callable[[], object]]
    per: int
    check: Callable[[], dict[str, float]]
    executable: Callable[[], GpuExecutable]
    profiles: dict[str, Callable[[], Any]]
    summary: str


def models(folder: Path) -> dict[str, Path]:
    """The three .edge files, made in `folder` unless they are there."""
    from edgert.assets.fetch import pull
    from edgert.converters.convert import convert

    paths = {name: folder / f"{name.lower().replace(' ', '-')}.edge" for name in (FLOAT, INT8, LANGUAGE)}
    for name, source, options in (
        (FLOAT, "efficientnet-lite0", {"weights": "f32"}),
        (INT8, "efficientnet-lite0", {"weights": "int8", "calib": "photos"}),
        (LANGUAGE, "smollm2-135m", {"weights": "int4", "method": "rtn"}),
    ):
        if not paths[name].exists():
            calib = pull(options.pop("calib")) if "calib" in options else None
            convert(pull(source), paths[name], calib=calib, **options)  # type: ignore[arg-type]
    return paths


def near(name: str, found: Array, right: Array, tolerance: float) -> float:
    """The root of the mean squared difference in deviations of `right`. Ends the program where it is larger."""
    error = float(np.sqrt(np.mean((found.astype(np.float64) - right) ** 2)) / right.std())
    if not error <= tolerance:
        raise SystemExit(f"{name}: expected the native answers within {tolerance}, found {error}: nothing is reported")
    return error


def network(path: Path, threads: int, tolerance: float) -> Case:
    """EfficientNet-Lite0, an image a call."""
    feeds: Mapping[str, Array] = {"input": IMAGE}
    native = edgert.load(path, threads=threads, shapes={"N": 1})
    ours = edgert.load(path, threads=threads, device=DEVICE, shapes={"N": 1})
    naive = Naive(import_pyopencl(), choose(DEVICE).handle, read_model(path), {"N": 1})
    right = native.run(feeds)["logits"]

    def check() -> dict[str, float]:
        return {
            OURS: near(f"{path.stem}, {OURS}", ours.run(feeds)["logits"], right, tolerance),
            NAIVE: near(f"{path.stem}, {NAIVE}", naive.run(feeds)["logits"], right, tolerance),
        }

    calls: dict[str, Callable[[], object]] = {
        NATIVE: lambda: native.run(feeds), OURS: lambda: ours.run(feeds), NAIVE: lambda: naive.run(feeds)
    }  # fmt: skip
    profiles = {
        NATIVE: lambda: native.profile(feeds), OURS: lambda: ours.profile(feeds), NAIVE: lambda: naive.profile(feeds)
    }  # fmt: skip
    ours.run(feeds)
    (executable,) = ours._ready.values()
    assert isinstance(executable, GpuExecutable)
    return Case(calls, 1, check, lambda: executable, profiles, ours.summary())


def language(path: Path, threads: int) -> Case:
    """SmolLM2, TOKENS tokens a call. Ours round activations to 8 bits, and a unit that falls to the other side is seen
    in the logits: they are compared with 16 bits, and so is the straightforward one, which does not round."""
    model = read_model(path)
    native = Decoder(model, n_ctx=CONTEXT, threads=threads)
    ours = Decoder(model, n_ctx=CONTEXT, threads=threads, device=DEVICE)
    naive = Naive(import_pyopencl(), choose(DEVICE).handle, model, {"T": 1, "C": CONTEXT})

    def one(position: int) -> dict[str, Array]:
        return {"tokens": np.array(IDS[position : position + 1], np.int32), "positions": np.array([position], np.int32)}

    def naively(start: int, count: int) -> Array:
        for position in range(start, start + count):
            logits = naive.run(one(position))["logits"][0]
        return logits

    def decoded(decoder: Decoder, start: int, count: int) -> Array:
        decoder.truncate(start)
        for position in range(start, start + count):
            logits = decoder.decode(IDS[position])
        return logits

    def check() -> dict[str, float]:
        right, ours16 = (exactly(device) for device in ("cpu", DEVICE))
        rounded = decoded(native, 0, PAST)
        return {
            f"{OURS} int16 to {NATIVE} int16": near(f"{path.stem}, {OURS}", ours16, right, 0.01),
            f"{NAIVE} to {NATIVE} int16": near(f"{path.stem}, {NAIVE}", naively(0, PAST), right, 0.01),
            f"{NATIVE} to {NATIVE} int16": near(f"{path.stem}, {NATIVE}", rounded, right, 0.3),
            f"{OURS} to {NATIVE}": near(f"{path.stem}, {OURS}", decoded(ours, 0, PAST), rounded, 0.3),
        }

    def exactly(device: str) -> Array:
        decoder = Decoder(model, n_ctx=CONTEXT, threads=threads, activations="int16", device=device)
        logits = decoded(decoder, 0, PAST)
        decoder.close()
        return logits

    calls: dict[str, Callable[[], object]] = {
        NATIVE: lambda: decoded(native, PAST, TOKENS), OURS: lambda: decoded(ours, PAST, TOKENS),
        NAIVE: lambda: naively(PAST, TOKENS),
    }  # fmt: skip
    profiles = {
        NATIVE: lambda: native.profile(IDS[PAST]), OURS: lambda: ours.profile(IDS[PAST]),
        NAIVE: lambda: naive.profile(one(PAST)),
    }  # fmt: skip

    def executable() -> GpuExecutable:
        found = ours._ready["decode"]
        assert isinstance(found, GpuExecutable)
        return found

    decoded(ours, 0, 1)
    return Case(calls, TOKENS, check, executable, profiles, ours.summary())


def alternate(calls: Mapping[str, Callable[[], object]], per: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Milliseconds per image or token: A B C A B C ..., as bench/measure.py, but that calls of a second are not warmed
    up by ten others."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            time.sleep(REST)
            spent, count = (times[name][-1] * per / 1e3 if times[name] else 0.0), 0
            while spent < WARM_SECONDS and count < WARM_CALLS:
                begin = time.perf_counter()
                call()
                spent, count = spent + time.perf_counter() - begin, count + 1
            begin = time.perf_counter()
            call()
            times[name].append(1e3 * (time.perf_counter() - begin) / per)
    return {
        name: {"min": min(t[1:]), "median": median(t[1:]), "max": max(t[1:]), "runs": t[1:]}
        for name, t in times.items()
    }  # fmt: skip


def examine(case: Case, rounds: int) -> dict[str, Any]:
    """Everything about one model at one number of threads."""
    row: dict[str, Any] = {"differences": case.check(), "summary": case.summary}
    row["ms"] = alternate(case.calls, case.per, rounds)
    medians = {name: values["median"] for name, values in row["ms"].items()}
    row["ratios"] = {
        f"{NAIVE} / {OURS}": medians[NAIVE] / medians[OURS], f"{OURS} / {NATIVE}": medians[OURS] / medians[NATIVE],
    }  # fmt: skip
    row["split"] = split(case.executable(), case.calls[OURS], case.profiles[OURS], case.per, rounds)
    row["us by kernel"] = {name: by_kernel(call, 2 if name == NAIVE else 5) for name, call in case.profiles.items()}
    row["enqueuing"] = enqueuing(case.executable(), rounds)
    if case.per > 1:  # their positions are gone, and with them the work of attention
        row["enqueuing"] = {
            form: {"host us per command": t["host us per command"]} for form, t in row["enqueuing"].items()
        }
    return row


def worker(paths: Mapping[str, str], threads: int, rounds: int) -> dict[str, Any]:
    """The results of one process, on `threads` cores."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    found: dict[str, Any] = {}
    for name, path in paths.items():
        tolerance = 1e-4 if name == FLOAT else 0.03
        case = language(Path(path), threads) if name == LANGUAGE else network(Path(path), threads, tolerance)
        found[name] = examine(case, rounds)
        print(report(name, threads, found[name]), file=sys.stderr, flush=True)
    context = case.executable().context
    found["us per empty command"] = {f"{groups} groups": empty(context, groups) for groups in (1, 64)}
    return found


def report(name: str, threads: int, row: Mapping[str, Any]) -> str:
    """A row as text."""
    parts = row["split"]
    times = ", ".join(f"{key} {value['median']:.2f} ms" for key, value in row["ms"].items())
    ratios = ", ".join(f"{key} {value:.2f}" for key, value in row["ratios"].items())
    return (
        f"{name}, {threads} thread(s): {times}; {ratios}; a run of {parts['run']:.2f} ms is kernels "
        f"{parts['kernels']:.2f}, driver {parts['driver']:.2f}, host {parts['host']:.2f}"
    )


def environment(threads: int) -> dict[str, str]:
    """Drivers with as many threads: PoCL and Intel's have a word for it."""
    return {**os.environ, "POCL_MAX_PTHREAD_COUNT": str(threads), "CL_CONFIG_CPU_TBB_NUM_WORKERS": str(threads)}


def run(threads: Sequence[int], rounds: int, out: Path) -> None:
    """Prints the numbers and puts those of the device into the record `out`, which may have others."""
    device = choose(DEVICE)
    record: dict[str, Any] = {"machine": machine(), "device": device.described(), "threads": {}}
    record["machine"]["command"] = f"EDGERT_BENCH_DEVICE={DEVICE} {record['machine']['command']}"
    with tempfile.TemporaryDirectory() as temporary:
        paths = models(Path(os.environ.get("EDGERT_BENCH_MODELS", temporary)))
        given = json.dumps({name: str(path) for name, path in paths.items()})
        for count in threads:
            command = [sys.executable, "-m", "bench.gpu.compare", given, str(count), str(rounds)]
            done = subprocess.run(command, env=environment(count), stdout=subprocess.PIPE, text=True)
            if done.returncode:
                raise SystemExit(f"the process with {count} thread(s) ended with {done.returncode}")
            record["threads"][str(count)] = json.loads(done.stdout)
    keep(out, f"{device.platform}, {device.driver}", record)


def keep(out: Path, key: str, record: dict[str, Any]) -> None:
    """One entry of `out`; the others stay."""
    whole = json.loads(out.read_text()) if out.exists() else {}
    save(out, {**whole, key: rounded(record)})


def rounded(value: Any) -> Any:
    """Floats with five digits."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


if __name__ == "__main__":
    print(json.dumps(worker(json.loads(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
