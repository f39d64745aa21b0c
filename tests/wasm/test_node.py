"""The default model in WebAssembly: planned for it here, laid out as one image of memory, run by Node.

Integer results must be those of this machine, bit for bit; floats agree as far as additions in another order allow.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgert
from edgert.cli.main import main
from edgert.errors import KernelError
from edgert.format import read_model
from edgert.graph.infer import infer_types
from edgert.kernels_cpu import jit
from edgert.kernels_cpu.abi import ABI_VERSION
from edgert.kernels_cpu.aot_wasm import LEVEL, build_module, check_module
from edgert.kernels_cpu.registry import kernels, opcodes
from edgert.plan.emitter import REGISTER_BYTES
from edgert.plan.plan import NativeRun, Plan
from edgert.plan.planner import make_plan
from edgert.program import assemble, link

NODE = shutil.which("node") or shutil.which("nodejs")
BASE, WASM_PAGE = 1 << 20, 1 << 16
"""Where the plan begins in memory: behind the module's own stack and constants, which run.mjs looks after."""
CACHE = Path(os.environ.get("EDGERT_CACHE") or Path.home() / ".cache" / "edgert")


def module_of(folder: Path, names: tuple[str, ...]) -> Path:
    return build_module(folder, names, objects=jit.cache_folder(CACHE, LEVEL))


class Image:
    """Everything a plan needs, at addresses from BASE on: pieces of 64-byte aligned memory, one behind another."""

    def __init__(self) -> None:
        self.data = bytearray()

    def push(self, piece: bytes) -> int:
        address = BASE + len(self.data)
        self.data += piece + bytes(-len(piece) % 64)
        return address


def job_of(plan: Plan, image: Image) -> dict[str, Any]:
    """What run.mjs has to know: where inputs, outputs and kernels go, and what the engine is called with."""
    arena = image.push(bytes(plan.memory.arena))
    registers, state = image.push(bytes(REGISTER_BYTES)), image.push(bytes(plan.memory.state))
    weights = [image.push(w.tobytes()) for w in plan.weights]
    bases = [arena, image.push(plan.constants.tobytes()), registers, state, *weights]
    program = image.push(link(assemble(plan.program), bases).tobytes())
    table = image.push(bytes(8 * (len(kernels()) + 1)))
    scratch = image.push(bytes(max(plan.program.scratch, 64)))
    (native,) = plan.schedule
    assert isinstance(native, NativeRun)
    ((_, given),), ((_, taken),) = plan.inputs.items(), plan.outputs.items()
    return {
        "base": BASE,
        "pages": -(-(BASE + len(image.data)) // WASM_PAGE),
        "kernels": [(table + 8 * opcodes()[name], f"edgert_k_{name}") for name in plan.program.kernels],
        "arguments": [program, native.count, table, scratch],
        "input": {"address": arena + given.offset, "bytes": given.type.nbytes},
        "output": {"address": arena + taken.offset, "bytes": taken.type.nbytes},
    }


@pytest.mark.skipif(NODE is None, reason="Node.js is not installed: nothing here runs WebAssembly")
@pytest.mark.parametrize(("form", "tolerance"), [("int8", 0.0), ("f32", 1e-5)])
def test_the_default_model_answers_in_node(
    form: str, tolerance: float, default_model: Callable[[str], Path], samples: np.ndarray, tmp_path: Path
) -> None:
    model = read_model(default_model(form))
    plan = make_plan(infer_types(model.graph, {"N": 1}), model.tensors, level=LEVEL, threads=1)
    assert plan.count("host") == 0
    image = Image()
    job = job_of(plan, image)
    files = {name: str(tmp_path / name) for name in ("image", "inputs", "outputs")}
    Path(files["image"]).write_bytes(image.data)
    Path(files["inputs"]).write_bytes(samples.tobytes())
    job |= files | {"module": str(module_of(tmp_path, plan.program.kernels))}
    (tmp_path / "job.json").write_text(json.dumps(job))
    script = Path(__file__).with_name("run.mjs")
    done = subprocess.run([str(NODE), script, tmp_path / "job.json"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(ABI_VERSION), LEVEL.name]
    found = np.fromfile(files["outputs"], np.float32).reshape(len(samples), -1)
    with edgert.load(default_model(form), threads=1) as session:
        expected = np.concatenate([session.run({"image": image[None]})["logits"] for image in samples])
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * float(np.abs(expected).max()))
    assert (found.argmax(1) == np.arange(10)).all()


@pytest.mark.long
def test_all_kernels_make_one_module(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", "--target", LEVEL.name, "-o", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    names = [name for name, spec in kernels().items() if spec.available(LEVEL)]
    assert check_module(Path(found["file"]).read_bytes(), names) == []
    if NODE is not None:  # every function is valid
        script = "new WebAssembly.Module(require('fs').readFileSync(process.argv[1]))"
        done = subprocess.run([NODE, "-e", script, found["file"]], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr


def test_check_module(tmp_path: Path) -> None:
    data = module_of(tmp_path, ("fill_row",)).read_bytes()
    assert check_module(data, ["fill_row"]) == []
    assert check_module(data, ["fill_row", "none"]) == ["it lacks edgert_k_none"]
    assert check_module(b"\x7fELF", []) == ["not a WebAssembly module of version 1"]
    wrong = data.replace(b"edgert_k_fill_row", b"another_fill_rows")
    assert check_module(wrong, ["fill_row"]) == ["it lacks edgert_k_fill_row", "it exports another_fill_rows"]
    assert check_module(data.replace(b"\x03env\x06memory", b"\x03env\x06malloc"), ["fill_row"]) == [
        "it imports env.malloc"
    ]


def test_linking_fails_in_words(tmp_path: Path) -> None:
    objects = tmp_path / "objects"
    objects.mkdir()
    for name in ("engine", "fill_row"):
        (objects / jit.object_name(name)).write_bytes(b"no object")
        (objects / jit.object_name(name)).with_suffix(jit.LISTING).write_text("")
    with pytest.raises(KernelError, match=r"failed: .*unknown file type"):
        build_module(tmp_path, ["fill_row"], objects=objects)
