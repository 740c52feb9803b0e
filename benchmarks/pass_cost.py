"""What the fusion pass costs beside MindSpore's own compilation: `python -m benchmarks.pass_cost`."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import mindspore as ms
from mindspore import Tensor, nn, ops

import ifa_fusion
from ifa_fusion import _native
from models.build import build_model, set_step_inputs
from models.config import PRESETS

LAYERS = (8, 32, 128)


class WithoutAttention(nn.Cell):
    """As many matmuls and activations as a decoder has, and nothing to fuse."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = nn.CellList([nn.Dense(64, 64) for _ in range(layers)])

    def construct(self, x: Tensor) -> Tensor:
        """x, with what each layer adds."""
        for layer in self.layers:
            x = x + ops.silu(layer(x))
        return x


@dataclass(frozen=True)
class Cost:
    """Of one network: sites seen, and medians over rounds in seconds, the pass's part included."""

    sites: int
    compilation: float
    fusion: float

    @property
    def percent(self) -> float:
        """Of what MindSpore itself takes."""
        return 100 * self.fusion / (self.compilation - self.fusion)


def cost_of(network: nn.Cell, *inputs: Tensor, rounds: int) -> Cost:
    """Compiles a network with fusion on, as far as an export does, so without the backend's part."""
    times = []
    for _ in range(rounds):
        before, start = _native.pass_seconds(), time.perf_counter()
        report = ifa_fusion.explain(network, *inputs)
        times.append((time.perf_counter() - start, _native.pass_seconds() - before))
    compilation, fusion = (statistics.median(column) for column in zip(*times, strict=True))
    return Cost(len(report.sites), compilation, fusion)


def decoder(layers: int) -> tuple[nn.Cell, list[Tensor]]:
    """The decode step of a small Llama with random weights."""
    network = build_model(replace(PRESETS["tiny-llama"], num_layers=layers), 1)
    return network, set_step_inputs(network)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pass_cost", description=__doc__)
    parser.add_argument("--layers", type=int, nargs="+", default=LAYERS, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="compilations of each network; default: %(default)s")
    options = parser.parse_args(arguments)
    print("| network | layers | sites | compilation s | pass ms | pass us a layer | % of MindSpore's |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for layers in options.layers:
        network, inputs = decoder(layers)
        print_row("decoder", layers, cost_of(network, *inputs, rounds=options.rounds))
    for layers in options.layers:
        cost = cost_of(WithoutAttention(layers), ops.zeros((1, 64), ms.float32), rounds=options.rounds)
        print_row("no attention", layers, cost)
    return 0


def print_row(name: str, layers: int, cost: Cost) -> None:
    """One row of the table, at once: a large network takes minutes."""
    milliseconds = 1e3 * cost.fusion
    print(
        f"| {name} | {layers} | {cost.sites} | {cost.compilation:.2f} | {milliseconds:.2f} "
        f"| {1e3 * milliseconds / layers:.1f} | {cost.percent:.2f} |",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
