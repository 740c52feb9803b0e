"""Write text with the language model of a checkpoint, fused, and with --compare unfused before."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import pairwise, takewhile
from typing import TYPE_CHECKING, Any

from ifa_fusion.cli import options as shared
from ifa_fusion.cli.outcome import Outcome
from ifa_fusion.cli.stream import Stream
from ifa_fusion.cli.terminal import working

if TYPE_CHECKING:
    from ifa_fusion.models.decoder import Decoder
    from ifa_fusion.models.generate import TextTokenizer
    from ifa_fusion.report import Report


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds what `run` reads."""
    parser.add_argument(
        "--checkpoint",
        required=True,
        metavar="DIR",
        help="a folder in the format of Hugging Face or of MindSpore with a tokenizer.json, or a .gguf file",
    )
    parser.add_argument("--prompt", required=True, metavar="TEXT", help="what the model answers")
    parser.add_argument("--tokens", type=shared.count, default=64, metavar="N", help="at most (default: 64)")
    parser.add_argument("--compare", action="store_true", help="write it unfused and fused; exit with 1 if they differ")


@dataclass
class Text:
    """What was written, when each token was there, and the attention sites of the network."""

    report: Report
    text: str = ""
    tokens: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    @property
    def tokens_per_second(self) -> float | None:
        """By the median of the steps; None before there are two tokens."""
        steps = [after - before for before, after in pairwise(self.times)]
        return 1 / statistics.median(steps) if steps else None

    def __str__(self) -> str:
        rate = self.tokens_per_second
        speed = f"{rate:.1f} tokens/s" if rate else "too short for a speed"
        sites = len(self.report.sites)
        fused = f", {len(self.report.fused)} of {sites} attention sites fused" if sites else ""
        return f"{len(self.tokens)} tokens, {speed}{fused}"

    def record(self, tokens: Iterator[int]) -> Iterator[int]:
        """The same tokens, each with its time."""
        for token in tokens:
            self.times.append(time.perf_counter())
            self.tokens.append(token)
            yield token

    def document(self) -> dict[str, Any]:
        """For --json."""
        return {
            "text": self.text,
            "tokens": self.tokens,
            "tokens_per_second": self.tokens_per_second,
            "fused": len(self.report.fused),
            "refused": len(self.report.refused),
        }


def run(options: argparse.Namespace) -> Outcome:
    """Writes the text as it comes, with its speed below it on a terminal."""
    import mindspore as ms

    import ifa_fusion
    from ifa_fusion.models.build import build_model
    from ifa_fusion.models.checkpoint import read_checkpoint
    from ifa_fusion.models.generate import TextTokenizer

    ms.set_context(mode=ms.GRAPH_MODE)
    with working(f"reading {options.checkpoint}"):
        tokenizer = TextTokenizer.load(options.checkpoint)
        config, weights = read_checkpoint(options.checkpoint)
    prompt = tokenizer.encode_prompt(options.prompt)
    capacity = min(config.max_positions, len(prompt) + options.tokens)
    scopes: dict[str, Callable[[], AbstractContextManager]] = {"unfused": nullcontext} if options.compare else {}
    texts = {}
    for name, scope in (scopes | {"fused": ifa_fusion.fusion}).items():
        with scope():
            net = build_model(config, weights, capacity=capacity)
            title = f"{name}: " if options.compare else ""
            texts[name] = _write(name, title, net, tokenizer, prompt, options.tokens)
    return _outcome(options, texts)


def _write(name: str, title: str, net: Decoder, tokenizer: TextTokenizer, prompt: list[int], limit: int) -> Text:
    import ifa_fusion
    from ifa_fusion.models.generate import answer

    ifa_fusion.report(reset=True)
    text = Text(ifa_fusion.report())
    pieces = tokenizer.stream(text.record(answer(net, tokenizer, prompt, limit)))
    with working(f"{name}: compiling, and reading the prompt"):
        first = next(pieces, "")
    text.report = ifa_fusion.report(reset=True)
    with Stream() as stream:
        stream.write(title + first, f"{name}: {text}")
        text.text = first
        for piece in pieces:
            text.text += piece
            stream.write(piece, f"{name}: {text}")
    return text


def _outcome(options: argparse.Namespace, texts: dict[str, Text]) -> Outcome:
    document = {"checkpoint": options.checkpoint, "prompt": options.prompt}
    document |= {name: text.document() for name, text in texts.items()}
    lines = [f"{name}: {text}" for name, text in texts.items()]
    if not options.compare:
        return Outcome(document, lines[0])
    unfused, fused = texts["unfused"], texts["fused"]
    document["same_tokens"] = unfused.tokens == fused.tokens
    if unfused.tokens_per_second and fused.tokens_per_second:
        document["faster"] = fused.tokens_per_second / unfused.tokens_per_second
        lines.append(f"fused is {document['faster']:.2f} x as fast")
    if document["same_tokens"]:
        return Outcome(document, "\n".join([*lines, "the tokens are the same"]))
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(unfused.tokens, fused.tokens, strict=False)))
    return Outcome(document, "\n".join(lines), f"unfused and fused write the same {same} tokens, and then others.")
