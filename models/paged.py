"""A Llama whose sequences stand at different positions, with their keys and values in blocks of one pool.

What runs is one decode step of a fixed batch. Which sequence holds which blocks is decided outside, see
`models.batching`.
"""

from __future__ import annotations

import numpy as np
from mindspore import ParameterTuple, Tensor, nn, ops

from .cache import PagedCache, empty
from .config import ModelConfig
from .llama import Llama, require_llama


class PagedLlama(Llama):
    """A decode step for one token per sequence, each at a position of its own: `logits = net(token, position, table)`.

    token: int32 (B, 1). position: int32 (B,). table: int32 (B, `table_width`), the numbers of each sequence's blocks in
    the order of its positions. logits: (B, vocab_size). Keys and values of all layers lie in `blocks` blocks of
    `block_size` positions. Rows of the batch that are not in use may share a block that no sequence holds.

    Raises ValueError for a model of another family, or more positions than the model has.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        batch: int,
        blocks: int,
        table_width: int,
        block_size: int = 16,
        dtype: str = "float32",
    ) -> None:
        require_llama(config)
        super().__init__(config, "growing", batch=batch, dtype=dtype)
        self.blocks, self.table_width, self.block_size = blocks, table_width, block_size
        self.capacity = table_width * block_size
        if not 1 <= self.capacity <= config.max_positions:
            raise ValueError(
                f"table_width is {table_width}, which makes {self.capacity} positions a sequence; "
                f"there must be between 1 and {config.max_positions}"
            )
        self.indices = Tensor(np.arange(self.capacity, dtype=np.int32))
        shape = (blocks, block_size, config.num_kv_heads, config.head_dim)
        names = [f"layers.{index}.cache." for index in range(config.num_layers)]
        self.keys = ParameterTuple([empty(shape, self.dtype, f"{name}key") for name in names])
        self.values = ParameterTuple([empty(shape, self.dtype, f"{name}value") for name in names])

    def new_cache(self) -> nn.Cell:
        """What writes to the blocks of one layer and reads them; the blocks themselves belong to the network."""
        return PagedCache(self.batch, self.config.num_kv_heads, self.config.head_dim)

    def construct(self, token: Tensor, position: Tensor, table: Tensor) -> Tensor:
        """One step; the class says what goes in and out."""
        own = ops.reshape(position, (-1, 1, 1, 1))
        context = self.context(own, self.indices, self.visible(own, self.indices))
        column = ops.reshape(position, (-1, 1))
        slot = ops.concat((ops.gather_d(table, 1, column // self.block_size), column % self.block_size), 1)
        hidden = self.embed(token, position)
        for index, layer in enumerate(self.layers):
            hidden, _, _ = layer(hidden, context, slot, (self.keys[index], self.values[index], table))
        return self.head(ops.reshape(hidden, (self.batch, -1)))

    def visible(self, position: Tensor, positions: Tensor) -> Tensor:
        """Which positions each sequence attends to, bool (B, 1, 1, S); position: int32 (B, 1, 1, 1)."""
        seen = positions <= position
        return seen if self.window is None else ops.logical_and(seen, positions > position - self.window)
