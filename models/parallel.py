"""A Llama whose heads are split over processes, as MindSpore's `msrun` starts them.

    msrun --worker_num=2 --local_worker_num=2 --join=True python -m models.parallel --model llama --config tiny-llama

Each process holds a share of the query and KV heads with their caches, and a share of the MLP's width. What its
output projections give is one term of a sum, which an AllReduce completes. Embedding, norms and head are whole in
every process, so that all arrive at the same logits. Without `msrun` the command runs the whole model in one process.

Exits 0 when every attention of the process was fused, 1 when not, 2 when the input is bad.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops
from mindspore import dtype as mstype
from mindspore.communication import get_group_size, get_rank, init

from .build import build_model, random_weights, set_weights
from .checkpoint import Weights
from .commandline import add_model_options, weights_from_options
from .config import ModelConfig
from .decoder import Decoder
from .exit_codes import run
from .fusion import is_complete, take_report
from .generate import TextTokenizer, greedy, random_prompt
from .llama import Llama, LlamaAttention, LlamaMLP, require_llama

# Which projections are split by what they put out, (outputs, inputs), and which by what they take in.
_BY_OUTPUT = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")
_BY_INPUT = ("o_proj", "down_proj")


class SummedLinear(nn.Dense):
    """A projection of a share of the inputs; the results of all processes are summed."""

    def __init__(self, inputs: int, outputs: int, bias: bool, dtype: mstype.Type) -> None:
        super().__init__(inputs, outputs, weight_init="zeros", bias_init="zeros", has_bias=bias, dtype=dtype)
        self.sum = ops.AllReduce()

    def construct(self, x: Tensor) -> Tensor:
        """x: (B, 1, inputs), this process's; the result, (B, 1, outputs), is the same in all."""
        return self.sum(super().construct(x))


class LlamaShare(Llama):
    """One decode step of a Llama, of which this process holds the share that `config` describes."""

    def new_attention(self) -> LlamaAttention:
        """The attention of this process's heads, summed over the processes."""
        attention, config = super().new_attention(), self.config
        inputs = config.num_heads * config.head_dim
        attention.o_proj = SummedLinear(inputs, config.hidden_size, config.output_bias, self.dtype)
        return attention

    def new_mlp(self) -> LlamaMLP:
        """This process's part of the MLP's width, summed over the processes."""
        mlp, config = super().new_mlp(), self.config
        mlp.down_proj = SummedLinear(config.intermediate_size, config.hidden_size, False, self.dtype)
        return mlp


def share_config(config: ModelConfig, processes: int) -> ModelConfig:
    """What one of `processes` processes holds. Raises ValueError when the model can't be split into as many."""
    require_llama(config)
    for field in ("num_kv_heads", "intermediate_size"):
        if getattr(config, field) % processes:
            raise ValueError(
                f"{field} is {getattr(config, field)}; the number of processes, which is {processes}, must divide it"
            )
    return dataclasses.replace(
        config,
        num_heads=config.num_heads // processes,
        num_kv_heads=config.num_kv_heads // processes,
        intermediate_size=config.intermediate_size // processes,
    )


def share_weights(weights: Mapping[str, np.ndarray], rank: int, processes: int) -> Weights:
    """What of a model's weights the process `rank` holds."""
    return {name: _share(name, array, rank, processes) for name, array in weights.items()}


def _share(name: str, array: np.ndarray, rank: int, processes: int) -> np.ndarray:
    *_, projection, kind = name.split(".")
    if projection in _BY_OUTPUT:
        return np.array_split(array, processes)[rank]
    if projection in _BY_INPUT and kind == "weight":
        return np.array_split(array, processes, 1)[rank]
    # A bias of what is summed is added once.
    return np.zeros_like(array) if projection in _BY_INPUT and rank > 0 else array


def build_share(
    config: ModelConfig,
    weights: Mapping[str, np.ndarray] | int,
    rank: int,
    processes: int,
    cache: str = "static",
    *,
    batch: int = 1,
    capacity: int = 0,
    dtype: str = "float32",
) -> Decoder:
    """What process `rank` holds of the model that `build_model` makes of the same arguments.

    Raises ValueError when the model can't be split into `processes`, or as `build_model` does.
    """
    net = LlamaShare(share_config(config, processes), cache, batch=batch, capacity=capacity, dtype=dtype)
    if isinstance(weights, int):
        whole = Llama(config, capacity=1)
        weights = random_weights({name: p.shape for name, p in whole.weights().items()}, weights)
    return set_weights(net, share_weights(weights, rank, processes)).set_train(False)


def join() -> tuple[int, int]:
    """Meet the other processes that `msrun` started: the number of this one, from 0 on, and how many there are."""
    if "MS_ROLE" not in os.environ:
        return 0, 1
    init()
    return get_rank(), get_group_size()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m models.parallel", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_model_options(parser)
    parser.add_argument("--prompt", help="a text, with --checkpoint; without it random tokens, from --seed")
    parser.add_argument("--tokens", type=int, default=32, help="tokens to write, at most")
    return run(parser.prog, _parallel, parser.parse_args(arguments))


def _parallel(options: argparse.Namespace) -> int:
    if options.tokens < 1:
        raise ValueError(f"--tokens is {options.tokens}; it must be at least 1")
    ms.set_context(mode=ms.GRAPH_MODE)
    rank, processes = join()
    config, weights = weights_from_options(options)
    sizes: dict[str, Any] = {"batch": options.batch, "capacity": options.capacity, "dtype": options.dtype}
    if processes == 1:
        net = build_model(config, weights, options.cache, **sizes)
    else:
        net = build_share(config, weights, rank, processes, options.cache, **sizes)
    tokenizer = _tokenizer(options)
    prompt = random_prompt(config.vocab_size, options.seed) if tokenizer is None else tokenizer.encode(options.prompt)

    import ifa_fusion

    with ifa_fusion.fusion():
        tokens = [token for token, _ in islice(greedy(net, prompt), options.tokens)]
    report, share = take_report(), net.config
    print(f"process {rank} of {processes}: heads {share.num_heads} of {config.num_heads},", end=" ")
    print(f"KV heads {share.num_kv_heads} of {config.num_kv_heads},", end=" ")
    print(f"fused {len(report.fused)} of {config.num_layers}, tokens {tokens}")
    if rank == 0 and tokenizer is not None:
        print(tokenizer.decode(tokens))
    return 0 if is_complete(report, config.num_layers) else 1


def _tokenizer(options: argparse.Namespace) -> TextTokenizer | None:
    if options.prompt is None:
        return None
    if options.checkpoint is None:
        raise ValueError("--prompt is a text, for which a tokenizer is needed; give a --checkpoint that has one")
    return TextTokenizer.load(options.checkpoint)


if __name__ == "__main__":
    sys.exit(main())
