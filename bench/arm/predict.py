"""Milliseconds on boards, predicted from bench/results/arm-mca.json: python -m bench.arm.predict MODEL.edge.

    ms = max(cycles / (clock x threads), bytes / bandwidth)

cycles: by LLVM's model of the processor (mca.py); bytes: the model file, read once per inference, as its weights are
larger than the caches. Threads are taken to share the work evenly. No cache misses of activations, no throttling: a
measurement can only be slower.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import click

RESULTS = Path(__file__).parents[1] / "results"


@dataclass(frozen=True)
class Board:
    """clock in GHz; bandwidth in GB/s, what all cores together read from memory, as measured by others."""

    name: str
    processor: str
    level: str
    clock: float
    bandwidth: float


BOARDS = (
    Board("Raspberry Pi 4 (1.5 GHz)", "cortex-a72", "armv8-a", 1.5, 4.0),
    Board("Raspberry Pi 4 rev. 1.4 (1.8 GHz)", "cortex-a72", "armv8-a", 1.8, 4.0),
    Board("Raspberry Pi 5 (2.4 GHz)", "cortex-a76", "armv8.2-dotprod", 2.4, 11.0),
)


def milliseconds(cycles: float, nbytes: float, board: Board, threads: int) -> tuple[float, str]:
    """(ms, 'compute' or 'memory'): the slower of both."""
    compute = cycles / (board.clock * threads) / 1e6
    memory = nbytes / board.bandwidth / 1e6
    return (compute, "compute") if compute >= memory else (memory, "memory")


@click.command()
@click.argument("model", type=click.Path(exists=True, path_type=Path))
@click.option("--cycles", type=click.Path(exists=True, path_type=Path), default=RESULTS / "arm-mca.json")
@click.option("--out", type=click.Path(path_type=Path), help="Also write the table there, as JSON.")
def main(model: Path, cycles: Path, out: Path | None) -> None:
    """Predict the time of one inference of MODEL, whose cycles are in the file that mca.py wrote."""
    records, rows = json.loads(cycles.read_text()), []
    for board in BOARDS:
        for threads in (1, 4):
            count = records[board.level]["cycles"][board.processor]
            ms, bound = milliseconds(count, model.stat().st_size, board, threads)
            rows.append({"board": board.name, "threads": threads, "ms": round(ms, 2), "bound": bound, "cycles": count})
            click.echo(f"{board.name}, {threads} thread(s): {ms:.1f} ms ({bound})")
    if out is not None:
        out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
