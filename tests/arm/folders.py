"""Runs a model with the kernel libraries of one folder after another: python folders.py MODEL INPUTS.npy FOLDER...

Prints for each folder, as a JSON list, the level in use, or the error's type and text.
"""

from __future__ import annotations

import json
import os
import sys

import numpy as np

import edgert


def attempt(model: str, image: np.ndarray, folder: str) -> str:
    os.environ["EDGERT_KERNEL_FOLDER"] = folder
    try:
        with edgert.load(model, threads=1) as session:
            session.run({session.get_inputs()[0].name: image})
            return session.level.name
    except edgert.EdgertError as error:
        return f"{type(error).__name__}: {error}"


image = np.load(sys.argv[2])[:1]
print(json.dumps([attempt(sys.argv[1], image, folder) for folder in sys.argv[3:]]))
