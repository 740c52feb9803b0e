"""The kernel and the read probe, from the library of bench.h, which times them itself."""

from __future__ import annotations

import ctypes
import functools
from enum import Enum
from pathlib import Path

import numpy as np

from ifa_fusion._native import LIBRARY_PATH

from .case import DTYPES, Shape
from .contestant import Contestant, Unsupported
from .paging import paged, shuffled_table
from .ring import Array, Ring, copies

LIBRARY = LIBRARY_PATH.with_name("libifa_bench.so")

# As in kernels/cpu/decode_attention.h.
_CODES = {DTYPES[name]: code for code, name in enumerate(("fp32", "fp16", "bf16", "int8"))}


class _Call(ctypes.Structure):
    """IfaBenchCall of bench.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("dtype", "kv_dtype", *Shape._fields)),
        ("block_size", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("block_table", "query", "key", "value", "antiquant_scale")),
        *((name, ctypes.c_void_p) for name in ("lengths", "starts", "mask", "output")),
        ("threads", ctypes.c_int64),
        ("isa", ctypes.c_char_p),
    )


@functools.cache
def load(path: Path = LIBRARY) -> ctypes.CDLL:
    """The library; FileNotFoundError with a sentence when it was not built."""
    if not path.is_file():
        raise FileNotFoundError(
            f"the benchmark's library {str(path)!r} is not there; `pip install .` in the source folder builds it."
        )
    library = ctypes.CDLL(str(path.absolute()))
    library.ifa_bench_attend.argtypes = [ctypes.POINTER(_Call)]
    library.ifa_bench_attend.restype = ctypes.c_double
    library.ifa_bench_read.argtypes = [ctypes.c_void_p, ctypes.c_void_p, *(ctypes.c_int64,) * 3]
    library.ifa_bench_read.restype = ctypes.c_double
    library.ifa_bench_best_isa.restype = ctypes.c_char_p
    library.ifa_bench_error.restype = ctypes.c_char_p
    return library


def best_isa(library: ctypes.CDLL) -> str:
    """The instruction set that the kernel uses unless told otherwise."""
    return library.ifa_bench_best_isa().decode()


class Half(Enum):
    """What leaves only half of the positions, and so of the reading: the first half, or with padding the last."""

    LENGTHS = "half by lengths"
    MASK = "half by mask"
    PADDING = "half by padding"

    def positions(self, kv_length: int) -> slice:
        """Those that are left."""
        return slice(kv_length // 2, None) if self is Half.PADDING else slice(kv_length // 2)


class Kernel(Contestant):
    """Ours. With a block size on a cache that is paged, its blocks in random order; with a half, on that alone."""

    def __init__(
        self,
        library: ctypes.CDLL,
        ring: Ring,
        threads: int,
        isa: str | None,
        block_size: int = 0,
        half: Half | None = None,
    ) -> None:
        self._library, self._query = library, ring.query
        self._output = np.empty_like(ring.query)
        self._keys, self._values = ring.keys, ring.values
        shape = ring.case.shape
        self._table = None
        if block_size > 0:
            if shape.kv_length % block_size != 0:
                raise Unsupported(f"{block_size} does not divide S")
            self._table = shuffled_table(shape, block_size)
            self._keys, self._values = (
                copies(paged(arrays[0], self._table, block_size), len(ring)) for arrays in (ring.keys, ring.values)
            )
        self._limits = _limits(shape, half)
        self._call = _Call(
            dtype=_CODES[ring.query.dtype],
            kv_dtype=_CODES[ring.keys[0].dtype],
            **shape._asdict(),
            block_size=block_size,
            block_table=None if self._table is None else self._table.ctypes.data,
            query=self._query.ctypes.data,
            antiquant_scale=None if ring.scales is None else ring.scales.ctypes.data,
            output=self._output.ctypes.data,
            threads=threads,
            isa=isa.encode() if isa else None,
            **{name: array.ctypes.data for name, array in self._limits.items()},
        )

    def run(self, slot: int) -> float:
        """Microseconds; ValueError when the kernel refuses the call."""
        self._call.key, self._call.value = self._keys[slot].ctypes.data, self._values[slot].ctypes.data
        microseconds = self._library.ifa_bench_attend(ctypes.byref(self._call))
        if microseconds < 0:
            raise ValueError(self._library.ifa_bench_error().decode())
        return microseconds

    def output(self) -> Array:
        """Of the last run."""
        return self._output


def _limits(shape: Shape, half: Half | None) -> dict[str, Array]:
    if half is None:
        return {}
    left = np.zeros((shape.batch, shape.kv_length), bool)
    left[:, half.positions(shape.kv_length)] = True
    if half is Half.MASK:
        return {"mask": (~left).astype(np.uint8)}
    lengths = {"lengths": left.sum(-1, dtype=np.int64)}
    return lengths if half is Half.LENGTHS else {**lengths, "starts": left.argmax(-1).astype(np.int64)}


class WarmKernel(Contestant):
    """The kernel on a slot that it has read just before: what a call costs besides memory, where a slot is small."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def run(self, slot: int) -> float:
        """Microseconds of the second of two calls."""
        self._kernel.run(slot)
        return self._kernel.run(slot)


class ReadProbe(Contestant):
    """Reads K and V once, as fast as loads and prefetches can: the limit."""

    PATTERNS = ("read at one place", "read at four places", "read at four places, prefetching")
    """By their number in `read_probe.h`."""

    def __init__(self, library: ctypes.CDLL, ring: Ring, threads: int, pattern: int) -> None:
        self._library, self._ring, self._threads, self._pattern = library, ring, threads, pattern

    def run(self, slot: int) -> float:
        """Microseconds."""
        key, value = self._ring.keys[slot], self._ring.values[slot]
        return self._library.ifa_bench_read(
            key.ctypes.data, value.ctypes.data, key.nbytes, self._threads, self._pattern
        )
