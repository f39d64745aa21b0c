"""The shape of the house: who may import whom, and that the wheel carries every source exactly once.

What the modules do is tested in the folders that mirror them.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {  # package -> its folder in the checkout
    "edgert": "edgert",
    "edgert.kernels_cpu": "kernels_cpu",
    "edgert.kernels_gpu": "kernels_gpu",
    "edgert.converters": "converters",
    "edgert.apps": "apps",
}
PROJECTS = ROOT / "apps" / "android"
"""Apps that embed an installed edgert, each laid out as its own build wants it: no part of the package."""

# Arrows point down. A module may import from its own layer and from those listed; its layer is the longest
# name that it is or lies under.
ARROWS: dict[str, list[str]] = {
    "edgert": ["edgert.errors", "edgert.runtime.session", "edgert.runtime.shared_ram", "edgert.llm.llm"],
    "edgert.errors": [],
    "edgert.cache": ["edgert.errors"],
    "edgert.threads": [],
    "edgert.format": ["edgert.errors", "edgert.graph"],
    "edgert.graph": ["edgert.errors", "edgert.kernels_cpu.reference"],
    "edgert.program": ["edgert.errors", "edgert.graph", "edgert.format", "edgert.kernels_cpu"],
    "edgert.device": ["edgert.errors", "edgert.cache", "edgert.kernels_cpu"],
    "edgert.stream": ["edgert.errors", "edgert.cache", "edgert.threads", "edgert.format", "edgert.graph"],
    "edgert.plan": [
        "edgert.errors", "edgert.cache", "edgert.graph", "edgert.format", "edgert.program", "edgert.device",
        "edgert.kernels_cpu", "edgert.kernels_gpu", "edgert.stream.stages", "edgert.stream.probe",
    ],
    "edgert.runtime": [
        "edgert.errors", "edgert.cache", "edgert.graph", "edgert.format", "edgert.program", "edgert.plan",
        "edgert.device", "edgert.kernels_cpu", "edgert.kernels_gpu", "edgert.stream", "edgert.threads",
    ],
    "edgert.llm": [
        "edgert.errors", "edgert.cache", "edgert.graph", "edgert.format", "edgert.program", "edgert.plan",
        "edgert.device", "edgert.kernels_cpu", "edgert.runtime", "edgert.stream",
    ],
    "edgert.llm.sandbox": ["edgert.errors"],
    "edgert.png": ["edgert.errors", "edgert.graph"],
    "edgert.preprocess": ["edgert.errors", "edgert.format", "edgert.graph", "edgert.png"],
    "edgert.datasets": ["edgert.errors", "edgert.format", "edgert.graph", "edgert.preprocess"],
    "edgert.audio": ["edgert.errors"],
    "edgert.assets": ["edgert.errors", "edgert.cache"],
    "edgert.models": ["edgert.errors"],
    "edgert.cli": [
        "edgert", "edgert.errors", "edgert.cache", "edgert.runtime", "edgert.llm", "edgert.plan", "edgert.program",
        "edgert.graph", "edgert.format", "edgert.device", "edgert.assets", "edgert.models",
        "edgert.kernels_cpu", "edgert.kernels_gpu.survey", "edgert.preprocess", "edgert.datasets", "edgert.audio",
        "edgert.stream",
    ],
    "edgert.apps": [
        "edgert", "edgert.errors", "edgert.runtime", "edgert.llm", "edgert.models", "edgert.preprocess", "edgert.audio",
    ],
    "edgert.kernels_cpu": ["edgert.errors"],
    "edgert.kernels_gpu": ["edgert.errors", "edgert.kernels_cpu"],
    "edgert.converters": [
        "edgert.errors", "edgert.graph", "edgert.format", "edgert.kernels_cpu.reference", "edgert.preprocess",
        "edgert.datasets",
    ],
    "edgert.converters.verify": [
        "edgert.errors", "edgert.graph", "edgert.format", "edgert.converters", "edgert.preprocess", "edgert.runtime",
    ],
}  # fmt: skip

# Imports inside a function run only when it is called, and may reach further: a command loads the
# converters if they are installed, a converter runs the finished file for its report, and an asset
# that is built from a downloaded one needs the converter that builds it.
ARROWS_IN_FUNCTIONS: dict[str, list[str]] = {
    "edgert.cli": ["edgert.converters"],
    "edgert.assets": ["edgert.converters"],
    "edgert.converters": ["edgert.runtime", "edgert.llm", "edgert.plan", "edgert.device"],
}

# What may be imported at the top of a module of the device half. Everything heavier is imported where
# it is used, or lives in one of the parts that run on the workstation or compile kernels.
LIGHT = {"numpy", "click", *sys.stdlib_module_names}
HEAVY_ALLOWED = {"edgert.converters", "edgert.apps", "edgert.kernels_gpu", "edgert.llm.sandbox"}


def modules() -> Iterator[tuple[str, Path]]:
    """(dotted name, file) of every Python module of the product, each once."""
    for package, folder in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            relative = path.relative_to(ROOT / folder)
            if any((ROOT / folder / parent).is_symlink() for parent in relative.parents if parent.name):
                continue
            if path.is_relative_to(PROJECTS):
                continue
            parts = [package, *relative.with_suffix("").parts]
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(path: Path) -> Iterator[tuple[str, int, bool]]:
    """(imported name, line, inside a function) of each import, without those for type checking."""

    def walk(node: ast.AST, deferred: bool) -> Iterator[tuple[str, int, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                for other in child.orelse:
                    yield from walk(other, deferred)
            elif isinstance(child, ast.Import):
                for alias in child.names:
                    yield alias.name, child.lineno, deferred
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{path}:{child.lineno}: import by the full name, edgert..."
                for alias in child.names:
                    yield f"{child.module}.{alias.name}", child.lineno, deferred
            else:
                inner = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from walk(child, deferred or inner)

    yield from walk(ast.parse(path.read_text("utf-8")), False)


def layer(module: str) -> str:
    """The longest name of ARROWS that `module` is or lies under."""
    candidates = [name for name in ARROWS if module == name or module.startswith(name + ".")]
    return max(candidates, key=len)


def lies_in(target: str, allowed: str) -> bool:
    if allowed == "edgert":  # the public names only
        return target == "edgert" or (target.count(".") == 1 and layer(target) == "edgert")
    return target == allowed or target.startswith(allowed + ".")


def kernel_body(module: str) -> bool:
    """Compiled with Numba, or compiling: what the device replaces by a library."""
    parts = module.split(".")
    if parts[:2] != ["edgert", "kernels_cpu"] or len(parts) == 2 or "reference" in parts:
        return False
    return len(parts) > 3 or parts[2].startswith(("simd", "compile", "engine", "jit", "aot"))


def test_imports_point_down() -> None:
    """DESIGN: apps, cli -> runtime -> plan, program -> graph, format -> errors; converters beside them."""
    wrong = []
    for module, path in modules():
        home = layer(module)
        for target, line, deferred in imports(path):
            if target.split(".")[0] != "edgert":
                continue
            allowed = [home, *ARROWS[home], *(ARROWS_IN_FUNCTIONS.get(home, []) if deferred else [])]
            own = home != "edgert" and lies_in(target, home)
            if not own and not any(lies_in(target, name) for name in allowed):
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {module} must not import {target}")
    assert not wrong, "\n".join(wrong)


def test_folders_are_imported_under_their_installed_names() -> None:
    """`import converters` works in a checkout by accident and nowhere else."""
    folders = set(FOLDERS.values()) - {"edgert"}
    for _, path in modules():
        for target, line, _ in imports(path):
            assert target.split(".")[0] not in folders, f"{path}:{line}: import edgert.{target}"


def test_device_half_needs_numpy_and_click_only() -> None:
    wrong = []
    for module, path in modules():
        if layer(module) in HEAVY_ALLOWED or kernel_body(module):
            continue
        for target, line, deferred in imports(path):
            top = target.split(".")[0]
            if not deferred and top != "edgert" and top not in LIGHT:
                wrong.append(f"{path.relative_to(ROOT)}:{line}: import {top} where it is used, not at the top")
    assert not wrong, "\n".join(wrong)


def test_every_folder_with_sources_is_a_package() -> None:
    """A folder without __init__.py would be missing from the wheel."""
    for package, path in modules():
        assert (path.parent / "__init__.py").is_file(), f"{path.parent} ({package}) has no __init__.py"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The names inside a wheel built from a copy of the checkout, so that no build folder is left."""
    import shutil

    work = tmp_path_factory.mktemp("wheel")
    source = work / "source"
    source.mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    skip = shutil.ignore_patterns("__pycache__")
    for folder in FOLDERS.values():
        shutil.copytree(ROOT / folder, source / folder, symlinks=True, ignore=skip)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*command, "--wheel-dir", str(work), str(source)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = work.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        return archive.namelist()


def test_wheel_holds_every_source_exactly_once(wheel: list[str]) -> None:
    expected = []
    for package, folder in FOLDERS.items():
        for pattern in ("*.py", "*.cl", "*.json", "*.onnx", "*.edge", "*.npz", "*.png", "py.typed"):
            for path in (ROOT / folder).rglob(pattern):
                relative = path.relative_to(ROOT / folder)
                if path.is_relative_to(PROJECTS):
                    continue
                if not any((ROOT / folder / parent).is_symlink() for parent in relative.parents if parent.name):
                    expected.append(f"{package.replace('.', '/')}/{relative.as_posix()}")
    inside = [name for name in wheel if ".dist-info/" not in name]
    assert len(inside) == len(set(inside)), "the wheel holds a file twice"
    assert sorted(set(expected) - set(inside)) == [], "missing from the wheel"
    assert sorted(set(inside) - set(expected)) == [], "in the wheel without being a source"


def test_wheel_puts_everything_under_one_name(wheel: list[str]) -> None:
    tops = {name.split("/")[0] for name in wheel}
    assert len(tops) == 2, tops
    assert "edgert" in tops
    assert all(top == "edgert" or top.endswith(".dist-info") for top in tops)
