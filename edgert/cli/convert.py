"""`edgert convert`: options in, one .edge file and a report out; thin over `converters.convert`.
What conversion does is there, and what the options of preprocessing mean in `format.Preprocessing`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgert.errors import EdgertError, InputError
from edgert.format import Preprocessing

if TYPE_CHECKING:
    from edgert.converters.finish import ConversionResult
    from edgert.graph.ir import TensorType

Progress = Callable[[str, int, int], None]

MISSING = "converting needs the converters; install them with: pip install 'edgert[convert]'"


def numbers(_context: click.Context, parameter: click.Parameter, text: str | None) -> list[float] | None:
    """One number or three, separated by commas."""
    if text is None:
        return None
    try:
        values = [float(word) for word in text.split(",")]
    except ValueError:
        values = []
    if len(values) not in (1, 3):
        raise click.BadParameter(f"expected one number or three with commas, found {text!r}", param=parameter)
    return values


def size(_context: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, int] | None:
    """`224` or `HEIGHTxWIDTH`."""
    if text is None:
        return None
    words = text.lower().split("x")
    if not all(word.isdecimal() and int(word) > 0 for word in words) or len(words) > 2:
        raise click.BadParameter(f"expected a size such as 224 or 192x256, found {text!r}", param=parameter)
    return int(words[0]), int(words[-1])


@click.command(short_help="Translate and compress a model into one .edge file.")
@click.argument("src", type=click.Path(path_type=Path))
@click.option("-o", "--output", "out", type=click.Path(path_type=Path), required=True, help="The .edge file to write.")
@click.option(
    "--weights",
    type=click.Choice(["keep", "f32", "f16", "int8", "int4"]),
    help="Networks: f32 (default) or int8. Language models: keep what is exact (default), or one of the others.",
)
@click.option(
    "--method",
    type=click.Choice(["rtn", "awq", "gptq", "awq+gptq"]),
    help="How weights of language models are rounded.",
)
@click.option("--asymmetric", is_flag=True, help="int4 of language models: groups with a minimum, 5 bits per weight.")
@click.option(
    "--override",
    "overrides",
    multiple=True,
    metavar="PATTERN=CHOICE",
    help="For some layers, other weights (of language models: '*.down=int8') or zeros ('*.down=prune:0.3').",
)
@click.option(
    "--prune",
    type=click.Choice(["magnitude", "wanda", "sparsegpt"]),
    help="Set the weights to 0 that matter least by this measure; those that stay may make good what went (sparsegpt).",
)
@click.option(
    "--pattern",
    help="Which weights go together: unstructured, nm:2:4, 4x4, 2x4, 1x4, 64x4, group, rowgroup, fanin; or auto.",
)
@click.option("--sparsity", type=float, help="The share of zeros: 0.5 if not given, or what the pattern prescribes.")
@click.option(
    "--allocate",
    type=click.Choice(["uniform", "sensitivity"]),
    help="The same share of zeros for every layer (default), or fewer where they cost more.",
)
@click.option("--refine", is_flag=True, help="Exchange single weights after pruning, as inputs suggest (DSnoT).")
@click.option(
    "--neurons",
    metavar="LOSS|SHARE|t=SIZE",
    help="Language models: skip neurons of feed-forward layers whose gate is small: as many as cost '1%' of "
    "perplexity, '0.4' of them, or gates up to 't=0.05' (t=0: only those that add nothing, as ReLU has them).",
)
@click.option("--calib", type=click.Path(path_type=Path), help="Images, an .npz or a text file to calibrate with.")
@click.option("--samples", type=int, help="Calibration samples, evenly spaced: 128, or 32 windows of 512 tokens.")
@click.option("--observer", type=click.Choice(["minmax", "percentile", "mse"]), default="mse", show_default=True)
@click.option("--equalize/--no-equalize", default=True, show_default=True, help="Cross-layer equalization.")
@click.option("--bias-correction/--no-bias-correction", default=True, show_default=True)
@click.option("--eval", "eval_data", type=click.Path(path_type=Path), help="Labelled data for the accuracy, or a text.")
@click.option("--max-loss", type=float, help="Fail if more is lost: points of top-1, or per cent of perplexity.")
@click.option(
    "--tokenizer",
    type=click.Path(path_type=Path),
    help="Of an ONNX text encoder: its tokenizer.json, or a folder with it and how vectors are pooled.",
)
@click.option("--labels", type=click.Path(path_type=Path), help="A text file with one class name per line.")
@click.option("--input-size", callback=size, help="Images are cropped to this: 224 or HEIGHTxWIDTH.")
@click.option("--resize", type=int, help="Shorter side in pixels before the crop; without it, straight to the crop.")
@click.option("--mean", callback=numbers, help="Subtracted from pixels 0..255: one number, or three with commas.")
@click.option("--scale", callback=numbers, help="Multiplies afterwards, such as 0.0078125.")
@click.option("--channels", type=click.Choice(["RGB", "BGR", "L"]), help="Default: RGB, or L for an input of one.")
@click.option("--layout", type=click.Choice(["NCHW", "NHWC"]), help="Default: where the input has 1 or 3 channels.")
@click.option("--resample", default="bilinear", show_default=True, help="The filter, as Pillow names it.")
@click.option(
    "--state",
    "states",
    multiple=True,
    metavar="INPUT=OUTPUT",
    help="The input takes, in the next run, what the output gave: a state, kept from run to run. May be repeated.",
)
@click.option("--report", "report_path", type=click.Path(path_type=Path), help="Write the report here, as JSON.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
@click.option("-v", "--verbose", is_flag=True, help="Show the error of every layer.")
def command(
    src: Path,
    out: Path,
    labels: Path | None,
    input_size: tuple[int, int] | None,
    as_json: bool,
    verbose: bool,
    report_path: Path | None,
    states: tuple[str, ...],
    **options: Any,
) -> None:
    """Convert SRC: an ONNX or TFLite network, a .gguf language model, or the folder of a Hugging Face one.

    \b
    edgert convert model.gguf -o model.edge
    edgert convert SmolLM2-135M/ -o model.edge --weights int4
    edgert convert model.gguf -o model.edge --weights int4 --method awq+gptq --calib text.txt \\
        --override '*.down=int8' --eval other.txt --max-loss 10
    edgert convert model.gguf -o model.edge --weights int4 --method gptq --neurons 1% --calib text.txt
    edgert convert model.gguf -o model.edge --weights f16 --prune sparsegpt --pattern nm:6:8 --calib text.txt
    edgert convert encoder.onnx -o model.edge --tokenizer all-MiniLM-L6-v2/
    edgert convert model.onnx -o model.edge
    edgert convert model.tflite -o model.edge --input-size 96 --scale 0.00392
    edgert convert vad.onnx -o vad.edge --state h=hn --state c=cn
    edgert convert model.onnx -o model.edge --weights int8 --calib photos/ \\
        --input-size 224 --resize 256 --mean 127 --scale 0.0078125 --max-loss 1
    """
    try:
        from edgert.converters.calibrate.session import SessionExecutor
        from edgert.converters.convert import convert
        from edgert.converters.states import parse_states
    except ImportError as error:
        raise EdgertError(f"{MISSING} ({error})") from None
    steps = preprocessing(src, input_size, options)
    names = read_labels(labels) if labels is not None else None
    with progress_bar() as progress:
        result = convert(
            src, out, labels=names, preprocessing=steps, states=parse_states(states) or None, report_path=report_path,
            execute=SessionExecutor(progress=progress), progress=progress, **options,
        )  # fmt: skip
    show(result, as_json, verbose)


def preprocessing(src: Path, crop: tuple[int, int] | None, options: dict[str, Any]) -> Preprocessing | None:
    """Takes the preprocessing out of `options`; None without --input-size, when the source's own stands."""
    resize, resample = options.pop("resize"), options.pop("resample")
    channels, layout = options.pop("channels"), options.pop("layout")
    mean, scale = options.pop("mean"), options.pop("scale")
    if crop is None:
        if resize is not None or mean is not None or scale is not None:
            raise InputError("--resize, --mean and --scale need --input-size as well")
        return None
    name, kind = image_input(src)
    shape = kind.shape if len(kind.shape) == 4 else (0, 0, 0, 0)
    last = shape[1] not in (1, 3) and shape[3] in (1, 3)
    layout = layout or ("NHWC" if last else "NCHW")
    channels = channels or ("L" if shape[3 if layout == "NHWC" else 1] == 1 else "RGB")
    sides = shape[1:3] if layout == "NHWC" else shape[2:]
    if any(isinstance(side, int) and side not in (0, wanted) for side, wanted in zip(sides, crop, strict=True)):
        found = f"{crop[0]}x{crop[1]}, {layout}"
        raise InputError(f"--input-size: expected what fits {name} {list(kind.shape)} of {src.name}, found {found}")
    return Preprocessing(
        name, crop, resize, resample, channels, layout, mean or [0.0], scale or [1.0],  # type: ignore[arg-type]
        kind.dtype,
    )  # fmt: skip


def image_input(src: Path) -> tuple[str, TensorType]:
    """(name, type) of the only input of the network `src`. Raises InputError when there are several."""
    from edgert.converters.convert import import_source

    graph = import_source(src, None)[0]
    if len(graph.inputs) != 1:
        raise InputError(f"{src}: expected one input for images, found {', '.join(graph.inputs)}")
    return graph.inputs[0], graph.types[graph.inputs[0]]


def read_labels(path: Path) -> list[str]:
    """The lines of a text file. Raises InputError."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected a text file with one label per line ({error})") from None
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise InputError(f"{path}: expected one label per line, found none")
    return names


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A bar per stage on stderr, where stderr is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks: dict[str, Any] = {}

        def advance(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield advance


def show(result: ConversionResult, as_json: bool, verbose: bool) -> None:
    """The result as one JSON object on stdout, or as lines on stderr."""
    nbytes = result.path.stat().st_size
    if as_json:
        answer = {"path": str(result.path), "bytes": nbytes, "seconds": result.seconds}
        click.echo(json.dumps({**answer, "report": result.model.report}))
        return
    click.echo(result.report.table(every_layer=verbose), err=True)
    click.echo(f"{result.path}: {nbytes} bytes in {result.seconds:.1f} s", err=True)
