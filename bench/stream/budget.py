"""SmolLM2-135M in memory control groups: the same tokens as with all RAM, and no more memory than was promised.

A group's limit is the budget and what a process has without a model: if the plan were wrong, the kernel would kill it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.measure import machine, save
from bench.stream.generate import forget
from bench.stream.group import Group, NoGroups, check
from edgert.plan.budget import show_bytes

BUDGETS = (48 << 20, 64 << 20, 96 << 20)
RESERVE = 72 << 20
"""What a process of `edgert generate` has without a model: Python, NumPy, the kernels, and 20 MB of tokenizer."""
TOKENS = 48
PROMPT = "The capital of France is"


def generate(file: Path, threads: int, ram: int | None) -> dict[str, Any]:
    """What `edgert generate` answers, and what its process took; with `ram`, in a group of that and RESERVE."""
    command = [
        sys.executable, "-m", "edgert.cli.main", "generate", str(file), "-p", PROMPT, "-n", str(TOKENS), "--temp", "0",
        "--n-ctx", "512", "--threads", str(threads), "--json",
    ]  # fmt: skip
    if ram is None:
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # type: ignore[no-any-return]
    forget(file)
    with Group("budget", ram + RESERVE) as group:
        words = group.command([*command, "--ram", str(ram), "--stream", "always"])
        with tempfile.TemporaryFile() as out:
            process = subprocess.Popen(words, stdout=out, stderr=subprocess.DEVNULL)
            own = 0
            while process.poll() is None:
                own = max(own, group.use().own)
                time.sleep(0.02)
            out.seek(0)
            text = out.read()
        found: dict[str, Any] = json.loads(text) if process.returncode == 0 else {"code": process.returncode}
        return found | {"group": vars(group.use()), "own": own, "killed": group.killed, "limit": group.limit}


def run(thread_counts: Sequence[int], rounds: int, out: Path) -> None:
    """Checks every budget, prints, and writes the raw numbers to `out`. rounds: as often."""
    from edgert.assets.fetch import pull
    from edgert.converters.convert import convert

    try:
        check()
    except NoGroups as error:
        print(f"budgets are left out: {error}", file=sys.stderr)
        return
    record: dict[str, Any] = {"machine": machine(), "reserve": RESERVE, "tokens": TOKENS, "threads": {}}
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "smollm2.edge"
        convert(pull("smollm2-135m"), file)
        os.sync()
        record["bytes"] = file.stat().st_size
        for threads in thread_counts:
            whole = generate(file, threads, None)
            results: dict[str, Any] = {"without a limit": whole["timings"]}
            record["threads"][str(threads)] = results
            for ram in BUDGETS:
                turns = [generate(file, threads, ram) for _ in range(rounds)]
                results[show_bytes(ram)] = turns
                same = all(turn.get("tokens") == whole["tokens"] for turn in turns)
                own, peak = max(t["own"] for t in turns), max(t["group"]["peak"] for t in turns)
                rates = [t["timings"]["predicted_per_second"] for t in turns if "timings" in t]
                print(
                    f"{threads} thread(s), {show_bytes(ram)}: {'the same' if same else 'OTHER'} tokens, "
                    f"{max(rates, default=0):.1f} tokens/s, own memory {show_bytes(own)} (budget and "
                    f"{show_bytes(own - ram)}), peak with page cache {show_bytes(peak)} of {show_bytes(ram + RESERVE)}"
                    + (", killed by the kernel" if any(t["killed"] for t in turns) else ""),
                    flush=True,
                )
                save(out, record)
