"""Prints how much of ONNX's conformance suite passes: python tests/conformance/count.py [-k TEXT] [--reference].
The tests beside it hold the same results against `not_passed.json`."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import click

sys.path.insert(0, __file__.rpartition("/")[0])
from suite import KINDS, cases, category, failure, not_passed


def attempt(case: Any, through: str) -> str:
    """As `failure`, with bugs reported like refusals: one broken operator must not end the count."""
    try:
        return failure(case, through)
    except Exception as error:  # the count goes on
        return " ".join(f"BUG {type(error).__name__}: {error}".split())


@click.command()
@click.option("-k", "text", default="", help="Only cases whose name contains TEXT.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(KINDS), help="Only cases of this kind.")
@click.option("--reference", is_flag=True, help="By the interpreter over NumPy in place of a session.")
@click.option("--all", "listed", is_flag=True, help="List failures with a known reason too.")
@click.option("--width", default=200, help="Cut messages at this many characters.")
def main(text: str, kinds: tuple[str, ...], reference: bool, listed: bool, width: int) -> None:
    """Runs the suite and counts."""
    through = "reference" if reference else "session"
    for kind in kinds or KINDS:
        passed: Counter[str] = Counter()
        total: Counter[str] = Counter()
        for name, case in sorted(cases(kind).items()):
            if text not in name:
                continue
            group = category(case)
            total[group] += 1
            message = attempt(case, through)
            passed[group] += not message
            if message and not group and (listed or name not in not_passed()):
                print(f"{name}: {message[:width]}")
        apart = ", ".join(f"{group} {total[group]}" for group in sorted(total) if group)
        rate = 100 * passed[""] / total[""] if total[""] else 0.0
        excluded = sum(total.values()) - total[""]
        print(f"{kind}: passed {passed['']} of {total['']} ({rate:.1f} %), excluded {excluded}", end="")
        print(f" ({apart}; {sum(passed.values()) - passed['']} of them pass)" if apart else "")


if __name__ == "__main__":
    main()
