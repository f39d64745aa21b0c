"""Instructions of other runtimes on the same networks: python -m bench.arm.peers MODEL.onnx MODEL.tflite ... (as root).

Their ARM wheels from the package index run in the emulator that counts. They read /proc/cpuinfo, so each process gets
that of the emulated processor, which takes root (unshare and mount).
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import click

from bench.arm import emulate

CPUS = ("cortex-a72", "cortex-a76", "max")
"""The last has all that the emulator knows, int8 matrix products (i8mm) among it."""
RUNTIMES = {".onnx": "onnxruntime", ".tflite": "litert"}


def count(model: Path, cpu: str, calls: tuple[int, int] = (1, 3)) -> dict[str, Any]:
    """Instructions per inference of `model` in its own runtime."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        packages = [emulate.site(folder, "arm64-wheels"), emulate.site(folder, "arm64-peer-wheels")]
        script, runtime = Path(__file__).with_name("infer.py"), RUNTIMES[model.suffix]
        short, long = (emulate.run(cpu, [script, runtime, model, str(n)], packages, cpuinfo=True) for n in calls)
    each = (long.instructions - short.instructions) // (calls[1] - calls[0])
    return {"model": model.name, "runtime": runtime, "cpu": cpu, "instructions": each}


@click.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Also write the records there, as JSON.")
def main(models: tuple[Path, ...], out: Path | None) -> None:
    """Count the instructions of one inference of each of MODELS, .onnx or .tflite, in the runtime it is made for."""
    records = []
    for model in models:
        for cpu in CPUS:
            records.append(count(model, cpu))
            click.echo(f"{model.name}, {records[-1]['runtime']} on {cpu}: {records[-1]['instructions'] / 1e6:.2f} M")
    if out is not None:
        out.write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    main()
