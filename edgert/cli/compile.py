"""`edgert compile`: kernels ahead of time, as one shared library for a kind of processor; thin over kernels_cpu/aot.py.

Needs the extra [aot] here, and nothing on the device.
"""

from __future__ import annotations

from pathlib import Path

import click

from edgert.cache import cache_root
from edgert.cli.common import compiling, json_option, print_json
from edgert.kernels_cpu import aot, jit
from edgert.kernels_cpu.levels import LEVELS, active_level


@click.command(short_help="Compile the kernels ahead of time for a kind of processor.")
@click.option("--target", type=click.Choice(list(LEVELS)), help="ISA level; default: what sessions use here.")
@click.option("-o", "--output", "folder", type=click.Path(path_type=Path), required=True, help="Folder to write to.")
@json_option
def command(target: str | None, folder: Path, as_json: bool) -> None:
    """Compile all kernels into one library that needs neither Numba nor libc.

    \b
    edgert compile --target armv8.2-dotprod -o lib/
    EDGERT_KERNEL_FOLDER=lib/ edgert run model.edge photo.jpg      on the device
    """
    level = LEVELS[target] if target is not None else active_level()
    path = aot.build_library(level, folder, objects=jit.cache_folder(cache_root(), level), progress=compiling())
    nbytes = path.stat().st_size
    if as_json:
        print_json({"path": str(path), "level": level.name, "bytes": nbytes})
    else:
        click.echo(f"{path}: {nbytes} bytes for {level.name}")
