"""Continues a prompt greedily: python greedy.py MODEL.edge TOKENS PROMPT.

Prints a JSON list with, for each token, [id, its log-probability, how much less that of the next best is].
"""

from __future__ import annotations

import json
import sys

import edgert


def continued(model: str, count: int, prompt: str) -> list[tuple[int, float, float]]:
    with edgert.LLM(model, threads=2, n_ctx=64) as llm:
        found = list(llm.generate(prompt, temperature=0.0, max_tokens=count, logprobs=2))
    return [(token.id, token.top[0][1], token.top[0][1] - token.top[1][1]) for token in found]


if __name__ == "__main__":
    print(json.dumps(continued(sys.argv[1], int(sys.argv[2]), sys.argv[3])))
