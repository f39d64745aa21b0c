"""precision='fp16': products in halves, near those of floats, named in plans; refused where nothing makes them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from networks import float_model, image, int8_model

sys.path.insert(0, str(Path(__file__).parents[1] / "llm"))

import small_decoder as tiny

import edgert
from edgert.cli.main import root
from edgert.converters.convert import convert
from edgert.errors import DeviceError, InputError
from edgert.format import read_model, write_model
from edgert.kernels_gpu.device import DeviceInfo, halving
from edgert.kernels_gpu.programs import SOURCES, source_of
from edgert.kernels_gpu.table import Case, twins
from edgert.llm.decoder import Decoder
from edgert.preprocess import load_image
from edgert.runtime.options import PRECISIONS
from edgert.runtime.session import Session

KERNELS = Path(__file__).parents[1] / "kernels"
FILES = (
    "test_conv.py", "test_conv_sparse_f32.py", "test_matmul.py", "test_bitmap16.py", "test_grouped.py::test_halves",
    "test_grouped.py::test_halves_with_all_that_is_added_against_the_reference",
)  # fmt: skip
TOLERANCE = 0.01
"""Of the largest number of an answer."""
PHOTOS = ("chelsea.png", "coffee.png", "rocket.jpg", "flower.jpg", "china.jpg")


@pytest.fixture
def halves(device: DeviceInfo) -> DeviceInfo:
    if not device.capabilities.fp16:
        pytest.skip(f"{device.short} does not compute in halves")
    return halving(device)


def without(device: DeviceInfo) -> DeviceInfo:
    """The same device, as if it could not."""
    return replace(device, capabilities=replace(device.capabilities, fp16=False))


def test_a_device_that_can_not_is_named(device: DeviceInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgert.kernels_gpu.device.devices", lambda: [without(device)])
    with pytest.raises(DeviceError, match=r"computes in halves.*leave --precision at fp32.*here none") as error:
        halving(without(device))
    assert device.short in str(error.value)
    monkeypatch.setattr("edgert.runtime.accelerator.choose", lambda spec: without(device))
    with pytest.raises(DeviceError, match="expected a device that computes in halves"):
        Session(float_model(1), device=device.spec, precision="fp16")
    with Session(float_model(1), device="auto", precision="fp16") as session:
        assert "the processor, since" in session.summary() and "halves" in session.summary()


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match=r"expected a device that multiplies in halves, found device 'cpu'"):
        Session(float_model(1), precision="fp16")
    with pytest.raises(InputError, match=r"precision: expected one of fp32, fp16, found 'fp8'"):
        Session(float_model(1), precision="fp8")  # type: ignore[arg-type]


def test_only_products_of_floats_have_a_form_in_halves(device: DeviceInfo) -> None:
    can = replace(device.capabilities, half_math=True)
    for name, twin in twins().items():
        case = Case(dict.fromkeys(("rows", "stack", "stride_w", "terms"), 1), {}, can, False, twin.tiles[0])
        if twin.halves:
            assert "#define HALF_MATH 1" in source_of(twin, case), name
            assert any("HALF_MATH" in (SOURCES / file).read_text("utf-8") for file in twin.files), name
    assert {"conv2d_f32_kp", "depthwise_f32_kp", "depthwise3_f32_kp", "gemm_f32_n16k1"} <= {
        name for name, twin in twins().items() if twin.halves
    }


def test_answers_are_near_and_the_plan_says_so(halves: DeviceInfo) -> None:
    with Session(float_model(), device=halves.spec) as exact, Session(
        float_model(), device=halves.spec, precision="fp16"
    ) as other:  # fmt: skip
        for batch in (1, 3):
            right, found = exact.run(image(batch))["scores"], other.run(image(batch))["scores"]
            assert 0 < np.abs(found - right).max() <= TOLERANCE * np.abs(right).max()
        assert other.summary().startswith(f"{halves.short}, ") and " in fp16" in halves.short
        said = {step.kernel: step.reason for step in other.plan({"N": 1}).steps if "fp16" in step.kernel}
        assert {"conv2d_f32_kp_fp16_opencl", "gemm_f32_n16k1_fp16_opencl"} <= set(said)
        assert all(reason.endswith("products in halves, as precision fp16 asks for") for reason in said.values())
        assert not any("fp16" in step.kernel + step.reason for step in exact.plan({"N": 1}).steps)


def test_bytes_are_as_before(halves: DeviceInfo) -> None:
    with Session(int8_model(1), device=halves.spec) as exact, Session(
        int8_model(1), device=halves.spec, precision="fp16"
    ) as other:  # fmt: skip
        for right, found in zip(exact.run(image(1)).values(), other.run(image(1)).values(), strict=True):
            np.testing.assert_array_equal(found, right)


@pytest.mark.parametrize("kind", ["f16", "q4"])
def test_language_models_with_weights_in_16_bits(halves: DeviceInfo, kind: str) -> None:
    """Those in fewer bits are multiplied as integers: what is as before."""
    model, logits = tiny.tiny_decoder(kind), {}
    for precision in PRECISIONS:
        with closing(Decoder(model, device=halves.spec, precision=precision)) as decoder:
            decoder.prefill([1, 2, 3])
            logits[precision] = decoder.decode(4)
            kernels = {step.kernel for step in decoder._executable("decode").plan.steps}
            assert any("_fp16_" in kernel for kernel in kernels) == (precision == "fp16" and kind == "f16")
    apart = np.abs(logits["fp16"] - logits["fp32"]).max()
    assert apart <= TOLERANCE * np.abs(logits["fp32"]).max() and (apart > 0) == (kind == "f16")


def test_the_command_line(halves: DeviceInfo, tmp_path: Path) -> None:
    write_model(float_model(1), tmp_path / "m.edge")
    arguments = [str(tmp_path / "m.edge"), "--device", halves.spec, "--precision", "fp16"]
    done = CliRunner().invoke(root, ["inspect", *arguments, "--plan"])
    assert done.exit_code == 0 and "conv2d_f32_kp_fp16_opencl" in done.output and "in fp16" in done.output
    done = CliRunner().invoke(root, ["bench", *arguments, "--runs", "1", "--json"])
    assert done.exit_code == 0 and "in fp16" in done.output


@pytest.mark.long
def test_the_tests_of_the_kernels(halves: DeviceInfo) -> None:
    settings = {"EDGERT_TEST_DEVICE": halves.spec, "EDGERT_TEST_PRECISION": "fp16"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(str(KERNELS / file) for file in FILES)]
    done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    (ran,) = (line.split()[1:] for line in done.stdout.splitlines() if line.startswith("twins: "))
    assert {name for name, twin in twins().items() if twin.halves} <= set(ran)


@pytest.mark.model
@pytest.mark.long
def test_efficientnet_lite0(halves: DeviceInfo, asset: Callable[[str], Path], tmp_path: Path) -> None:
    photos, path = asset("photos"), tmp_path / "lite0.edge"
    convert(asset("efficientnet-lite0"), path, weights="f32")
    preprocessing = read_model(path).info.preprocessing
    assert preprocessing is not None
    images = [load_image(photos / name, preprocessing) for name in PHOTOS]
    with edgert.load(path) as exact, edgert.load(path, device=halves.spec, precision="fp16") as other:
        for name, x in zip(PHOTOS, images, strict=True):
            right, found = (session.run(None, {"input": x})[0] for session in (exact, other))
            assert np.abs(found - right).max() <= TOLERANCE * np.abs(right).max(), name
            assert found.argmax() == right.argmax(), name
