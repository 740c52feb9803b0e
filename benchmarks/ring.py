"""Keys and values of several calls, used in turn, so that every call finds its own in memory and not in a cache."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .case import DTYPES, Case

Array = NDArray[np.generic]

_COLD_BYTES = 256 << 20
"""Least that passes between two uses of a buffer."""


class Ring:
    """The slots of one case, all with the same numbers, and a query.

    Attributes:
        case: What it is for.
        query: (B, N, D).
        scales: Of an int8 cache (2, kvN, D), for each channel of key and value, in the type of the query; else None.
        keys: One (B, kvN, S, D) for each slot.
        values: Like ``keys``.
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        random = np.random.default_rng(0)
        self.query = _numbers(random, case.shape.query).astype(case.query_dtype)
        key, value = (_numbers(random, case.shape.cache) for _ in range(2))
        self.scales: Array | None = None
        if case.dtype == "int8":
            key, value = (np.clip(np.rint(numbers * 32), -127, 127) for numbers in (key, value))
            channels = 2, case.shape.kv_heads, case.shape.head_size
            self.scales = random.uniform(1 / 48, 1 / 24, channels).astype(case.query_dtype)
        key, value = (numbers.astype(DTYPES[case.dtype]) for numbers in (key, value))
        self.keys, self.values = (copies(array, _slot_count(case)) for array in (key, value))
        self._next = 0

    def __len__(self) -> int:
        return len(self.keys)

    def floats(self) -> list[NDArray[np.float32]]:
        """Key and value of every slot as the numbers they stand for, each (B, kvN, S, D)."""
        floats = [arrays[0].astype(np.float32) for arrays in (self.keys, self.values)]
        if self.scales is not None:
            for array, scale in zip(floats, self.scales, strict=True):
                array *= scale[:, None]
        return floats

    def next(self) -> int:
        """The slot that was not used for longest."""
        self._next = (self._next + 1) % len(self)
        return self._next


def copies(array: Array, count: int) -> list[Array]:
    """As many copies, each from the start of a page, all in pages of the system's ordinary size.

    NumPy asks for huge pages for a large array; what is compared must lie in memory of the same kind.
    """
    stride = -(-array.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, stride * count)
    made: list[Array] = [np.ndarray(array.shape, array.dtype, memory, i * stride) for i in range(count)]
    for copy in made:
        copy[...] = array
    return made


def last_level_cache() -> int:
    """Bytes of it; 0 where the system does not say."""
    sizes = Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
    return max((int(size.read_text().strip().rstrip("K")) << 10 for size in sizes), default=0)


def cold_bytes() -> int:
    """What passes between two uses of a buffer: more than twice the last-level cache."""
    return max(_COLD_BYTES, 2 * last_level_cache() + (1 << 20))


def _numbers(random: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return random.standard_normal(shape, np.float32)


def _slot_count(case: Case) -> int:
    """How many slots keep a call cold."""
    return 1 + -(-cold_bytes() // case.kv_bytes)
