"""Writes tokens.json: what llama.cpp makes of texts, with SmolLM2's vocabulary and with each pre-tokenizer it knows.

Needs llama-cpp-python and gguf: python make_token_golden.py SmolLM2-135M-Instruct.Q4_1.gguf
The texts are those that tokens.json has already; NFC, because llama.cpp leaves that step of some models out.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import unicodedata
from pathlib import Path

from gguf import GGUFReader, GGUFWriter
from llama_cpp import Llama

GOLDEN = Path(__file__).with_name("tokens.json")
SIZES = {"block_count": 1, "context_length": 64, "embedding_length": 64, "feed_forward_length": 64}
LISTS = {"tokens": "add_token_list", "token_type": "add_token_types", "merges": "add_token_merges"}


def with_pre(source: GGUFReader, pre: str, path: Path) -> Llama:
    """The vocabulary of `source` with another pre-tokenizer, opened."""
    writer = GGUFWriter(path, "llama")
    for key, value in SIZES.items():
        writer.add_uint32(f"llama.{key}", value)
    writer.add_uint32("llama.attention.head_count", 1)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    for key, method in LISTS.items():
        getattr(writer, method)(source.fields[f"tokenizer.ggml.{key}"].contents())
    writer.add_add_bos_token(False)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return Llama(str(path), vocab_only=True, verbose=False)


def main(model: str) -> None:
    golden = json.loads(GOLDEN.read_text())
    texts, source = golden["texts"], GGUFReader(model)
    with tempfile.TemporaryDirectory() as folder:
        llama = Llama(model, vocab_only=True, verbose=False)
        for key, special in (("plain", False), ("special", True)):
            golden[key] = [llama.tokenize(text.encode(), add_bos=False, special=special) for text in texts]
        for pre in golden["pre"]:
            llama = with_pre(source, pre, Path(folder) / "pre.gguf")
            ids = [
                llama.tokenize(unicodedata.normalize("NFC", text).encode(), add_bos=False, special=False)
                for text in texts
            ]
            golden["pre"][pre] = hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:16]
    GOLDEN.write_text(json.dumps(golden, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
