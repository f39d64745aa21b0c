"""Makes golden/: what `transformers` computes for tiny models whose weights `tiny.py` makes from their names.

Run it with torch and transformers installed: python tests/converters/llm/make_golden.py. The tests need neither.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tiny import CASES, TOKENS, tiny_weights

FOLDER = Path(__file__).parent / "golden"
BUFFERS = ("inv_freq", "position_ids", "token_type_ids", "embed_scale")


def golden(name: str, kind: str, settings: dict[str, Any]) -> None:
    """Writes golden/`name`.json with configuration and shapes, and .npz with logits or vectors [T, ...]."""
    cls = getattr(transformers, kind)
    config = cls.config_class(**settings, attn_implementation="eager")
    model = cls(config).eval().float()
    state = {key: value for key, value in model.state_dict().items() if not key.endswith(BUFFERS)}
    shapes = {key: list(value.shape) for key, value in state.items()}
    if getattr(config, "tie_word_embeddings", False):
        shapes.pop("lm_head.weight", None)
    weights = {key: torch.from_numpy(value) for key, value in tiny_weights(shapes, kind).items()}
    left = model.load_state_dict(weights, strict=False)
    assert not left.unexpected_keys
    model.tie_weights()
    with torch.no_grad():
        made = model(torch.tensor([TOKENS]))
    out = made.logits if hasattr(made, "logits") else made.last_hidden_state
    saved = json.loads(config.to_json_string())
    saved["architectures"] = [kind]
    for key in ("transformers_version", "dtype", "_attn_implementation"):
        saved.pop(key, None)
    (FOLDER / f"{name}.json").write_text(json.dumps({"config": saved, "shapes": shapes}, indent=1) + "\n")
    np.savez_compressed(FOLDER / f"{name}.npz", out=out[0].numpy())
    print(name, out.shape, float(out.abs().max()))


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for case, (kind, settings) in CASES.items():
        golden(case, kind, settings)
