"""What a wheel for one kind of machine carries: libraries of its levels, ready models, every source, and no more."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from release import ARM, HOST, LEFT_OUT, Build, pip_wheel

from edgert.kernels_cpu.levels import LEVELS, host_arch
from edgert.models import FASHION_MNIST_READY

MAX_BYTES = 3_000_000
LIB = "edgert/kernels_cpu/lib/"
MODELS = "edgert/models/"


def contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_a_wheel_for_arm_is_made_on_any_machine(wheel: Build) -> None:
    path = wheel("aarch64")
    assert path.name.endswith("-py3-none-manylinux_2_17_aarch64.manylinux2014_aarch64.whl")
    assert path.stat().st_size < MAX_BYTES
    files = contents(path)
    libraries = {f"libedgert_{name}.so" for name in ARM}
    assert {name for name in files if name.startswith(LIB)} == {LIB + name for name in (*libraries, "manifest.json")}
    manifest = json.loads(files[LIB + "manifest.json"])
    assert manifest["version"] == 1
    assert {row["file"] for row in manifest["libraries"]} == libraries
    for row in manifest["libraries"]:
        data = files[LIB + row["file"]]
        assert (row["bytes"], row["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())


def test_android_has_the_same_files_by_another_name(wheel: Build) -> None:
    assert wheel("android").name.endswith("-py3-none-android_21_arm64_v8a.whl")
    differ = ("dist-info/WHEEL", "dist-info/RECORD")
    linux, android = contents(wheel("aarch64")), contents(wheel("android"))
    assert linux.keys() == android.keys()
    assert not [name for name, data in linux.items() if not name.endswith(differ) and android[name] != data]


def test_models_are_ready_instead_of_to_be_converted(wheel: Build) -> None:
    names = {name for name in contents(wheel("aarch64")) if name.startswith(MODELS)}
    assert {Path(name).name for name in names if name.endswith((".edge", ".onnx", ".npz"))} == {
        path.name for path in FASHION_MNIST_READY.values()
    }
    assert sum(name.endswith(".png") for name in names) == 10


def test_a_device_needs_numpy_and_click_only(wheel: Build) -> None:
    (name,) = (name for name in contents(wheel("aarch64")) if name.endswith("/METADATA"))
    needs = Parser().parsestr(contents(wheel("aarch64"))[name].decode()).get_all("Requires-Dist") or []
    assert sorted(need.split(">")[0] for need in needs if "extra ==" not in need) == ["click", "numpy"]
    extras = {need.rpartition("extra == ")[2].strip("\"' ") for need in needs if "extra ==" in need}
    assert extras >= {"jit", "aot", "convert", "image", "llm", "grammar", "gpu", "serve"}


def test_without_a_kind_it_is_this_machines(wheel: Build) -> None:
    assert f"_{host_arch()}." in wheel("").name
    files = contents(wheel(""))
    levels = [name for name in (HOST, *ARM) if LEVELS[name].arch == host_arch()]
    libraries = {LIB + f"libedgert_{name}.so" for name in levels}
    assert {name for name in files if name.endswith(".so")} == libraries
    (info,) = (data for name, data in files.items() if name.endswith("/WHEEL"))
    assert b"Root-Is-Purelib: false" in info


def test_some_levels_are_left_out(source: Path, device_files: Path, tmp_path: Path) -> None:
    """They are compiled like the others, but are no level of a phone or a board."""
    copy = shutil.copytree(source, tmp_path / "source", symlinks=True)
    lib = copy / "build" / "device" / "lib"
    manifest = json.loads((lib / "manifest.json").read_text("utf-8"))
    row = {**manifest["libraries"][0], "arch": "x86_64"}
    manifest["libraries"] = [{**row, "level": level} for level in ("x86-64-v3", *LEFT_OUT)]
    (lib / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    files = contents(pip_wheel(copy, tmp_path, "x86_64"))
    assert [found["level"] for found in json.loads(files[LIB + "manifest.json"])["libraries"]] == ["x86-64-v3"]


def test_the_wheel_of_sources_has_models_to_convert_and_no_libraries(wheel: Build) -> None:
    assert wheel("any").name.endswith("-py3-none-any.whl")
    files = contents(wheel("any"))
    assert not any(name.endswith((".so", ".edge")) for name in files)
    assert {MODELS + "fashion_mnist.onnx", MODELS + "fashion_mnist_calibration.npz"} <= files.keys()
    code = {name: data for name, data in files.items() if name.endswith((".py", ".cl", "py.typed"))}
    on_device = contents(wheel("aarch64"))
    assert code == {name: data for name, data in on_device.items() if name.endswith((".py", ".cl", "py.typed"))}


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("riscv64", "EDGERT_WHEEL='riscv64': expected one of x86_64, aarch64, armv7l, android, or any"),
        ("armv7l", "holds no libraries for it; make them with: make wheels"),
    ],
)
def test_what_can_not_be_made_is_said(
    source: Path, device_files: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], kind: str, words: str
) -> None:
    with pytest.raises(AssertionError, match=words):
        pip_wheel(source, tmp_path, kind)


def test_libraries_of_older_sources_are_not_packed(source: Path, device_files: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(source, tmp_path / "source", symlinks=True)
    compiled = (device_files / "lib" / "manifest.json").stat().st_mtime
    os.utime(copy / "kernels_cpu" / "pool" / "__init__.py", (compiled + 1, compiled + 1))
    with pytest.raises(AssertionError, match=r"kernels_cpu/pool/__init__\.py is newer than the libraries"):
        pip_wheel(copy, tmp_path, "aarch64")
