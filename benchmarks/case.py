"""What is measured: a shape of one decode step and the type of its cache."""

from __future__ import annotations

from typing import NamedTuple

import ml_dtypes
import numpy as np

DTYPES: dict[str, np.dtype] = {
    "fp16": np.dtype(np.float16),
    "bf16": np.dtype(ml_dtypes.bfloat16),
    "fp32": np.dtype(np.float32),
    "int8": np.dtype(np.int8),
}
"""The types of key and value, by the names used in tables."""


class Shape(NamedTuple):
    """B sequences, N query heads and kvN KV heads of size D, S positions in the cache of each sequence."""

    batch: int
    query_heads: int
    kv_heads: int
    kv_length: int
    head_size: int

    @property
    def group(self) -> int:
        """Query heads that share a KV head."""
        return self.query_heads // self.kv_heads

    @property
    def scale(self) -> float:
        """Of the softmax."""
        return self.head_size**-0.5

    @property
    def query(self) -> tuple[int, int, int]:
        """The shape of query and output: (B, N, D)."""
        return self.batch, self.query_heads, self.head_size

    @property
    def cache(self) -> tuple[int, int, int, int]:
        """The shape of key and value: (B, kvN, S, D)."""
        return self.batch, self.kv_heads, self.kv_length, self.head_size

    def __str__(self) -> str:
        return ",".join(map(str, self))


class Case(NamedTuple):
    """One row of the table."""

    shape: Shape
    dtype: str

    @property
    def query_dtype(self) -> np.dtype:
        """Of query and output: that of the cache; beside an int8 cache fp16."""
        return DTYPES["fp16" if self.dtype == "int8" else self.dtype]

    @property
    def kv_bytes(self) -> int:
        """Of K and V together."""
        return 2 * int(np.prod(self.shape.cache)) * DTYPES[self.dtype].itemsize


SHAPES = (
    Shape(1, 32, 32, 4096, 128),
    Shape(1, 32, 8, 4096, 128),
    Shape(1, 32, 8, 32768, 128),
    Shape(8, 32, 8, 2048, 128),
    Shape(16, 16, 2, 1024, 64),
    Shape(1, 8, 1, 8192, 256),
    Shape(32, 32, 8, 512, 128),
    Shape(1, 8, 8, 128, 64),
)
"""Multi-head, grouped-query and multi-query models, short and long contexts, head sizes 64 to 256; and a call so
small that starting it is most of it."""


def parse_shape(text: str) -> Shape:
    """The shape that "B,N,kvN,S,D" says; ValueError when it is none."""
    try:
        shape = Shape(*map(int, text.split(",")))
    except (TypeError, ValueError):
        shape = Shape(0, 0, 0, 0, 0)
    if min(shape) < 1 or shape.head_size > 512 or shape.query_heads % shape.kv_heads != 0:
        raise ValueError(
            f"--shape is '{text}'; it must be B,N,kvN,S,D: five numbers above 0, N a multiple of kvN, D up to 512."
        )
    return shape
