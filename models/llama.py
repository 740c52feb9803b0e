"""Llama, Mistral, Qwen2 and SmolLM2: RMSNorm, rotary positions, grouped-query attention, SwiGLU.

Attention is written the way model code writes it: repeat the KV heads, matmul, scale, add the mask, softmax,
matmul. Parameter names are those of Hugging Face without the leading "model.".
"""

from __future__ import annotations

from mindspore import Tensor, nn, ops
from mindspore import dtype as mstype

from .attention import merge_heads
from .config import ModelConfig
from .decoder import Context, Decoder
from .norms import RMSNorm
from .rotary import Rotary, rotate_halves
from .weights import linear

FAMILY = ("llama", "mistral", "qwen2")


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
    """Grouped-query attention of one new token over the cache; `attend` takes query, keys, values and mask."""

    def __init__(self, config: ModelConfig, cache: nn.Cell, attend: nn.Cell, dtype: mstype.Type) -> None:
        super().__init__()
        hidden, size = config.hidden_size, config.head_dim
        self.q_proj = linear(hidden, config.num_heads * size, config.qkv_bias, dtype)
        self.k_proj = linear(hidden, config.num_kv_heads * size, config.qkv_bias, dtype)
        self.v_proj = linear(hidden, config.num_kv_heads * size, config.qkv_bias, dtype)
        self.o_proj = linear(config.num_heads * size, hidden, config.output_bias, dtype)
        self.cache = cache
        self.attend = attend
        self.heads, self.kv_heads, self.head_dim = config.num_heads, config.num_kv_heads, size

    def construct(self, x: Tensor, context: tuple, slot: Tensor | None, past: tuple) -> tuple[Tensor, Tensor, Tensor]:
        """x: (B, 1, hidden). `context`: cosines and sines (head_dim,), additive mask (1, 1, 1, S) or None."""
        cos, sin, mask = context
        query, key = self.query_and_key(x)
        value = ops.reshape(self.v_proj(x), (-1, self.kv_heads, 1, self.head_dim))
        keys, values = self.cache(rotate_halves(key, cos, sin), value, slot, past)
        mixed = self.attend(rotate_halves(query, cos, sin), keys, values, mask)
        return self.o_proj(merge_heads(mixed)), keys, values

    def query_and_key(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, 1, D) and (B, kvN, 1, D) before they are rotated."""
        query = ops.reshape(self.q_proj(x), (-1, self.heads, 1, self.head_dim))
        return query, ops.reshape(self.k_proj(x), (-1, self.kv_heads, 1, self.head_dim))


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

    def __init__(self, attention: nn.Cell, mlp: nn.Cell, first_norm: nn.Cell, second_norm: nn.Cell) -> None:
        super().__init__()
        self.input_layernorm = first_norm
        self.self_attn = attention
        self.post_attention_layernorm = second_norm
        self.mlp = mlp

    def construct(self, x: Tensor, context: tuple, slot: Tensor | None, past: tuple) -> tuple[Tensor, Tensor, Tensor]:
        """Hidden state (B, 1, hidden) to the next, with the layer's keys and values (B, kvN, S, D)."""
        attended, keys, values = self.self_attn(self.input_layernorm(x), context, slot, past)
        x = x + attended
        return x + self.mlp(self.post_attention_layernorm(x)), keys, values


class Llama(Decoder):
    """One decode step of the Llama family."""

    def block(self) -> nn.Cell:
        """A new block."""
        return LlamaBlock(self.new_attention(), self.new_mlp(), self.new_norm(), self.new_norm())

    def new_attention(self) -> nn.Cell:
        """The attention of one layer."""
        return LlamaAttention(self.config, self.new_cache(), LlamaAttend(self.config), self.dtype)

    def new_mlp(self) -> nn.Cell:
        """The MLP of one layer."""
        return LlamaMLP(self.config, self.dtype)

    def new_norm(self) -> nn.Cell:
        """A norm of hidden states."""
        return RMSNorm(self.config.hidden_size, self.config.norm_eps, self.dtype)

    def create_ends(self) -> None:
        """Embedding, final norm, head and the angles of positions."""
        self.embed_tokens = self.table("embed_tokens")
        self.norm = self.new_norm()
        self.lm_head = self.output_table(self.embed_tokens)
        self.rotary = Rotary(self.config.head_dim, self.config.rope_theta, self.dtype)

    def embed(self, token: Tensor, position: Tensor) -> Tensor:
        """The token's row of the table; positions come in by rotation."""
        return ops.gather(self.embed_tokens, token, 0)

    def head(self, hidden: Tensor) -> Tensor:
        """Logits (B, vocab_size) of (B, hidden_size)."""
        return self.project(self.norm(hidden), self.lm_head)

    def context(self, position: Tensor, positions: Tensor, visible: Tensor | None) -> Context:
        """Cosines and sines, (head_dim,), and the additive mask, (1, 1, 1, S) or None."""
        cos, sin = self.rotary(position)
        return cos, sin, self.additive(visible)


def require_llama(config: ModelConfig) -> None:
    """Raise ValueError unless the configuration is of a model that `Llama` runs."""
    if config.architecture not in FAMILY:
        raise ValueError(f"architecture is {config.architecture!r}; it must be one of {', '.join(FAMILY)}")
