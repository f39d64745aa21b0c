"""LLM: a language model file that continues texts, answers chats and embeds. What `edgert.LLM` is.

Requests are request.py, the loop is generate.py, the network is decoder.py or encoder.py.
"""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Unpack, overload
from weakref import WeakSet

import numpy as np
import numpy.typing as npt

from edgert.errors import InputError, UnsupportedError
from edgert.format import ModelInfo, read_model
from edgert.kernels_cpu.library import Progress
from edgert.llm.chat import ChatTemplate
from edgert.llm.decoder import Decoder
from edgert.llm.encoder import Encoder
from edgert.llm.generate import Generation
from edgert.llm.perplexity import Perplexity, perplexity
from edgert.llm.prefix import Context
from edgert.llm.prompt_file import SavedPrompt, load_prompt, model_digest, save_prompt
from edgert.llm.request import Fields, constraint_from, options_from, plain_messages
from edgert.llm.responses import Chunks, Response, Shape
from edgert.llm.streamed import StreamedWeights
from edgert.llm.tokenizer import Tokenizer
from edgert.runtime.fork import tell_after_fork
from edgert.runtime.options import Precision, Stream
from edgert.runtime.shared_ram import SharedRam
from edgert.stream.readers import Checks

Prompt = str | Sequence[int]
Messages = Sequence[Mapping[str, Any]]


