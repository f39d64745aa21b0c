"""`edgert bench`: latency of whole runs, or tokens per second, for one or more thread counts; time per operator.

Comparing with other runtimes is the bench/ folder of the repository.
"""

from __future__ import annotations

import json
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import click

from edgert import __version__
from edgert.cache import cache_root
from edgert.cli.bench_language import REPETITIONS, LanguageBench, table
from edgert.cli.common import (
    checks_option,
    compiling,
    default_shapes,
    device_option,
    file_argument,
    interactive,
    json_option,
    open_session,
    parse_shapes,
    precision_option,
    print_json,
    ram_option,
    random_feeds,
    say,
    shape_option,
    sparse_option,
    stream_option,
)  # fmt: skip
from edgert.device.cpu import cpu_name, usable_cores
from edgert.errors import InputError
from edgert.format import read_model
from edgert.graph.ir import Array
from edgert.kernels_cpu.installed import chosen
from edgert.kernels_cpu.library import load_library
from edgert.runtime.calibrate import ensure_peaks
from edgert.runtime.executable import OpTime
from edgert.runtime.options import Precision, Stream, check_precision
from edgert.runtime.session import Session
from edgert.stream.readers import Checks

Feeds = dict[str, Array]
RUNS = 50
WARMUP = 3
PROFILED_RUNS = 10


@click.command(short_help="Measure latency, per run and per operator.")
@file_argument
@click.option("--threads", "-t", metavar="N[,N...]", help="Thread counts, measured in turn; default: all cores.")
@click.option("--runs", type=click.IntRange(1), help="Measured runs of each.  [default: 50, or 5 of a language model]")
@click.option("--ops", is_flag=True, help="Time per operator, measured against predicted.")
@click.option("--trace", type=click.Path(), metavar="FILE", help="Write a Chrome/Perfetto trace of one run.")
@click.option("--prompt", type=click.IntRange(0), default=512, show_default=True, help="Tokens a language model reads.")
@click.option("--gen", type=click.IntRange(0), default=128, show_default=True, help="Tokens that it generates.")
@click.option("--kv", type=click.Choice(["f16", "int8"]), default="f16", show_default=True, help="Its cache.")
@click.option(
    "--activations",
    type=click.Choice(["int8", "int16"]),
    default="int8",
    show_default=True,
    help="What meets its int4 and int8 weights.",
)
@json_option
@ram_option
@stream_option
@checks_option
@device_option
@precision_option
@sparse_option
@shape_option
def command(
    file: str, threads: str | None, runs: int | None, ops: bool, trace: str | None, prompt: int, gen: int, kv: str,
    activations: str, as_json: bool, ram: str | None, stream: Stream, checks: Checks, device: str,
    precision: Precision, sparse: str, shapes: tuple[str, ...],
) -> None:  # fmt: skip
    """Measure the model FILE on random inputs.

    Of a language model: tokens per second, read (pp) and generated (tg).

    \b
    edgert bench model.edge --threads 1,2 --ops
    edgert bench model.edge --trace trace.json     open it in ui.perfetto.dev
    edgert bench language.edge --threads 1,2 --prompt 512 --gen 128
    """
    counts = thread_counts(threads)
    model = read_model(file)
    check_precision(precision, device)
    choice = chosen()
    ensure_peaks(choice.level, load_library(choice, cache_root()), compiling())
    if model.info.language is not None and model.graph.states:
        bench = LanguageBench(
            model, counts, prompt, gen, kv=kv, activations=activations, ram=ram, stream=stream, checks=checks,
            sparse=sparse, device=device, precision=precision,
        )  # fmt: skip
        bench_language(bench, file, runs or REPETITIONS, ops, trace, as_json)
        return
    runs = runs or RUNS
    given = parse_shapes(shapes)
    sessions = [
        open_session(
            file,
            threads=n,
            ram=ram,
            device=device,
            shapes=given,
            sparse=sparse,
            stream=stream,
            checks=checks,
            precision=precision,
        )
        for n in counts
    ]
    sizes = default_shapes(sessions[0].model.graph, sessions[0].info, given)
    feeds = random_feeds(sessions[0], sizes)
    times = measure(sessions, feeds, runs)
    rows = []
    for count, session, seconds in zip(counts, sessions, times, strict=True):
        row = {"threads": count, **statistics_of(seconds), "summary": session.summary()}
        row["predicted_ms"] = session.plan(sizes).predicted_us / 1e3
        if ops or trace:
            profile = best_profile(session, feeds)
            row["ops"] = [vars(op) for op in profile]
        rows.append(row)
    if trace is not None:
        write_trace(trace, sessions[0].info.name or Path(file).stem, rows)
    record = {"file": str(file), "shapes": sizes, "runs": runs, **machine(), "results": rows}
    for session in sessions:
        session.close()
    if as_json:
        print_json(record)
        return
    for row in rows:
        say(row["summary"])
        click.echo(
            f"{row['threads']} threads: min {row['min_ms']:.3f}  median {row['median_ms']:.3f}  "
            f"max {row['max_ms']:.3f} ms over {runs} runs  (predicted {row['predicted_ms']:.3f} ms)"
        )
        if ops:
            click.echo("\n".join(ops_table(row["ops"])))


