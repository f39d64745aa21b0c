"""The installed wheel, not the checkout: a fresh environment with NumPy and click runs models at once."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from release import HOST, run

HEAVY = ("numba", "llvmlite", "onnx", "PIL", "tokenizers", "jinja2", "rich", "unicorn", "ziglang")
FIRST_ANSWER = Path(__file__).with_name("first_answer.py")
DEVICE_TESTS = ("device", "plan", "program", "runtime")
NOT_ON_A_DEVICE = ("runtime/test_detector.py", "runtime/test_kernel_cache.py", "runtime/test_streamed_session.py")
"""Two convert models, one looks for compiled objects."""
ALL_LEVELS = "test_int8_bits_do_not_depend_on_the_level"
"""The wheel of these tests has the library of one level of this machine."""
FEWEST_PASSED = 200
MAX_INSTALLED = 9_000_000
"""Bytes of files, without what Python compiles. Seen: 6 MB with one library."""
MAX_MODULES = 200
"""Of edgert and outside the standard library and NumPy. Seen: 120."""


@pytest.fixture
def models(fresh: Path) -> Path:
    (folder,) = fresh.parents[1].glob("lib/python*/site-packages/edgert/models")
    return folder


def test_quickstart_with_numpy_and_click_only(fresh: Path, tmp_path: Path) -> None:
    done = run([fresh.with_name("edgert"), "quickstart", "--json", "--keep", tmp_path], EDGERT_CACHE=str(tmp_path))
    found = json.loads(done.stdout)
    assert list(found["models"]) == ["int8", "sparse int8"]
    for row in found["samples"]:
        assert [answer["label"] for answer in row["answers"].values()] == [row["right"]] * 2
    for model in found["models"].values():
        assert Path(model["file"]).parent == tmp_path
        assert model["right_samples"] == 10
    assert f"{HOST}, kernels AOT" in done.stderr
    text = run([fresh.with_name("edgert"), "quickstart"], EDGERT_CACHE=str(tmp_path)).stdout
    assert text.splitlines()[-1].startswith("sparse beside dense int8: 0.4")


def test_a_file_is_run_from_the_command_line(fresh: Path, models: Path, tmp_path: Path) -> None:
    command = [fresh.with_name("edgert"), "run", models / "fashion_mnist-int8.edge", models / "samples/8-bag.png"]
    assert "Bag" in run(command, EDGERT_CACHE=str(tmp_path)).stdout


def test_nothing_heavy_is_there_or_imported(fresh: Path, models: Path, tmp_path: Path) -> None:
    for name in HEAVY:
        run([fresh, "-c", f"import importlib.util as u; assert u.find_spec({name!r}) is None"])
    done = run([fresh, FIRST_ANSWER, models / "fashion_mnist-int8.edge"], EDGERT_CACHE=str(tmp_path))
    said = json.loads(done.stdout)
    assert said["label"] == 7
    assert Path(said["home"]).is_relative_to(fresh.parents[1])
    modules = said["modules"]
    assert len(modules) < MAX_MODULES
    assert {name.split(".")[0] for name in modules} == {"edgert"}
    compiling = ("compiler", "engine", "aot", "simd", "jit")
    assert not [name for name in modules if name.startswith(tuple(f"edgert.kernels_cpu.{part}" for part in compiling))]
    assert not [name for name in modules if name.startswith(("edgert.converters", "edgert.kernels_gpu", "edgert.llm"))]


def test_installed_size(models: Path) -> None:
    files = [path for path in models.parent.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert sum(path.stat().st_size for path in files) < MAX_INSTALLED


def test_device_tests_pass_with_the_installed_wheel(
    fresh: Path, testing: Path, repo_root: Path, tmp_path: Path
) -> None:
    """They are copied away from the checkout, so that nothing of it can be imported instead."""
    tests = tmp_path / "tests"
    tests.mkdir()
    for name in DEVICE_TESTS:
        shutil.copytree(repo_root / "tests" / name, tests / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in NOT_ON_A_DEVICE:
        (tests / name).unlink()
    for name in ("conftest.py", "networks.py"):
        shutil.copy(repo_root / "tests" / name, tests)
    shutil.copy(repo_root / "pyproject.toml", tmp_path)
    options = ["-q", "-p", "no:cacheprovider", "-m", "not slow and not model", "-k", f"not {ALL_LEVELS}"]
    environment = {"PYTHONPATH": str(testing), "EDGERT_CACHE": str(tmp_path / "cache"), "EDGERT_KERNELS": "aot"}
    home = run([fresh, "-c", "import edgert; print(edgert.__file__)"], **environment).stdout
    assert Path(home.strip()).is_relative_to(fresh.parents[1])
    done = run([fresh, "-m", "pytest", *options, "--rootdir", tmp_path, tests], **environment)
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= FEWEST_PASSED, done.stdout[-2000:]
