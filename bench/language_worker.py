"""One language-model runtime in a process of its own, told by lines on stdin what to time; bench/language.py asks.

`python language_worker.py edgert|llama.cpp FILE THREADS CONTEXT [int16]`; int16: activations of edgert. Needs nothing
of the other runtime, so that each may live in its own environment. A request is a JSON object on a line, and so is its
answer.
"""

from __future__ import annotations

import ctypes
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np

IDS = np.random.default_rng(7).integers(1000, 40000, 4096).tolist()
"""Tokens to feed: which ones does not matter for the time, as in llama-bench."""


class Runtime(Protocol):
    """A model with one sequence."""

    version: str
    vocabulary: int

    def clear(self) -> None: ...
    def prompt(self, ids: list[int]) -> Any:
        """Logits after the last id."""
        ...

    def step(self, token: int) -> Any: ...
    def score(self, ids: list[int]) -> Any:
        """Logits [n, V] after every id."""
        ...

    def tokenize(self, text: str) -> list[int]: ...


class Edgert:
    def __init__(self, path: str, threads: int, context: int, activations: str) -> None:
        import edgert
        from edgert.format import read_model
        from edgert.llm.decoder import Decoder

        self.version = edgert.__version__
        self._model = read_model(path)
        self._decoder = Decoder(self._model, n_ctx=context, threads=threads, activations=activations)
        self.vocabulary = self._decoder.vocabulary

    def clear(self) -> None:
        self._decoder.truncate(0)

    def prompt(self, ids: list[int]) -> Any:
        self._decoder.prefill(ids[:-1])
        return self._decoder.decode(ids[-1])

    def step(self, token: int) -> Any:
        return self._decoder.decode(token)

    def score(self, ids: list[int]) -> Any:
        return self._decoder.score(ids)

    def tokenize(self, text: str) -> list[int]:
        from edgert.llm.tokenizer import Tokenizer

        return list(Tokenizer.from_model(self._model).encode(text))


class LlamaCpp:
    def __init__(self, path: str, threads: int, context: int, activations: str) -> None:
        import llama_cpp

        self.version, self._library = llama_cpp.__version__, llama_cpp
        options = {"n_threads": threads, "n_threads_batch": threads, "n_batch": 512, "n_ubatch": 512}
        self._model = llama_cpp.Llama(path, n_ctx=context, verbose=False, logits_all=True, **options)
        self._context = self._model.ctx
        self.vocabulary = self._model.n_vocab()

    def clear(self) -> None:
        self._library.llama_memory_clear(self._library.llama_get_memory(self._context), True)

    def _decode(self, ids: list[int]) -> Any:
        tokens = (self._library.llama_token * len(ids))(*ids)
        batch = self._library.llama_batch_get_one(tokens, len(ids))
        if self._library.llama_decode(self._context, batch) != 0:
            raise RuntimeError("llama_decode failed")
        logits = self._library.llama_get_logits_ith(self._context, -1)
        return np.ctypeslib.as_array(ctypes.cast(logits, ctypes.POINTER(ctypes.c_float)), (self.vocabulary,))

    def prompt(self, ids: list[int]) -> Any:
        for start in range(0, len(ids), 512):
            logits = self._decode(ids[start : start + 512])
        return logits

    def step(self, token: int) -> Any:
        return self._decode([token])

    def score(self, ids: list[int]) -> Any:
        self._model.reset()
        self._model.eval(ids)
        return self._model.scores[: len(ids)]

    def tokenize(self, text: str) -> list[int]:
        return list(self._model.tokenize(text.encode(), add_bos=False, special=False))


def answer(runtime: Runtime, request: dict[str, Any]) -> dict[str, Any]:
    """{"do": "pp", "n"} and {"do": "tg", "n", "from"} -> seconds; "score" writes logits to a .npy; "tokenize";
    "memory": the most bytes that this process has had in RAM."""
    do = request["do"]
    if do == "memory":
        return {"bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}
    if do == "tokenize":
        return {"ids": runtime.tokenize(Path(request["text"]).read_text("utf-8"))}
    runtime.clear()
    if do == "score":
        np.save(request["out"], np.asarray(runtime.score(request["ids"]), np.float32))
        return {}
    count, ids = request["n"], [token % runtime.vocabulary for token in IDS]
    if do == "pp":
        start = time.perf_counter()
        runtime.prompt(ids[:count])
        return {"seconds": time.perf_counter() - start}
    if request.get("from"):
        runtime.prompt(ids[: request["from"]])
    start = time.perf_counter()
    for token in ids[:count]:
        runtime.step(token)
    return {"seconds": time.perf_counter() - start}


def main() -> None:
    name, path, threads, context, *activations = sys.argv[1:]
    make = {"edgert": Edgert, "llama.cpp": LlamaCpp}[name]
    runtime: Runtime = make(path, int(threads), int(context), activations[0] if activations else "int8")
    print(json.dumps({"version": runtime.version, "vocabulary": runtime.vocabulary}), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(runtime, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
