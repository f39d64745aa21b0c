"""`python -m bench [NAME]`: runs the benchmarks and keeps their raw numbers in bench/results/."""

from __future__ import annotations

from pathlib import Path

import click

from bench import (
    compression,
    efficientnet,
    embedding,
    face_detection,
    language,
    models,
    neurons,
    pruning,
    sparse_language,
    sparse_matvec,
    sparse_network,
)
from bench.gpu import compare as opencl
from bench.gpu import starts as opencl_start
from bench.stream import budget as streaming_budget
from bench.stream import compare as streaming
from bench.stream import neurons as streaming_neurons
from bench.stream import transport as streaming_transport
from edgert.kernels_cpu.installed import chosen

BENCHES = {
    "efficientnet": (efficientnet.run, 40),
    "language": (language.run, 6),
    "models": (models.run, 20),
    "embedding": (embedding.run, 40),
    "face-detection": (face_detection.run, 40),
    "compression": (compression.run, 1),
    "pruning": (pruning.run, 1),
    "neurons": (neurons.run, 8),
    "sparse-network": (sparse_network.run, 20),
    "sparse-language": (sparse_language.run, 4),
    "sparse-matvec": (sparse_matvec.run, 15),
    "opencl": (opencl.run, 10),
    "opencl-start": (opencl_start.run, 3),
    "streaming": (streaming.run, 3),
    "streaming-budget": (streaming_budget.run, 1),
    "streaming-transport": (streaming_transport.run, 3),
    "streaming-neurons": (streaming_neurons.run, 2),
}
"""The benchmark, and how many rounds it makes if nobody says."""


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(BENCHES)))
@click.option("--threads", default="1,2", help="Thread counts, with commas.")
@click.option("--rounds", type=int, help="Measured calls of each runtime.")
def main(names: tuple[str, ...], threads: str, rounds: int | None) -> None:
    """Measure edgert beside its peers. EDGERT_ISA=x86-64-v3 narrows edgert to that level."""
    for name in names or BENCHES:
        out = Path(__file__).parent / "results" / f"{name}-{chosen().level.name}.json"
        run, usual = BENCHES[name]
        run([int(n) for n in threads.split(",")], rounds or usual, out)
        click.echo(f"raw numbers: {out}")


if __name__ == "__main__":
    main()
