"""`edgert inspect`: what a .edge file holds, how sparse it is, the plan for this machine, the program's records.

Planning is edgert/plan; nothing is run, except a short probe where the plan is to be calibrated. The sparsity
is sparsity.py, and sparsity_page.py with pictures.
"""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from edgert.cache import cache_root
from edgert.cli import sparsity, sparsity_page
from edgert.cli.common import (
    building,
    compiling,
    default_shapes,
    json_option,
    parse_shapes,
    precision_option,
    print_json,
    say,
    threads_option,
)
from edgert.device.cpu import usable_cores
from edgert.errors import InputError, MemoryBudgetError
from edgert.format import Model, read_model
from edgert.format.store import store
from edgert.kernels_cpu.installed import chosen
from edgert.kernels_cpu.levels import LEVELS, Level, host_levels
from edgert.kernels_cpu.library import open_library
from edgert.llm.decoder import Decoder
from edgert.llm.plans import CONTEXT, MODES, TOKENS, Mode
from edgert.plan import explain, stream_cost
from edgert.plan.budget import parse_bytes, show_bytes
from edgert.plan.known import plan_known
from edgert.plan.plan import Plan
from edgert.plan.stream_cost import StreamCost
from edgert.program import assemble, disassemble
from edgert.runtime.calibrate import ensure_peaks
from edgert.runtime.options import Precision, check_precision
from edgert.runtime.state import unrolled
from edgert.runtime.stream_plan import plan_streamed
from edgert.stream.probe import ensure_storage


@click.command(short_help="Show what a .edge file holds, or the plan for this machine.")
@click.argument("file", type=click.Path())
@click.option("--plan", "show_plan", is_flag=True, help="Kernels chosen and why, predicted times, memory.")
@click.option("--program", "show_program", is_flag=True, help="The records that one native call walks.")
@click.option(
    "--html", type=click.Path(path_type=Path), metavar="PAGE", help="Write a page with the masks of sparse layers."
)
@click.option("--verify", is_flag=True, help="Check every byte of the file against its checksums.")
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    metavar="NAME",
    help="Plan for cpu, for an ISA level by name, or for opencl, opencl:N or auto.",
)
@precision_option
@click.option("--shape", "shapes", multiple=True, metavar="DIM=SIZE", help="Size of a named dimension.")
@click.option(
    "--mode",
    type=click.Choice(MODES),
    default="decode",
    show_default=True,
    help="Of a language model: plan one token, the reading of a prompt, or all its logits.",
)
@click.option("--ram", metavar="SIZE", help="Memory budget, for example 512M.")
@threads_option
@json_option
def command(
    file: str, show_plan: bool, show_program: bool, html: Path | None, verify: bool, device: str,
    precision: Precision, shapes: tuple[str, ...], mode: Mode, ram: str | None, threads: int | None, as_json: bool,
) -> None:  # fmt: skip
    """Show what the model FILE holds; with --plan, how it would run here.

    \b
    edgert inspect model.edge
    edgert inspect model.edge --plan --device armv8.2-dotprod
    edgert inspect sparse.edge --html sparse.html
    edgert inspect language.edge --plan --mode prefill --shape C=4096
    """
    model = read_model(file, verify="all" if verify else "touch")
    facts = facts_of(model, file)
    if html is not None:
        write_page(model, file, html)
    plan: Plan | None = None
    cost: StreamCost | None = None
    origin = where = note = ""
    check_precision(precision, device if is_opencl(device) else "cpu")
    if show_plan or show_program:
        level = level_of(device)
        origin, plan, cost = plan_of(model, level, threads or usable_cores(), ram, parse_shapes(shapes), mode)
        if is_opencl(device):
            from edgert.runtime.target import placed

            plan, where, note = placed(plan, device, building(), precision)
    if as_json:
        if plan is not None and show_plan:
            facts["plan"] = explain.as_json(plan, origin) | ({"device": where or note} if where or note else {})
            if cost is not None:
                facts["plan"]["streaming"] = stream_cost.as_json(cost)
        if plan is not None and show_program:
            facts["program"] = list(disassemble(plan.program, assemble(plan.program)))
        print_json(facts)
        return
    if plan is not None and show_plan:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 1000
        click.echo(explain.table(plan, origin, where, note, width=width))
        if cost is not None:
            unit = "token" if model.info.language is not None else "run"
            click.echo("\n".join(["", *stream_cost.table(cost, unit)]))
    if plan is not None and show_program:
        click.echo("\n".join(disassemble(plan.program, assemble(plan.program))))
    if plan is None:
        click.echo("\n".join([*describe(facts), *sparsity.table(sparsity.layers_of(model))]))


