"""`edgert quickstart`: converts the classifier that ships, to float and to int8, and compares them on its samples.

Needs the extras [convert], [jit] and [image]; nothing is downloaded.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import click

from edgert.cli.common import json_option, open_session, print_json, say
from edgert.errors import EdgertError
from edgert.graph.ir import Array
from edgert.models import FASHION_MNIST, FASHION_MNIST_CALIBRATION, fashion_mnist_samples
from edgert.preprocess import load_image
from edgert.runtime.postprocess import Answer, top
from edgert.runtime.session import Session

RUNS = 200
"""Runs timed of each file; a tenth of a millisecond each."""
WEIGHTS = ("f32", "int8")


@click.command(short_help="Convert and run the model that ships with edgert.")
@click.option("--keep", type=click.Path(path_type=Path), metavar="FOLDER", help="Leave the .edge files there.")
@json_option
def command(keep: Path | None, as_json: bool) -> None:
    """Convert the Fashion-MNIST classifier that ships with edgert, name ten garments, compare float and int8.

    \b
    edgert quickstart
    edgert quickstart --keep .      then: edgert inspect fashion_mnist-int8.edge --plan
    """
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        result = demonstrate(keep)
    else:
        with tempfile.TemporaryDirectory(prefix="edgert-") as folder:
            result = demonstrate(Path(folder))
    if as_json:
        print_json(result)
    else:
        click.echo("\n".join(describe(result)))


def demonstrate(folder: Path) -> dict[str, Any]:
    """Converts to `folder`, runs the samples with both files, and measures."""
    files = {weights: convert_default(folder, weights) for weights in WEIGHTS}
    sessions = {
        weights: open_session(str(file), threads=None, ram=None, device="cpu") for weights, file in files.items()
    }
    samples = fashion_mnist_samples()
    inputs = [load_image(path, _steps(sessions["f32"])) for path, _ in samples]
    rows: list[dict[str, Any]] = [
        {"file": path.name, "right": sessions["f32"].info.labels[number]} for path, number in samples
    ]
    for weights, session in sessions.items():
        for row, image in zip(rows, inputs, strict=True):
            row[weights] = vars(answer(session, image))
        say(f"{weights}: {session.summary()}")
    times = latencies(sessions, inputs[0])
    for session in sessions.values():
        session.close()
    return {
        "onnx_bytes": FASHION_MNIST.stat().st_size,
        "samples": rows,
        "models": {
            weights: {"file": str(file), "bytes": file.stat().st_size, "median_ms": times[weights]}
            for weights, file in files.items()
        },
    }


def convert_default(folder: Path, weights: str) -> Path:
    """The shipped model as `folder`/fashion_mnist-<weights>.edge."""
    try:
        from edgert.converters.calibrate.session import SessionExecutor
        from edgert.converters.convert import convert
    except ImportError as error:
        raise EdgertError(f"quickstart needs pip install 'edgert[convert,jit,image]' ({error})") from None
    out = folder / f"fashion_mnist-{weights}.edge"
    calib = FASHION_MNIST_CALIBRATION if weights == "int8" else None
    say(f"converting {FASHION_MNIST.name} to {out.name} ...")
    convert(FASHION_MNIST, out, weights=weights, calib=calib, execute=SessionExecutor())
    return out


def _steps(session: Session) -> Any:
    assert session.info.preprocessing is not None
    return session.info.preprocessing


def answer(session: Session, image: Array) -> Answer:
    """The best class of one image."""
    (scores,) = session.run(None, {_steps(session).input: image})
    return top(scores, session.info.labels, 1)[0]


def latencies(sessions: dict[str, Session], image: Array) -> dict[str, float]:
    """Median milliseconds of a run, measured in turn."""
    times: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(RUNS):
        for name, session in sessions.items():
            feeds = {_steps(session).input: image}
            start = time.perf_counter()
            session.run(feeds)
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(ms) for name, ms in times.items()}


def describe(result: dict[str, Any]) -> list[str]:
    """The result in words: a line per sample, a line per file."""
    lines = [f"{'sample':22} {'float':>20} {'int8':>20}"]
    for row in result["samples"]:
        cells = [f"{row[w]['label']} {100 * row[w]['probability']:3.0f} %" for w in WEIGHTS]
        wrong = "" if all(row[w]["label"] == row["right"] for w in WEIGHTS) else f"   (is {row['right']})"
        lines.append(f"{row['file']:22} {cells[0]:>20} {cells[1]:>20}{wrong}")
    lines.append("")
    lines.append(f"{'ONNX, float':12} {result['onnx_bytes'] / 1024:7.0f} KB")
    for weights, model in result["models"].items():
        lines.append(
            f"{'.edge, ' + weights:12} {model['bytes'] / 1024:7.0f} KB   {model['median_ms']:.3f} ms per image"
        )
    same = sum(row["f32"]["label"] == row["int8"]["label"] for row in result["samples"])
    lines.append(f"int8 gives the float answer on {same} of {len(result['samples'])} samples")
    return lines
