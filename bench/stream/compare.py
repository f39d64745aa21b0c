"""Tokens per second where the model is larger than RAM: edgert streamed, naive and mapped, and llama.cpp with mmap.

All are in memory control groups of one limit, page cache included, and take turns within one run; before each turn the
storage itself is measured, so that what is reached can be held against it.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import click

from bench.measure import machine, save
from bench.stream import group
from bench.stream.generate import SHAPE, forget, smaller, write_edge, write_gguf
from bench.stream.runtimes import Ended, Runtime
from edgert.kernels_cpu.installed import chosen
from edgert.plan.budget import show_bytes
from edgert.stream.probe import measure, measure_storage
from edgert.stream.source import DirectSource

MODES = ("streamed", "naive", "mapped", "llama.cpp")
FILES = {"streamed": "model.edge", "naive": "naive.edge", "mapped": "mapped.edge", "llama.cpp": "model.gguf"}
"""Of its own for each: the page cache of a file belongs to the group that touched it first."""
SHARES = (100, 75, 50, 25, 12)
"""Percent of the file that a group may have in RAM."""
CONTEXT = 256
RESERVE = 48 << 20
"""Of a group's limit for Python, NumPy and the kernels: what is left is edgert's `ram`."""
SECONDS, MOST = 8.0, 64
"""A turn: so long, but one token at least, and so many at most."""
ROOF_SECONDS = 0.6
PROMPT = 64


@contextmanager
def folder_of(given: str | None) -> Iterator[Path]:
    """The folder `given`, which keeps the models, or one that is removed."""
    if given is not None:
        Path(given).mkdir(parents=True, exist_ok=True)
        yield Path(given)
        return
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def prepare(folder: Path, layers: int = SHAPE.layers) -> None:
    """Makes what is not in `folder` yet, and clears the page cache of all."""
    architecture = smaller(layers)
    if not (folder / "model.edge").exists():
        write_edge(folder / "model.edge", architecture)
    if not (folder / "model.gguf").exists():
        write_gguf(folder / "model.gguf", architecture)
    for name in ("naive.edge", "mapped.edge"):
        if not (folder / name).exists():
            shutil.copyfile(folder / "model.edge", folder / name)
    for name in FILES.values():
        forget(folder / name)


def modes() -> tuple[str, ...]:
    """Those that can run here; says what is left out."""
    python = os.environ.get("LLAMA_CPP_PYTHON", sys.executable)
    if subprocess.run([python, "-c", "import llama_cpp"], capture_output=True).returncode == 0:
        return MODES
    print("left out: llama_cpp is not installed; LLAMA_CPP_PYTHON names the Python that has it", file=sys.stderr)
    return MODES[:-1]


Reads = tuple[int, int, bool]
"""Bytes of a read, reads at a time, and whether one lies behind the other."""


def survey(file: Path) -> tuple[Reads, dict[str, float]]:
    """The large reads of `file` that give most, and bytes per second of all kinds."""
    found: dict[Reads, float] = {}
    with closing(DirectSource(file)) as source:
        for in_order in (False, True):
            rates = measure(
                source, blocks=(1 << 20, 4 << 20), depths=(1, 2, 4, 8), seconds=0.2, rounds=2, in_order=in_order
            )
            found |= {(block, depth, in_order): rate for (block, depth), rate in rates.items()}
    names = {f"{b >> 20} MB, {d} at a time, {'in order' if o else 'random'}": r for (b, d, o), r in found.items()}
    return max(found, key=lambda kind: found[kind]), names


def roof(file: Path, reads: Reads) -> float:
    """Bytes per second of such reads of `file`, now."""
    block, depth, in_order = reads
    with closing(DirectSource(file)) as source:
        return measure(
            source, blocks=(block,), depths=(depth,), seconds=ROOF_SECONDS, rounds=1, in_order=in_order
        )[block, depth]  # fmt: skip


def at(
    share: int, folder: Path, names: Sequence[str], threads: int, rounds: int, seconds: float, reads: Reads
) -> dict[str, Any]:
    """All of `names` with `share` percent of the file as RAM, one after the other, `rounds` times, and between them
    the storage."""
    size = (folder / "model.edge").stat().st_size
    limit = size * share // 100
    found: dict[str, Any] = {"limit": limit, "roofs": [], "runtimes": {}}
    with ExitStack() as stack:
        running: dict[str, Runtime] = {}
        for name in names:
            forget(folder / FILES[name])  # what a group that is gone had in the page cache would be free
            entry: dict[str, Any] = {"decode": []}
            found["runtimes"][name] = entry
            try:
                runtime = Runtime(name, folder / FILES[name], threads, CONTEXT, limit - RESERVE, limit)
                stack.callback(runtime.close)
                running[name] = runtime
                entry |= {"version": runtime.version, "facts": runtime.facts}
                runtime.ask(do="decode", seconds=0, least=2, most=2)  # the first tokens fill caches and the ring
            except Ended as error:
                entry["ended"] = str(error)
                running.pop(name, None)
        found["roofs"].append(roof(folder / "model.edge", reads))
        for _ in range(rounds):
            for name in list(running):
                entry = found["runtimes"][name]
                try:
                    turn = running[name].ask(do="decode", seconds=seconds, least=1, most=MOST)
                except Ended as error:
                    entry["ended"] = str(error)
                    del running[name]
                    continue
                found["roofs"].append(roof(folder / "model.edge", reads))
                entry["decode"].append(turn | {"roof": (found["roofs"][-2] + found["roofs"][-1]) / 2})
        for name, runtime in running.items():
            entry = found["runtimes"][name]
            try:
                entry["prefill"] = runtime.ask(do="prefill", count=PROMPT)
                assert runtime.group is not None
                entry["group"] = vars(runtime.group.use())
            except Ended as error:
                entry["ended"] = str(error)
    return summarize(found)


def without_limit(folder: Path, threads: int) -> float:
    """Tokens per second of edgert with the whole file in RAM: what computing alone allows."""
    with Runtime("mapped", folder / FILES["mapped"], threads, CONTEXT, 0, None) as runtime:
        runtime.ask(do="decode", seconds=0, least=2, most=2)
        turns = [runtime.ask(do="decode", seconds=1, least=4, most=MOST) for _ in range(3)]
    forget(folder / FILES["mapped"])
    return statistics.median(turn["tokens"] / turn["seconds"] for turn in turns)


def read_ahead_of(folder: Path) -> Path | None:
    """Where the system keeps how many KB it reads ahead of page faults and buffered reads on the device of `folder`."""
    device = folder.stat().st_dev
    place = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve()
    files = (folder / "queue" / "read_ahead_kb" for folder in (place, place.parent))
    return next((file for file in files if file.is_file()), None)


@contextmanager
def reading_ahead(folder: Path, wanted: int | None) -> Iterator[int | None]:
    """KB that the system reads ahead, which decides how fast all but the streamed mode are; `wanted` of them meanwhile
    if that is given."""
    file = read_ahead_of(folder)
    if file is None:
        yield None
        return
    before = int(file.read_text())
    try:
        if wanted is not None:
            file.write_text(str(wanted))
        yield int(file.read_text())
    finally:
        if wanted is not None:
            file.write_text(str(before))


def summarize(found: dict[str, Any]) -> dict[str, Any]:
    """Adds medians, ratios to the streamed one, and shares of the roof: of each turn, what was read in a second against
    what the storage gave just before and after it."""
    found["roof"] = statistics.median(found["roofs"]) if found["roofs"] else 0.0
    for entry in found["runtimes"].values():
        if not entry["decode"]:
            continue
        entry["tokens_per_second"] = statistics.median(turn["tokens"] / turn["seconds"] for turn in entry["decode"])
        entry["bytes_per_token"] = statistics.median(turn["read"] / turn["tokens"] for turn in entry["decode"])
        entry["share_of_roof"] = statistics.median(t["read"] / t["seconds"] / t["roof"] for t in entry["decode"])
    streamed = found["runtimes"].get("streamed", {}).get("tokens_per_second")
    for entry in found["runtimes"].values():
        if streamed and "tokens_per_second" in entry:
            entry["streamed_is_faster"] = streamed / entry["tokens_per_second"]
    return found


def lines(share: int, found: dict[str, Any]) -> list[str]:
    """The results at one limit, for people."""
    result = [f"{share} %: {show_bytes(found['limit'])}, storage {found['roof'] / 1e6:.0f} MB/s"]
    for name, entry in found["runtimes"].items():
        words = [f"  {name:10}"]
        if "tokens_per_second" in entry:
            words.append(
                f"{entry['tokens_per_second']:8.2f} tokens/s, {entry['bytes_per_token'] / 1e6:7.1f} MB a token, "
                f"{100 * entry['share_of_roof']:4.0f} % of the storage"
            )
            if name == "streamed" and "predicted" in entry.get("facts", {}):
                words.append(f", predicted {entry['facts']['predicted']:.2f}")
            if "streamed_is_faster" in entry and name != "streamed":
                words.append(f", streamed is {entry['streamed_is_faster']:.2f} times as fast")
            if "prefill" in entry:
                rate = entry["prefill"]["tokens"] / entry["prefill"]["seconds"]
                words.append(f"; prompt {rate:.1f} tokens/s, peak {show_bytes(entry['group']['peak'])}")
        if "ended" in entry:
            words.append(f"  {entry['ended']}")
        result.append("".join(words))
    return result


def run(
    thread_counts: Sequence[int], rounds: int, out: Path, shares: Sequence[int] = SHARES, folder: str | None = None,
    seconds: float = SECONDS, layers: int = SHAPE.layers, names: Sequence[str] | None = None, ahead: int | None = None,
) -> None:  # fmt: skip
    """Measures at every share, prints, and writes the raw numbers to `out`. ahead: KB of read-ahead meanwhile."""
    try:
        group.check()
    except group.NoGroups as error:
        print(f"streaming is left out: {error}", file=sys.stderr)
        return
    with folder_of(folder) as place, reading_ahead(place, ahead) as kilobytes:
        prepare(place, layers)
        record: dict[str, Any] = {
            "machine": machine(), "shape": f"llama, {layers} layers, width {SHAPE.width}, ffn {SHAPE.ffn}",
            "bytes": {name: (place / file).stat().st_size for name, file in FILES.items()},
            "reserve": RESERVE, "context": CONTEXT, "read_ahead_kb": kilobytes, "threads": {},
        }  # fmt: skip
        measure_storage(place / "model.edge")  # for the predictions of this run
        reads, record["survey"] = survey(place / "model.edge")
        record["roof_by"] = {"block": reads[0], "depth": reads[1], "in_order": reads[2]}
        present = tuple(names or modes())
        for threads in thread_counts:
            print(f"{threads} thread{'s' if threads > 1 else ''}, a file of {show_bytes(record['bytes']['streamed'])}")
            results: dict[str, Any] = {"without a limit": without_limit(place, threads)}
            record["threads"][str(threads)] = results
            print(f"the system reads {kilobytes} KB ahead; without a limit {results['without a limit']:.2f} tokens/s")
            for share in shares:
                results[str(share)] = at(share, place, present, threads, rounds, seconds, reads)
                print("\n".join(lines(share, results[str(share)])), flush=True)
                save(out, record)


@click.command()
@click.option("--shares", default=",".join(map(str, SHARES)), help="Percent of the file, with commas.")
@click.option("--threads", default="2", help="Thread counts, with commas.")
@click.option("--rounds", default=3, help="Turns of each runtime.")
@click.option("--seconds", default=SECONDS, help="Of a turn, at least.")
@click.option("--layers", default=SHAPE.layers, help="Of the model: fewer for a short trial.")
@click.option("--folder", help="Keeps the models there; default: a temporary one.")
@click.option("--read-ahead", "ahead", type=int, help="KB the system reads ahead meanwhile; Linux starts with 128.")
@click.option("--modes", "names", help=f"Of {', '.join(MODES)}, with commas.")
@click.option("--out", type=click.Path(path_type=Path), help="Default: in bench/results/.")
def main(
    shares: str, threads: str, rounds: int, seconds: float, layers: int, folder: str | None, ahead: int | None,
    names: str | None, out: Path | None,
) -> None:  # fmt: skip
    """Measure at chosen limits only."""
    out = out or Path(f"bench/results/streaming-{chosen().level.name}.json")
    counts, percents = ([int(word) for word in text.split(",")] for text in (threads, shares))
    run(counts, rounds, out, percents, folder, seconds, layers, names.split(",") if names else None, ahead)


if __name__ == "__main__":
    main()
