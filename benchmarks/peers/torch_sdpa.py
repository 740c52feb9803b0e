"""torch's scaled_dot_product_attention, in its two forms for grouped queries."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

import ml_dtypes
import numpy as np

from ..contestant import Peer
from ..ring import Array, Ring

if TYPE_CHECKING:
    import torch


def tensor_of(array: Array) -> torch.Tensor:
    """A tensor over the memory of ``array``, bfloat16 too."""
    import torch

    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


class _TorchSdpa(Peer):
    package: ClassVar = "torch"
    dtypes: ClassVar = frozenset({"fp16", "bf16", "fp32"})

    def __init__(self, ring: Ring, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self._attention = torch.nn.functional.scaled_dot_product_attention
        self._query = self._arranged(tensor_of(ring.query), ring)
        self._keys, self._values = ([tensor_of(a) for a in arrays] for arrays in (ring.keys, ring.values))

    _output: torch.Tensor

    @abstractmethod
    def _arranged(self, query: torch.Tensor, ring: Ring) -> torch.Tensor: ...

    def output(self) -> Array:
        return self._output.float().numpy()


class TorchRows(_TorchSdpa):
    """The query heads of a group as so many query positions: each K and V row is read once."""

    name: ClassVar = "torch, group as rows"

    def _arranged(self, query: torch.Tensor, ring: Ring) -> torch.Tensor:
        shape = ring.case.shape
        return query.view(shape.batch, shape.kv_heads, shape.group, shape.head_size)

    def attend(self, slot: int) -> None:
        self._output = self._attention(self._query, self._keys[slot], self._values[slot])


class TorchGqa(_TorchSdpa):
    """The documented way."""

    name: ClassVar = "torch, enable_gqa"

    def _arranged(self, query: torch.Tensor, ring: Ring) -> torch.Tensor:
        return query.unsqueeze(2)

    def attend(self, slot: int) -> None:
        self._output = self._attention(self._query, self._keys[slot], self._values[slot], enable_gqa=True)