def bench_language(
    bench: LanguageBench, file: str, runs: int, ops: bool, trace: str | None, as_json: bool
) -> None:  # fmt: skip
    """Measures, prints and ends `bench`."""
    summaries = [decoder.summary() for decoder in bench.decoders]
    if not as_json:
        say("\n".join(summaries))
    rows = bench.measure(runs)
    profiles: list[dict[str, Any]] = []
    if ops or trace:
        for decoder in bench.decoders:
            profiles.append({"threads": decoder.threads, "ops": [vars(op) for op in bench.profile(decoder)]})
    if trace is not None:
        write_trace(trace, bench.model.info.name or Path(file).stem, profiles)
    bench.close()
    if as_json:
        print_json(
            {
                "file": str(file), "runs": runs, "kv": bench.decoders[0].kv,
                "activations": bench.decoders[0].activations, **machine(), "summaries": summaries,
                "results": rows, "profiles": profiles,
            }
        )  # fmt: skip
        return
    click.echo("\n".join(table(file, bench.model, rows, chosen().level.name)))
    if ops:
        for profile in profiles:
            click.echo("\n".join([f"a decode step, {profile['threads']} threads:", *ops_table(profile["ops"])]))


def thread_counts(text: str | None) -> list[int]:
    """'1,2' -> [1, 2]. Raises InputError."""
    if text is None:
        return [usable_cores()]
    words = text.split(",")
    if not all(word.strip().isdigit() and int(word) > 0 for word in words):
        raise InputError(f"--threads: expected counts such as 1,2, found {text!r}")
    return [int(word) for word in words]


def measure(sessions: list[Session], feeds: Feeds, runs: int) -> list[list[float]]:
    """Seconds of each run of each session, in turn, so that a slow moment of the machine meets all alike."""
    for session in sessions:
        for _ in range(WARMUP):
            session.run(feeds)
    times: list[list[float]] = [[] for _ in sessions]
    with click.progressbar(length=runs, label="measuring", file=sys.stderr, hidden=not interactive()) as bar:
        for _ in range(runs):
            for session, seconds in zip(sessions, times, strict=True):
                session.run(feeds)  # the workers of the other sessions go to sleep meanwhile
                start = time.perf_counter()
                session.run(feeds)
                seconds.append(time.perf_counter() - start)
            bar.update(1)
    return times


def statistics_of(seconds: list[float]) -> dict[str, Any]:
    ms = [1e3 * s for s in seconds]
    return {"min_ms": min(ms), "median_ms": statistics.median(ms), "max_ms": max(ms)}


def best_profile(session: Session, feeds: Feeds) -> list[OpTime]:
    """Of PROFILED_RUNS runs op by op, the fastest."""
    profiles = [session.profile(feeds) for _ in range(PROFILED_RUNS)]
    return min(profiles, key=lambda profile: sum(op.us for op in profile))


def ops_table(ops: list[dict[str, Any]]) -> list[str]:
    """A line per operator, in order of execution; at the end the sums per kernel."""
    total = sum(op["us"] for op in ops) or 1.0
    lines = [f"{'us':>9} {'%':>5} {'predicted':>9}  node"]
    for op in ops:
        share = 100 * op["us"] / total
        lines.append(
            f"{op['us']:9.1f} {share:5.1f} {op['predicted_us']:9.1f}  {op['op']} {op['node']} [{op['kernel']}]"
        )
    kernels: dict[str, float] = {}
    for op in ops:
        kernels[op["kernel"]] = kernels.get(op["kernel"], 0.0) + op["us"]
    for name, us in sorted(kernels.items(), key=lambda item: -item[1]):
        lines.append(f"{us:9.1f} {100 * us / total:5.1f}            all {name}")
    return lines


def write_trace(path: str, name: str, rows: list[dict[str, Any]]) -> None:
    """Complete events of the Trace Event Format; one process per thread count, microseconds."""
    events: list[dict[str, Any]] = []
    for row in rows:
        pid = row["threads"]
        events.append({"ph": "M", "pid": pid, "name": "process_name", "args": {"name": f"{name}, {pid} threads"}})
        events += [
            {
                "ph": "X", "pid": pid, "tid": 0, "name": f"{op['op']} {op['node']}", "cat": op["kernel"],
                "ts": op["start_us"], "dur": op["us"],
                "args": {"kernel": op["kernel"], "predicted_us": op["predicted_us"]},
            }
            for op in row["ops"]
        ]  # fmt: skip
    try:
        Path(path).write_text(json.dumps({"traceEvents": events, "displayTimeUnit": "ns"}))
    except OSError as error:
        raise InputError(f"{path}: cannot write the trace: {error.strerror}") from error
    say(f"wrote {path}: open it in ui.perfetto.dev or chrome://tracing")


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    return {
        "edgert": __version__, "cpu": cpu_name(), "level": chosen().level.name, "cores": usable_cores(),
        "python": platform.python_version(), "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }  # fmt: skip
