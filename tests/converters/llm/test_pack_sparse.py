"""Zeros of a matrix, pruned here or brought along, are left out of the file where that saves bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgert.converters.llm.checkpoint import ExactBlocks
from edgert.converters.llm.groups import round_to_groups
from edgert.converters.llm.pack import Packer
from edgert.converters.llm.report import LanguageReport
from edgert.converters.llm.weights import Held, HeldBlocks
from edgert.converters.prune.patterns import UNSTRUCTURED, parse_pattern
from edgert.graph.ir import Graph, Node

NAME = "layers.0.o"


def graph(*more: Node) -> Graph:
    """A product with the matrix, and what else reads it."""
    return Graph("layer", ["x"], nodes=[Node("Gemm", ("x", NAME), ("y",), {"transB": 1}), *more])


def sparse(rng: np.random.Generator, pattern: str, sparsity: float = 0.5) -> np.ndarray:
    """float32 [128, 256], pruned."""
    values = rng.standard_normal((128, 256)).astype(np.float32)
    return np.where(parse_pattern(pattern, UNSTRUCTURED).keep(np.abs(values), sparsity), values, np.float32(0))


@pytest.mark.parametrize(
    ("pattern", "encoding", "stored", "density"),
    [
        ("unstructured", "q8g", "bitmap8", 0.5),
        ("unstructured", "q4", "bitmap4", 0.5),
        ("nm:2:4", "q8g", "nm8", 0.5),
        ("nm:6:8", "q8g", "nm8", 0.75),
        ("nm:4:8", "q4", "nm4", 0.5),
        ("group", "q4", "group4", 0.5),
        ("group", "q8g", "bitmap8", 0.5),
        ("rowgroup", "q4", "rowgroup4", 0.5),
        ("4x4", "q8g", "bitmap8", 0.5),
        ("fanin", "q4", "bitmap4", 0.5),
    ],
)
def test_pruned_groups(pattern: str, encoding: Any, stored: str, density: float, rng: np.random.Generator) -> None:
    blocks = round_to_groups(sparse(rng, pattern), encoding)
    tensor, packed = Packer(graph(), "int8").store(NAME, HeldBlocks(blocks, "F16", 0.3, pattern))
    assert tensor.encoding == packed.encoding == stored
    assert packed.density == pytest.approx(density, abs=0.1)  # int4 rounds some of the rest to 0
    assert packed.error == 0.3
    assert not packed.lossless
    np.testing.assert_array_equal(tensor.groups()[0], blocks.values)


def test_halves(rng: np.random.Generator) -> None:
    values = sparse(rng, "unstructured", 0.7).astype(np.float16)
    for weight in (HeldBlocks(ExactBlocks("f16", values), "F16", 0.5, "unstructured"), Held(values.astype(np.float32))):
        tensor, packed = Packer(graph(), "f16", lambda *_: "f16").store(NAME, weight)
        assert tensor.encoding == "bitmap16"
        assert packed.density == pytest.approx(0.3, abs=0.01)
        assert packed.zeros.startswith("bitmap16, 70 % zeros")
        np.testing.assert_array_equal(tensor.dense(), values)


@pytest.mark.parametrize(("weights", "stored"), [("int8", "bitmap8"), ("int4", "bitmap4"), ("f16", "bitmap16")])
def test_zeros_that_the_source_has(weights: Any, stored: str, rng: np.random.Generator) -> None:
    """No option is needed: a checkpoint that was trained sparse becomes a sparse file."""
    tensor, packed = Packer(graph(), weights).store(NAME, Held(sparse(rng, "unstructured", 0.75), "F32"))
    assert tensor.encoding == stored
    assert packed.density < 0.3


def test_few_zeros_are_left_where_they_are(rng: np.random.Generator) -> None:
    """Dense int4 weights have about one zero in ten; 6:8 saves nothing in 4 bits."""
    tensor, packed = Packer(graph(), "int4").store(NAME, Held(rng.standard_normal((64, 128)).astype(np.float32), "F32"))
    assert (tensor.encoding, packed.density, packed.zeros) == ("q4", 1.0, "")
    blocks = round_to_groups(sparse(rng, "nm:6:8"), "q4")
    tensor, packed = Packer(graph(), "int4").store(NAME, HeldBlocks(blocks, "F16", 0.1, "nm:6:8"))
    assert tensor.encoding == "q4"
    report = LanguageReport("int4", tensors=[packed])
    assert f"1 matrices have zeros that are stored, such as {NAME}: kept dense" in report.table()


def test_a_matrix_that_is_looked_up_stays_dense(rng: np.random.Generator) -> None:
    values = sparse(rng, "unstructured", 0.8)
    table = Node("Gather", (NAME, "x"), ("z",), {"axis": 0})
    assert Packer(graph(table), "int8").store(NAME, Held(values))[0].encoding == "q8g"
    assert Packer(Graph(), "int8").store(NAME, Held(values))[0].encoding == "q8g"


def test_floats_keep_their_zeros_and_say_so(rng: np.random.Generator) -> None:
    _, packed = Packer(graph(), "f32").store(NAME, Held(sparse(rng, "unstructured", 0.6)))
    assert packed.encoding == "f32"
    assert packed.zeros == "60 % zeros, which f32 stores"


def test_the_report_tells_density_and_bits(rng: np.random.Generator) -> None:
    _, packed = Packer(graph(), "int8").store(NAME, Held(sparse(rng, "unstructured", 0.75), "F32"))
    table = LanguageReport("int8", tensors=[packed]).table()
    assert "1 matrices F32 -> bitmap8, 2" in table
    assert "% kept, 3." in table
    assert LanguageReport("int8", tensors=[packed]).as_dict()["tensors"][0]["density"] < 0.3
