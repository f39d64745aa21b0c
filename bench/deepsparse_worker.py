"""DeepSparse in a process and Python of its own: `python deepsparse_worker.py MODEL.onnx THREADS`; peers.py asks.

Every line on stdin is the number of unmeasured runs before a measured one; the answer is that one's milliseconds.
"""

from __future__ import annotations

import json
import sys
import time

import deepsparse
import numpy as np


def main() -> None:
    path, threads = sys.argv[1:]
    engine = deepsparse.Engine(model=path, batch_size=1, num_cores=int(threads))
    inputs = [np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)]
    outputs = engine.run(inputs)
    print(json.dumps({"version": deepsparse.__version__, "outputs": [list(v.shape) for v in outputs]}), flush=True)
    for line in sys.stdin:
        for _ in range(int(line)):
            engine.run(inputs)
        start = time.perf_counter()
        engine.run(inputs)
        print(1e3 * (time.perf_counter() - start), flush=True)


if __name__ == "__main__":
    main()
