"""The decoder of T5: no positions in the embedding, but a learned bias on the scores by distance.

Each block also attends to the encoder's output, through keys and values that are computed once for all steps
(`T5.memory`). Scores are not scaled, for the weights were made so that they need not be; the mask is in the
bias. Parameter names are those of Hugging Face without the leading "decoder." and with "layers" for "block"; the
bias table, which the first block holds there, belongs to the decoder here.
"""

from __future__ import annotations

import math

import numpy as np
from mindspore import Tensor, nn, ops
from mindspore import dtype as mstype

from .attention import merge_heads, split_heads
from .config import ModelConfig
from .decoder import Context, Decoder
from .norms import RMSNorm
from .weights import linear, zeros


class T5Attention(nn.Cell):
    """The projections of an attention, and the attention of one token over given keys and values."""

    def __init__(self, config: ModelConfig, dtype: mstype.Type) -> None:
        super().__init__()
        inner = config.num_heads * config.head_dim
        self.q = linear(config.hidden_size, inner, False, dtype)
        self.k = linear(config.hidden_size, inner, False, dtype)
        self.v = linear(config.hidden_size, inner, False, dtype)
        self.o = linear(inner, config.hidden_size, False, dtype)
        self.heads = config.num_heads

    def construct(self, x: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None) -> Tensor:
        """x: (B, 1, hidden); keys, values: (B, N, S, D); `bias`: (1, N, 1, S) or None. Returns (B, 1, hidden)."""
        query = split_heads(self.q(x), self.heads)
        scores = ops.matmul(query, ops.transpose(keys, (0, 1, 3, 2)))
        if bias is not None:
            scores = scores + bias
        weights = ops.cast(ops.softmax(ops.cast(scores, mstype.float32), -1), scores.dtype)
        return self.o(merge_heads(ops.matmul(weights, values)))


class T5LayerSelfAttention(nn.Cell):
    """Attention over the cache, behind a norm and a residual."""

    def __init__(self, config: ModelConfig, cache: nn.Cell, dtype: mstype.Type) -> None:
        super().__init__()
        self.SelfAttention = T5Attention(config, dtype)
        self.layer_norm = RMSNorm(config.hidden_size, config.norm_eps, dtype)
        self.cache = cache

    def construct(self, x: Tensor, bias: Tensor, slot: Tensor | None, past: tuple) -> tuple[Tensor, Tensor, Tensor]:
        """x: (B, 1, hidden); `bias`: (1, N, 1, S)."""
        normed = self.layer_norm(x)
        key = split_heads(self.SelfAttention.k(normed), self.SelfAttention.heads)
        value = split_heads(self.SelfAttention.v(normed), self.SelfAttention.heads)
        keys, values = self.cache(key, value, slot, past)
        return x + self.SelfAttention(normed, keys, values, bias), keys, values


