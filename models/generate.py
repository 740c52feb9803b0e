"""Greedy generation, one token per step, and the tokenizer that goes with a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import mindspore as ms
import numpy as np
from mindspore import Tensor

from .build import empty_past
from .checkpoint import import_gguf, replacing
from .decoder import Decoder

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER_FILE = "tokenizer.json"
_SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
_STOPS = ("<|im_end|>", "<|endoftext|>", "</s>", "<|eot_id|>")
_GGUF_CONTROL = 3


def random_prompt(vocab_size: int, seed: int) -> list[int]:
    """Eight tokens, for a model that has no tokenizer."""
    return np.random.default_rng(seed).integers(0, vocab_size, 8).tolist()


def greedy(net: Decoder, prompt: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the next token and the logits, fp32 (vocab_size,), it was chosen from, until the context is full.

    The prompt goes through the decode step token by token. Raises ValueError when it is empty, too long or
    not of this vocabulary.
    """
    limit = net.capacity if net.is_static else net.config.max_positions
    if not 0 < len(prompt) <= limit:
        raise ValueError(f"prompt has {len(prompt)} tokens; it must have between 1 and {limit}")
    unknown = [token for token in prompt if not 0 <= token < net.config.vocab_size]
    if unknown:
        raise ValueError(f"prompt holds token {unknown[0]}; it must be below vocab_size, {net.config.vocab_size}")
    if net.batch != 1:
        raise ValueError(f"batch is {net.batch}; generation takes a network of batch 1")
    if net.config.reads_encoder:
        raise ValueError(f"architecture is {net.config.architecture!r}; generation takes a model that reads no encoder")
    past = empty_past(net)
    tokens = chain(prompt)
    token = 0
    for position in range(limit):
        token = next(tokens, token)
        logits, past = step(net, token, position, past)
        if position >= len(prompt) - 1:
            token = int(logits.argmax())
            yield token, logits


def step(net: Decoder, token: int, position: int, past: list[Tensor]) -> tuple[np.ndarray, list[Tensor]]:
    """One decode step of one sequence: logits, fp32 (vocab_size,), and the past of the next step."""
    inputs = Tensor(np.full((net.batch, 1), token, np.int32)), Tensor(position, ms.int32)
    if net.is_static:
        return net(*inputs).asnumpy()[0].astype(np.float32), past
    logits, *present = net(*inputs, *past)
    return logits.asnumpy()[0].astype(np.float32), present


class TextTokenizer:
    """A byte-level tokenizer: text to token numbers and back."""

    def __init__(self, backend: Tokenizer) -> None:
        self._backend = backend
        self.stop_tokens = {i for i in map(backend.token_to_id, _STOPS) if i is not None}
        self.has_chat = backend.token_to_id("<|im_start|>") is not None

    @classmethod
    def load(cls, path: str | Path) -> TextTokenizer:
        """From a folder with tokenizer.json, or a GGUF file. Raises FileNotFoundError or ValueError."""
        path = Path(path)
        if not path.exists():
            raise FileNotFoundError(f"checkpoint {str(path)!r} does not exist; it must be a folder or a .gguf file")
        if path.suffix == ".gguf":
            return cls(_gguf_tokenizer(path))
        file = path / TOKENIZER_FILE if path.is_dir() else path
        if not file.is_file():
            raise FileNotFoundError(f"tokenizer {str(file)!r} does not exist")
        return cls(_tokenizers().Tokenizer.from_file(str(file)))

    def save(self, folder: str | Path) -> None:
        """Write tokenizer.json into `folder`."""
        with replacing(Path(folder) / TOKENIZER_FILE) as file:
            self._backend.save(str(file))

    def encode(self, text: str) -> list[int]:
        """Token numbers of `text`, with nothing added."""
        return self._backend.encode(text, add_special_tokens=False).ids

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of `tokens`, without the special ones."""
        return self._backend.decode(list(tokens), skip_special_tokens=True)

    def encode_chat(self, text: str) -> list[int]:
        """`text` as a user's message, in the form that SmolLM2-Instruct was trained on."""
        return self.encode(
            f"<|im_start|>system\n{_SYSTEM}<|im_end|>\n<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
        )

    def encode_prompt(self, text: str) -> list[int]:
        """`text` as a chat message where the tokenizer has the tokens for it, else as it is."""
        return self.encode_chat(text) if self.has_chat else self.encode(text)

    def stream(self, tokens: Iterator[int]) -> Iterator[str]:
        """The text of `tokens`, piece by piece; a character is held back until its bytes are complete."""
        seen: list[int] = []
        written = ""
        for token in tokens:
            seen.append(token)
            text = self.decode(seen)
            if not text.endswith("\ufffd"):
                yield text[len(written) :]
                written = text


def answer(net: Decoder, tokenizer: TextTokenizer, prompt: Sequence[int], max_tokens: int) -> Iterator[int]:
    """The tokens that follow `prompt`, to the model's end, `max_tokens` tokens or the end of the context."""
    for token, _ in islice(greedy(net, prompt), max_tokens):
        if token in tokenizer.stop_tokens:
            return
        yield token


def generate(net: Decoder, tokenizer: TextTokenizer, prompt: str, max_tokens: int = 128) -> Iterator[str]:
    """The model's answer to a text as it is written, see `answer`."""
    return tokenizer.stream(answer(net, tokenizer, tokenizer.encode_prompt(prompt), max_tokens))


def _tokenizers() -> ModuleType:
    try:
        import tokenizers
    except ImportError as error:
        raise ImportError("generating text needs the package tokenizers: pip install 'ifa-fusion[models]'") from error
    return tokenizers


def _gguf_tokenizer(path: Path) -> Tokenizer:
    """A tokenizers.Tokenizer with the vocabulary of a GGUF file."""
    fields = import_gguf().GGUFReader(path).fields
    kind, pre = (fields[f"tokenizer.ggml.{key}"].contents() for key in ("model", "pre"))
    if kind != "gpt2" or pre not in ("smollm", "gpt-2"):
        raise ValueError(f"the GGUF tokenizer is {kind!r} with {pre!r}; it must be 'gpt2' with 'smollm' or 'gpt-2'")
    tokens, types, merges = (fields[f"tokenizer.ggml.{key}"].contents() for key in ("tokens", "token_type", "merges"))
    api = _tokenizers()
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = api.Tokenizer(api.models.BPE(vocabulary, [tuple(merge.split(" ")) for merge in merges]))
    byte_level = api.pre_tokenizers.ByteLevel(add_prefix_space=False)
    digits = [api.pre_tokenizers.Digits(individual_digits=True)] if pre == "smollm" else []
    tokenizer.pre_tokenizer = api.pre_tokenizers.Sequence([*digits, byte_level])
    tokenizer.decoder = api.decoders.ByteLevel()
    control = [api.AddedToken(t, special=True) for t, kind in zip(tokens, types, strict=True) if kind == _GGUF_CONTROL]
    tokenizer.add_special_tokens(control)
    return tokenizer
