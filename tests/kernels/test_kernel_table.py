"""docs/kernels.md lists every kernel of the registry, and shows one source as it is."""

from __future__ import annotations

from pathlib import Path

from edgert.kernels_cpu.levels import LEVELS
from edgert.kernels_cpu.registry import kernels

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "kernels.md"


def test_the_table_is_the_registry() -> None:
    text = PAGE.read_text("utf-8")
    listed = text[text.index("<!-- kernels:") : text.index("<!-- end of kernels -->")].splitlines()[3:]
    expected = [f"| `{spec.name}` | {spec.summary} |" for spec in kernels().values()]
    assert listed == expected, "docs/kernels.md should list:\n" + "\n".join(expected)


def test_every_level_is_described() -> None:
    text = PAGE.read_text("utf-8")
    for name, level in LEVELS.items():
        row = next(line for line in text.splitlines() if line.startswith(f"| `{name}` |"))
        assert f" {level.vector_bytes}" in row.split("|")[2]
        assert ("value - 128" in row) == level.act_signed


def test_the_source_shown_is_the_source() -> None:
    shown = PAGE.read_text("utf-8").split("```python\n")[1].split("```")[0]
    source = (ROOT / "kernels_cpu" / "layout" / "dequantize_row.py").read_text("utf-8")
    assert shown.replace("):\n", "):  # type: ignore[no-untyped-def]\n", 1) in source
