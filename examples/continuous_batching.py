"""Continuous batching: requests of different lengths join and leave a running batch over a paged cache.

    python examples/continuous_batching.py
    python examples/continuous_batching.py --checkpoint build/demo/SmolLM2-135M-Instruct.Q4_1    # after `make demo`

The cache's blocks are one pool that is too small for a full batch of long requests. Attention is written out over what
a table gathers from it, and the pass turns it into the operator's `block_table` with a length for each sequence.

Shows who sat in which row at which step, compares the tokens of every batch size with those of one request at a time,
and with --figures draws the throughput by batch size. Exits 1 when tokens differ.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import mindspore as ms
from ifa_fusion.models.batching import ContinuousBatch
from ifa_fusion.models.build import set_weights
from ifa_fusion.models.checkpoint import Weights, read_checkpoint
from ifa_fusion.models.config import PRESETS, ModelConfig
from ifa_fusion.models.generate import TextTokenizer
from ifa_fusion.models.paged import PagedLlama
from matplotlib.figure import Figure
from rich.console import Console
from rich.text import Text

import ifa_fusion

TEXTS = ("Gravity is", "The capital of France is", "Once upon a time", "To boil an egg, first", "Red", "Why do")
LENGTHS = (12, 4, 20, 8, 16, 6, 3)
TABLE_WIDTH = 4  # blocks of 16 positions: 64 a sequence
COLOURS = ("cyan", "magenta", "yellow", "green", "blue", "red", "white")

Prompt = tuple[list[int], int]  # tokens, and how many to write


@dataclass
class Served:
    """The tokens of each request, the request in each row at each step, and the seconds of all steps."""

    tokens: list[list[int]]
    steps: list[list[int | None]]
    seconds: float


def serve(net: PagedLlama, prompts: list[Prompt]) -> Served:
    """Run all requests to their ends."""
    warm_up = ContinuousBatch(net)  # compiles the step
    warm_up.add([1], 1)
    warm_up.run()

    batch = ContinuousBatch(net)
    requests = [batch.add(*prompt) for prompt in prompts]
    start = time.perf_counter()
    steps = batch.run()
    seconds = time.perf_counter() - start
    number = {id(request): i for i, request in enumerate(requests)}
    rows = [[number.get(id(request)) for request in step] for step in steps]
    return Served([request.tokens for request in requests], rows, seconds)


def who_sat_where(served: Served) -> Text:
    """A line for each row of the batch: at each step the letter of the request that was in it."""
    text = Text()
    for row, seats in enumerate(zip(*served.steps, strict=True)):
        text.append(f"row {row}  ")
        for seat in seats:
            text.append("." if seat is None else chr(ord("A") + seat % 26), COLOURS[(seat or 0) % len(COLOURS)])
        text.append("\n")
    return text


def draw(speeds: dict[int, float], path: Path) -> None:
    """Tokens per second by batch size."""
    figure = Figure(figsize=(5, 3), layout="constrained")
    panel = figure.subplots()
    panel.bar([str(size) for size in speeds], list(speeds.values()), width=0.6)
    panel.set_xlabel("rows of the batch")
    panel.set_ylabel("tokens written per second")
    panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def load(checkpoint: str | None) -> tuple[ModelConfig, Weights | int, Iterator[Prompt]]:
    """The model and the prompts in its tokens; the tiny model's are the characters of ASCII."""
    if checkpoint is None:
        config, weights, encode = PRESETS["tiny-llama"], 3, lambda text: list(text.encode("ascii"))
    else:
        config, weights = read_checkpoint(checkpoint)
        encode = TextTokenizer.load(checkpoint).encode
    # As many as are wanted: lengths and texts repeat in another rhythm.
    return config, weights, ((encode(text), length) for text, length in zip(cycle(TEXTS), cycle(LENGTHS)))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", help="a Llama with tokenizer (default: a tiny one with random weights)")
    parser.add_argument("--requests", type=int, default=24)
    parser.add_argument("--batches", type=int, nargs="*", default=[2, 4, 8], help="numbers of rows to try, beside 1")
    parser.add_argument("--figures", type=Path, help="the folder for pictures of the output")
    options = parser.parse_args(arguments)

    ms.set_context(mode=ms.GRAPH_MODE)
    console = Console(record=True, width=130)
    try:
        config, weights, endless = load(options.checkpoint)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    prompts = list(islice(endless, options.requests))
    served = {}
    with ifa_fusion.fusion():
        for batch in [1, *options.batches]:
            blocks = 1 + max(TABLE_WIDTH, 2 * batch)
            net = PagedLlama(config, batch=batch, blocks=blocks, table_width=TABLE_WIDTH)
            served[batch] = serve(set_weights(net, weights).set_train(False), prompts)
    console.print(f"{options.requests} requests, {batch} rows, a cache of {blocks - 1} blocks of 16 positions\n")
    console.print(who_sat_where(served[batch]), no_wrap=True, crop=True)
    features = ifa_fusion.report(reset=True).sites[-1].features
    console.print(f"attention fused: {', '.join(features)}")
    same = [run.tokens == served[1].tokens for run in served.values()]
    console.print(f"the same tokens as one at a time: {sum(same)} of {len(same)} batch sizes")
    speeds = {batch: sum(map(len, run.tokens)) / run.seconds for batch, run in served.items()}
    speed_of = (f"{batch} {'row' if batch == 1 else 'rows'} {speed:.1f}" for batch, speed in speeds.items())
    console.print("tokens written per second:", ", ".join(speed_of))
    if options.figures:
        console.save_svg(
            str(options.figures / "example-continuous-batching.svg"), title="examples/continuous_batching.py"
        )
        draw(speeds, options.figures / "example-continuous-batching-speed.svg")
    return 0 if all(same) else 1


if __name__ == "__main__":
    sys.exit(main())
