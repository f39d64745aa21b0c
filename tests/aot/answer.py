"""Runs a model in a process without compilers: python answer.py MODEL INPUTS.npy OUTPUTS.npz THREADS [BLOCKED ...].

Importing a blocked module fails, as where it is not installed. Prints where the kernels came from and the ISA level.
"""

from __future__ import annotations

import sys

sys.modules.update(dict.fromkeys(sys.argv[5:]))  # None: "import numba" raises ImportError

import numpy as np  # noqa: E402

import edgert  # noqa: E402


def main(model: str, inputs: str, outputs: str, threads: str) -> None:
    with edgert.load(model, threads=int(threads)) as session:
        name = session.get_inputs()[0].name
        results = [session.run({name: x[None]}) for x in np.load(inputs)]
        np.savez(outputs, **{key: np.concatenate([r[key] for r in results]) for key in results[0]})
        print(session.kernels, session.level.name)


main(*sys.argv[1:5])
