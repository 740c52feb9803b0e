"""Bloom: no positions in the embedding, but a bias on the scores that grows along the sequence (alibi).

The bias is the addend of the score matmul, in which batch and heads are one dimension. Parameter names are
those of Hugging Face with "layers" for "transformer.h".
"""

from __future__ import annotations

import math

import numpy as np
from mindspore import Tensor, nn, ops
from mindspore import dtype as mstype

from .attention import merge_heads
from .config import ModelConfig
from .decoder import Context, Decoder
from .norms import LayerNorm
from .weights import linear


class BloomAttention(nn.Cell):
    """Multi-head attention of one new token over the cache.

    The rows of `query_key_value` are those of each head in turn: query, key, value.
    """

    def __init__(self, config: ModelConfig, cache: nn.Cell, dtype: mstype.Type) -> None:
        super().__init__()
        self.query_key_value = linear(config.hidden_size, 3 * config.hidden_size, True, dtype)
        self.dense = linear(config.hidden_size, config.hidden_size, True, dtype)
        self.cache = cache
        self.heads, self.head_dim = config.num_heads, config.head_dim
        self.scale = config.head_dim**-0.5

    def construct(self, x: Tensor, context: tuple, slot: Tensor | None, past: tuple) -> tuple[Tensor, Tensor, Tensor]:
        """x: (B, 1, hidden). `context`: alibi (B * N, 1, S), additive mask (1, 1, 1, S) or None."""
        alibi, mask = context
        by_head = ops.reshape(self.query_key_value(x), (-1, self.heads, 3, self.head_dim))
        query, key, value = ops.split(by_head, 1, 2)
        keys, values = self.cache(key, value, slot, past)
        flat_keys = ops.transpose(self.flat(keys), (0, 2, 1))

        scores = ops.baddbmm(alibi, self.flat(query), flat_keys, beta=1.0, alpha=self.scale)
        scores = ops.reshape(scores, (x.shape[0], self.heads, 1, -1))
        if mask is not None:
            scores = scores + mask
        weights = ops.cast(ops.softmax(ops.cast(scores, mstype.float32), -1), x.dtype)
        weights = ops.reshape(weights, (x.shape[0] * self.heads, 1, -1))
        mixed = ops.reshape(ops.bmm(weights, self.flat(values)), query.shape)
        return self.dense(merge_heads(mixed)), keys, values

    def flat(self, x: Tensor) -> Tensor:
        """(B, N, S, D) to (B * N, S, D)."""
        return ops.reshape(x, (x.shape[0] * self.heads, -1, self.head_dim))


class BloomMLP(nn.Cell):
    """4h_to_h(gelu(h_to_4h(x))), GELU by its tanh approximation."""

    def __init__(self, config: ModelConfig, dtype: mstype.Type) -> None:
        super().__init__()
        self.dense_h_to_4h = linear(config.hidden_size, config.intermediate_size, True, dtype)
        self.dense_4h_to_h = linear(config.intermediate_size, config.hidden_size, True, dtype)

    def construct(self, x: Tensor) -> Tensor:
        """x: (B, 1, hidden); so is the result."""
        return self.dense_4h_to_h(ops.gelu(self.dense_h_to_4h(x), approximate="tanh"))


class BloomBlock(nn.Cell):
    """Attention and MLP, each behind a norm and a residual."""

    def __init__(self, config: ModelConfig, cache: nn.Cell, dtype: mstype.Type) -> None:
        super().__init__()
        self.input_layernorm = LayerNorm(config.hidden_size, config.norm_eps, dtype)
        self.self_attention = BloomAttention(config, cache, dtype)
        self.post_attention_layernorm = LayerNorm(config.hidden_size, config.norm_eps, dtype)
        self.mlp = BloomMLP(config, dtype)

    def construct(self, x: Tensor, context: tuple, slot: Tensor | None, past: tuple) -> tuple[Tensor, Tensor, Tensor]:
        """Hidden state (B, 1, hidden) to the next, with the layer's keys and values (B, N, S, D)."""
        attended, keys, values = self.self_attention(self.input_layernorm(x), context, slot, past)
        x = x + attended
        return x + self.mlp(self.post_attention_layernorm(x)), keys, values


class Bloom(Decoder):
    """One decode step of Bloom."""

    def block(self) -> nn.Cell:
        """A new block."""
        return BloomBlock(self.config, self.new_cache(), self.dtype)

    def create_ends(self) -> None:
        """Embedding with a norm of its own, final norm, head and the slope of each head's bias."""
        self.word_embeddings = self.table("word_embeddings")
        self.word_embeddings_layernorm = LayerNorm(self.config.hidden_size, self.config.norm_eps, self.dtype)
        self.ln_f = LayerNorm(self.config.hidden_size, self.config.norm_eps, self.dtype)
        self.lm_head = self.output_table(self.word_embeddings)
        slopes = np.tile(alibi_slopes(self.config.num_heads), self.batch)
        self.slopes = Tensor(slopes.astype(np.float32).reshape(-1, 1, 1))

    def embed(self, token: Tensor, position: Tensor) -> Tensor:
        """The token's row of the table, normed."""
        return self.word_embeddings_layernorm(ops.gather(self.word_embeddings, token, 0))

    def head(self, hidden: Tensor) -> Tensor:
        """Logits (B, vocab_size) of (B, hidden_size)."""
        return self.project(self.ln_f(hidden), self.lm_head)

    def context(self, position: Tensor, positions: Tensor, visible: Tensor | None) -> Context:
        """The bias, slope times position, (B * N, 1, S), and the additive mask, (1, 1, 1, S) or None."""
        alibi = self.slopes * ops.cast(positions, mstype.float32)
        return ops.cast(alibi, self.dtype), self.additive(visible)


def alibi_slopes(heads: int) -> np.ndarray:
    """The slope of each head, float64 (heads,).

    For a power of two they fall evenly in the exponent, to 2**-8. The heads beyond the largest power of two
    take every second slope of twice as many heads.
    """
    power = 2 ** math.floor(math.log2(heads))
    slopes = 2.0 ** (-8 / power * np.arange(1, power + 1))
    between = 2.0 ** (-4 / power * np.arange(1, 2 * power, 2))
    return np.concatenate((slopes, between[: heads - power]))
