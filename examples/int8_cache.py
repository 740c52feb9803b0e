"""The operator by hand with an int8 cache: half the bytes of fp16, and what that costs in accuracy.

    python examples/int8_cache.py

Each channel of each KV head has a scale and an offset of its own: a value is (stored + offset) * scale.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor
from rich.console import Console
from rich.table import Table

import ifa_fusion

BATCH, HEADS, KV_HEADS, CHANNELS = 1, 32, 8, 128
ATTENTION: dict[str, Any] = {
    "num_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "input_layout": "BNSD",
    "scale_value": CHANNELS**-0.5,
}


def quantise(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A cache (B, kvN, S, D) as int8, with scale and offset (kvN, D) from the range that each channel has."""
    low, high = x.min((0, 2)), x.max((0, 2))
    scale = (high - low) / 255
    offset = np.rint(low / scale) + 128
    stored = np.clip(np.rint(x / scale[:, None] - offset[:, None]), -128, 127)
    return stored.astype(np.int8), scale, offset


def attend(query: np.ndarray, key: np.ndarray, value: np.ndarray, **antiquant: Tensor) -> np.ndarray:
    """Attention of fp16 queries (B, N, 1, D) over a cache of fp16 or int8, in float32."""
    output = ifa_fusion.incre_flash_attention(
        Tensor(query, ms.float16), [Tensor(key)], [Tensor(value)], **ATTENTION, **antiquant
    )
    return output.asnumpy().astype(np.float32)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--positions", type=int, default=4096)
    parser.add_argument("--picture", help="an SVG file for what is printed")
    options = parser.parse_args(arguments)

    random = np.random.default_rng(0)
    query = random.standard_normal((BATCH, HEADS, 1, CHANNELS))
    # Channels of unlike size and middle, as keys of real models have them.
    size, middle = random.uniform(0.2, 2, (2, KV_HEADS, 1, CHANNELS)), random.normal(0, 1, (2, KV_HEADS, 1, CHANNELS))
    shape = (2, BATCH, KV_HEADS, options.positions, CHANNELS)
    key, value = random.standard_normal(shape) * size[:, None] + middle[:, None]

    (stored_key, *of_key), (stored_value, *of_value) = quantise(key), quantise(value)
    scale, offset = (Tensor(np.stack(pair), ms.float16) for pair in zip(of_key, of_value, strict=True))
    exact = ifa_fusion.reference.incre_flash_attention(query, key, value, **ATTENTION).astype(np.float64)
    outputs = {
        "fp16": attend(query, key.astype(np.float16), value.astype(np.float16)),
        "int8": attend(query, stored_key, stored_value, antiquant_scale=scale, antiquant_offset=offset),
    }

    table = Table(
        "cache",
        "bytes",
        "error against float64",
        title=f"{options.positions} positions, {KV_HEADS} KV heads of {CHANNELS}",
    )
    for kind, output in outputs.items():
        size_of_cache = key.size * 2 * np.dtype(kind.replace("fp", "float")).itemsize
        error = np.sqrt(np.mean((output - exact) ** 2) / np.mean(exact**2))
        table.add_row(kind, f"{size_of_cache:,}", f"{error:.1e} relative RMS")
    console = Console(record=True, width=80)
    console.print(table)
    if options.picture:
        console.save_svg(options.picture, title="examples/int8_cache.py")
    return 0


if __name__ == "__main__":
    sys.exit(main())