class T5LayerCrossAttention(nn.Cell):
    """Attention over the encoder's output, behind a norm and a residual."""

    def __init__(self, config: ModelConfig, dtype: mstype.Type) -> None:
        super().__init__()
        self.EncDecAttention = T5Attention(config, dtype)
        self.layer_norm = RMSNorm(config.hidden_size, config.norm_eps, dtype)

    def construct(self, x: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """x: (B, 1, hidden); keys, values: (B, N, M, D)."""
        return x + self.EncDecAttention(self.layer_norm(x), keys, values, None)


class T5MLP(nn.Cell):
    """wo(relu(wi(x))), or in T5 1.1 wo(gelu(wi_0(x)) * wi_1(x)), GELU by its tanh approximation."""

    def __init__(self, config: ModelConfig, dtype: mstype.Type) -> None:
        super().__init__()
        self.is_gated = config.gated_mlp
        if config.gated_mlp:
            self.wi_0 = linear(config.hidden_size, config.intermediate_size, False, dtype)
            self.wi_1 = linear(config.hidden_size, config.intermediate_size, False, dtype)
        else:
            self.wi = linear(config.hidden_size, config.intermediate_size, False, dtype)
        self.wo = linear(config.intermediate_size, config.hidden_size, False, dtype)

    def construct(self, x: Tensor) -> Tensor:
        """x: (B, 1, hidden); so is the result."""
        if self.is_gated:
            return self.wo(ops.gelu(self.wi_0(x), approximate="tanh") * self.wi_1(x))
        return self.wo(ops.relu(self.wi(x)))


class T5LayerFF(nn.Cell):
    """The MLP, behind a norm and a residual."""

    def __init__(self, config: ModelConfig, dtype: mstype.Type) -> None:
        super().__init__()
        self.DenseReluDense = T5MLP(config, dtype)
        self.layer_norm = RMSNorm(config.hidden_size, config.norm_eps, dtype)

    def construct(self, x: Tensor) -> Tensor:
        """x: (B, 1, hidden); so is the result."""
        return x + self.DenseReluDense(self.layer_norm(x))


class T5Block(nn.Cell):
    """Self attention, cross attention and MLP."""

    def __init__(self, config: ModelConfig, cache: nn.Cell, dtype: mstype.Type) -> None:
        super().__init__()
        self.layer = nn.CellList(
            [T5LayerSelfAttention(config, cache, dtype), T5LayerCrossAttention(config, dtype), T5LayerFF(config, dtype)]
        )

    def construct(self, x: Tensor, context: Tensor, slot: Tensor | None, past: tuple) -> tuple[Tensor, Tensor, Tensor]:
        """Hidden state (B, 1, hidden) to the next, with the layer's keys and values (B, N, S, D).

        The last two of `past` are the keys and values of the encoder's output, (B, N, M, D).
        """
        x, keys, values = self.layer[0](x, context, slot, past[:-2])
        return self.layer[2](self.layer[1](x, past[-2], past[-1])), keys, values


class T5(Decoder):
    """One decode step of T5.

    The step takes what `memory` returns after all other inputs.
    """

    def block(self) -> nn.Cell:
        """A new block."""
        return T5Block(self.config, self.new_cache(), self.dtype)

    def create_ends(self) -> None:
        """Embedding, final norm, head and the bias by distance."""
        config = self.config
        self.shared = self.table("shared")
        self.final_layer_norm = RMSNorm(config.hidden_size, config.norm_eps, self.dtype)
        self.lm_head = self.output_table(self.shared)
        self.head_scale = config.hidden_size**-0.5 if config.scaled_head else 1.0
        self.bias_rows = zeros(
            (config.relative_buckets, config.num_heads), self.dtype, "relative_attention_bias.weight"
        )
        self.buckets = Tensor(distance_buckets(config.relative_buckets, config.relative_distance))

    def memory(self, encoded: Tensor) -> list[Tensor]:
        """Key and value of each layer, (B, N, M, D), for the encoder's output, (B, M, hidden_size).

        Raises ValueError when `encoded` has another shape.
        """
        batch, hidden = self.batch, self.config.hidden_size
        if encoded.ndim != 3 or (encoded.shape[0], encoded.shape[2]) != (batch, hidden):
            raise ValueError(f"encoded has shape {encoded.shape}; it must be ({batch}, M, {hidden})")
        states = ops.cast(encoded, self.dtype)
        by_head = (batch, -1, self.config.num_heads, self.config.head_dim)
        memory = []
        for block in self.layers:
            attention = block.layer[1].EncDecAttention
            for weight in (attention.k.weight, attention.v.weight):
                memory.append(ops.transpose(ops.reshape(ops.dense(states, weight), by_head), (0, 2, 1, 3)))
        return memory

    def layer_past(self, index: int, past: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The layer's own past, if it comes in, and then its part of the memory."""
        memory = past[-2 * self.config.num_layers :]
        own = () if self.is_static else past[2 * index : 2 * index + 2]
        return own + memory[2 * index : 2 * index + 2]

    def embed(self, token: Tensor, position: Tensor) -> Tensor:
        """The token's row of the table; positions come in by the bias."""
        return ops.gather(self.shared, token, 0)

    def head(self, hidden: Tensor) -> Tensor:
        """Logits (B, vocab_size) of (B, hidden_size)."""
        return self.project(self.final_layer_norm(hidden) * self.head_scale, self.lm_head)

    def context(self, position: Tensor, positions: Tensor, visible: Tensor | None) -> Context:
        """The bias on self attention's scores, mask included, (1, N, 1, S)."""
        distance = ops.clip(position - positions, 0, self.config.relative_distance)
        rows = ops.gather(self.bias_rows, ops.gather(self.buckets, distance, 0), 0)
        bias = ops.reshape(ops.transpose(rows, (1, 0)), (1, self.config.num_heads, 1, -1))
        return bias if visible is None else bias + self.additive(visible)


def distance_buckets(buckets: int, distance: int) -> np.ndarray:
    """The bucket of every distance from 0 to `distance`, int32 (distance + 1,).

    Half of the buckets are for one distance each, the others grow logarithmically; the last takes all beyond.
    """
    exact = buckets // 2
    distances = np.arange(distance + 1)
    steps = np.log(np.maximum(distances, exact) / exact) / math.log(distance / exact) * (buckets - exact)
    return np.where(distances < exact, distances, np.minimum(exact + steps.astype(int), buckets - 1)).astype(np.int32)
