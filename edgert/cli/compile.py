"""`edgert compile`: kernels ahead of time, a shared library for each kind of processor; thin over aot_build.py.

Needs the extra [aot] here, and nothing on the device.
"""

from __future__ import annotations

import json
from pathlib import Path

import click

from edgert.cache import cache_root
from edgert.cli.common import compiling, json_option, print_json
from edgert.kernels_cpu import aot_wasm
from edgert.kernels_cpu.aot_build import GROUPS, build_all, targets
from edgert.kernels_cpu.jit import cache_folder
from edgert.kernels_cpu.levels import LEVELS, active_level


@click.command(short_help="Compile the kernels ahead of time for kinds of processors.")
@click.option(
    "--target", "names", multiple=True, metavar="LEVEL", type=click.Choice([*LEVELS, *GROUPS]),
    help=f"ISA level, or {', '.join(GROUPS)}; may be repeated. Default: what sessions use here.",
)  # fmt: skip
@click.option("-o", "--output", "folder", type=click.Path(path_type=Path), required=True, help="Folder to write to.")
@click.option("-j", "--jobs", type=click.IntRange(1, 256), help="Compilers at once; default: the cores there are.")
@click.option("--report", type=click.Path(path_type=Path), help="Write times and sizes as JSON to this file too.")
@json_option
def command(names: tuple[str, ...], folder: Path, jobs: int | None, report: Path | None, as_json: bool) -> None:
    """Compile all kernels into libraries that need neither Numba nor libc, and list them in manifest.json.

    \b
    edgert compile --target armv8.2-dotprod -o lib/
    edgert compile --target aarch64 --target armv7l -o lib/
    edgert compile --target wasm32-simd128 -o web/                 a module for hosts of WebAssembly: docs/wasm.md
    EDGERT_KERNEL_FOLDER=lib/ edgert run model.edge photo.jpg      on the device
    """
    if names == (aot_wasm.LEVEL.name,):
        path = aot_wasm.build_module(folder, objects=cache_folder(cache_root(), aot_wasm.LEVEL), progress=compiling())
        found = {"file": str(path), "bytes": path.stat().st_size}
        print_json(found) if as_json else click.echo(f"{found['file']}: {found['bytes']} bytes")
        return
    levels = targets(names) if names else [active_level()]
    done = build_all(levels, folder, cache=cache_root(), jobs=jobs, progress=compiling())
    if report is not None:
        report.write_text(json.dumps(done.as_json(), indent=1) + "\n", "utf-8")
    if as_json:
        print_json({"folder": str(folder), **done.as_json()})
    else:
        click.echo(done.text())
