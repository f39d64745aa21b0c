"""The vocabulary of a checkpoint: a Hugging Face tokenizer.json, special tokens and chat template, for the .edge file.
Taken from the files of a folder in `vocabulary_huggingface.py`, rebuilt from GGUF metadata in `gguf/tokenizer.py`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgert.converters.llm.checkpoint import Checkpoint


@dataclass(frozen=True)
class Vocabulary:
    """tokenizer: the text of a tokenizer.json. size: its tokens; the embedding table may have more rows.

    chat_template: Jinja, '' if there is none. bos, unk, pad: ids, -1 if there is none. eos: every token that ends a
    text or a turn. add_bos: whether a text starts with bos. notes: what a person should know of how it was made.
    """

    tokenizer: str
    size: int
    chat_template: str = ""
    bos: int = -1
    eos: list[int] = field(default_factory=list)
    unk: int = -1
    pad: int = -1
    add_bos: bool = False
    notes: list[str] = field(default_factory=list)


END_TOKENS = frozenset(
    {
        "<|endoftext|>", "<|end_of_text|>", "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<end_of_turn>",
        "<EOT>", "<|end_of_sentence|>", "<\uff5cend\u2581of\u2581sentence\uff5c>", "<end_of_utterance>", "[EOS]",
        "</s>",
    }
)  # fmt: skip
"""Special tokens that end a text or a turn whatever the metadata say; chat models often name only one of theirs."""


def vocabulary_of(checkpoint: Checkpoint) -> Vocabulary:
    """The vocabulary of `checkpoint`. Raises FormatError if there is none or it is damaged, UnsupportedError if it is
    of a kind that can not be had, naming the kind."""
    if checkpoint.format == "gguf":
        from edgert.converters.gguf.tokenizer import gguf_vocabulary

        return gguf_vocabulary(checkpoint.metadata, checkpoint.path)
    from edgert.converters.llm.vocabulary_huggingface import huggingface_vocabulary

    return huggingface_vocabulary(checkpoint.text, checkpoint.path)
