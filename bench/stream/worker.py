"""One runtime with one model in a process of its own, told by lines on stdin what to time; runtimes.py asks.

`python worker.py MODE FILE THREADS CONTEXT RAM`; MODE: llama.cpp, or of edgert: mapped, streamed, naive. RAM: bytes
that edgert may plan with. A request is a JSON object on a line, and so is its answer. Needs nothing of the other
runtime.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any, Protocol

TOKEN = 7
"""Which one does not matter for the time."""


class Runtime(Protocol):
    """A model with one sequence."""

    version: str
    facts: dict[str, Any]

    def clear(self) -> None: ...
    def prompt(self, count: int) -> None: ...
    def step(self) -> None: ...
    def waited(self) -> float:
        """Seconds that runs have waited for storage, as far as the runtime knows."""
        ...


class Edgert:
    """mapped: as without a limit. streamed: within `ram`. naive: each stage is read when it is wanted, in one buffered
    read after the other, with nothing else going on; what the page cache keeps of it is the system's affair."""

    def __init__(self, mode: str, path: str, threads: int, context: int, ram: int) -> None:
        import edgert
        from edgert.format import read_model
        from edgert.llm.decoder import Decoder

        options: dict[str, Any] = {"n_ctx": context, "threads": threads}
        if mode == "naive":
            from bench.stream import naive

            naive.install()
        if mode != "mapped":
            options |= {"ram": ram, "stream": "always"}
        self.version = edgert.__version__
        self._decoder = Decoder(read_model(path), **options)
        self.facts = {"ram": options.get("ram", 0), "summary": self._decoder.summary()}
        weights = self._decoder.streamed
        self._store = None if weights is None else weights.store
        if weights is not None:
            division = weights.store.division
            self.facts |= {
                "resident": division.resident_bytes, "streamed": division.streamed_bytes, "ring": division.ring,
                "stages": len(division.stages), "how": weights.store.source.how,
                "predicted": weights.cost().tokens_per_second,
            }  # fmt: skip

    def clear(self) -> None:
        self._decoder.truncate(0)

    def prompt(self, count: int) -> None:
        self._decoder.prefill([TOKEN] * count)

    def step(self) -> None:
        self._decoder.decode(TOKEN)

    def waited(self) -> float:
        return 0.0 if self._store is None else float(self._store.statistics.waited)


class LlamaCpp:
    """With mmap. Its copy of the weights in another order is switched off: that would be the whole model once more, in
    memory that cannot be dropped."""

    def __init__(self, mode: str, path: str, threads: int, context: int, ram: int) -> None:
        import llama_cpp as library

        self.version, self._library, self.facts = library.__version__, library, {}
        library.llama_backend_init()
        self._silent = library.llama_log_callback(lambda *_: None)  # kept: the library calls it until the end
        library.llama_log_set(self._silent, None)
        model, options = library.llama_model_default_params(), library.llama_context_default_params()
        model.load_mode, model.use_extra_bufts = library.LLAMA_LOAD_MODE_MMAP, False
        options.n_ctx, options.n_batch, options.n_ubatch = context, min(context, 512), 64
        options.n_threads = options.n_threads_batch = threads
        loaded = library.llama_model_load_from_file(path.encode(), model)
        self._context = library.llama_init_from_model(loaded, options)
        if not self._context:
            raise RuntimeError(f"llama.cpp cannot load {path}")

    def clear(self) -> None:
        self._library.llama_memory_clear(self._library.llama_get_memory(self._context), True)

    def _decode(self, count: int) -> None:
        tokens = (self._library.llama_token * count)(*[TOKEN] * count)
        if self._library.llama_decode(self._context, self._library.llama_batch_get_one(tokens, count)) != 0:
            raise RuntimeError("llama_decode failed")

    def prompt(self, count: int) -> None:
        self._decode(count)

    def step(self) -> None:
        self._decode(1)

    def waited(self) -> float:
        return 0.0


def bytes_read() -> int:
    """That this process has had from storage, page faults included."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["read_bytes"])


def answer(runtime: Runtime, request: dict[str, Any]) -> dict[str, Any]:
    """{"do": "decode", "seconds", "least", "most"}: tokens one by one until the time is up; {"do": "prefill", "count"}:
    a prompt. Both -> tokens, seconds, bytes read, seconds waited, and the most bytes the process has had in RAM."""
    runtime.clear()
    read, waited, start = bytes_read(), runtime.waited(), time.perf_counter()
    tokens = request.get("count", 0)
    if request["do"] == "prefill":
        runtime.prompt(tokens)
    else:
        while tokens < request["most"]:
            runtime.step()
            tokens += 1
            if tokens >= request["least"] and time.perf_counter() - start > request["seconds"]:
                break
    return {
        "tokens": tokens, "seconds": time.perf_counter() - start, "read": bytes_read() - read,
        "waited": runtime.waited() - waited, "rss": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }  # fmt: skip


def main() -> None:
    mode, path, threads, context, ram = sys.argv[1:]
    make: type[LlamaCpp] | type[Edgert] = LlamaCpp if mode == "llama.cpp" else Edgert
    try:
        runtime: Runtime = make(mode, path, int(threads), int(context), int(ram))
    except Exception as error:  # whatever it is, the one who asked is told
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), flush=True)
        return
    print(json.dumps({"version": runtime.version, "facts": runtime.facts}), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(runtime, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
