"""List the packages of the wheel: every folder with an __init__.py, under the one name `edgert`.

Everything else about the project stands in pyproject.toml.
"""

from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parent
FOLDERS = {
    "edgert": "edgert",
    "edgert.kernels_cpu": "kernels_cpu",
    "edgert.kernels_gpu": "kernels_gpu",
    "edgert.converters": "converters",
    "edgert.apps": "apps",
}


def packages_under(name: str, folder: Path) -> list[str]:
    """Dotted names of the package in `folder` and below. Symlinks repeat another folder: skipped."""
    found = [name]
    for child in sorted(folder.iterdir()):
        if child.is_dir() and not child.is_symlink() and (child / "__init__.py").is_file():
            found += packages_under(f"{name}.{child.name}", child)
    return found


setup(packages=[p for name, folder in FOLDERS.items() for p in packages_under(name, ROOT / folder)])
