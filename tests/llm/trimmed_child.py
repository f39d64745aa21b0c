"""A process of its own whose generation is trimmed by another thread in the middle: its tokens and memory, as JSON.

`python trimmed_child.py FILE TOKENS COUNT`, tokens separated by commas.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path

import edgert


def resident() -> int:
    """Bytes of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def main(file: str, prompt: str, count: str) -> None:
    llm = edgert.LLM(file, n_ctx=512)
    tokens, found = [int(word) for word in prompt.split(",")], []
    memory: dict[str, int] = {}

    def trim() -> None:
        memory["kept"] = llm.trim()
        memory["trimmed"] = resident()

    for index, token in enumerate(llm.generate(tokens, temperature=0, max_tokens=int(count))):
        found.append(token.id)
        if index == int(count) // 2:
            memory["before"] = resident()
            other = threading.Thread(target=trim)
            other.start()
            other.join()
    print(json.dumps({"tokens": found, "after": resident(), "summary": llm.summary(), **memory}))
    llm.close()


main(*sys.argv[1:])
