"""The largest logits in the place of all of them: when the same token is drawn from them, and how a graph finds them.

A device that selects hands over a kilobyte per token, not the whole vocabulary. Drawing is sampler.py.

Why the token is the same. Of V logits a device hands over the SELECTED that come first: larger ones first, of equal
ones the first, NaN before all. Biases and penalties change the logits of known tokens only. Where they lower them, the
others stay in their order, and no token that was not handed over overtakes one that was and is unchanged: rounding
keeps order, and of equal ones the first still comes first. Of those handed over all but the known tokens are unchanged.
The sampler looks at the first of all (greedy) or at the first top_k, and at nothing else: where these and the known
tokens are no more than SELECTED, it finds the same ones with the same numbers in the same order, the peak and a NaN
among them. top-p and min-p then see the same list, and one random number is drawn either way.
"""

from __future__ import annotations

import numpy as np

from edgert.graph.ir import Graph, Node
from edgert.llm.sampler import Sampling

SELECTED = 128
"""Logits that a device hands over: the default top_k of 40, and the 64 tokens that penalties look back, fit."""
WORTHWHILE = 8
"""A vocabulary is so many times as large, or it is handed over whole."""
VALUES, IDS = "largest.values", "largest.ids"
"""Outputs of a graph with `with_largest`: float32 and int64 [T, SELECTED], the largest first."""


def selected_of(vocabulary: int) -> int:
    """How many of so many logits a device selects; 0 for none."""
    return SELECTED if vocabulary >= WORTHWHILE * SELECTED else 0


def why_all(options: Sampling, selected: int) -> str:
    """Why the `selected` largest logits may not be enough to draw the same token as all, '' if they always are."""
    if not options.greedy and not options.top_k:
        return "tokens are drawn from all: top_k is 0"
    changed = len(options.logit_bias)
    if any(bias > 0 for bias in options.logit_bias.values()):
        return "a logit bias raises tokens that may not be among the largest"
    if options.penalises:
        if options.repeat_penalty < 1 or options.frequency_penalty < 0 or options.presence_penalty < 0:
            return "penalties raise tokens that may not be among the largest"
        changed += options.repeat_last_n
    wanted = 1 if options.greedy else options.top_k
    if wanted + changed > selected:
        return f"top_k, biases and repeat_last_n look at {wanted + changed} tokens, more than {selected}"
    return ""


def with_largest(graph: Graph, count: int) -> Graph:
    """`graph` with the outputs VALUES and IDS, the `count` largest of each row of `logits`."""
    result = graph.copy()
    k = result.add_constant("largest.k", np.array([count], np.int64))
    result.nodes.append(Node("TopK", ("logits", k), (VALUES, IDS), {"axis": -1}, "largest"))
    result.outputs = [*result.outputs, VALUES, IDS]
    return result
