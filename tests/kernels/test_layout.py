"""Layout conversions, quantization and strided copies on every ISA level, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from harness import LEVELS
from offers import check, quantization, run_offer, site_of

from edgert.graph.ir import TensorType
from edgert.plan.lowering.api import Offer
from edgert.plan.lowering.convert import conversion

SHAPES = [
    (1, 1, 1, 1), (1, 3, 5, 7), (2, 4, 4, 4), (1, 5, 1, 15), (1, 8, 1, 17), (2, 7, 9, 11), (1, 17), (2, 4, 33),
    (1, 6, 40, 16), (1, 66, 31, 33),
]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("threads", [1, 4])
def test_conversions_are_exact(shape: tuple[int, ...], threads: int, rng: np.random.Generator) -> None:
    for dtype, planes in (("float32", "kp"), ("uint8", "k4p")):
        x = rng.integers(0, 256, shape).astype(dtype)
        kind = TensorType(dtype, shape)
        for level in LEVELS:
            for source, target in (("row", planes), (planes, "row")):
                offer = conversion(kind, source, target, level, threads)
                assert isinstance(offer, Offer)
                site = site_of("Identity", [x], [kind], [kind], {}, {}, level, threads)
                (y,), _ = run_offer(offer, site, [x], "backward")
                np.testing.assert_array_equal(y, x, f"{dtype} {source}->{target} {level.name}")


def test_conversion_refuses_what_no_layout_holds() -> None:
    for kind, target in (
        (TensorType("float32", (1, 2, 3, 4, 5)), "kp"), (TensorType("int64", (1, 2)), "kp"),
        (TensorType("float32", (1, 2)), "k4p"), (TensorType("uint8", (7,)), "k4p"),
    ):  # fmt: skip
        refusal = conversion(kind, "row", target, LEVELS[0])
        assert not isinstance(refusal, Offer)
        assert str(list(kind.shape)) in refusal.why


def test_row_and_kp_are_the_same_bytes_when_planes_are_whole_lines() -> None:
    offer = conversion(TensorType("float32", (1, 3, 4, 4)), "row", "kp", LEVELS[0])
    assert isinstance(offer, Offer)
    assert offer.in_place == 0


@pytest.mark.parametrize("shape", [*SHAPES, (70,), (3, 2, 2, 5, 3)])
def test_quantize_and_dequantize(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    quant = quantization(0.037, 131)
    x = (rng.standard_normal(shape) * 3).astype(np.float32)
    x.flat[0] = 1e30
    x.flat[-1] = -1e30
    check("QuantizeLinear", [x], out_quant=quant, out_dtype="uint8")
    q = rng.integers(0, 256, shape).astype(np.uint8)
    check("DequantizeLinear", [q], quants={0: quant}, out_dtype="float32")


def test_quantize_rounds_ties_as_division_does() -> None:
    """Multiplying by the reciprocal of 0.1 would round some of these differently."""
    x = (np.arange(-2560, 2560, dtype=np.float32) * np.float32(0.05)).reshape(1, 4, 1280)
    check("QuantizeLinear", [x], out_quant=quantization(0.1, 0), out_dtype="uint8")


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "int64"])
@pytest.mark.parametrize(
    ("shape", "perm"),
    [
        ((2, 3, 4, 5), (0, 2, 3, 1)), ((1, 3, 70), (2, 1, 0)), ((4, 5), (1, 0)), ((2, 3, 1, 70), (1, 0, 2, 3)),
        ((1, 2, 1, 3, 2, 2, 3, 2), (7, 5, 3, 1, 0, 2, 4, 6)), ((33, 65), (0, 1)),
    ],
)  # fmt: skip
def test_transpose(dtype: str, shape: tuple[int, ...], perm: tuple[int, ...], rng: np.random.Generator) -> None:
    check("Transpose", [rng.integers(0, 100, shape).astype(dtype)], attrs={"perm": list(perm)})


@pytest.mark.parametrize(
    ("shape", "starts", "ends", "axes", "steps"),
    [
        ((1, 8, 5, 5), [4], [8], [1], [1]), ((1, 8, 6, 6), [1, 5], [100, -100], [2, 3], [2, -2]),
        ((2, 8, 5, 5), [1], [2], [0], [1]), ((7,), [-3], [7], [0], [1]), ((1, 6, 3, 40), [2], [-1], [-1], [3]),
        ((3, 4), [1], [1], [0], [1]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("dtype", ["uint8", "float32", "int64"])
def test_slice(dtype: str, shape, starts, ends, axes, steps, rng: np.random.Generator) -> None:  # type: ignore[no-untyped-def]
    x = rng.integers(0, 100, shape).astype(dtype)
    rest = [np.array(v, np.int64) for v in (starts, ends, axes, steps)]
    check("Slice", [x, *rest], constants=dict(enumerate(rest, 1)))


@pytest.mark.parametrize("dtype", ["uint8", "float32", "int32"])
@pytest.mark.parametrize(("channels", "axis"), [((4, 8, 3), 1), ((1, 2), 1), ((4, 4), 0), ((5, 5), 2), ((3, 3), -1)])
def test_concat(dtype: str, channels: tuple[int, ...], axis: int, rng: np.random.Generator) -> None:
    parts = [rng.integers(0, 100, (2, c if axis == 1 else 4, 5, 7)).astype(dtype) for c in channels]
    quant = quantization(0.1, 3) if dtype == "uint8" else None
    quants = {i: quant for i in range(len(parts))} if quant else None
    check("Concat", parts, attrs={"axis": axis}, quants=quants, out_quant=quant)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize(("axis", "sizes"), [(1, (4, 8, 1)), (1, (3, 10)), (2, (2, 3)), (0, (1, 1))])
def test_split(dtype: str, axis: int, sizes: tuple[int, ...], rng: np.random.Generator) -> None:
    x = rng.integers(0, 100, (2, 13, 5, 3)).astype(dtype)
    outs = [TensorType(dtype, tuple(n if i == axis else d for i, d in enumerate(x.shape))) for n in sizes]
    value = np.array(sizes, np.int64)
    check("Split", [x, value], outs, {"axis": axis}, constants={1: value})


@pytest.mark.parametrize("dtype", ["uint8", "float32", "int64"])
@pytest.mark.parametrize("pads", [(0, 0, 1, 2, 0, 0, 3, 1), (1, 4, 0, 0, 0, 4, 0, 0), (0,) * 8])
def test_pad(dtype: str, pads: tuple[int, ...], rng: np.random.Generator) -> None:
    x = rng.integers(0, 100, (1, 4, 5, 13)).astype(dtype)
    quant = quantization(0.1, 77) if dtype == "uint8" else None
    value = np.array(pads, np.int64)
    check("Pad", [x, value], constants={1: value}, quants={0: quant} if quant else None, out_quant=quant)
    if dtype == "float32":
        fill = np.array(-1.5, np.float32)
        check("Pad", [x, value, fill], constants={1: value, 2: fill})


def test_expand_and_tile(rng: np.random.Generator) -> None:
    x = rng.standard_normal((3, 1, 5)).astype(np.float32)
    target, repeats = np.array([2, 3, 4, 1], np.int64), np.array([2, 3, 2], np.int64)
    check("Expand", [x, target], constants={1: target})
    check("Tile", [x, repeats], constants={1: repeats})


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_renaming(dtype: str, rng: np.random.Generator) -> None:
    x = rng.integers(0, 100, (2, 9, 1, 1)).astype(dtype)
    offers = check("Flatten", [x], attrs={"axis": 1}, least=2)
    assert {o.in_layouts[0] for o in offers} == {"row", "kp" if dtype == "float32" else "k4p"}
    assert all(o.in_place == 0 for o in offers)
    shape = np.array([3, -1], np.int64)
    check("Reshape", [x, shape], constants={1: shape})


@pytest.mark.parametrize("op", ["DepthToSpace", "SpaceToDepth"])
@pytest.mark.parametrize("mode", ["DCR", "CRD"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_blocks_of_pixels_and_channels(op: str, mode: str, dtype: str, rng: np.random.Generator) -> None:
    x = rng.integers(0, 100, (2, 16, 4, 6)).astype(dtype)
    offers = check(op, [x], attrs={"blocksize": 2, "mode": mode})
    planes = {"float32": "kp"} if mode == "CRD" else {"float32": "kp", "uint8": "k4p"}
    assert {o.in_layouts[0] for o in offers} == {"row", *([planes[dtype]] if dtype in planes else [])}
    check(op, [x[:, :12]], attrs={"blocksize": 2, "mode": mode})


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize(
    ("coordinates", "rounding"),
    [("asymmetric", "floor"), ("half_pixel", "round_prefer_floor"), ("pytorch_half_pixel", "round_prefer_ceil")],
)
def test_resize_by_whole_factors(dtype: str, coordinates: str, rounding: str, rng: np.random.Generator) -> None:
    x = rng.integers(0, 100, (1, 5, 3, 20)).astype(dtype)
    scales = np.array([1, 1, 2, 3], np.float32)
    attrs = {"mode": "nearest", "coordinate_transformation_mode": coordinates, "nearest_mode": rounding}
    offers = check("Resize", [x, None, scales], attrs=attrs, constants={2: scales}, least=2)
    assert {o.in_layouts[0] for o in offers} == {"row", "kp" if dtype == "float32" else "k4p"}


def test_resize_that_is_no_repetition_is_refused() -> None:
    scales = np.array([1, 1, 2, 2], np.float32)
    attrs = {"mode": "nearest", "coordinate_transformation_mode": "align_corners", "nearest_mode": "floor"}
    with pytest.raises(AssertionError, match="not each value repeated"):
        check("Resize", [np.zeros((1, 1, 3, 3), np.uint8), None, scales], attrs=attrs, constants={2: scales})
