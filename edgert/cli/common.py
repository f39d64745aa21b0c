"""What several subcommands share: options, progress on stderr, sizes of dimensions, JSON on stdout.

What a subcommand does is in its own file.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click
import numpy as np

from edgert.errors import InputError
from edgert.format import ModelInfo
from edgert.graph.ir import Array, Graph
from edgert.kernels_cpu.library import Progress
from edgert.llm.decoder import DEFAULT_CONTEXT
from edgert.llm.plans import CONTEXT
from edgert.plan.lowering.api import SPARSE
from edgert.runtime.inputs import free_dims
from edgert.runtime.options import CHECKS, PRECISIONS, STREAM, Precision, Stream
from edgert.runtime.session import Session, load
from edgert.stream.readers import Checks

BUILDING_SECONDS = 1.0
"""What building programs may take before anything is said."""
CLEARED = "\x1b[K"
"""Empties the rest of a line of a terminal."""
F = TypeVar("F", bound=Callable[..., Any])

file_argument = click.argument("file", type=click.Path())
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
threads_option = click.option(
    "-t", "--threads", type=click.IntRange(1, 256), help="Threads; default: the cores this process may use."
)
ram_option = click.option("--ram", metavar="SIZE", help="Memory budget, for example 512M.")
device_option = click.option(
    "--device", default="cpu", show_default=True, metavar="NAME",
    help="cpu, opencl (the first GPU, else what there is), opencl:N, or auto (each op where it is faster).",
)  # fmt: skip
precision_option = click.option(
    "--precision", type=click.Choice(PRECISIONS), default="fp32", show_default=True,
    help="What an OpenCL device multiplies floats in; fp16 is faster where it has arithmetic for it, and less exact.",
)  # fmt: skip
shape_option = click.option(
    "--shape", "shapes", multiple=True, metavar="DIM=SIZE", help="Size of a named dimension; may be repeated."
)
sparse_option = click.option(
    "--sparse", type=click.Choice(SPARSE), default="auto", show_default=True,
    help="Skip the zeros of sparse weights: where that is faster, always, or never.",
)  # fmt: skip
stream_option = click.option(
    "--stream", type=click.Choice(STREAM), default="auto", show_default=True,
    help="Read weights from the file in every run: where --ram has no room for them, always, or never.",
)  # fmt: skip
checks_option = click.option(
    "--checks", type=click.Choice(CHECKS), default="once", show_default=True,
    help="When bytes that are streamed are compared with their checksums.",
)  # fmt: skip
verbose_option = click.option("-v", "--verbose", is_flag=True, help="Say more on stderr.")


def session_options(function: F) -> F:
    """--threads, --ram, --stream, --checks, --device, --precision, --sparse, --shape and -v."""
    options = (
        verbose_option, shape_option, sparse_option, precision_option, device_option, checks_option, stream_option,
        ram_option, threads_option,
    )  # fmt: skip
    for option in options:
        function = option(function)
    return function


def say(text: str) -> None:
    """A line for people, on stderr."""
    click.echo(text, err=True)


def print_json(value: Mapping[str, Any]) -> None:
    """One object on stdout; numbers JSON does not have become null."""
    click.echo(json.dumps(_plain(value)))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def parse_shapes(words: tuple[str, ...]) -> dict[str, int]:
    """('N=1', 'H=224') -> {'N': 1, 'H': 224}. Raises InputError."""
    shapes: dict[str, int] = {}
    for word in words:
        name, _, size = word.rpartition("=")
        if not name or not size.isdigit():
            raise InputError(f"--shape: expected DIM=SIZE such as N=1, found {word!r}")
        shapes[name] = int(size)
    return shapes


def default_shapes(graph: Graph, info: ModelInfo, given: Mapping[str, int]) -> dict[str, int]:
    """Sizes for all named dimensions where no input says them: those given, one sample or token, the size of an
    image, the context that LLM takes by default.

    Raises InputError for a dimension nothing is known of.
    """
    shapes = dict(given)
    if info.language is not None and graph.states:
        shapes.setdefault(CONTEXT, min(info.language.context_length, DEFAULT_CONTEXT))
    for name in graph.inputs:
        kind, image = graph.types[name], info.preprocessing
        places: dict[int, int] = {0: 1}
        if image is not None and image.input == name and len(kind.shape) == 4:
            first = 2 if image.layout == "NCHW" else 1
            places |= {first: image.crop[0], first + 1: image.crop[1]}
        for axis, dim in enumerate(kind.shape):
            if isinstance(dim, str) and axis in places:
                shapes.setdefault(dim, places[axis])
    missing = [dim for dim in free_dims(graph) if dim not in shapes]
    if missing:
        raise InputError(f"dimension {missing[0]!r} is free; give its size with --shape {missing[0]}=SIZE")
    return shapes


class Building:
    """Says on stderr how far the programs of an OpenCL device are, once that has taken a second: searching tiles may
    take minutes. In a terminal the line is written over, elsewhere a new one comes every ten seconds."""

    def __init__(self) -> None:
        self._start = self._next = 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if done == 0:
            self._start, self._next = now, now + BUILDING_SECONDS
        said = self._next > self._start + BUILDING_SECONDS
        if done == total:
            if said:
                clear = CLEARED if interactive() else ""
                say(f"{clear}built OpenCL programs of {total} ops in {now - self._start:.0f} s")
        elif done and now >= self._next:
            self._next = now + (0.2 if interactive() else 10.0)
            line = f"building OpenCL programs: {done}/{total} ops ..."
            # What is said next, an error perhaps, is written over it.
            click.echo(f"{CLEARED}{line}\r" if interactive() else line, err=True, nl=not interactive())


class Compiling:
    """Says on stderr that kernels are being compiled, once per batch: it takes seconds."""

    def __call__(self, done: int, total: int) -> None:
        if done == 0:
            say(f"compiling {total} kernels for this machine, once ...")
        elif done == total:
            say(f"compiled {total} kernels")


def open_session(
    file: str, *, threads: int | None, ram: str | None, device: str, shapes: Mapping[str, int] | None = None,
    sparse: str = "auto", stream: Stream = "auto", checks: Checks = "once", precision: Precision = "fp32",
) -> Session:  # fmt: skip
    """load(), with progress on stderr while kernels are compiled."""
    return load(
        file, threads=threads, ram=ram, device=device, shapes=shapes, sparse=sparse, stream=stream, checks=checks,
        on_compile=compiling(), on_build=building(), precision=precision,
    )  # fmt: skip


def compiling() -> Progress:
    return Compiling()


def building() -> Progress:
    return Building()


def random_feeds(session: Session, shapes: Mapping[str, int]) -> dict[str, Array]:
    """Inputs for measuring: normal floats, any bytes, zero for wider integers, which may be indices."""
    rng = np.random.default_rng(0)
    feeds: dict[str, Array] = {}
    for value in session.get_inputs():
        shape = tuple(d if isinstance(d, int) else shapes[d] for d in value.shape)
        dtype = np.dtype(value.dtype)
        if dtype.kind == "f":
            feeds[value.name] = rng.standard_normal(shape).astype(dtype)
        elif dtype.itemsize == 1 and dtype.kind in "iu":
            limits = np.iinfo(dtype)
            feeds[value.name] = rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)
        else:
            feeds[value.name] = np.zeros(shape, dtype)
    return feeds


def interactive() -> bool:
    """Whether someone is watching stderr."""
    return sys.stderr.isatty()
