"""Your own Cell, fused: what the pass finds in it, and that it still computes the same.

python examples/fuse_a_cell.py
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops
from rich.console import Console

import ifa_fusion

BATCH, HEADS, KV_HEADS, CHANNELS = 2, 8, 2, 64


class DecodeAttention(nn.Cell):
    """One new token attends to a cache, written out operator by operator."""

    def construct(self, query: Tensor, keys: Tensor, values: Tensor, length: Tensor) -> Tensor:
        """query: (B, N, 1, D); keys, values: (B, kvN, S, D); length: int32 (B,), the valid positions."""
        keys = ops.repeat_interleave(keys, HEADS // KV_HEADS, 1)
        values = ops.repeat_interleave(values, HEADS // KV_HEADS, 1)
        scores = ops.matmul(query, keys.swapaxes(-1, -2)) / CHANNELS**0.5
        hidden = ops.arange(keys.shape[2]) >= length.reshape(-1, 1, 1, 1)
        return ops.matmul(ops.softmax(ops.masked_fill(scores, hidden, -1e9), -1), values)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--positions", type=int, default=1024)
    parser.add_argument("--picture", help="an SVG file for what is printed")
    options = parser.parse_args(arguments)

    random = np.random.default_rng(0)
    query = Tensor(random.standard_normal((BATCH, HEADS, 1, CHANNELS), np.float32))
    keys, values = (
        Tensor(random.standard_normal((BATCH, KV_HEADS, options.positions, CHANNELS), np.float32)) for _ in range(2)
    )
    inputs = query, keys, values, Tensor([options.positions // 3, options.positions], ms.int32)

    ms.set_context(mode=ms.GRAPH_MODE)
    console = Console(record=True, width=120)
    report = ifa_fusion.explain(DecodeAttention(), *inputs)  # compiles, does not run
    for site in report.sites:
        console.print(f"{Path(site.location).name}: {site.reason}, {', '.join(site.features)}", highlight=False)
    result = ifa_fusion.verify(DecodeAttention(), *inputs)  # raises when they differ by more than rounding
    console.print(f"unfused and fused differ by {result.largest_difference:.1e} at most")
    if options.picture:
        console.save_svg(options.picture, title="examples/fuse_a_cell.py")
    return 0 if report.fused else 1


if __name__ == "__main__":
    sys.exit(main())
