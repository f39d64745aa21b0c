"""`edgert run`: answers for images, sounds and arrays, by the model's own preprocessing and labels.

Loading and running is edgert/runtime.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from edgert.audio import read_wav, resample
from edgert.cli.common import file_argument, json_option, open_session, parse_shapes, print_json, say, session_options
from edgert.errors import InputError, UnsupportedError
from edgert.format import read_model
from edgert.graph.ir import Array
from edgert.plan.stream_cost import compare
from edgert.preprocess import IMAGE_SUFFIXES, load_image
from edgert.runtime.options import Precision, Stream
from edgert.runtime.postprocess import Answer, top
from edgert.runtime.session import Session
from edgert.stream.readers import Checks

Feeds = dict[str, Array]


@click.command(short_help="Answer for one or more inputs.")
@file_argument
@click.argument("inputs", nargs=-1)
@click.option("--top", "count", type=click.IntRange(1), default=5, show_default=True, help="Classes to show.")
@click.option("--rate", type=click.IntRange(1), help="Hz at which the model hears sound; WAV files are resampled.")
@click.option("-o", "--output", type=click.Path(), help="Write all outputs to this .npz, if there is one input.")
@json_option
@session_options
def command(
    file: str, inputs: tuple[str, ...], count: int, rate: int | None, output: str | None, as_json: bool,
    threads: int | None, ram: str | None, stream: Stream, checks: Checks, device: str, precision: Precision,
    sparse: str, shapes: tuple[str, ...], verbose: bool,
) -> None:  # fmt: skip
    """Run the model FILE on each INPUT: an image, a .wav, an .npz with the inputs by name, or an .npy.

    A model with several inputs takes NAME=FILE.npy for each, as one input.

    \b
    edgert run model.edge photo.jpg
    edgert run model.edge x.npy --json -o outputs.npz
    edgert run model.edge sound.wav --rate 16000
    """
    language = read_model(file).info.language
    if language is not None:
        raise UnsupportedError(
            f"{file}: expected a model of images or arrays, found one of language; "
            + ("use `edgert embed`" if language.pooling else "use `edgert generate` or `edgert chat`")
        )
    session = open_session(
        file, threads=threads, ram=ram, device=device, shapes=parse_shapes(shapes), sparse=sparse, stream=stream,
        checks=checks, precision=precision,
    )  # fmt: skip
    results: list[dict[str, Any]] = []
    seconds, before = 0.0, (0, 0.0)
    with session:
        for index, (name, feeds) in enumerate(feeds_of(session, inputs, rate)):
            start = time.perf_counter()
            outputs = session.run(feeds)
            milliseconds = 1e3 * (time.perf_counter() - start)
            seconds += milliseconds / 1e3 if index else 0.0
            if index == 0:
                say(session.summary())
                before = streamed_by(session)
            answers = answers_of(session, outputs, count)
            results.append(as_result(name, outputs, answers, milliseconds, as_json))
            if not as_json:
                show(name, outputs, answers, several=len(inputs) > 1)
            if verbose:
                say(f"{name}: {milliseconds:.2f} ms")
        if verbose and session.streamed is not None and len(results) > 1:
            # The first run also links kernels and fills the ring.
            read, waited = (now - then for now, then in zip(streamed_by(session), before, strict=True))
            say(compare(session.streamed.cost(), len(results) - 1, seconds, round(read), waited, "run"))
        if output is not None:
            if len(results) != 1:
                raise InputError(f"--output: expected one input, found {len(results)}")
            save(output, outputs)
    if as_json:
        print_json({"model": session.info.name, "summary": session.summary(), "results": results})


def streamed_by(session: Session) -> tuple[int, float]:
    """(bytes read for runs, seconds that runs waited) so far."""
    weights = session.streamed
    return (0, 0.0) if weights is None else (weights.streamed_bytes, weights.statistics.waited)


def feeds_of(session: Session, inputs: Sequence[str], rate: int | None = None) -> Iterator[tuple[str, Feeds]]:
    """(name for people, feeds) of each input on the command line."""
    names = [value.name for value in session.get_inputs()]
    pairs = [word.partition("=") for word in inputs]
    if inputs and all(mark and left in names for left, mark, _ in pairs):
        yield " ".join(inputs), {name: load_array(path) for name, _, path in pairs}
        return
    if not inputs and names:
        raise InputError(f"expected an INPUT: an image, a .wav, an .npy or an .npz with {', '.join(names)}; found none")
    if not names:
        yield "no input", {}
    for word in inputs:
        yield Path(word).name, load_feeds(session, word, names, rate)


def load_feeds(session: Session, path: str, names: Sequence[str], rate: int | None = None) -> Feeds:
    """The feeds in one file. Raises InputError."""
    suffix = Path(path).suffix.lower()
    if suffix == ".npz":
        try:
            with np.load(path, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{path}: expected an .npz of plain arrays: {error}") from error
    if suffix == ".npy":
        if len(names) != 1:
            raise InputError(f"the model has the inputs {', '.join(names)}; give {names[0]}=FILE.npy ... or an .npz")
        return {names[0]: load_array(path)}
    if suffix == ".wav":
        return dict.fromkeys(names, load_sound(path, session, rate))
    if suffix not in IMAGE_SUFFIXES:
        raise InputError(f"{path}: expected an image, a .wav, an .npy or an .npz, found {suffix or 'no suffix'}")
    steps = session.info.preprocessing
    if steps is None or [steps.input] != list(names):
        raise InputError(
            f"{path}: the model does not say how an image becomes its input, "
            + ", ".join(f"{value.name} {value.dtype}{value.shape}" for value in session.get_inputs())
            + "; convert it with --input-size, --mean and --scale, or give an .npy"
        )
    return {steps.input: load_image(path, steps)}


def load_sound(path: str, session: Session, rate: int | None) -> Array:
    """The samples of a WAV file as the only input of a model that takes a signal: floats, all but one size 1.

    A shorter sound is filled up with silence. Raises InputError.
    """
    inputs = session.get_inputs()
    shape = inputs[0].shape if len(inputs) == 1 else []
    wide = [axis for axis, size in enumerate(shape) if size != 1 and (axis or not isinstance(size, str))]
    advice = "; sound that goes through features or windows has an app: edgert.apps.keyword_spotting, .pitch_tracking"
    if session.model.graph.states or len(wide) != 1 or inputs[0].dtype != "float32":
        found = ", ".join(f"{value.name} {value.dtype}{value.shape}" for value in inputs)
        raise InputError(f"{path}: expected a model of one signal, such as float32 [1, samples]; found {found}{advice}")
    if rate is None:
        raise InputError(f"{path}: the model does not say at which rate it hears sound; give --rate, such as 16000")
    sound = read_wav(path)
    samples = resample(sound.mono, sound.rate, rate)
    size = shape[wide[0]]
    if isinstance(size, int):
        if len(samples) > size:
            raise InputError(f"{path}: expected at most {size} samples at {rate} Hz, found {len(samples)}{advice}")
        samples = np.concatenate([samples, np.zeros(size - len(samples), np.float32)])
    return samples.reshape([-1 if axis == wide[0] else 1 for axis in range(len(shape))])


def load_array(path: str) -> Array:
    try:
        array: Array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: expected a plain .npy array: {error}") from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path}: expected a plain .npy array, found an archive")
    return array


def answers_of(session: Session, outputs: Feeds, count: int) -> list[Answer] | None:
    """The best classes, for a classifier's single sample; None where the output is no list of scores."""
    name = next(iter(outputs), None)
    scores = outputs[name] if name is not None and len(outputs) == 1 else None
    labels = session.info.labels
    classifies = session.info.task == "image-classification" or bool(labels)
    if name is None or scores is None or not classifies or scores.size != max(scores.shape, default=0):
        return None
    return top(scores, labels, count, session.model.graph.types[name].quant)


