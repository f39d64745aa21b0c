"""EfficientNet-Lite0, batch 1: edgert float and int8 against ONNX Runtime (float, QDQ, QOperator) and OpenVINO.

The int8 peers run what edgert's own quantizer made, exported to ONNX in both forms, so that all compute one model.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench import peers
from bench.measure import alternate, machine, save, table

FLOAT, INT8 = "float", "int8"


def models(folder: Path) -> dict[str, Path]:
    """The float ONNX, both .edge files and both quantized ONNX exports, made in `folder`."""
    from edgert.assets.fetch import pull
    from edgert.converters.convert import convert
    from edgert.converters.onnx.exporter import export_onnx
    from edgert.format import read_model

    source = pull("efficientnet-lite0")
    paths = {"float onnx": source}
    for name, weights in ((FLOAT, "f32"), (INT8, "int8")):
        paths[name] = folder / f"{name}.edge"
        convert(source, paths[name], weights=weights, calib=pull("photos") if weights == "int8" else None)
    graph = read_model(paths[INT8]).unpacked_graph()
    for form in ("qdq", "qoperator"):
        paths[form] = folder / f"int8-{form}.onnx"
        export_onnx(graph, paths[form], form=form)
    return paths


def run(threads: Sequence[int], rounds: int, out: Path) -> None:
    """Prints the tables and writes the record to `out`."""
    record: dict[str, Any] = {"model": "EfficientNet-Lite0 224x224, batch 1", "machine": machine(), "results": {}}
    feeds = {"input": np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)}
    with tempfile.TemporaryDirectory() as temporary:
        paths = models(Path(temporary))
        for count in threads:
            for kind, peer_models in ((FLOAT, ["float onnx"]), (INT8, ["qdq", "qoperator"])):
                runners = [peers.edgert(paths[kind], count, {"N": 1})]
                for name in peer_models:
                    runners += peers.installed(peers.onnxruntime, paths[name], count)
                    if name != "qoperator":  # not a form that OpenVINO reads
                        runners += peers.installed(peers.openvino, paths[name], count)
                results = alternate(runners, feeds, rounds)
                base = runners[0].name
                others = [r["median"] for n, r in results.items() if n != base]
                share = f": edgert / best peer = {results[base]['median'] / min(others):.2f}" if others else ""
                title = f"{kind}, {count} thread(s){share}"
                print(table(title, results, base), flush=True)
                record["results"][f"{kind} {count}"] = results
        record["versions"] = {r.name: r.version for r in runners}
    save(out, record)
