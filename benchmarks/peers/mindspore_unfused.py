"""MindSpore's own operators, unfused: what a network runs without this project."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..case import Shape
from ..contestant import Peer
from ..ring import Array, Ring

if TYPE_CHECKING:
    from mindspore import Tensor, nn


class MindSporeUnfused(Peer):
    """Matmul, scale, softmax and matmul as one compiled graph; the query heads of a group as rows of one product."""

    name: ClassVar = "MindSpore unfused"
    package: ClassVar = "mindspore"
    dtypes: ClassVar = frozenset({"fp16", "fp32"})

    def __init__(self, ring: Ring, threads: int) -> None:
        import mindspore as ms

        shape = ring.case.shape
        _set_up(threads)
        self._attention = self._cell(shape)
        rows = ring.query.reshape(shape.batch, *self._rows(shape), shape.head_size)
        self._query = ms.Tensor.from_numpy(np.ascontiguousarray(rows))
        self._keys, self._values = ([ms.Tensor.from_numpy(a) for a in arrays] for arrays in (ring.keys, ring.values))

    def _rows(self, shape: Shape) -> tuple[int, int]:
        """The query's sizes between batch and channels."""
        return shape.kv_heads, shape.group

    def _cell(self, shape: Shape) -> nn.Cell:
        """The network."""
        from mindspore import nn, ops

        scale = shape.scale

        class Attention(nn.Cell):
            def construct(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
                scores = ops.matmul(query, key.swapaxes(2, 3)) * scale
                return ops.matmul(ops.softmax(scores, axis=-1), value)

        return Attention()

    def attend(self, slot: int) -> None:
        self._output = self._attention(self._query, self._keys[slot], self._values[slot]).asnumpy()

    def output(self) -> Array:
        return self._output


@functools.cache
def _set_up(threads: int) -> None:
    """Graph mode, and threads, which MindSpore lets a process set once."""
    import mindspore as ms

    ms.set_context(mode=ms.GRAPH_MODE)
    ms.device_context.cpu.op_tuning.threads_num(threads)