def write_page(model: Model, file: str, page: Path) -> None:
    """The page of --html, whole or not at all."""
    data = sparsity_page.page(model, sparsity.layers_of(model), Path(file).name).encode("utf-8", "replace")
    store(page, "the page", len(data), [data])
    say(f"wrote {page}: {show_bytes(len(data))}")


def is_opencl(device: str) -> bool:
    """Whether `--device` means an OpenCL device, or what is the faster for each op."""
    return device == "auto" or device.partition(":")[0] == "opencl"


def level_of(device: str) -> Level:
    """The ISA level that `--device` means."""
    if device == "cpu":
        return chosen().level
    if device == "auto":
        from edgert.runtime.target import Target

        return Target(device).choice.level
    if is_opencl(device):
        from edgert.runtime.accelerator import native_choice

        return native_choice().level
    if device not in LEVELS:
        raise InputError(
            f"--device: expected cpu, opencl, opencl:N, auto or one of {', '.join(LEVELS)}, found {device!r}"
        )
    return LEVELS[device]


def plan_of(
    model: Model, level: Level, threads: int, ram: str | None, shapes: dict[str, int], mode: Mode = "decode"
) -> tuple[str, Plan, StreamCost | None]:
    """(origin of the kernels, plan, what streaming costs where `ram` has no room for all weights). mode: of a model
    that generates text.

    What has not been measured is: the processor if this machine can run the level, and the storage if weights are
    streamed.
    """
    origin = ""
    if level in host_levels():
        library = open_library(level, cache_root())
        ensure_peaks(level, library, compiling())
        origin = library.origin
    else:
        say(f"planned for {level.name}, which this machine cannot run: predicted times are not calibrated")
    if model.info.language is not None and model.graph.states:
        chunk = shapes.get(TOKENS)
        decoder = Decoder(model, n_ctx=shapes.get(CONTEXT), threads=threads, ram=ram, chunk=chunk, level=level)
        plan = decoder.plan(mode)
        if decoder.streamed_from is None:
            return origin, plan, None
        ensure_storage(decoder.streamed_from)
        return origin, replace(plan, memory=decoder.memory()), decoder.cost(mode)
    bindings = default_shapes(model.graph, model.info, shapes)
    budget = parse_bytes(ram) if ram is not None else None
    graph = unrolled(model.graph)
    try:
        return origin, plan_known(graph, model.tensors, bindings, level=level, threads=threads, ram=budget), None
    except MemoryBudgetError:
        # As a session does.
        streamed = plan_streamed(graph, model.tensors, bindings, budget, level=level, threads=threads, sparse="always")
        if not streamed.parts:
            raise
    streamed.check(budget)
    division, plan = streamed.divide(budget), streamed.plan
    cost = stream_cost.predict(division, ensure_storage(streamed.parts[0].file), plan.predicted_us / 1e6)
    memory = replace(plan.memory, resident=division.resident_bytes, ring=division.ring)
    return origin, replace(plan, memory=memory), cost


def facts_of(model: Model, file: str) -> dict[str, Any]:
    """The file as plain data."""
    graph, info = model.graph, model.info
    stored = Counter(f"{t.encoding} {t.dtype} {t.layout}" for t in model.tensors.values())
    nbytes: Counter[str] = Counter()
    for tensor in model.tensors.values():
        nbytes[f"{tensor.encoding} {tensor.dtype} {tensor.layout}"] += tensor.nbytes
    return {
        "file": str(file),
        "bytes": Path(file).stat().st_size,
        "name": info.name,
        "task": info.task,
        "licence": info.licence,
        "labels": len(info.labels),
        "preprocessing": vars(info.preprocessing) if info.preprocessing is not None else None,
        "language": _language(model) if info.language is not None else None,
        "producer": model.producer,
        "source": model.source,
        "inputs": [_value(model, name) for name in graph.inputs],
        "outputs": [_value(model, name) for name in graph.outputs],
        "states": dict(graph.states),
        "operators": dict(Counter(node.op for node in graph.nodes).most_common()),
        "tensors": {key: {"count": count, "bytes": nbytes[key]} for key, count in stored.most_common()},
        "sparsity": sparsity.facts(sparsity.layers_of(model)),
        "report": model.report,
    }


