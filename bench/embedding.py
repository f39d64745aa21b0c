"""MiniLM-L6, one text at a time: edgert from safetensors and from the int8 ONNX file, and ONNX Runtime with that file.

Tokens in, one normalized vector out. ONNX Runtime folds the scales into float weights when it loads; edgert computes
in floats too (keep), or in integers (int8), whichever the file says.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench import peers
from bench.measure import alternate, machine, save, table
from bench.peers import Feeds, Runner

LENGTHS = (16, 32, 64, 128)
"""Tokens of a text: a question, a sentence or two, a paragraph."""
FORMS = {
    "safetensors f32": ("minilm-l6", "keep"), "safetensors f16": ("minilm-l6", "f16"),
    "safetensors int8": ("minilm-l6", "int8"), "onnx keep": ("minilm-l6-int8", "keep"),
    "onnx int8": ("minilm-l6-int8", "int8"),
}  # fmt: skip


def models(folder: Path) -> dict[str, Path]:
    """The .edge files, made in `folder`."""
    from edgert.assets.fetch import pull
    from edgert.converters.convert import convert

    made = {}
    for name, (asset, weights) in FORMS.items():
        made[name] = folder / f"{name.replace(' ', '-')}.edge"
        tokenizer = pull("minilm-l6") if asset.endswith("int8") else None
        convert(pull(asset), made[name], weights=weights, tokenizer=tokenizer)
    return made


def feeds_of(length: int) -> dict[str, Any]:
    """A text of `length` words of the vocabulary, as exported encoders take it."""
    ids = np.random.default_rng(length).integers(2000, 28000, (1, length))
    ids[0, [0, -1]] = 101, 102
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


def edgert(name: str, path: Path, threads: int) -> Runner:
    import edgert as library
    from edgert.format import read_model
    from edgert.llm.encoder import Encoder

    encoder = Encoder(read_model(path), threads=threads)
    return Runner(f"edgert {name}", library.__version__, lambda feeds: [encoder.embed(feeds["input_ids"][0])])


def pooled(runner: Runner) -> Runner:
    """The same runtime with what edgert does as well: the mean of the tokens, normalized."""

    def run(feeds: Feeds) -> list[Any]:
        vector = runner.run(feeds)[0][0].mean(axis=0)
        return [vector / np.linalg.norm(vector)]

    return Runner(runner.name, runner.version, run)


def facts(paths: dict[str, Path], source: Path) -> dict[str, Any]:
    """Nodes and bytes of every file, before and after."""
    import onnx

    from edgert.format import read_model

    found: dict[str, Any] = {
        "onnx": {"nodes": len(onnx.load(source).graph.node), "bytes": source.stat().st_size}
    }  # fmt: skip
    for name, path in paths.items():
        found[name] = {"nodes": len(read_model(path).graph.nodes), "bytes": path.stat().st_size}
    return found


def run(threads: Sequence[int], rounds: int, out: Path) -> None:
    """Prints the tables and writes the record to `out`."""
    from edgert.assets.fetch import pull

    source = pull("minilm-l6-int8")
    record: dict[str, Any] = {"model": "all-MiniLM-L6-v2, one text", "machine": machine(), "results": {}}
    with tempfile.TemporaryDirectory() as temporary:
        paths = models(Path(temporary))
        record["files"] = facts(paths, source)
        for count in threads:
            runners = [edgert(name, path, count) for name, path in paths.items()]
            runners += [pooled(peer) for peer in peers.installed(peers.onnxruntime, source, count)]
            for length in LENGTHS:
                results = alternate(runners, feeds_of(length), rounds)
                base = runners[-1].name
                print(table(f"{length} tokens, {count} thread(s)", results, base), flush=True)
                record["results"][f"{length} tokens, {count} threads"] = results
        record["versions"] = {r.name: r.version for r in runners}
    save(out, record)