class LLM:
    """A language model. Safe to use from several threads, which take turns: one generation at a time.

    A generation that is iterated holds its turn until it ends or is closed. Prompts that begin like the text before
    are not computed again. A context manager; close() ends its worker threads.

    info: name, licence and more, from the file. tokenizer: a Tokenizer; raises UnsupportedError if the file has none.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        n_ctx: int | None = None,
        threads: int | None = None,
        ram: str | int | SharedRam | None = None,
        kv: str = "f16",
        activations: str = "int8",
        sparse: str = "auto",
        stream: Stream = "auto",
        checks: Checks = "once",
        neurons: float = 1.0,
        device: str = "cpu",
        precision: Precision = "fp32",
        seed: int | None = None,
        chat_template: str = "",
        on_compile: Progress | None = None,
        on_build: Progress | None = None,
    ) -> None:
        """n_ctx: tokens of the context, prompt and answer together; default is the model's own length, at most 2048.
        threads, ram, kv, activations, sparse, stream, checks, neurons, device, precision: see Decoder. seed: for
        requests that give none; None draws one for each. chat_template: Jinja, or 'chatml', in place of the file's own.
        on_compile, on_build: see edgert.load.

        Raises FormatError, UnsupportedError for a file that is no language model, InputError, MemoryBudgetError.
        """
        self._model = read_model(path)
        self._path, self._digest = Path(path), model_digest(path)
        self._seed, self._chat_template = seed, chat_template
        self._turn = Turn()
        self._tokenizer: Tokenizer | None = None
        self._template: ChatTemplate | None = None
        self._decoder: Decoder | None = None
        self._encoder: Encoder | None = None
        language = self._model.info.language
        if language is not None and language.pooling and not self._model.graph.states:
            if stream == "always":
                raise UnsupportedError("stream: expected 'auto' or 'never' for a model of embeddings, found 'always'")
            if isinstance(ram, SharedRam):
                raise UnsupportedError("ram: a model of embeddings shares no budget; give it one of its own")
            self._encoder = Encoder(
                self._model, threads=threads, ram=ram, sparse=sparse, device=device, precision=precision,
                on_compile=on_compile, on_build=on_build,
            )  # fmt: skip
        else:
            self._decoder = Decoder(
                self._model, n_ctx=n_ctx, threads=threads, ram=ram, kv=kv, activations=activations,
                sparse=sparse, stream=stream, checks=checks, neurons=neurons, device=device, precision=precision,
                on_compile=on_compile, on_build=on_build,
            )  # fmt: skip
            self._context = Context(self._decoder)
        self._generations: WeakSet[Generation] = WeakSet()
        self._closed = False
        tell_after_fork(self)

    # ---- what the model is
    @property
    def info(self) -> ModelInfo:
        return self._model.info

    @property
    def name(self) -> str:
        return self._model.info.name or self._path.stem

    @property
    def n_ctx(self) -> int:
        """Tokens of the context; for a model of embeddings, of a text."""
        if self._decoder is not None:
            return self._decoder.n_ctx
        assert self._encoder is not None
        return self._encoder.language.context_length

    @property
    def tokenizer(self) -> Tokenizer:
        if self._tokenizer is None:
            self._tokenizer = Tokenizer.from_model(self._model)
        return self._tokenizer

    def summary(self) -> str:
        """The first line of every run: device, threads, ISA level, kernels, layers, RAM plan."""
        with self._turn.taken():
            part = self._decoder or self._encoder
            assert part is not None
            return part.summary()

    @property
    def streamed(self) -> StreamedWeights | None:
        """What reads weights from the file in every run, with `statistics` of what it did; None where they are mapped,
        and before the first run."""
        return None if self._decoder is None else self._decoder.streamed

    @property
    def streamed_from(self) -> Path | None:
        """The file that weights are read from in every run; None where they are mapped. Known before the first run."""
        return None if self._decoder is None else self._decoder.streamed_from

    # ---- text and tokens
    def tokenize(self, text: str, *, add_special: bool = True, parse_special: bool = False) -> list[int]:
        """The tokens of `text`; see Tokenizer.encode."""
        return self.tokenizer.encode(text, add_special=add_special, parse_special=parse_special)

    def detokenize(self, tokens: Sequence[int]) -> str:
        """The text of `tokens`, without special ones."""
        return self.tokenizer.decode(tokens)

    def chat_prompt(
        self,
        messages: Messages,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> list[int]:
        """The tokens that `messages` become, up to where the answer begins. Raises InputError, UnsupportedError."""
        if self._template is None:
            self._template = ChatTemplate.from_model(self._model, self.tokenizer, self._chat_template)
        text = self._template.render(plain_messages(messages), tools=tools, variables=chat_template_kwargs)
        return self.tokenizer.encode(text, add_special=False, parse_special=True)

    # ---- generating
    def generate(self, prompt: Prompt, **fields: Unpack[Fields]) -> Generation:
        """Continues `prompt`, a text or tokens: an iterator of Token, computed as it is iterated.

        In a text, special tokens may be spelled. Raises InputError for fields that make no sense and what does not fit.
        """
        return self._generation(self._prompt(prompt), fields, from_start=False)

    @overload
    def create_completion(
        self, prompt: Prompt, *, stream: Literal[False] = ..., **fields: Unpack[Fields]
    ) -> Response: ...
    @overload
    def create_completion(self, prompt: Prompt, *, stream: Literal[True], **fields: Unpack[Fields]) -> Chunks: ...

    def create_completion(self, prompt: Prompt, *, stream: bool = False, **fields: Unpack[Fields]) -> Response | Chunks:
        """Continues `prompt`: an OpenAI text completion, or an iterator of its chunks. Raises as generate does."""
        shape = Shape(self.generate(prompt, **fields), self.tokenizer, self.name, chat=False)
        return shape.chunks() if stream else shape.whole()

    @overload
    def create_chat_completion(
        self, messages: Messages, *, stream: Literal[False] = ..., tools: Sequence[Mapping[str, Any]] | None = ...,
        chat_template_kwargs: Mapping[str, Any] | None = ..., **fields: Unpack[Fields],
    ) -> Response: ...  # fmt: skip
    @overload
    def create_chat_completion(
        self, messages: Messages, *, stream: Literal[True], tools: Sequence[Mapping[str, Any]] | None = ...,
        chat_template_kwargs: Mapping[str, Any] | None = ..., **fields: Unpack[Fields],
    ) -> Chunks: ...  # fmt: skip

    def create_chat_completion(
        self,
        messages: Messages,
        *,
        stream: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        **fields: Unpack[Fields],
    ) -> Response | Chunks:
        """Answers `messages`, [{'role': 'user', 'content': '...'}]: an OpenAI chat completion, or an iterator of its
        chunks. tools: shown to the model by its template; what it answers is text. chat_template_kwargs: more names
        for the template, such as {'enable_thinking': False}. Raises as generate does, and UnsupportedError if the
        model has no template."""
        self._need_decoder()
        prompt = self.chat_prompt(messages, tools=tools, chat_template_kwargs=chat_template_kwargs)
        shape = Shape(self._generation(prompt, fields, from_start=True), self.tokenizer, self.name, chat=True)
        return shape.chunks() if stream else shape.whole()

    def _generation(self, prompt: list[int], fields: Mapping[str, Any], *, from_start: bool) -> Generation:
        decoder = self._need_decoder()
        options = options_from(fields, self._seed)
        generation = Generation(
            self._context, self.tokenizer, prompt, options, from_start=from_start, turn=self._turn.taken,
            constraint=constraint_from(fields, self.tokenizer, decoder.vocabulary), progress=fields.get("progress"),
        )  # fmt: skip
        self._generations.add(generation)
        return generation

    def _prompt(self, prompt: Prompt) -> list[int]:
        return self.tokenizer.encode(prompt, parse_special=True) if isinstance(prompt, str) else list(prompt)

    # ---- measuring and embedding
    def perplexity(
        self,
        text: Prompt,
        *,
        window: int = 512,
        stride: int | None = None,
        progress: Callable[[int, int, float], None] | None = None,
    ) -> Perplexity:
        """How well the model predicts `text`: see edgert.llm.perplexity for what counts."""
        self._need_decoder()
        tokens = self.tokenize(text) if isinstance(text, str) else list(text)
        language = self._model.info.language
        bos = language.bos if language is not None and language.add_bos else -1
        with self._turn.taken():
            return perplexity(self._context, tokens, window=window, stride=stride, bos=bos, progress=progress)

    def embed(self, text: str | Sequence[str]) -> npt.NDArray[np.float32]:
        """The embeddings [n, D] of n texts; one text is n = 1. Cosine similarity of normalized ones is their product.

        Raises UnsupportedError for a model that generates text, InputError for a text longer than it takes.
        """
        if self._encoder is None:
            raise UnsupportedError(
                f"expected a model of embeddings, found {self.name}, which generates text; convert an encoder such as "
                "all-MiniLM-L6-v2"
            )
        self._check_open()
        texts = [text] if isinstance(text, str) else list(text)
        if not texts:
            raise InputError("expected a text or several, found none")
        with self._turn.taken():
            return np.stack([self._encoder.embed(self.tokenize(item)) for item in texts])

    # ---- prompts on disk
    def save_prompt(self, path: str | os.PathLike[str], prompt: Prompt | None = None) -> int:
        """Saves `prompt` with its cache, or all that the cache holds: the number of tokens. It is computed first if
        need be. load_prompt with the same model file then spares that. Raises EdgertError if it can not be stored."""
        decoder = self._need_decoder()
        tokens = None if prompt is None else self._prompt(prompt)
        with self._turn.taken():
            if tokens is not None and self._context.tokens[: len(tokens)] != tokens:
                self._context.read(tokens)
            held = self._context.tokens[: None if tokens is None else len(tokens)]
            slices = self._context.export_cache(len(held))
        save_prompt(path, SavedPrompt(self._digest, decoder.cache_kind, held, slices))
        return len(held)

    def load_prompt(self, path: str | os.PathLike[str]) -> int:
        """Takes a saved prompt into the cache: the number of tokens. What begins like it is then not computed again.

        Raises FormatError for a file that is damaged or of another model, InputError if the context is too small.
        """
        decoder = self._need_decoder()
        saved = load_prompt(path, self._digest, decoder.cache_kind)
        with self._turn.taken():
            self._context.restore(saved.tokens, saved.slices)
        return len(saved.tokens)

    # ---- memory
    def trim(self, ram: str | int | None = None) -> int:
        """Gives memory back to the system, such as when Android asks for it (onTrimMemory): from now on `ram` bytes are
        enough, such as '40M', by default the fewest that work; the bytes that it may then take.

        What is in memory of the weights is dropped at once, after a token or a part of a prompt that is being computed,
        also for another thread's generation; weights are then streamed where they have no room. The cache stays, the
        tokens are the same. Models of embeddings have their weights mapped: `ram` is then what all of it must fit, and
        0 the answer where there is no limit. Raises MemoryBudgetError, and leaves all as it is, if `ram` is too little.
        """
        self._check_open()
        if self._decoder is not None:
            return self._decoder.trim(ram)
        assert self._encoder is not None
        with self._turn.taken():
            return self._encoder.trim(ram)

    # ---- ending
    def _need_decoder(self) -> Decoder:
        self._check_open()
        if self._decoder is None:
            raise UnsupportedError(
                f"expected a model that generates text, found {self.name}, which embeds; use embed()"
            )
        return self._decoder

    def _check_open(self) -> None:
        if self._closed:
            raise InputError("this model is closed; load it again")

    def close(self) -> None:
        """Frees memory and ends worker threads. Ends a generation that this thread began, and waits for one of
        another. May be called twice."""
        if self._turn.mine:
            for generation in self._generations:
                if generation.running:
                    generation.close()
        with self._turn.taken():
            self._closed = True
            for part in (self._decoder, self._encoder):
                if part is not None:
                    part.close()
            if self._decoder is not None:
                self._context.tokens.clear()

    def __enter__(self) -> LLM:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def after_fork(self) -> None:
        """In the child another thread may have held the turn; it is gone."""
        self._turn.reset()


class Turn:
    """A lock that says so where waiting would never end: a thread can not wait for a generation of its own."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._lock = threading.Lock()
        self._owner = 0

    @property
    def mine(self) -> bool:
        """Whether this thread has it. An interrupt may have left the owner's name when the lock was let go."""
        return self._owner == threading.get_ident() and self._lock.locked()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Waits for the turn and has it. A generator, which gives it back even if Ctrl-C comes while it is entered."""
        if self.mine:
            gc.collect()  # one that was dropped in the middle ends when the collector finds it
        if self.mine:
            raise InputError(
                "a generation that this thread began is still open, and the model does one at a time; iterate it to "
                "its end or close() it first"
            )
        with self._lock:
            self._owner = threading.get_ident()
            try:
                yield
            finally:
                self._owner = 0
