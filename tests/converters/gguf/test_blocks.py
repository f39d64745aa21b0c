"""Every number format gives the bits of the independent `gguf` package; exact blocks give the same bits again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edgert.converters.gguf import blocks
from edgert.converters.gguf.blocks import RECORDS, SUPPORTED, dequantize, exact
from edgert.converters.gguf.reader import GgufTensor, read_gguf
from edgert.converters.gguf.types import TYPES, GgmlType
from edgert.converters.llm.checkpoint import ExactBlocks
from edgert.errors import FormatError, UnsupportedError

gguf = pytest.importorskip("gguf")

KINDS = {kind.name: kind for kind in TYPES.values()}
EXACT = {"Q4_0": "q4", "Q4_1": "q4m", "Q5_0": "q8g", "Q8_0": "q8g", "IQ4_NL": "q8g"}


def tensor_of(kind: GgmlType, data: npt.NDArray[np.uint8], shape: tuple[int, ...]) -> GgufTensor:
    return GgufTensor("blk.0.ffn_up.weight", kind, shape, data.reshape(-1), Path("model.gguf"), 4096)


def random_tensor(name: str, seed: int = 0, rows: int = 7, across: int = 3) -> GgufTensor:
    """Blocks of random bytes, among them all-zero and all-one ones, with finite scales of every size."""
    rng, kind = np.random.default_rng(seed), KINDS[name]
    data = rng.integers(0, 256, rows * across * kind.nbytes, dtype=np.uint8)
    data[: kind.nbytes], data[kind.nbytes : 2 * kind.nbytes] = 0, 255
    records = data.view(RECORDS[name])
    edges = np.array([0.0, -0.0, 6e-8, -6e-8, 6.1e-5, 1.0, -1.0, 65504.0, -65504.0], np.float16)
    for field in {"d", "m"} & set(RECORDS[name].names or ()):
        scales = rng.normal(size=len(records)).astype(np.float16)
        scales[: len(edges)] = rng.permutation(edges)
        records[field] = scales
    if name in ("F32", "F16"):
        records["x"] = rng.normal(size=len(records))
    elif name == "BF16":
        records["x"] = rng.normal(size=len(records)).astype(np.float32).view(np.uint32) >> 16
    return tensor_of(kind, data, (rows, across * kind.values))


def reference(tensor: GgufTensor) -> npt.NDArray[np.float32]:
    kind = gguf.GGMLQuantizationType[tensor.type.name]
    data = tensor.data.reshape(tensor.shape[0], -1) if len(tensor.shape) > 1 else tensor.data
    return gguf.quants.dequantize(data, kind).reshape(tensor.shape)


def dense(found: ExactBlocks) -> npt.NDArray[np.float32]:
    """What an edgert encoding means."""
    if found.encoding == "f16":
        return found.values.astype(np.float32)
    scale = np.repeat(found.scale.astype(np.float32), 32, axis=1)
    if found.encoding == "q4":
        return scale * (found.values.astype(np.float32) - 8)
    out = scale * found.values.astype(np.float32)
    return out if found.minimum is None else out + np.repeat(found.minimum.astype(np.float32), 32, axis=1)


def test_every_format_that_is_asked_for() -> None:
    plain, k_quants = {"F32", "F16", "BF16"}, {f"Q{bits}_K" for bits in range(2, 7)}
    wanted = {*plain, *k_quants, "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL"}
    assert wanted <= set(SUPPORTED)
    for name in SUPPORTED:
        assert RECORDS[name].itemsize == KINDS[name].nbytes


def test_sizes_are_those_of_the_gguf_package() -> None:
    for number, kind in TYPES.items():
        assert gguf.GGMLQuantizationType(number).name == kind.name
        assert gguf.GGML_QUANT_SIZES[number] == (kind.values, kind.nbytes)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", SUPPORTED)
def test_bits(name: str, seed: int) -> None:
    tensor = random_tensor(name, seed)
    found = dequantize(tensor)
    assert found.dtype == np.float32
    assert found.shape == tensor.shape
    assert found.flags.owndata or found.base.flags.owndata
    assert found.tobytes() == reference(tensor).tobytes()


@pytest.mark.parametrize(
    ("name", "error"),
    [
        *(("F32", 0), ("F16", 2e-3), ("BF16", 2e-2), ("Q8_0", 0.02)),
        *(("Q5_1", 0.12), ("Q5_0", 0.2), ("Q4_1", 0.25), ("Q4_0", 0.4)),
    ],
)
def test_what_the_gguf_package_quantizes(name: str, error: float) -> None:
    x = np.random.default_rng(5).normal(size=(4, 512)).astype(np.float32)
    data = gguf.quants.quantize(x, gguf.GGMLQuantizationType[name])
    found = dequantize(tensor_of(KINDS[name], data.reshape(-1).view(np.uint8), x.shape))
    assert np.abs(found - x).max() <= error


@pytest.mark.parametrize("name", SUPPORTED)
def test_chunks_do_not_show(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = random_tensor(name)
    whole, kept = dequantize(tensor), exact(tensor)
    monkeypatch.setattr(blocks, "CHUNK", 512)
    assert dequantize(tensor).tobytes() == whole.tobytes()
    again = exact(tensor)
    if kept is not None and again is not None:
        assert again.values.tobytes() == kept.values.tobytes()


@pytest.mark.parametrize("name", SUPPORTED)
def test_exact(name: str) -> None:
    tensor = random_tensor(name)
    found = exact(tensor)
    if name not in {*EXACT, "F16"}:
        assert found is None
        return
    assert found is not None
    assert found.encoding == EXACT.get(name, "f16")
    assert np.array_equal(dense(found), dequantize(tensor))
    if name in EXACT:
        rows, columns = tensor.shape
        assert found.values.dtype == (np.int8 if found.encoding == "q8g" else np.uint8)
        assert found.values.shape == (rows, columns)
        assert found.scale is not None
        assert found.scale.dtype == np.float16
        assert found.scale.shape == (rows, columns // 32)
        assert (found.minimum is not None) == (name == "Q4_1")


def test_exact_blocks_are_of_matrices_only() -> None:
    tensor = random_tensor("Q8_0")
    assert exact(tensor_of(tensor.type, tensor.data, (21 * 32,))) is None
    assert exact(tensor_of(tensor.type, tensor.data, (7, 3, 32))) is None


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", SUPPORTED)
def test_nan_and_infinity_are_named(name: str, bad: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "CHUNK", 256)
    tensor = random_tensor(name)
    records = tensor.data.view(RECORDS[name])
    value = np.float32(bad).view(np.uint32) >> 16 if name == "BF16" else bad
    records["d" if "d" in (RECORDS[name].names or ()) else "x"][-1] = value
    last = (len(records) - 1) * tensor.type.nbytes
    with pytest.raises(FormatError, match=rf"'blk.0.ffn_up.weight' \({name}\), found NaN or infinity at \[6") as caught:
        dequantize(tensor)
    assert caught.value.offset == 4096 + last
    if name in {*EXACT, "F16"}:
        with pytest.raises(FormatError, match=r"'blk\.0\.ffn_up\.weight'") as caught:
            exact(tensor)
        assert caught.value.offset == 4096 + last


def test_infinite_minimum_is_found() -> None:
    tensor = random_tensor("Q4_1")
    tensor.data.view(RECORDS["Q4_1"])["m"][3] = np.inf
    for read in (dequantize, exact):
        with pytest.raises(FormatError, match=r"infinity at \[1, 0\]"):
            read(tensor)


@pytest.mark.parametrize("name", ["IQ2_XXS", "TQ1_0", "I32", "F64", "MXFP4"])
def test_unsupported_type_is_named(name: str) -> None:
    kind = KINDS[name]
    for read in (dequantize, exact):
        with pytest.raises(UnsupportedError, match=rf"'blk.0.ffn_up.weight' .*Q4_1.* found {name}"):
            read(tensor_of(kind, np.zeros(kind.nbytes, np.uint8), (1, kind.values)))


@pytest.mark.model
def test_real_model(asset: Callable[[str], Path]) -> None:
    """All 272 tensors of SmolLM2: the bits of the gguf package, and nothing lost in exact blocks."""
    model = read_gguf(asset("smollm2-135m"))
    there = gguf.GGUFReader(asset("smollm2-135m"))
    assert list(model.tensors) == [tensor.name for tensor in there.tensors]
    encodings = []
    for tensor, other in zip(model.tensors.values(), there.tensors, strict=True):
        if tensor.shape[0] > 10_000:  # the embedding: a part of it is enough
            rows = slice(0, 1000 * tensor.shape[1] // tensor.type.values * tensor.type.nbytes)
            tensor = tensor_of(tensor.type, tensor.data[rows], (1000, tensor.shape[1]))
            expected = gguf.quants.dequantize(other.data[:1000], other.tensor_type)
        else:
            expected = gguf.quants.dequantize(other.data, other.tensor_type)
        found = dequantize(tensor)
        assert found.tobytes() == expected.reshape(tensor.shape).tobytes(), tensor.name
        if (kept := exact(tensor)) is not None:
            encodings.append(kept.encoding)
            assert np.array_equal(dense(kept), found), tensor.name
    assert sorted(encodings) == ["q4m"] * 210 + ["q8g"]
