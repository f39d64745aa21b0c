"""MiniLM-L6 in every form against ONNX Runtime: the same embeddings, and what people find similar is similar."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgert.converters.convert import convert
from edgert.errors import MemoryBudgetError, UnsupportedError
from edgert.format import read_model
from edgert.llm.llm import LLM
from edgert.runtime.shared_ram import SharedRam

pytestmark = [pytest.mark.model, pytest.mark.slow]

COSINE_DISTANCE = 1e-3
PEARSON = 0.65
"""Of the Lee corpus; two people agree by 0.6. Source: Lee, Pincombe and Welsh 2005."""
NUMBERS, SCALE = "_q", "_scale"
"""What the ONNX file calls int8 weights and their scales, after the name of the product."""

FORMS = ("safetensors keep", "safetensors f16", "safetensors int8", "onnx keep", "onnx int8")


@dataclass
class Reference:
    """The texts, and their embeddings in ONNX Runtime with float weights and with those of the int8 file."""

    texts: list[str]
    similar: np.ndarray
    floats: np.ndarray
    int8: np.ndarray

    def pearson(self, vectors: np.ndarray) -> float:
        """Correlation of cosine similarity with how similar people find each two different texts."""
        pairs = np.triu_indices(len(self.texts), 1)
        return float(np.corrcoef((vectors @ vectors.T)[pairs], self.similar[pairs])[0, 1])


def with_float_weights(source: Path, weights: Path) -> Any:
    """The ONNX model in `source` with each int8 weight replaced by the float one that it was rounded from."""
    import onnx
    from onnx import numpy_helper
    from safetensors.numpy import load_file

    model = onnx.load(source)
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    originals = [value for value in load_file(weights).values() if value.ndim == 2]
    made = {}
    for name in [name.removesuffix(NUMBERS) for name in values if name.endswith(NUMBERS)]:
        rounded = values[name + NUMBERS] * values[name + SCALE]
        same = [v if v.shape == rounded.shape else v.T for v in originals if rounded.shape in (v.shape, v.T.shape)]
        square = [v.T for v in originals if rounded.shape == v.T.shape == v.shape]
        found = min((*same, *square), key=lambda value: float(np.abs(value - rounded).max()))
        assert np.abs(found - rounded).max() < np.max(values[name + SCALE])
        made[name] = found
    nodes = [node for node in model.graph.node if node.output[0].removesuffix("_f") not in made]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    gone = {name + part for name in made for part in (NUMBERS, SCALE)}
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in gone]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    model.graph.initializer.extend(numpy_helper.from_array(np.ascontiguousarray(v), n) for n, v in made.items())
    return model


@pytest.fixture(scope="module")
def reference(asset: Callable[[str], Path]) -> Reference:
    from onnxruntime import InferenceSession
    from tokenizers import Tokenizer

    folder, corpus, source = asset("minilm-l6"), asset("lee-similarity"), asset("minilm-l6-int8")
    texts = (corpus / "lee.cor").read_text("latin-1").strip().splitlines()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    exported = with_float_weights(source, folder / "model.safetensors")

    def embedded(model: Any) -> np.ndarray:
        session, vectors = InferenceSession(model), []
        for text in texts:
            ids = np.array([tokenizer.encode(text).ids])
            feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
            vector = np.asarray(session.run(None, feeds)[0])[0].mean(axis=0)
            vectors.append(vector / np.linalg.norm(vector))
        return np.stack(vectors)

    similar = np.loadtxt(corpus / "similarities0-1.txt")
    return Reference(texts, similar, embedded(exported.SerializeToString()), embedded(source))


@pytest.fixture(scope="module")
def form(asset: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """form('onnx int8'): the .edge file of that source with these weights."""
    folder = tmp_path_factory.mktemp("minilm")

    def made(name: str) -> Path:
        source, weights = name.split()
        out = folder / f"{source}-{weights}.edge"
        if not out.exists():
            given = asset("minilm-l6-int8" if source == "onnx" else "minilm-l6")
            tokenizer = asset("minilm-l6") if source == "onnx" else None
            convert(given, out, weights=weights, tokenizer=tokenizer)
        return out

    return made


@pytest.mark.parametrize("name", FORMS)
def test_embeddings_are_those_of_onnx_runtime(name: str, reference: Reference, form: Callable[[str], Path]) -> None:
    wanted = reference.int8 if name.startswith("onnx") else reference.floats
    with LLM(form(name), threads=2) as llm:
        vectors = llm.embed(reference.texts)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-5)
    distance = 1.0 - (vectors * wanted).sum(axis=1)
    assert distance.max() < (1e-5 if name.endswith("keep") else COSINE_DISTANCE)
    assert reference.pearson(vectors) > PEARSON


def test_the_exported_graph_becomes_ours(form: Callable[[str], Path]) -> None:
    """Of the 385 nodes of the export remain those that the safetensors give; every weight is the source's."""
    ours, theirs = (read_model(form(f"{source} keep")) for source in ("safetensors", "onnx"))
    assert [node.op for node in ours.graph.nodes] == [node.op for node in theirs.graph.nodes]
    assert theirs.report["lossless"]
    assert {theirs.tensors[name].encoding for name in ("embedding", "layers.0.qkv", "layers.5.down")} == {"q8"}
    assert theirs.info.language is not None
    assert ours.info.language is not None
    assert theirs.info.language.context_length == ours.info.language.context_length == 256


def test_trim_drops_what_is_in_memory_and_goes_on(form: Callable[[str], Path]) -> None:
    """Weights of encoders are mapped: what is dropped is read again."""
    path = form("safetensors keep")
    with LLM(path, threads=2) as llm:
        first = llm.embed("Time flies like an arrow.")
        assert llm.trim() == 0
        np.testing.assert_array_equal(llm.embed("Time flies like an arrow."), first)
        with pytest.raises(MemoryBudgetError):
            llm.trim("1M")
        assert llm.trim("1G") == 1 << 30
        np.testing.assert_array_equal(llm.embed("Time flies like an arrow."), first)
    with pytest.raises(UnsupportedError, match="shares no budget"):
        LLM(path, ram=SharedRam("1G"))
