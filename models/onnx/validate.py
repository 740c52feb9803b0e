"""Write a model as ONNX, import that, fuse it, and compare the tokens of both: `python -m models.onnx.validate`.

Exits 0 when every attention of the import was fused and the tokens are the same, 1 when not, 2 when the input is bad.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from ..build import empty_past, set_step_inputs
from ..commandline import add_model_options, model_from_options
from ..decoder import Decoder
from ..exit_codes import run
from ..export import export_step
from ..fusion import is_complete, take_report
from ..generate import TextTokenizer, greedy, random_prompt

if TYPE_CHECKING:
    from ifa_fusion import Report


def greedy_of_import(net: nn.Cell, past: Sequence[Tensor], prompt: Sequence[int]) -> Iterator[int]:
    """The tokens that an imported step writes behind `prompt`, without end; `past` is that of no tokens."""
    tokens = chain(prompt)
    token = position = 0
    while True:
        token = next(tokens, token)
        logits, *past = net(Tensor(np.array([[token]])), Tensor(np.array([[position]])), *past)
        if position >= len(prompt) - 1:
            token = int(logits.asnumpy()[0, 0].argmax())
            yield token
        position += 1


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m models.onnx.validate", description=__doc__)
    add_model_options(parser)
    parser.add_argument("--prompt", default="Explain in a few sentences why the sky is blue.", help="for a checkpoint")
    parser.add_argument("--tokens", type=int, default=32, help="how many tokens to write")
    return run(parser.prog, _validate, parser.parse_args(arguments))


def _validate(options: argparse.Namespace) -> int:
    ms.set_context(mode=ms.GRAPH_MODE)
    options.cache = "growing"
    net = model_from_options(options)()
    prompt = _prompt(options, net)
    most = net.config.max_positions - len(prompt) + 1
    if not 1 <= options.tokens <= most:
        raise ValueError(f"--tokens is {options.tokens}; it must be between 1 and {most}")
    set_step_inputs(net)
    original = [token for token, _ in islice(greedy(net, prompt), options.tokens)]
    with tempfile.TemporaryDirectory() as folder:
        path = export_step(net, Path(folder) / "decoder.onnx")
        imported, report = _run_import(path, empty_past(net), prompt, options.tokens)
    same = sum(a == b for a, b in zip(original, imported, strict=True))
    print(f"sites fused: {len(report.fused)} of {net.config.num_attentions}")
    print(f"same tokens, greedy: {same} of {len(original)}")
    passed = same == len(original) and is_complete(report, net.config.num_attentions)
    print("ok" if passed else "FAILED")
    return 0 if passed else 1


def _prompt(options: argparse.Namespace, net: Decoder) -> list[int]:
    """The prompt's tokens; random ones for a configuration, which has no tokenizer."""
    if options.checkpoint:
        return TextTokenizer.load(options.checkpoint).encode_prompt(options.prompt)
    return random_prompt(net.config.vocab_size, options.seed)


def _run_import(path: Path, past: Sequence[Tensor], prompt: Sequence[int], count: int) -> tuple[list[int], Report]:
    import ifa_fusion

    net = ifa_fusion.onnx.load(path, {"batch": 1, "sequence_length": 1})
    take_report()
    with ifa_fusion.fusion():
        return list(islice(greedy_of_import(net, past, prompt), count)), take_report()


if __name__ == "__main__":
    sys.exit(main())
