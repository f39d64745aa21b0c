"""The source archive: what is in it, and that a wheel comes out of it with neither a compiler nor the tools of one."""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path

import pytest
from release import Build, pip_wheel, run
from test_wheel import contents


@pytest.fixture(scope="module")
def unpacked(source: Path, device_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source archive of a checkout whose libraries are built, unpacked."""
    out = tmp_path_factory.mktemp("sdist")
    code = f"import os, setuptools.build_meta as b; os.chdir({str(source)!r}); b.build_sdist({str(out)!r})"
    run([sys.executable, "-c", code])
    (archive,) = out.glob("edgert-*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(out, filter="data")
    (folder,) = (path for path in out.iterdir() if path.is_dir())
    return folder


def test_it_holds_sources_and_nothing_built(unpacked: Path) -> None:
    names = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()}
    assert {"setup.py", "pyproject.toml", "LICENSE", "README.md", "kernels_cpu/engine.py"} <= names
    assert "edgert/models/fashion_mnist.onnx" in names
    assert not [name for name in names if name.endswith((".so", ".edge", ".pyc", ".o"))]
    assert not [name for name in names if name.startswith(("edgert/kernels_cpu/", "edgert/converters/", "build/"))]


def test_a_wheel_is_built_from_it_without_a_compiler(
    unpacked: Path, tmp_path: Path, wheel: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setenv("CC", "/nonexistent/cc")
    built = pip_wheel(unpacked, tmp_path, "")
    assert built.name.endswith("-py3-none-any.whl")
    expected = contents(wheel("any"))
    found = contents(built)
    assert {name: data for name, data in found.items() if ".dist-info/" not in name} == {
        name: data for name, data in expected.items() if ".dist-info/" not in name
    }
