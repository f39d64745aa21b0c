"""`edgert eval`: top-1 and top-5 accuracy of a classifier on labelled data.

Data sets and preprocessing are edgert/datasets.py and edgert/preprocess.py.
"""

from __future__ import annotations

import sys
import time

import click
import numpy as np

from edgert.cli.common import (
    file_argument,
    interactive,
    json_option,
    open_session,
    parse_shapes,
    print_json,
    say,
    session_options,
)  # fmt: skip
from edgert.datasets import load_dataset
from edgert.errors import InputError, UnsupportedError
from edgert.format import read_model
from edgert.runtime.options import Precision, Stream
from edgert.stream.readers import Checks


@click.command(short_help="Measure accuracy on labelled data.")
@file_argument
@click.argument("dataset", type=click.Path())
@click.option("--limit", type=click.IntRange(1), help="Samples to use, from the first on; default: all.")
@click.option(
    "--split", type=click.Choice(["test", "train"]), default="test", show_default=True, help="Of a folder of idx files."
)
@json_option
@session_options
def command(
    file: str, dataset: str, limit: int | None, split: str, as_json: bool, threads: int | None, ram: str | None,
    stream: Stream, checks: Checks, device: str, precision: Precision, sparse: str,
    shapes: tuple[str, ...], verbose: bool,
) -> None:  # fmt: skip
    """Measure the model FILE on DATASET: one folder of images per class, idx files (MNIST), or an .npz with x and y.

    \b
    edgert eval model.edge photos/
    edgert eval fashion.edge "$(edgert pull fashion-mnist)" --json
    """
    if read_model(file).info.language is not None:
        raise UnsupportedError(f"{file}: expected a classifier, found a model of language; use `edgert perplexity`")
    session = open_session(
        file, threads=threads, ram=ram, device=device, shapes=parse_shapes(shapes), sparse=sparse, stream=stream,
        checks=checks, precision=precision,
    )  # fmt: skip
    data = load_dataset(dataset, class_names=session.info.labels, split=split, needs_labels=True)
    assert data.labels is not None
    count = len(data) if limit is None else min(limit, len(data))
    output, *others = session.get_outputs()
    if others:
        raise InputError(f"expected a classifier with one output, found {1 + len(others)} outputs")
    names = [value.name for value in session.get_inputs()]
    right = right5 = 0
    running = 0.0
    feeds = data.feeds(names, session.info.preprocessing, limit)
    bar_of = click.progressbar(length=count, label="evaluating", file=sys.stderr, hidden=not interactive())
    with session, bar_of as bar:
        for index, (feed, label) in enumerate(zip(feeds, data.labels, strict=False)):
            start = time.perf_counter()
            scores = session.run(feed)[output.name].reshape(-1)
            if index:  # the first run also plans, and may compile
                running += time.perf_counter() - start
            else:
                say(session.summary())
                if label >= scores.size or max(data.labels) >= scores.size:
                    raise InputError(f"labels reach {max(data.labels)}, the model has {scores.size} classes")
            best = np.argsort(-scores.astype(np.float64), kind="stable")[:5]
            right += bool(best[0] == label)
            right5 += bool(label in best)
            bar.update(1)
    milliseconds = 1e3 * running / max(1, count - 1)
    result = {
        "file": str(file), "dataset": str(dataset), "samples": count, "top1": right / count, "top5": right5 / count,
        "ms_per_run": milliseconds, "summary": session.summary(),
    }  # fmt: skip
    if as_json:
        print_json(result)
    else:
        click.echo(
            f"top-1 {100 * right / count:.2f} %, top-5 {100 * right5 / count:.2f} % of {count} samples; "
            f"{milliseconds:.3f} ms per run"
        )
