"""Executed instructions of one inference, in all and by kernel: python -m bench.arm.count MODEL.edge --cpu cortex-a76.

The difference of two runs of other lengths leaves out what loading takes. One thread; counts repeat within 0.1 %.
"""

from __future__ import annotations

import bisect
import json
import struct
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import click

import edgert
from bench.arm import emulate
from edgert.cache import cache_root
from edgert.kernels_cpu import jit
from edgert.kernels_cpu.aot import build_library
from edgert.kernels_cpu.elf import read_elf
from edgert.kernels_cpu.levels import Level, level_named
from edgert.kernels_cpu.registry import kernels

_V8, _V82 = "armv8-a", "armv8.2-dotprod"
LEVEL_OF = {
    "cortex-a53": _V8, "cortex-a72": _V8, "cortex-a55": _V82, "cortex-a76": _V82, "max": "armv8.6-i8mm",
}  # fmt: skip
"""The last is all that the emulator knows: int8 matrix products (i8mm) among it."""
SOURCE = Path(edgert.__file__).parents[1]


def text_of(data: bytes) -> tuple[int, dict[str, int]]:
    """Bytes of an object's .text section, and the offsets of the functions it exports."""
    (table,) = struct.unpack_from("<Q", data, 40)
    size, count, names = struct.unpack_from("<HHH", data, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, table + i * size) for i in range(count)]
    strings = sections[names][4]
    named = {data[strings + s[0] : data.index(b"\0", strings + s[0])].decode(): (i, s) for i, s in enumerate(sections)}
    number, text = named[".text"]
    symbols, base, found = named[".symtab"][1], named[".strtab"][1][4], {}
    for place in range(symbols[4], symbols[4] + symbols[5], 24):
        name, info, _, section, value, _ = struct.unpack_from("<IBBHQQ", data, place)
        if section == number and info >> 4 == 1:
            found[data[base + name : data.index(b"\0", base + name)].decode()] = value
    return text[5], found


def ranges(library: Path, objects: Path, names: list[str]) -> list[tuple[int, int, str]]:
    """(first address, last address, kernel) of every kernel's code in the library, by its exported functions."""
    addresses = {name: value for name, _, value in read_elf(library.read_bytes()).symbols()}
    found = []
    for name in names:
        size, functions = text_of((objects / jit.object_name(name)).read_bytes())
        symbol = "edgert_run" if name == "engine" else f"edgert_k_{name}"
        start = addresses[symbol] - functions[symbol]
        found.append((start, start + size, name))
    return sorted(found)


def build(level: Level, folder: Path, only: tuple[str, ...]) -> tuple[Path, list[tuple[int, int, str]]]:
    """The library of these kernels, all if none are named, and where each is in it."""
    objects = jit.cache_folder(cache_root(), level)
    names = only or tuple(name for name, spec in kernels().items() if spec.available(level))
    library = build_library(level, folder, names, objects=objects)
    return library, ranges(library, objects, ["engine", *names])


def profile(
    model: Path, cpu: str, level: str, only: tuple[str, ...], calls: tuple[int, int] = (1, 2), runtime: str = "edgert"
) -> dict[str, Any]:  # fmt: skip
    """Instructions per call, by kernel, and executions per call of every block, (offset in the library, length)."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        packages = [SOURCE, emulate.site(folder, "arm64-wheels")]
        if runtime in ("decode", "prefill"):
            packages.append(emulate.site(folder, "arm64-llm-wheels"))
        library, places = build(level_named(level), folder / "library", only)
        script = Path(__file__).with_name("infer.py")
        given: dict[str, str | Path] = {"EDGERT_ISA": level, "EDGERT_KERNEL_FOLDER": library.parent}
        short, long = (
            emulate.run(cpu, [script, runtime, model, str(n)], packages, cpuinfo=False, **given) for n in calls
        )
        blocks: Counter[tuple[int, int]] = Counter()
        for run, sign in ((long, 1), (short, -1)):
            base = min(int(line.split()[1].split("-")[0], 16) for line in run.text.splitlines() if line[:4] == "map ")
            for (address, length), executions in run.blocks.items():
                if base <= address < base + library.stat().st_size + 65536 * 4:
                    blocks[address - base, length] += sign * executions
        data = library.read_bytes()
    starts, by_kernel, per = [p[0] for p in places], Counter[str](), calls[1] - calls[0]
    kept = {key: executions // per for key, executions in blocks.items() if executions > 0}
    for (address, length), executions in kept.items():
        number = bisect.bisect_right(starts, address) - 1
        if number >= 0 and address < places[number][1]:
            by_kernel[places[number][2]] += length * executions
    total = (long.instructions - short.instructions) // per
    return {
        "model": model.name, "cpu": cpu, "level": level, "instructions": total,
        "kernels": {**dict(by_kernel.most_common()), "elsewhere": total - sum(by_kernel.values())},
        "answer": long.text.split()[1], "blocks": kept, "library": data, "places": places,
    }  # fmt: skip


def instructions_in(record: dict[str, Any]) -> dict[str, Any]:
    """The record without what only later steps need."""
    return {name: value for name, value in record.items() if name not in ("blocks", "library", "places")}


@click.command()
@click.argument("model", type=click.Path(exists=True, path_type=Path))
@click.option("--cpu", default="cortex-a76", type=click.Choice(sorted(LEVEL_OF)), help="The emulated processor.")
@click.option("--level", help="The ISA level; the usual one of the processor otherwise.")
@click.option("--only", default="", help="Kernels to compile, with commas: those of the model; all otherwise.")
@click.option("--decode", is_flag=True, help="MODEL is a language model: count a generated token.")
@click.option(
    "--prefill", is_flag=True, help="MODEL is a language model: count a token of the prompt, of 64 read at once."
)
@click.option("--out", type=click.Path(path_type=Path), help="Also write the record there, as JSON.")
def main(model: Path, cpu: str, level: str | None, only: str, decode: bool, prefill: bool, out: Path | None) -> None:
    """Count the instructions of one inference of MODEL. Example: python -m bench.arm.count m.edge --cpu cortex-a72"""
    runtime, calls = ("decode", (4, 12)) if decode else ("prefill", (32, 96)) if prefill else ("edgert", (1, 2))
    names = tuple(only.split(",")) if only else ()
    record = instructions_in(profile(model, cpu, level or LEVEL_OF[cpu], names, calls, runtime))
    click.echo(f"{model.name} on {cpu}, {record['level']}: {record['instructions'] / 1e6:.2f} M instructions")
    for name, count in record["kernels"].items():
        click.echo(f"  {name:36} {count / 1e6:9.3f} M")
    if out is not None:
        out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
