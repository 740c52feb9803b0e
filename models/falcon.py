"""Falcon: attention and MLP side by side on one residual, rotary positions, one KV head or a few.

Falcon-7B has one KV head, which the matmuls broadcast, and one norm for both halves of a block; Falcon-40B has
a query group for each KV head, which is repeated, and a norm for each half. (The original repeats the new key
and value before they are cached; here the cache holds the KV heads.) The scores are divided, and the softmax is
in the model's dtype. Parameter names are those of Hugging Face with "layers" for "transformer.h".
"""

from __future__ import annotations

from mindspore import Tensor, nn, ops
from mindspore import dtype as mstype

from .attention import merge_heads, repeat_heads
from .config import ModelConfig
from .decoder import Context, Decoder
from .norms import LayerNorm
from .rotary import Rotary, rotate_halves
from .weights import linear


class FalconAttention(nn.Cell):
    """Grouped-query attention of one new token over the cache.

    The rows of `query_key_value` are those of each KV head in turn: its query group, its key, its value.
    """

    def __init__(self, config: ModelConfig, cache: nn.Cell, dtype: mstype.Type) -> None:
        super().__init__()
        hidden, size = config.hidden_size, config.head_dim
        self.query_key_value = linear(hidden, (config.num_heads + 2 * config.num_kv_heads) * size, False, dtype)
        self.dense = linear(hidden, hidden, False, dtype)
        self.cache = cache
        self.heads, self.kv_heads, self.groups = config.num_heads, config.num_kv_heads, config.group_size
        self.head_dim, self.root = size, size**0.5

    def construct(self, x: Tensor, context: tuple, slot: Tensor | None, past: tuple) -> tuple[Tensor, Tensor, Tensor]:
        """x: (B, 1, hidden). `context`: cosines and sines (head_dim,), additive mask (1, 1, 1, S) or None."""
        cos, sin, mask = context
        grouped = ops.reshape(self.query_key_value(x), (-1, self.kv_heads, self.groups + 2, self.head_dim))
        query, key, value = ops.split(grouped, (self.groups, 1, 1), 2)
        query = rotate_halves(ops.reshape(query, (-1, self.heads, 1, self.head_dim)), cos, sin)
        keys, values = self.cache(rotate_halves(key, cos, sin), value, slot, past)
        return self.dense(merge_heads(self.attend(query, keys, values, mask))), keys, values

    def attend(self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        """query: (B, N, 1, D); keys, values: (B, kvN, S, D); mask: additive (1, 1, 1, S) or None."""
        if self.kv_heads > 1:
            keys, values = repeat_heads(keys, self.groups), repeat_heads(values, self.groups)
        scores = ops.matmul(query, ops.transpose(keys, (0, 1, 3, 2))) / self.root
        if mask is not None:
            scores = scores + mask
        return ops.matmul(ops.softmax(scores, -1), values)


class FalconMLP(nn.Cell):
    """4h_to_h(gelu(h_to_4h(x)))."""

    def __init__(self, config: ModelConfig, dtype: mstype.Type) -> None:
        super().__init__()
        self.dense_h_to_4h = linear(config.hidden_size, config.intermediate_size, False, dtype)
        self.dense_4h_to_h = linear(config.intermediate_size, config.hidden_size, False, dtype)

    def construct(self, x: Tensor) -> Tensor:
        """x: (B, 1, hidden); so is the result."""
        return self.dense_4h_to_h(ops.gelu(self.dense_h_to_4h(x)))


class FalconBlock(nn.Cell):
    """Attention and MLP side by side, behind one norm or one each."""

    def __init__(self, config: ModelConfig, cache: nn.Cell, dtype: mstype.Type) -> None:
        super().__init__()
        self.self_attention = FalconAttention(config, cache, dtype)
        self.mlp = FalconMLP(config, dtype)
        self.has_mlp_norm = config.mlp_norm
        if config.mlp_norm:
            self.ln_attn = LayerNorm(config.hidden_size, config.norm_eps, dtype)
            self.ln_mlp = LayerNorm(config.hidden_size, config.norm_eps, dtype)
        else:
            self.input_layernorm = LayerNorm(config.hidden_size, config.norm_eps, dtype)

    def construct(self, x: Tensor, context: tuple, slot: Tensor | None, past: tuple) -> tuple[Tensor, Tensor, Tensor]:
        """Hidden state (B, 1, hidden) to the next, with the layer's keys and values (B, kvN, S, D)."""
        normed = self.ln_attn(x) if self.has_mlp_norm else self.input_layernorm(x)
        attended, keys, values = self.self_attention(normed, context, slot, past)
        if self.has_mlp_norm:
            normed = self.ln_mlp(x)
        return x + attended + self.mlp(normed), keys, values


class Falcon(Decoder):
    """One decode step of Falcon."""

    def block(self) -> nn.Cell:
        """A new block."""
        return FalconBlock(self.config, self.new_cache(), self.dtype)

    def create_ends(self) -> None:
        """Embedding, final norm, head and the angles of positions."""
        self.word_embeddings = self.table("word_embeddings")
        self.ln_f = LayerNorm(self.config.hidden_size, self.config.norm_eps, self.dtype)
        self.lm_head = self.output_table(self.word_embeddings)
        self.rotary = Rotary(self.config.head_dim, self.config.rope_theta, self.dtype)

    def embed(self, token: Tensor, position: Tensor) -> Tensor:
        """The token's row of the table; positions come in by rotation."""
        return ops.gather(self.word_embeddings, token, 0)

    def head(self, hidden: Tensor) -> Tensor:
        """Logits (B, vocab_size) of (B, hidden_size)."""
        return self.project(self.ln_f(hidden), self.lm_head)

    def context(self, position: Tensor, positions: Tensor, visible: Tensor | None) -> Context:
        """Cosines and sines, (head_dim,), and the additive mask, (1, 1, 1, S) or None."""
        cos, sin = self.rotary(position)
        return cos, sin, self.additive(visible)
