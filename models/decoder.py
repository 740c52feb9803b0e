"""One decode step of a decoder: embedding, blocks, final norm, logits.

`Decoder` holds what the families share: the cache, the mask, the tables of tokens and the loop. A model adds
its blocks and what stands around them. Attention is spelled out operator by operator in the model files;
nothing here knows that it can be fused.
"""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore import dtype as mstype

from .cache import GrowingCache, StaticCache, cache_slots
from .config import ModelConfig
from .weights import zeros

DTYPES = {"float32": ms.float32, "float16": ms.float16, "bfloat16": ms.bfloat16}
CACHES = ("static", "growing")

# What a model's blocks share in one step: positions and the mask, in the form that the model uses.
Context = Any


def lowest(dtype: mstype.Type) -> float:
    """The lowest finite value, which hides a score: -inf would make NaN of a row that is hidden entirely."""
    return float(np.finfo(np.float16 if dtype == mstype.float16 else np.float32).min)


class Decoder(nn.Cell):
    """A decode step for one token per sequence.

    With `cache="static"` the step is `logits = net(token, position)` and the cache lives in the network:
    `capacity` tokens at most. With `cache="growing"` it is `logits, *present = net(token, position, *past)`,
    where `past` is key and value of each layer in turn, each (B, kvN, S, D), and `present` the same one token
    longer. A model that also attends to an encoder's output takes that after all these.

    token: int32 (B, 1). position: int32 (), the token's index, the same for every sequence. logits: (B,
    vocab_size).
    """

    def __init__(
        self,
        config: ModelConfig,
        cache: str = "static",
        *,
        batch: int = 1,
        capacity: int = 0,
        dtype: str = "float32",
    ) -> None:
        super().__init__()
        if cache not in CACHES:
            raise ValueError(f"cache is {cache!r}; it must be one of {', '.join(CACHES)}")
        if dtype not in DTYPES:
            raise ValueError(f"dtype is {dtype!r}; it must be one of {', '.join(DTYPES)}")
        if batch < 1:
            raise ValueError(f"batch is {batch}; it must be at least 1")
        self.config = config
        self.batch = batch
        self.dtype = DTYPES[dtype]
        self.is_static = cache == "static"
        self.capacity = (capacity or config.max_positions) if self.is_static else 0
        if capacity and not 1 <= capacity <= config.max_positions:
            raise ValueError(f"capacity is {capacity}; it must be between 1 and {config.max_positions}, or 0 for that")
        self.kv_shape = (batch, config.num_kv_heads, self.capacity, config.head_dim)
        self.slots = cache_slots(batch, config.num_kv_heads)
        self.window = config.window
        self.indices = Tensor(np.arange(self.capacity, dtype=np.int32))
        self.kept, self.masked = Tensor(0.0, self.dtype), Tensor(lowest(self.dtype), self.dtype)
        self.layers = nn.CellList([self.block() for _ in range(config.num_layers)])
        self.project = ops.MatMul(transpose_b=True)
        self.create_ends()

    def block(self) -> nn.Cell:
        """A new transformer block: from hidden, context, slot and past to hidden, keys and values."""
        raise NotImplementedError

    def create_ends(self) -> None:
        """Create what stands around the blocks: embedding, final norm, head."""
        raise NotImplementedError

    def embed(self, token: Tensor, position: Tensor) -> Tensor:
        """Token (B, 1) to hidden state (B, 1, hidden_size)."""
        raise NotImplementedError

    def head(self, hidden: Tensor) -> Tensor:
        """Hidden state (B, hidden_size) to logits (B, vocab_size)."""
        raise NotImplementedError

    def context(self, position: Tensor, positions: Tensor, visible: Tensor | None) -> Context:
        """What every block's attention needs to know about this step; computed once.

        position: int32 (), the token's. positions: int32 (S,), those of the cached tokens. `visible`: which of
        them this step attends to, bool (1, 1, 1, S), or None for all.
        """
        raise NotImplementedError

    def new_cache(self) -> nn.Cell:
        """The cache of one layer."""
        return StaticCache(*self.kv_shape, self.dtype) if self.is_static else GrowingCache()

    def table(self, name: str) -> Parameter:
        """A row for each token of the vocabulary, (vocab_size, hidden_size)."""
        return zeros((self.config.vocab_size, self.config.hidden_size), self.dtype, f"{name}.weight")

    def output_table(self, embedding: Parameter) -> Parameter:
        """The rows that make logits: those of the embedding when they are tied, or rows of their own."""
        return embedding if self.config.tied_embeddings else self.table("lm_head")

    def weights(self) -> dict[str, Parameter]:
        """Parameters by name, without the caches."""
        return {p.name: p for p in self.get_parameters() if ".cache." not in p.name}

    def construct(self, token: Tensor, position: Tensor, *past: Tensor) -> Tensor | tuple[Tensor, ...]:
        """One step; the class says what goes in and out."""
        slot = self.slot(position) if self.is_static else None
        positions = self.indices if self.is_static else ops.arange(past[0].shape[2] + 1)
        context = self.context(position, positions, self.visible(position, positions))
        hidden = self.embed(token, position)
        present: tuple[Tensor, ...] = ()
        for index, layer in enumerate(self.layers):
            hidden, key, value = layer(hidden, context, slot, self.layer_past(index, past))
            present += (key, value)
        logits = self.head(ops.reshape(hidden, (self.batch, -1)))
        return logits if self.is_static else (logits, *present)

    def layer_past(self, index: int, past: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """What of the step's `past` belongs to one layer."""
        return past[2 * index : 2 * index + 2]

    def slot(self, position: Tensor) -> Tensor:
        """Where the step writes its keys and values: int32 (B * kvN, 3)."""
        rows = self.batch * self.config.num_kv_heads
        return ops.concat((self.slots, ops.tile(ops.reshape(position, (1, 1)), (rows, 1))), 1)

    def visible(self, position: Tensor, positions: Tensor) -> Tensor | None:
        """Which cached tokens this step attends to: bool (1, 1, 1, S), or None for all of them."""
        if self.is_static:
            seen = positions <= position
            if self.window is not None:
                seen = ops.logical_and(seen, positions > position - self.window)
        elif self.window is not None:
            seen = positions > position - self.window
        else:
            return None
        return ops.reshape(seen, (1, 1, 1, -1))

    def additive(self, visible: Tensor | None) -> Tensor | None:
        """The mask that is added to scores: 0 or the lowest number of the model's dtype."""
        return None if visible is None else ops.select(visible, self.kept, self.masked)
