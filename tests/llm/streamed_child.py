"""A process of its own that continues a prompt within a budget, and says what that took as JSON: tokens, peak memory.

`python streamed_child.py FILE RAM THREADS TOKENS COUNT`, tokens separated by commas.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import small_decoder

from edgert.format import read_model
from edgert.llm.decoder import Decoder


def resident(name: str) -> int:
    """Bytes of this process, VmRSS or VmHWM (the most it ever had)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def main(file: str, ram: str, threads: str, prompt: str, count: str) -> None:
    # The interpreter, its libraries and the kernels: all that is there before a model is opened.
    other = Decoder(small_decoder.tiny_decoder("q4m"), threads=int(threads))
    other.prefill(list(range(40)))
    other.decode(1)
    other.close()
    before = resident("VmHWM")
    decoder = Decoder(read_model(file), ram=int(ram), threads=int(threads), n_ctx=512)
    tokens = [int(word) for word in prompt.split(",")]
    decoder.prefill(tokens[:-1])
    answer = [tokens[-1]]
    for _ in range(int(count)):
        answer.append(int(np.argmax(decoder.decode(answer[-1]))))
    assert decoder.streamed is not None
    print(
        json.dumps(
            {
                "tokens": answer[1:], "before": before, "peak": resident("VmHWM"), "planned": decoder.memory().total,
                "streamed": decoder.streamed.store.division.streamed_bytes, "summary": decoder.summary(),
            }
        )
    )  # fmt: skip
    decoder.close()


main(*sys.argv[1:])
