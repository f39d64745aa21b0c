"""EfficientNet-Lite0 and MobileNetV2 in int8, pointwise weights pruned in blocks: single layers and whole networks.

Pruning here is for timing: one shot by magnitude, which would cost accuracy. Every layer runs both ways, sparse and
expanded to dense, alternating, in network order; whole networks run beside the peers on the same weights.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench import peers
from bench.measure import alternate, machine, save, table
from edgert.cache import cache_root
from edgert.format import Model, read_model, write_model
from edgert.format.model import StoredTensor
from edgert.graph.infer import infer_types
from edgert.graph.ir import Array
from edgert.kernels_cpu.levels import active_level
from edgert.kernels_cpu.library import open_library
from edgert.plan.planner import make_plan
from edgert.runtime.calibrate import ensure_peaks
from edgert.runtime.executable import Executable

SHARES = (0.3, 0.5, 0.7, 0.8)
PATTERNS = {"4x4": (4, 4), "2x4": (2, 4), "1x4": (1, 4), "64x4": (64, 4)}
NOISE = 1.05
"""How much slower than dense a layer may seem before it is said to be."""
NETWORKS = {"efficientnet-lite0": "EfficientNet-Lite0", "mobilenetv2-features": "MobileNetV2"}


def pruned(weights: Array, rows: int, cells: int, share: float) -> Array:
    """`weights` [N, C, kh, kw] with that share of its blocks of rows x cells channels zero: the least ones."""
    n, c, *_ = weights.shape
    blocks_of = (-(-n // rows), rows, -(-c // cells), cells)
    padded = np.zeros((blocks_of[0] * rows, blocks_of[2] * cells), np.float32)
    padded[:n, :c] = np.abs(weights[:, :, 0, 0].astype(np.float32))
    size = padded.reshape(blocks_of).sum(axis=(1, 3))
    keep = np.ones(size.size, bool)
    keep[np.argsort(size, axis=None, kind="stable")[: round(share * size.size)]] = False
    mask = np.repeat(np.repeat(keep.reshape(size.shape), rows, 0), cells, 1)[:n, :c]
    return weights * mask[:, :, None, None].astype(weights.dtype)


def is_pointwise(tensor: StoredTensor) -> bool:
    """Whether blocks of it are pruned: weights of a pointwise convolution between many channels."""
    return len(tensor.shape) == 4 and tensor.shape[2:] == (1, 1) and min(tensor.shape[:2]) >= 8


def sparse_model(model: Model, pattern: str, share: float) -> Model:
    """`model` (int8 or float) with its pointwise weights pruned; those in int8 are stored as blocks."""
    rows, cells = PATTERNS[pattern]
    tensors = dict(model.tensors)
    for name, tensor in model.tensors.items():
        if not is_pointwise(tensor):
            continue
        values = pruned(tensor.dense(), rows, cells, share)
        if tensor.encoding == "q8":
            tensors[name] = StoredTensor.pack_block(name, values, tensor.parts["scale"], f"b{pattern}")
        else:
            tensors[name] = StoredTensor.pack_dense(name, values, tensor.layout)
    return replace(model, tensors=tensors)


def executable(model: Model, sparse: str, threads: int = 1) -> Executable:
    """`model` planned with or without kernels that skip zeros."""
    level = active_level()
    library = open_library(level, cache_root())
    graph = infer_types(model.graph, {"N": 1})
    plan = make_plan(
        graph, model.tensors, level=level, threads=threads, peaks=ensure_peaks(level, library), sparse=sparse
    )
    library.prepare(plan.program.kernels)
    return Executable(plan, library, None)


def layers(model: Model, names: Iterable[str], rounds: int) -> dict[str, dict[str, float]]:
    """Microseconds of every pruned layer, by way: 'never' (expanded to dense), 'always' (sparse), 'auto'."""
    ways = {way: executable(model, way) for way in ("never", "always", "auto")}
    wanted = set(names)
    feeds = {
        name: np.zeros(slot.type.static_shape, slot.type.np_dtype) for name, slot in ways["auto"].plan.inputs.items()
    }
    times: dict[str, dict[str, list[float]]] = {way: {name: [] for name in wanted} for way in ways}
    for turn in range(rounds + 3):
        for way, runner in ways.items():
            for op in runner.profile(feeds):
                if turn >= 3 and op.node in wanted:
                    times[way][op.node].append(op.us)
    return {way: {name: statistics.median(v) for name, v in found.items()} for way, found in times.items()}


def all_layers(out: Path, rounds: int) -> dict[str, Any]:
    """Prints sums over the pruned layers of each network, and layers that 'auto' made slower."""
    found: dict[str, Any] = {}
    for asset, title in NETWORKS.items():
        model = read_model(out / f"{asset}-int8.edge")
        stored = {name for name, t in model.tensors.items() if is_pointwise(t)}
        nodes = [node.name for node in model.graph.nodes if stored & set(node.inputs)]
        for pattern in PATTERNS:
            for share in SHARES:
                times = layers(sparse_model(model, pattern, share), nodes, rounds)
                sums = {way: sum(values.values()) for way, values in times.items()}
                slower = [n for n in nodes if times["auto"][n] > NOISE * times["never"][n] + 0.3]
                found[f"{title} {pattern} {share}"] = {"layers": times, "sums": sums, "slower": slower}
                print(
                    f"{title:18} {pattern:5} {100 * share:3.0f} %: dense {sums['never']:7.0f} us, sparse "
                    f"{sums['never'] / sums['always']:.2f}x, auto {sums['never'] / sums['auto']:.2f}x"
                    + (f"  SLOWER than dense: {', '.join(slower)}" if slower else ""),
                    flush=True,
                )
    return found


def prepare(folder: Path) -> None:
    """Both networks in int8, and EfficientNet-Lite0 in float, as .edge files."""
    from edgert.assets.fetch import pull
    from edgert.converters.convert import convert

    for asset in NETWORKS:
        convert(pull(asset), folder / f"{asset}-int8.edge", weights="int8", calib=pull("photos"))
    convert(pull("efficientnet-lite0"), folder / "efficientnet-lite0-f32.edge")


def whole(folder: Path, threads: int, rounds: int) -> dict[str, Any]:
    """EfficientNet-Lite0 at each share of zeros beside the peers."""
    from edgert.converters.onnx.exporter import export_onnx

    int8, floats = (read_model(folder / f"efficientnet-lite0-{kind}.edge") for kind in ("int8", "f32"))
    feeds = {"input": np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)}
    found: dict[str, Any] = {}
    for share in (0.0, 0.5, 0.7, 0.8):
        here = folder / f"{round(100 * share)}"
        here.mkdir(exist_ok=True)
        sparse = sparse_model(int8, "4x4", share) if share else int8
        write_model(sparse, here / "int8.edge")
        export_onnx(sparse.unpacked_graph(), here / "int8-qdq.onnx", form="qdq")
        export_onnx(sparse_model(floats, "4x4", share).unpacked_graph(), here / "float.onnx", form="qdq")
        runners = [peers.edgert(here / "int8.edge", threads, {"N": 1}, way) for way in ("never", "auto")]
        choices: list[tuple[Callable[[Path, int], peers.Runner], str]] = [
            (peers.onnxruntime, "int8-qdq"), (peers.openvino, "int8-qdq"), (peers.deepsparse, "int8-qdq"),
            (peers.deepsparse, "float"),
        ]  # fmt: skip
        for make, name in choices:
            runners += peers.installed(make, here / f"{name}.onnx", threads)
        results = alternate(runners, feeds, rounds)
        print(
            table(f"EfficientNet-Lite0, {100 * share:.0f} % zeros, {threads} thread(s)", results, runners[0].name),
            flush=True,
        )
        found[f"{share}"] = {"results": results, "bytes": (here / "int8.edge").stat().st_size}
    return found


def run(thread_counts: Sequence[int], rounds: int, out: Path) -> None:
    """Prints the tables and writes the record to `out`."""
    record: dict[str, Any] = {"machine": machine(), "rounds": rounds}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(folder)
        record["layers"] = all_layers(folder, rounds)
        record["whole"] = {str(threads): whole(folder, threads, rounds) for threads in thread_counts}
    save(out, record)
