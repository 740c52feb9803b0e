"""The kernel in a MindSpore graph: what a network runs with this project, MindSpore's own costs included."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ..case import Shape
from .mindspore_unfused import MindSporeUnfused

if TYPE_CHECKING:
    from mindspore import Tensor, nn


class MindSporeFused(MindSporeUnfused):
    """The fused node alone as one compiled graph."""

    name: ClassVar = "MindSpore fused"

    def _rows(self, shape: Shape) -> tuple[int, int]:
        return shape.query_heads, 1

    def _cell(self, shape: Shape) -> nn.Cell:
        from mindspore import nn

        from ifa_fusion import incre_flash_attention

        heads, kv_heads, scale = shape.query_heads, shape.kv_heads, shape.scale

        class Attention(nn.Cell):
            def construct(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
                return incre_flash_attention(
                    query,
                    [key],
                    [value],
                    num_heads=heads,
                    num_key_value_heads=kv_heads,
                    input_layout="BNSD",
                    scale_value=scale,
                )

        return Attention()
