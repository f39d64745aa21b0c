"""`edgert verify`: a .edge file against the model it was made of, in that model's own runtime.
The comparison is in `converters.verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgert.cli.common import (
    default_shapes,
    json_option,
    open_session,
    parse_shapes,
    print_json,
    say,
    shape_option,
    threads_option,
)
from edgert.errors import EdgertError

if TYPE_CHECKING:
    from edgert.converters.verify.compare import Verification


@click.command(short_help="Compare a .edge file with the model it was made of.")
@click.argument("src", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--input", "given", metavar="FILE", help="An .npz with the inputs by name, an .npy or an image.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of random inputs, where none are given.")
@click.option("--runs", type=click.IntRange(1), help="Random inputs, one after the other: 1, or 3 with a state.")
@click.option(
    "--tolerance", type=float, help="Largest difference, of the largest value of a tensor: 0.001, or 0.02 with int8."
)
@click.option("--steps", type=click.IntRange(0), default=1, show_default=True, help="The same for quantized tensors.")
@shape_option
@threads_option
@json_option
@click.option("-v", "--verbose", is_flag=True, help="Show every tensor that was compared or fused away.")
def command(
    src: Path, file: Path, given: str | None, seed: int, runs: int | None, tolerance: float | None, steps: int,
    shapes: tuple[str, ...], threads: int | None, as_json: bool, verbose: bool,
) -> int:  # fmt: skip
    """Run SRC, an .onnx or .tflite model, in its own runtime and FILE, the .edge file made of it, on the same inputs.

    Prints the worst difference of each output and the first node whose result differs; exits with 1 if an output
    differs by more than the tolerance.

    \b
    edgert verify model.onnx model.edge
    edgert verify model.tflite model.edge --input photo.jpg --json
    """
    try:
        from edgert.converters.verify.compare import verify
    except ImportError as error:
        raise EdgertError(f"verifying needs the converters: pip install 'edgert[convert]' ({error})") from None
    from edgert.cli.run import load_feeds

    session = open_session(str(file), threads=threads, ram=None, device="cpu", shapes=parse_shapes(shapes))
    with session:
        feeds = None
        if given is not None:
            feeds = load_feeds(session, given, [value.name for value in session.get_inputs()])
        sizes = default_shapes(session.model.graph, session.info, parse_shapes(shapes)) if feeds is None else {}
        found = verify(
            src, file, feeds=feeds, shapes=sizes, seed=seed, runs=runs, tolerance=tolerance, steps=steps,
            session=session,
        )  # fmt: skip
    if as_json:
        print_json({"source": str(src), "file": str(file), **found.as_dict()})
    else:
        show(found, src, file, verbose)
    return 0 if found.agrees else 1


def show(found: Verification, src: Path, file: Path, verbose: bool) -> None:
    """A line for each output, then where it begins to differ and what was not compared."""
    limit: dict[str, Any] = {"tolerance": found.tolerance, "steps": found.steps}
    say(f"{src.name} in {found.runtime} against {file.name}, {found.runs} run{'s' * (found.runs != 1)}")
    if verbose:
        for difference in found.compared:
            click.echo(f"{difference.tensor}: {difference}")
    for output in found.outputs:
        mark = "  <- differs" if output.beyond(**limit) else ""
        click.echo(f"output {output.tensor}: {output}{mark}")
    if found.first is not None:
        node = found.first
        words = "inside, rounding is beyond that first at" if found.agrees else "first node that differs:"
        click.echo(f"{words} {node['name']} ({node['operator']}), tensor {node['tensor']}: {node['difference']}")
    if verbose:
        for name in found.fused:
            click.echo(f"{name}: fused away")
        for name in found.changed:
            click.echo(f"{name}: of another shape, as channels are gone")
    changed = f", {len(found.changed)} have lost channels" if found.changed else ""
    say(f"compared {len(found.compared)} tensors inside; {len(found.fused)} more are fused away{changed}")
    for note in found.notes:
        say(f"note: {note}")
    words = "agree" if found.agrees else "differ"
    say(f"outputs {words} within {found.tolerance:g} of the largest value, or {found.steps} quantization step(s)")
