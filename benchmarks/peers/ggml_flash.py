"""ggml's flash attention, of llama.cpp."""

from __future__ import annotations

import ctypes
import functools
import weakref
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..contestant import Peer
from ..ring import Array, Ring, copies

_TYPES = {"fp16": "GGML_TYPE_F16", "bf16": "GGML_TYPE_BF16", "fp32": "GGML_TYPE_F32", "int8": "GGML_TYPE_Q8_0"}


class GgmlFlash(Peer):
    """The query is fp32, as ggml wants it; the cache is of the type of the case, for int8 ggml's own q8_0."""

    name: ClassVar = "ggml"
    package: ClassVar = "ggml-python"
    dtypes: ClassVar = frozenset(_TYPES)

    def __init__(self, ring: Ring, threads: int) -> None:
        import ggml

        self._ggml = ggml
        shape = ring.case.shape
        ggml.ggml_cpu_init()
        size = ggml.ggml_graph_overhead() + 8 * ggml.ggml_tensor_overhead()
        context = ggml.ggml_init(ggml.ggml_init_params(mem_size=size, mem_buffer=None, no_alloc=True))
        weakref.finalize(self, ggml.ggml_free, context)
        self._query = ring.query.astype(np.float32)
        self._output = np.empty(shape.query, np.float32)
        cache_type = getattr(ggml, _TYPES[ring.case.dtype])
        self._keys, self._values = ring.keys, ring.values
        if ring.case.dtype == "int8":
            self._keys, self._values = (copies(_quantised(array, cache_type), len(ring)) for array in ring.floats())
        extents = shape.head_size, shape.kv_length, shape.kv_heads, shape.batch
        tensor = functools.partial(ggml.ggml_new_tensor_4d, context)
        query = tensor(ggml.GGML_TYPE_F32, shape.head_size, 1, shape.query_heads, shape.batch)
        self._key, self._value = tensor(cache_type, *extents), tensor(cache_type, *extents)
        result = ggml.ggml_flash_attn_ext(context, query, self._key, self._value, None, shape.scale, 0.0, 0.0)
        query.contents.data, result.contents.data = self._query.ctypes.data, self._output.ctypes.data
        self._graph = ggml.ggml_new_graph(context)
        ggml.ggml_build_forward_expand(self._graph, result)
        parameters = ggml.ggml_threadpool_params_default(threads)
        pool = ggml.ggml_threadpool_new(ctypes.byref(parameters))
        weakref.finalize(self, ggml.ggml_threadpool_free, pool)
        self._plan = ggml.ggml_graph_plan(self._graph, threads, pool)
        self._work = np.empty(max(self._plan.work_size, 1), np.uint8)
        self._plan.work_data = self._work.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))

    def attend(self, slot: int) -> None:
        self._key.contents.data = self._keys[slot].ctypes.data
        self._value.contents.data = self._values[slot].ctypes.data
        self._ggml.ggml_graph_compute(self._graph, ctypes.byref(self._plan))

    def output(self) -> Array:
        return self._output


def _quantised(array: NDArray[np.float32], cache_type: int) -> NDArray[np.uint8]:
    """The bytes of ``array`` in a type of ggml's that has scales among its numbers."""
    import ggml

    size = array.shape[-1]
    rows = array.size // size
    quantised = np.empty(rows * ggml.ggml_row_size(cache_type, size), np.uint8)
    source = array.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    ggml.ggml_quantize_chunk(cache_type, source, quantised.ctypes.data, 0, rows, size, None)
    return quantised
