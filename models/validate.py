"""Run a model unfused and fused on the same inputs and compare: `python -m models.validate`.

Exits 0 when every attention was fused and the outputs agree, 1 when not, 2 when the input is bad.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import mindspore as ms
import numpy as np
from mindspore import Tensor

from .build import empty_past, set_step_inputs
from .commandline import add_model_options, model_from_options
from .config import ModelConfig
from .decoder import Decoder
from .exit_codes import run
from .fusion import is_complete, largest_difference, take_report

if TYPE_CHECKING:
    from ifa_fusion import Report

# Of the largest logit. fp16 rounds the scores and the probabilities of every layer to 11 bits.
_TOLERANCES = {"float32": 1e-5, "float16": 2e-2, "bfloat16": 1e-1}
# Tokens of an encoder's output that is made up.
_ENCODED = 12


def random_encoding(config: ModelConfig, batch: int, seed: int) -> np.ndarray | None:
    """What an encoder might put out, fp32 (batch, M, hidden_size), or None for a model that reads no encoder."""
    if not config.reads_encoder:
        return None
    return np.random.default_rng(seed).standard_normal((batch, _ENCODED, config.hidden_size), np.float32)


def run_steps(net: Decoder, tokens: np.ndarray, encoded: np.ndarray | None = None) -> list[np.ndarray]:
    """Feed `tokens`, int32 (steps, B), from position 0 on; the logits of every step, fp32 (B, vocab_size).

    `encoded` is the encoder's output, (B, M, hidden_size), for a model that reads one.
    """
    set_step_inputs(net)
    past = empty_past(net)
    memory = [] if encoded is None else net.memory(Tensor(encoded))
    outputs = []
    for position, token in enumerate(tokens):
        inputs = Tensor(token[:, None]), Tensor(position, ms.int32)
        if net.is_static:
            logits = net(*inputs, *memory)
        else:
            logits, *past = net(*inputs, *past, *memory)
        outputs.append(logits.float().asnumpy())
    return outputs


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m models.validate", description=__doc__)
    add_model_options(parser)
    parser.add_argument("--steps", type=int, default=24, help="tokens to decode, from position 0 on")
    parser.add_argument("--tolerance", type=float, help="largest difference allowed, relative to the largest logit")
    return run(parser.prog, _validate, parser.parse_args(arguments))


def _validate(options: argparse.Namespace) -> int:
    if options.dtype == "bfloat16" and ms.get_context("device_target") == "CPU":
        raise ValueError("--dtype is 'bfloat16', which MindSpore cannot run on a CPU; use float32 or float16 there")
    ms.set_context(mode=ms.GRAPH_MODE)
    build = model_from_options(options)
    net = build()
    limit = net.capacity or net.config.max_positions
    if not 1 <= options.steps <= limit:
        raise ValueError(f"--steps is {options.steps}; it must be between 1 and {limit}")
    shape = (options.steps, options.batch)
    tokens = np.random.default_rng(options.seed).integers(0, net.config.vocab_size, shape, np.int32)
    encoded = random_encoding(net.config, options.batch, options.seed)
    unfused = run_steps(net, tokens, encoded)
    fused, report = _run_fused(build, tokens, encoded)

    tolerance = _TOLERANCES[options.dtype] if options.tolerance is None else options.tolerance
    difference = largest_difference(unfused, fused) / max(float(np.abs(step).max()) for step in unfused)
    expected = net.config.num_attentions
    passed = difference <= tolerance and is_complete(report, expected)
    print(report)
    print(f"sites fused: {len(report.fused)} of {expected}")
    print(f"largest difference: {difference:.3g} of the largest logit, allowed {tolerance:.3g}")
    print("ok" if passed else "FAILED")
    return 0 if passed else 1


def _run_fused(
    build: Callable[[], Decoder], tokens: np.ndarray, encoded: np.ndarray | None
) -> tuple[list[np.ndarray], Report]:
    import ifa_fusion

    take_report()
    with ifa_fusion.fusion():
        outputs = run_steps(build(), tokens, encoded)
    return outputs, take_report()


if __name__ == "__main__":
    sys.exit(main())
