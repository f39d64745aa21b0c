"""Libraries that an ARM processor can not run, or should not, are refused in words; none of their code runs."""

from __future__ import annotations

from pathlib import Path

ANSWERS = Path(__file__).with_name("answers.py")


def test_dotprod_on_a_processor_without_it(arm64, repo_root, libraries, models, inputs, tmp_path) -> None:  # type: ignore[no-untyped-def]
    done = arm64.python(
        "cortex-a72", ANSWERS, inputs, tmp_path / "none.npz", models["int8"], packages=[repo_root],
        EDGERT_KERNEL_FOLDER=libraries, EDGERT_ISA="armv8.2-dotprod",
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    said = done.stderr.splitlines()[-1]
    assert "KernelError: EDGERT_ISA=armv8.2-dotprod cannot run on this machine" in said
    assert "asimddp" in said
