"""SmolLM2-135M: decode and prefill of edgert against llama.cpp, alternating in one run, and how far both agree.

Each runtime is a process of its own (language_worker.py) that works only while it is asked. llama.cpp may live in
another environment: LLAMA_CPP_PYTHON names its Python. The peer's Q4_0 and Q8_0 are requantized by llama.cpp itself.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from bench.measure import machine, save

CONTEXT = 1024
OURS, EXACT, THEIRS, FLOAT = "edgert q4m (Q4_1)", "edgert q4m int16", "llama.cpp Q4_1", "llama.cpp F32"
"""The same weights: edgert with int8 and with int16 activations, llama.cpp with its own, and dequantized to float."""
PROMPT, TOKENS = 512, 128
REST = 0.05
ROOF_BYTES = 256 << 20
WORKER = Path(__file__).with_name("language_worker.py")
QUANTIZE = """
import ctypes, sys, llama_cpp
options = llama_cpp.llama_model_quantize_default_params()
options.ftype, options.allow_requantize = getattr(llama_cpp, "LLAMA_FTYPE_" + sys.argv[3]), True
sys.exit(llama_cpp.llama_model_quantize(sys.argv[1].encode(), sys.argv[2].encode(), ctypes.byref(options)))
"""


Model = tuple[str, Path] | tuple[str, Path, str]
"""A runtime, a file, and perhaps the activations that edgert is to use."""


class Worker:
    """A runtime with one model at one thread count, in a process of its own."""

    def __init__(self, name: str, model: Model, threads: int, context: int = CONTEXT) -> None:
        self.name = name
        runtime, path, *options = model
        python = os.environ.get("LLAMA_CPP_PYTHON", sys.executable) if runtime == "llama.cpp" else sys.executable
        command = [python, str(WORKER), runtime, str(path), str(threads), str(context), *options]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.version = str(self._answer().get("version"))

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def models(folder: Path) -> dict[str, Model]:
    """By name: the lossless import (int8 and int16 activations), int8 and int4 of ours; Q4_1, Q4_0, Q8_0 and F32 of
    llama.cpp."""
    from edgert.assets.fetch import pull
    from edgert.converters.convert import convert

    source = pull("smollm2-135m")
    convert(source, folder / "q4m.edge")
    found: dict[str, Model] = {OURS: ("edgert", folder / "q4m.edge"), EXACT: ("edgert", folder / "q4m.edge", "int16")}
    for weights, name in (("int4", "edgert q4 (int4)"), ("int8", "edgert q8 (int8)")):
        convert(source, folder / f"{weights}.edge", weights=weights, method="rtn")
        found[name] = ("edgert", folder / f"{weights}.edge")
    python = os.environ.get("LLAMA_CPP_PYTHON", sys.executable)
    if subprocess.run([python, "-c", "import llama_cpp"], capture_output=True).returncode:
        print("left out: llama_cpp is not installed; LLAMA_CPP_PYTHON names the Python that has it", file=sys.stderr)
        return found
    found[THEIRS] = ("llama.cpp", source)
    for kind, ftype in (("Q4_0", "MOSTLY_Q4_0"), ("Q8_0", "MOSTLY_Q8_0"), ("F32", "ALL_F32")):
        path = folder / f"{kind}.gguf"
        subprocess.run([python, "-c", QUANTIZE, str(source), str(path), ftype], check=True, capture_output=True)
        found[f"llama.cpp {kind}"] = ("llama.cpp", path)
    return found


def speed(
    files: dict[str, Model], threads: int, rounds: int, memory: dict[str, int] | None = None
) -> dict[str, dict[str, Any]]:
    """Tokens per second of each, runs alternating: {'name': {'pp512': {...}, 'tg128': {...}}}. memory: gets the most
    bytes that each had in RAM."""
    memory = {} if memory is None else memory
    workers = [Worker(name, model, threads) for name, model in files.items() if name != FLOAT]
    rates: dict[str, dict[str, list[float]]] = {w.name: {"pp512": [], "tg128": []} for w in workers}
    try:
        for turn in range(rounds + 1):
            for worker in workers:
                for kind, request in (
                    ("pp512", {"do": "pp", "n": PROMPT}),
                    ("tg128", {"do": "tg", "n": TOKENS}),
                ):
                    time.sleep(REST)
                    seconds = worker.ask(**request)["seconds"]
                    if turn:  # the first is warming up
                        rates[worker.name][kind].append(request["n"] / seconds)
        for worker in workers:
            memory[worker.name] = worker.ask(do="memory")["bytes"]
    finally:
        for worker in workers:
            worker.close()
    return {
        name: {
            kind: {
                "median": round(statistics.median(values), 2), "max": round(max(values), 2),
                "deviation": round(statistics.stdev(values), 2) if len(values) > 1 else 0.0,
                "runs": [round(v, 2) for v in values],
            }
            for kind, values in kinds.items()
        }
        for name, kinds in rates.items()
    }  # fmt: skip


def roof(threads: int) -> float:
    """Bytes per second of plain reads of 256 MB shared among threads, by the C library's memchr and by a BLAS dot
    product: the best of twenty. Weights are read once for each token, so this bounds decoding, but for what fetching
    ahead gains."""
    memchr = ctypes.CDLL(None).memchr
    memchr.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
    parts = [np.full(ROOF_BYTES // threads // 4, 1.5, np.float32) for _ in range(threads)]
    best = math.inf
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(10):
            for read in (lambda a: memchr(a.ctypes.data, 1, a.nbytes), lambda a: np.dot(a, a)):
                start = time.perf_counter()
                list(pool.map(read, parts))
                best = min(best, time.perf_counter() - start)
    return ROOF_BYTES / best


def agreement(files: dict[str, Model], text: Path, count: int = 512) -> dict[str, Any]:
    """Logits on the first `count` tokens of `text` by every runtime that has the same weights: perplexities, and of
    each pair how often both find the same token most likely, and how far their logits are apart."""
    workers = [Worker(name, files[name], threads=2) for name in (OURS, EXACT, THEIRS, FLOAT)]
    logits: dict[str, np.ndarray[Any, Any]] = {}
    try:
        every = [w.ask(do="tokenize", text=str(text))["ids"] for w in workers]
        ids = every[0][:count]
        with tempfile.TemporaryDirectory() as folder:
            for worker in workers:
                out = Path(folder) / "logits.npy"
                worker.ask(do="score", ids=ids, out=str(out))
                logits[worker.name] = np.load(out).astype(np.float64)
    finally:
        for worker in workers:
            worker.close()
    return {
        "tokens": count,
        "all_tokens_equal": every.count(every[0]) == len(every),
        "perplexity": {name: perplexity(values, ids) for name, values in logits.items()},
        "pairs": {
            f"{a} / {b}": {
                "top1_agreement": float(np.mean(logits[a].argmax(1) == logits[b].argmax(1))),
                "rms_difference": float(np.sqrt(np.mean((logits[a] - logits[b]) ** 2))),
            }
            for a, b in combinations(logits, 2)
        },
        "logits_deviation": float(logits[FLOAT].std()),
    }


def perplexity(logits: np.ndarray[Any, Any], ids: list[int]) -> float:
    """exp of the mean negative log-likelihood of ids[1:] given logits[:-1]."""
    shifted = logits[:-1] - logits[:-1].max(1, keepdims=True)
    chosen = shifted[np.arange(len(ids) - 1), ids[1:]] - np.log(np.exp(shifted).sum(1))
    return float(np.exp(-chosen.mean()))


def run(thread_counts: Sequence[int], rounds: int, out: Path) -> None:
    """Measures everything, prints tables, and writes the raw numbers to `out`."""
    from edgert.assets.fetch import pull

    record: dict[str, Any] = {"machine": machine(), "prompt": PROMPT, "tokens": TOKENS, "threads": {}}
    with tempfile.TemporaryDirectory() as name:
        files = models(Path(name))
        record["bytes"] = {name: model[1].stat().st_size for name, model in files.items()}
        if FLOAT in files:
            record["agreement"] = agreement(files, pull("austen") / "prideprejudice.txt")
            print(json.dumps(record["agreement"], indent=1))
        for threads in thread_counts:
            results = speed(files, threads, rounds)
            reached = roof(threads)
            for name, model in files.items():
                if name in results:  # every weight is read once for each token
                    nbytes = results[name]["tg128"]["median"] * model[1].stat().st_size
                    results[name]["tg128"]["share_of_roof"] = round(nbytes / reached, 3)
            record["threads"][str(threads)] = results
            record.setdefault("roof_bytes_per_second", {})[str(threads)] = round(reached)
            print(table(f"SmolLM2-135M, {threads} thread{'s' if threads > 1 else ''}, tokens/s", results))
            save(out, record)
    save(out, record)


def table(title: str, results: dict[str, dict[str, Any]]) -> str:
    """Results as text; ratios to llama.cpp's Q4_1 where it was measured."""
    base = results.get(THEIRS)
    lines = [title]
    for name, kinds in results.items():
        cells = [f"  {name:20}"]
        for kind, values in kinds.items():
            ratio = f" x{values['median'] / base[kind]['median']:.2f}" if base else ""
            share = f", {100 * values['share_of_roof']:.0f} % of plain reads" if "share_of_roof" in values else ""
            cells.append(f"{kind} {values['median']:8.1f} ± {values['deviation']:5.1f}{ratio}{share}")
        lines.append("  ".join(cells))
    return "\n".join(lines)
