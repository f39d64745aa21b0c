"""`edgert quickstart`: names ten garments with the classifiers that ship, and compares their forms.

A wheel for one kind of machine carries them ready to run; from the sources they are converted first, which needs the
extras [convert], [jit] and [image]. Nothing is downloaded.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from edgert.cli import sparsity
from edgert.cli.common import json_option, open_session, print_json, say
from edgert.errors import EdgertError
from edgert.format import read_model
from edgert.graph.ir import Array
from edgert.models import (
    FASHION_MNIST,
    FASHION_MNIST_CALIBRATION,
    FASHION_MNIST_READY,
    FASHION_MNIST_SPARSE,
    FASHION_MNIST_TOP1,
    fashion_mnist_samples,
)
from edgert.preprocess import load_image
from edgert.runtime.postprocess import Answer, top
from edgert.runtime.session import Session

RUNS = 400
"""Runs timed of each file; a tenth of a millisecond each."""


@dataclass(frozen=True)
class Form:
    """One way to store the classifier."""

    name: str
    onnx: Path
    weights: str

    @property
    def file_name(self) -> str:
        return f"fashion_mnist-{self.name.replace(' ', '-')}.edge"


FORMS = (
    Form("float", FASHION_MNIST, "f32"),
    Form("int8", FASHION_MNIST, "int8"),
    Form("sparse int8", FASHION_MNIST_SPARSE, "int8"),
)


@click.command(short_help="Run the model that ships with edgert.")
@click.option("--keep", type=click.Path(path_type=Path), metavar="FOLDER", help="Leave the .edge files there.")
@json_option
def command(keep: Path | None, as_json: bool) -> None:
    """Name ten garments with the Fashion-MNIST classifier that ships with edgert, and compare int8 with sparse int8;
    where the sources are installed, convert it first, and compare with float too.

    \b
    edgert quickstart
    edgert quickstart --keep .      then: edgert inspect fashion_mnist-sparse-int8.edge --html masks.html
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
    """Puts the files into `folder`, runs the samples with each, and measures."""
    files = models_in(folder)
    sessions = {name: open_session(str(file), threads=None, ram=None, device="cpu") for name, file in files.items()}
    samples = fashion_mnist_samples()
    first = next(iter(sessions.values()))
    steps = _steps(first)
    inputs = [load_image(path, steps) for path, _ in samples]
    rows: list[dict[str, Any]] = [
        {"file": path.name, "right": first.info.labels[number], "answers": {}} for path, number in samples
    ]
    for name, session in sessions.items():
        for row, image in zip(rows, inputs, strict=True):
            row["answers"][name] = asdict(answer(session, image))
        say(f"{name}: {session.summary()}")
    times = latencies(sessions, inputs[0])
    for session in sessions.values():
        session.close()
    return {
        "samples": rows,
        "models": {
            name: {
                "file": str(file),
                "bytes": file.stat().st_size,
                "median_ms": times[name],
                "density": sparsity.together(sparsity.layers_of(read_model(file))).density,
                "right_samples": sum(row["answers"][name]["label"] == row["right"] for row in rows),
                "top1_of_10000": FASHION_MNIST_TOP1[name],
            }
            for name, file in files.items()
        },
    }


def models_in(folder: Path) -> dict[str, Path]:
    """Form -> its file in `folder`: converted there, or copied where no ONNX files are installed to convert."""
    if FASHION_MNIST.exists():
        return {form.name: convert_default(folder, form) for form in FORMS}
    return {name: Path(shutil.copy(file, folder)) for name, file in FASHION_MNIST_READY.items()}


def convert_default(folder: Path, form: Form) -> Path:
    """The shipped model in one form, in `folder`."""
    try:
        from edgert.converters.calibrate.session import SessionExecutor
        from edgert.converters.convert import convert
    except ImportError as error:
        raise EdgertError(f"quickstart needs pip install 'edgert[convert,jit,image]' ({error})") from None
    out = folder / form.file_name
    calib = FASHION_MNIST_CALIBRATION if form.weights == "int8" else None
    say(f"converting {form.onnx.name} to {out.name} ...")
    convert(form.onnx, out, weights=form.weights, calib=calib, execute=SessionExecutor())
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
    models = result["models"]
    lines = ["".join([f"{'sample':20}", *(f"{name:>19}" for name in models)])]
    for row in result["samples"]:
        answers = row["answers"].values()
        cells = [f"{found['label']} {100 * found['probability']:3.0f} %" for found in answers]
        wrong = "" if all(found["label"] == row["right"] for found in answers) else f"   (is {row['right']})"
        lines.append(f"{row['file']:20}" + "".join(f"{cell:>19}" for cell in cells) + wrong)
    lines += ["", f"{'weights':12}{'kept':>7}{'file':>11}{'one image':>13}{'samples':>10}{'10,000 test images':>21}"]
    for name, model in models.items():
        lines.append(
            f"{name:12}{100 * model['density']:5.0f} %{model['bytes'] / 1024:8.0f} KB{model['median_ms']:10.3f} ms"
            f"{model['right_samples']:7} of {len(result['samples'])}{100 * model['top1_of_10000']:12.2f} % right"
        )
    dense, sparse = models["int8"], models["sparse int8"]
    lines.append(
        f"sparse beside dense int8: {sparse['bytes'] / dense['bytes']:.2f}x the bytes, "
        f"{dense['median_ms'] / sparse['median_ms']:.2f}x the speed"
    )
    return lines