def _language(model: Model) -> dict[str, Any]:
    """What the model says of its language, with the bytes of the tokenizer in place of its tensor's name."""
    assert model.info.language is not None
    table = dict(vars(model.info.language))
    name = table.pop("tokenizer")
    return table | {"tokenizer_bytes": model.tensors[name].nbytes if name else 0}


def _value(model: Model, name: str) -> dict[str, Any]:
    kind = model.graph.types[name]
    return {"name": name, "dtype": kind.dtype, "shape": list(kind.shape)}


def describe(facts: dict[str, Any]) -> list[str]:
    """The facts in words."""
    lines = [f"{facts['file']}: {show_bytes(facts['bytes'])}, written by {facts['producer']}"]
    for key in ("name", "task", "licence"):
        if facts[key]:
            lines.append(f"{key:10} {facts[key]}")
    if facts["labels"]:
        lines.append(f"{'labels':10} {facts['labels']}")
    if facts["language"]:
        lines += _describe_language(facts["language"])
    held = {*facts["states"], *facts["states"].values()}
    for key in ("inputs", "outputs"):
        for value in facts[key]:
            if value["name"] in held:
                continue
            lines.append(f"{key[:-1]:10} {value['name']} {_dims(value)}")
    states = Counter(_dims(value) for value in facts["inputs"] if value["name"] in held)
    lines += [f"{'states':10} {count} of {kind}" for kind, count in states.items()]
    if facts["preprocessing"]:
        said = {key: value for key, value in facts["preprocessing"].items() if value not in (None, False)}
        steps = ", ".join(f"{key} {value}" for key, value in said.items() if key != "input")
        lines.append(f"{'image':10} {steps}")
    if facts["source"]:
        lines += _describe_source(facts["source"])
    count = sum(facts["operators"].values())
    lines.append(f"{'nodes':10} {count}: " + ", ".join(f"{n} {op}" for op, n in facts["operators"].items()))
    for key, value in facts["tensors"].items():
        lines.append(f"{'tensors':10} {value['count']} {key}, {show_bytes(value['bytes'])}")
    return lines


def _describe_source(source: dict[str, Any]) -> list[str]:
    """What the file was made of: a line of plain facts, and one for each note of the importer."""
    facts = dict(source)
    notes, operators = facts.pop("notes", []), facts.pop("operators", {})
    words = [f"{key} {value}" for key, value in facts.items() if isinstance(value, str | int | float) and value != ""]
    words += [f"opset {version} of {domain or 'ai.onnx'}" for domain, version in facts.get("opsets", {}).items()]
    if operators:
        words.append(f"{sum(operators.values())} nodes")
    return [f"{'source':10} {', '.join(words)}", *(f"{'note':10} {note}" for note in notes)]


def _dims(value: dict[str, Any]) -> str:
    return f"{value['dtype']} [{', '.join(str(d) for d in value['shape'])}]"


def _describe_language(facts: dict[str, Any]) -> list[str]:
    """What turns text into tokens and back, in two or three lines."""
    keys = ("context_length", "layers", "width", "heads", "kv_heads", "head_dim")
    sizes = [f"{key.replace('_', ' ')} {facts[key]}" for key in keys if facts[key]]
    lines = [f"{'language':10} {', '.join([facts['architecture'], *sizes])}"]
    special = [f"{key} {facts[key]}" for key in ("bos", "unk", "pad") if facts[key] >= 0]
    special += [f"eos {', '.join(map(str, facts['eos']))}"] if facts["eos"] else []
    size = f", {show_bytes(facts['tokenizer_bytes'])}" if facts["tokenizer_bytes"] else ", not stored"
    lines.append(f"{'tokenizer':10} {facts['vocabulary']} tokens{size}" + "".join(f", {item}" for item in special))
    if facts["chat_template"]:
        lines.append(f"{'chat':10} a template of {show_bytes(len(facts['chat_template'].encode()))}")
    if facts["pooling"]:
        lines.append(f"{'pooling':10} {facts['pooling']}{', to length 1' if facts['normalize'] else ''}")
    return lines
