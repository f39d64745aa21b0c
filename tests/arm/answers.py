"""Runs models on a device: python answers.py INPUTS.npy OUTPUTS.npz MODEL... , with two threads.

Keeps the first output of each model, by its place; prints where the kernels came from and their level, once for each.
"""

from __future__ import annotations

import sys

import numpy as np

import edgert

THREADS = 2


def main(inputs: str, outputs: str, *models: str) -> None:
    found = []
    for model in models:
        with edgert.load(model, threads=THREADS) as session:
            name = session.get_inputs()[0].name
            results = [next(iter(session.run({name: x[None]}).values())) for x in np.load(inputs)]
            found.append(np.concatenate(results))
            print(session.kernels, session.level.name)
    np.savez(outputs, *found)


main(*sys.argv[1:])
