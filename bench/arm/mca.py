"""Cycles of a model's hot code by LLVM's processor models: python -m bench.arm.mca MODEL.edge --only KERNELS.

Blocks of code come from the counting emulator; each is given to llvm-mca as if it ran over and over, which is true of
loops and favourable for straight code. No cache misses, no mispredicted branches. Needs `apt-get install llvm-22`.
"""

from __future__ import annotations

import bisect
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from bench.arm.count import LEVEL_OF, instructions_in, profile

PROCESSORS = {
    "armv8-a": ("cortex-a53", "cortex-a72"),
    "armv8.2-dotprod": ("cortex-a55", "cortex-a76", "cortex-x1"),
}
"""LLVM's models by the level whose code they are asked about."""
ITERATIONS, COVERED = 200, 0.97
"""How often a block runs, and the share of the instructions in kernels that is looked at."""
NEAR = 0.9
"""Share of the cycles from which on a resource is what bounds a block."""


@dataclass(frozen=True)
class Block:
    """Straight code that ran `executions` times per inference. text: a line per instruction; loop: it ends in a jump
    to its own start."""

    kernel: str
    address: int
    executions: int
    text: tuple[str, ...]
    loop: bool


@dataclass(frozen=True)
class Cycles:
    """Of one run of a block. bound: what keeps it from being faster: 'port NAME', 'load port NAME', 'front end' or
    'latency'."""

    cycles: float
    micro_operations: float
    bound: str


def tool(name: str) -> str:
    """The path of an LLVM tool, the newest first. Raises ClickException."""
    for candidate in (f"{name}-22", f"/usr/lib/llvm-22/bin/{name}"):
        if found := shutil.which(candidate):
            return found
    raise click.ClickException(f"{name} of LLVM 22 is not installed: apt-get install llvm-22")


def disassembly(library: bytes) -> dict[int, str]:
    """Address -> instruction, of the code of a library."""
    with tempfile.NamedTemporaryFile(suffix=".so") as file:
        file.write(library)
        file.flush()
        command = [tool("llvm-objdump"), "--mattr=+all", "-d", "--no-show-raw-insn", file.name]
        listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {
        int(m[1], 16): f"{m[2]}\t{m[3]}".strip()
        for m in re.finditer(r"^\s*([0-9a-f]+):\s+(\S+)[ \t]*(.*)$", listing, re.M)
    }


def hot_blocks(
    blocks: Mapping[tuple[int, int], int], code: Mapping[int, str], places: Sequence[tuple[int, int, str]]
) -> list[Block]:
    """Runs of instructions in kernels that were executed equally often, until COVERED of all are there, largest first.

    The emulator's own blocks overlap, and end wherever it stopped translating."""
    executed: dict[int, int] = {}
    for (address, length), executions in blocks.items():
        for i in range(length):
            executed[address + 4 * i] = executed.get(address + 4 * i, 0) + executions
    starts = [start for start, _, _ in places]
    runs: list[list[int]] = []
    for address in sorted(executed):
        number = bisect.bisect_right(starts, address) - 1
        if number < 0 or address >= places[number][1]:
            continue
        after = bool(runs) and runs[-1][-1] == address - 4 and executed[address - 4] == executed[address]
        if after and not _jumps(code[address - 4]):
            runs[-1].append(address)
        else:
            runs.append([address])
    total, seen, found = sum(len(run) * executed[run[0]] for run in runs), 0, []
    for run in sorted(runs, key=lambda r: -len(r) * executed[r[0]]):
        if seen >= COVERED * total:
            break
        seen += len(run) * executed[run[0]]
        kernel = places[bisect.bisect_right(starts, run[0]) - 1][2]
        target = re.search(r"0x([0-9a-f]+)", code[run[-1]])
        loop = _jumps(code[run[-1]]) and target is not None and int(target[1], 16) == run[0]
        found.append(Block(kernel, run[0], executed[run[0]], tuple(code[a] for a in run), loop))
    return found


def _jumps(instruction: str) -> bool:
    return re.match(r"(b|bl|br|blr|ret|cbn?z|tbn?z|b\.\w+)\b", instruction) is not None


def assembly(text: Sequence[str]) -> str:
    """A block as llvm-mca takes it: addresses become labels."""
    lines = [
        re.sub(r"0x[0-9a-f]+ <.*>", ".Lblock", line) if _jumps(line) or line.startswith("adr") else line
        for line in text
    ]
    return "\n".join([".Lblock:", *(line for line in lines if not line.startswith(("adrp", "ret", "bl"))), ""])