def as_result(
    name: str, outputs: Feeds, answers: list[Answer] | None, milliseconds: float, values: bool
) -> dict[str, Any]:
    result: dict[str, Any] = {"input": name, "milliseconds": milliseconds}
    if answers is not None:
        result["answers"] = [vars(answer) for answer in answers]
    result["outputs"] = {
        key: {"dtype": value.dtype.name, "shape": list(value.shape), **({"values": value} if values else {})}
        for key, value in outputs.items()
    }
    return result


def show(name: str, outputs: Feeds, answers: list[Answer] | None, *, several: bool) -> None:
    """The answer in words, or a line per output."""
    if answers is not None:
        if several:
            click.echo(f"{name}:")
        for answer in answers:
            label = answer.label or f"class {answer.index}"
            click.echo(f"{100 * answer.probability:6.2f} %  {label} ({answer.index})")
        return
    for key, value in outputs.items():
        line = f"{name}: {key} {value.dtype} {list(value.shape)}"
        if value.size and value.dtype.kind in "fiu":
            line += f" min {value.min():.6g} mean {value.mean():.6g} max {value.max():.6g}"
        click.echo(line)


def save(path: str, outputs: Feeds) -> None:
    try:
        with Path(path).open("wb") as stream:
            np.savez(stream, **outputs)  # type: ignore[arg-type]
    except OSError as error:
        raise InputError(f"{path}: cannot write the outputs: {error.strerror}") from error
