"""Llama, Mistral, Qwen2 and SmolLM2: RMSNorm, rotary positions, grouped-query attention, SwiGLU.

Attention is written the way model code writes it: repeat the KV heads, matmul, scale, add the mask, softmax,
matmul. Parameter names are those of Hugging Face without the leading "model.".
"""

from __future__ import annotations

import numpy as np
from mindspore import Tensor, nn, ops
from mindspore import dtype as mstype

from models.config import ModelConfig
from models.decoder import Context, Decoder, linear, lowest, zeros


class RMSNorm(nn.Cell):
    """x / rms(x) * weight over the last axis, computed in fp32."""

    def __init__(self, size: int, epsilon: float, dtype: mstype.Type) -> None:
        super().__init__()
        self.weight = zeros((size,), dtype, "weight")
        self.epsilon = epsilon

    def construct(self, x: Tensor) -> Tensor:
        """x: (..., size); the result has its shape and dtype."""
        wide = ops.cast(x, mstype.float32)
        wide = wide * ops.rsqrt(ops.mean(wide * wide, -1, True) + self.epsilon)
        return ops.cast(wide, x.dtype) * self.weight


class LlamaAttend(nn.Cell):
    """Scores, softmax and mix, each operator by itself."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.groups = config.group_size
        self.scale = config.head_dim**-0.5
        self.matmul_qk = ops.BatchMatMul(transpose_b=True)
        self.matmul_pv = ops.BatchMatMul()

    def construct(self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        """query: (B, N, 1, D); keys, values: (B, kvN, S, D); mask: additive (1, 1, 1, S) or None."""
        scores = self.matmul_qk(query, ops.repeat_interleave(keys, self.groups, 1)) * self.scale
        if mask is not None:
            scores = scores + mask
        weights = ops.cast(ops.softmax(ops.cast(scores, mstype.float32), -1), query.dtype)
        return self.matmul_pv(weights, ops.repeat_interleave(values, self.groups, 1))


class LlamaAttention(nn.Cell):
    """Grouped-query attention of one new token over the cache."""

    def __init__(self, config: ModelConfig, cache: nn.Cell, dtype: mstype.Type) -> None:
        super().__init__()
        hidden, heads, kv_heads, size = (
            config.hidden_size,
            config.num_heads,
            config.num_kv_heads,
            config.head_dim,
        )
        self.q_proj = linear(hidden, heads * size, config.qkv_bias, dtype)
        self.k_proj = linear(hidden, kv_heads * size, config.qkv_bias, dtype)
        self.v_proj = linear(hidden, kv_heads * size, config.qkv_bias, dtype)
        self.o_proj = linear(heads * size, hidden, config.output_bias, dtype)
        self.cache = cache
        self.attend = LlamaAttend(config)
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, size

    def construct(self, x: Tensor, context: tuple, slot: Tensor | None, past: tuple) -> tuple[Tensor, Tensor, Tensor]:
        """x: (B, 1, hidden). `context`: cosines and sines (head_dim,), additive mask (1, 1, 1, S) or None."""
        cos, sin, mask = context
        query = rotate(ops.reshape(self.q_proj(x), (-1, self.heads, 1, self.head_dim)), cos, sin)
        key = rotate(ops.reshape(self.k_proj(x), (-1, self.kv_heads, 1, self.head_dim)), cos, sin)
        value = ops.reshape(self.v_proj(x), (-1, self.kv_heads, 1, self.head_dim))
        keys, values = self.cache(key, value, slot, past)

        mixed = self.attend(query, keys, values, mask)
        mixed = ops.reshape(ops.transpose(mixed, (0, 2, 1, 3)), (-1, 1, self.heads * self.head_dim))
        return self.o_proj(mixed), keys, values


class LlamaMLP(nn.Cell):
    """SwiGLU: down(silu(gate(x)) * up(x))."""

    def __init__(self, config: ModelConfig, dtype: mstype.Type) -> None:
        super().__init__()
        self.gate_proj = linear(config.hidden_size, config.intermediate_size, False, dtype)
        self.up_proj = linear(config.hidden_size, config.intermediate_size, False, dtype)
        self.down_proj = linear(config.intermediate_size, config.hidden_size, False, dtype)

    def construct(self, x: Tensor) -> Tensor:
        """x: (B, 1, hidden); so is the result."""
        return self.down_proj(ops.silu(self.gate_proj(x)) * self.up_proj(x))


class LlamaBlock(nn.Cell):
    """Attention and MLP, each behind a norm and a residual."""

    def __init__(self, config: ModelConfig, cache: nn.Cell, dtype: mstype.Type) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.norm_eps, dtype)
        self.self_attn = LlamaAttention(config, cache, dtype)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.norm_eps, dtype)
        self.mlp = LlamaMLP(config, dtype)

    def construct(self, x: Tensor, context: tuple, slot: Tensor | None, past: tuple) -> tuple[Tensor, Tensor, Tensor]:
        """Hidden state (B, 1, hidden) to the next, with the layer's keys and values (B, kvN, S, D)."""
        attended, keys, values = self.self_attn(self.input_layernorm(x), context, slot, past)
        x = x + attended
        return x + self.mlp(self.post_attention_layernorm(x)), keys, values


class Llama(Decoder):
    """One decode step of the Llama family."""

    def __init__(
        self,
        config: ModelConfig,
        cache: str = "static",
        *,
        batch: int = 1,
        capacity: int = 0,
        dtype: str = "float32",
    ) -> None:
        super().__init__(config, cache, batch=batch, capacity=capacity, dtype=dtype)
        table = (config.vocab_size, config.hidden_size)
        self.embed_tokens = zeros(table, self.dtype, "embed_tokens.weight")
        self.norm = RMSNorm(config.hidden_size, config.norm_eps, self.dtype)
        self.lm_head = self.embed_tokens if config.tied_embeddings else zeros(table, self.dtype, "lm_head.weight")
        self.project = ops.MatMul(transpose_b=True)
        exponents = np.arange(0, config.head_dim, 2, dtype=np.float64) / config.head_dim
        self.frequencies = Tensor(np.tile(config.rope_theta**-exponents, 2).astype(np.float32))
        self.masked = Tensor(lowest(self.dtype), self.dtype)
        self.kept = Tensor(0.0, self.dtype)

    def block(self) -> nn.Cell:
        """A new block."""
        return LlamaBlock(self.config, self.new_cache(), self.dtype)

    def embed(self, token: Tensor, position: Tensor) -> Tensor:
        """The token's row of the table; positions come in by rotation."""
        return ops.gather(self.embed_tokens, token, 0)

    def head(self, hidden: Tensor) -> Tensor:
        """Logits (B, vocab_size) of (B, hidden_size)."""
        return self.project(self.norm(hidden), self.lm_head)

    def context(self, position: Tensor, visible: Tensor | None) -> Context:
        """Cosines and sines, (head_dim,), and the additive mask, (1, 1, 1, S) or None."""
        angles = ops.cast(position, mstype.float32) * self.frequencies
        mask = None if visible is None else ops.select(visible, self.kept, self.masked)
        return ops.cast(ops.cos(angles), self.dtype), ops.cast(ops.sin(angles), self.dtype), mask


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position on x (B, N, 1, D); channel i turns together with channel i + D/2."""
    first, second = ops.split(x, x.shape[-1] // 2, -1)
    return x * cos + ops.concat((-second, first), -1) * sin