def cycles(text: Sequence[str], processor: str) -> Cycles:
    """What one model says of a block."""
    command = [
        tool("llvm-mca"), "-mtriple=aarch64", f"-mcpu={processor}", "-mattr=+dotprod", f"-iterations={ITERATIONS}",
        "--json",
    ]  # fmt: skip
    done = subprocess.run(command, input=assembly(text), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise click.ClickException(f"llvm-mca refuses a block for {processor}: {done.stderr.strip()[-1000:]}")
    return read_cycles(json.loads(done.stdout[done.stdout.index("{") :]))


def read_cycles(answer: Mapping[str, Any]) -> Cycles:
    """llvm-mca's JSON of one block."""
    region = answer["CodeRegions"][0]
    summary, count = region["SummaryView"], len(region["Instructions"])
    per, uops = summary["TotalCycles"] / summary["Iterations"], summary["TotaluOps"] / summary["Iterations"]
    names = [name.split(".")[0] for name in answer["TargetInfo"]["Resources"]]
    pressure: dict[str, float] = {}
    for entry in region["ResourcePressureView"]["ResourcePressureInfo"]:
        if entry["InstructionIndex"] == count:  # the line of totals
            pressure[names[entry["ResourceIndex"]]] = entry["ResourceUsage"]
    name, most = max(pressure.items(), key=lambda item: item[1])
    if most >= NEAR * per:
        bound = f"{'load port' if re.search(r'(UnitL|Ld|Load|UnitLS)', name) else 'port'} {name}"
    elif uops / summary["DispatchWidth"] >= NEAR * per:
        bound = "front end"
    else:
        bound = "latency"
    return Cycles(round(per, 2), round(uops, 2), bound)


def examine(model: Path, level: str, only: tuple[str, ...]) -> dict[str, Any]:
    """Cycles per inference on every processor of a level, and its hottest blocks with theirs."""
    cpu = next(name for name in ("cortex-a72", "cortex-a76") if LEVEL_OF[name] == level)
    record = profile(model, cpu, level, only)
    found = hot_blocks(record["blocks"], disassembly(record["library"]), record["places"])
    covered = sum(len(b.text) * b.executions for b in found)
    inside = sum(n for name, n in record["kernels"].items() if name != "elsewhere")
    totals, bounds = {}, {}
    rows: list[dict[str, Any]] = [
        {"kernel": b.kernel, "executions": b.executions, "instructions": len(b.text), "loop": b.loop, "cpus": {}}
        for b in found
    ]
    for processor in PROCESSORS[level]:
        spent: dict[str, float] = {}
        for block, row in zip(found, rows, strict=True):
            answer = cycles(block.text, processor)
            row["cpus"][processor] = asdict(answer)
            spent[answer.bound] = spent.get(answer.bound, 0.0) + answer.cycles * block.executions
        # what was not looked at takes as long per instruction as what was
        totals[processor] = round(sum(spent.values()) * (inside / covered) * record["instructions"] / inside)
        bounds[processor] = {
            name: round(v / sum(spent.values()), 3) for name, v in sorted(spent.items(), key=lambda i: -i[1])
        }
    return {
        **instructions_in(record),
        "covered": round(covered / inside, 3),
        "cycles": totals,
        "bounds": bounds,
        "hot": rows[:12],
    }


@click.command()
@click.argument("model", type=click.Path(exists=True, path_type=Path))
@click.option("--only", default="", help="Kernels to compile, with commas: those of the model; all otherwise.")
@click.option("--out", type=click.Path(path_type=Path), help="Also write the records there, as JSON.")
def main(model: Path, only: str, out: Path | None) -> None:
    """Cycles of one inference of MODEL on LLVM's models of ARM processors, and what bounds its hottest loops."""
    names = tuple(only.split(",")) if only else ()
    records = {level: examine(model, level, names) for level in PROCESSORS}
    for level, record in records.items():
        click.echo(f"{model.name}, {level}: {record['instructions'] / 1e6:.2f} M instructions")
        for processor, total in record["cycles"].items():
            shares = ", ".join(
                f"{100 * share:.0f} % {name}" for name, share in list(record["bounds"][processor].items())[:4]
            )
            click.echo(f"  {processor}: {total / 1e6:.2f} M cycles; bound by {shares}")
        for row in [row for row in record["hot"] if row["loop"]][:4]:
            times = ", ".join(f"{cpu} {c['cycles']:.0f} ({c['bound']})" for cpu, c in row["cpus"].items())
            click.echo(
                f"    loop of {row['kernel']}, {row['instructions']} instructions x {row['executions']}: cycles {times}"
            )
    if out is not None:
        out.write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    main()
