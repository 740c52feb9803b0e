"""A checkpoint in Hugging Face's format writes text, unfused and fused.

    python examples/huggingface_checkpoint.py --checkpoint path/to/SmolLM2-135M-Instruct --prompt "Gravity is"

Without --checkpoint a tiny Llama with random weights is written in that format first; its tokens mean nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path

import mindspore as ms
from ifa_fusion.models.build import build_model
from ifa_fusion.models.checkpoint import read_checkpoint
from ifa_fusion.models.config import PRESETS
from ifa_fusion.models.generate import TextTokenizer, greedy
from rich.console import Console
from safetensors.numpy import save_file

import ifa_fusion


def make_checkpoint(folder: Path) -> None:
    """Write config.json and model.safetensors of a tiny Llama, with the names that Hugging Face gives its tensors."""
    config = PRESETS["tiny-llama"]
    weights = build_model(config, 3, capacity=1).weights()
    (folder / "config.json").write_text(json.dumps(config.to_huggingface()))
    save_file({f"model.{name}": weight.asnumpy() for name, weight in weights.items()}, folder / "model.safetensors")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, help="a folder with config.json, *.safetensors and tokenizer.json")
    parser.add_argument("--prompt", default="Gravity is")
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--picture", help="an SVG file for what is printed")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        if options.checkpoint is None:
            make_checkpoint(Path(scratch))
        try:
            return write(options.checkpoint or Path(scratch), options)
        except (ValueError, OSError) as error:
            parser.error(str(error))


def write(folder: Path, options: argparse.Namespace) -> int:
    """Let the model in `folder` write; returns the exit code."""
    ms.set_context(mode=ms.GRAPH_MODE)
    console = Console(record=True, width=100)
    config, weights = read_checkpoint(folder)
    tokenizer = TextTokenizer.load(folder) if options.checkpoint else None
    # The tiny model's vocabulary of 128 is taken for ASCII.
    prompt = tokenizer.encode(options.prompt) if tokenizer else list(options.prompt.encode("ascii"))
    console.print(
        f"{config.architecture}: {config.num_layers} layers, {config.num_heads} heads, {config.num_kv_heads} KV"
    )

    written = {}
    scopes: dict[str, Callable[[], AbstractContextManager]] = {"unfused": nullcontext, "fused": ifa_fusion.fusion}
    for name, scope in scopes.items():
        with scope():
            net = build_model(config, weights, capacity=len(prompt) + options.tokens)
            written[name] = [token for token, _ in islice(greedy(net, prompt), options.tokens)]
        console.print(f"{name}: {tokenizer.decode(written[name]) if tokenizer else written[name]}", highlight=False)
    fused = len(ifa_fusion.report(reset=True).fused)
    same = written["unfused"] == written["fused"]
    console.print(f"{fused} of {config.num_layers} attentions fused, tokens {'the same' if same else 'DIFFER'}")
    if options.picture:
        console.save_svg(options.picture, title="examples/huggingface_checkpoint.py")
    return 0 if same and fused == config.num_layers else 1


if __name__ == "__main__":
    sys.exit(main())
