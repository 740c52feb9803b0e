"""GPT-J: attention and MLP side by side behind one norm; a part of each head's channels turns with the position.

Neighbouring channels turn together. Scores are computed in fp32 and divided. Parameter names are those of
Hugging Face with "layers" for "transformer.h".
"""

from __future__ import annotations

from mindspore import Tensor, nn, ops
from mindspore import dtype as mstype

from .attention import merge_heads, split_heads
from .config import ModelConfig
from .decoder import Context, Decoder
from .norms import LayerNorm
from .rotary import Rotary, rotate_neighbours
from .weights import linear, zeros


class GPTJAttention(nn.Cell):
    """Multi-head attention of one new token over the cache."""

    def __init__(self, config: ModelConfig, cache: nn.Cell, dtype: mstype.Type) -> None:
        super().__init__()
        hidden = config.hidden_size
        self.q_proj = linear(hidden, hidden, False, dtype)
        self.k_proj = linear(hidden, hidden, False, dtype)
        self.v_proj = linear(hidden, hidden, False, dtype)
        self.out_proj = linear(hidden, hidden, False, dtype)
        self.cache = cache
        self.heads, self.head_dim = config.num_heads, config.head_dim
        self.rotary_dim = config.rotary_dim or config.head_dim
        self.root = config.head_dim**0.5

    def construct(self, x: Tensor, context: tuple, slot: Tensor | None, past: tuple) -> tuple[Tensor, Tensor, Tensor]:
        """x: (B, 1, hidden). `context`: cosines and sines (rotary_dim,), additive mask (1, 1, 1, S) or None."""
        cos, sin, mask = context
        query = self.turn(split_heads(self.q_proj(x), self.heads), cos, sin)
        key = self.turn(split_heads(self.k_proj(x), self.heads), cos, sin)
        keys, values = self.cache(key, split_heads(self.v_proj(x), self.heads), slot, past)

        query, wide_keys = ops.cast(query, mstype.float32), ops.cast(keys, mstype.float32)
        scores = ops.matmul(query, ops.transpose(wide_keys, (0, 1, 3, 2))) / self.root
        if mask is not None:
            scores = scores + mask
        weights = ops.cast(ops.softmax(scores, -1), values.dtype)
        return self.out_proj(merge_heads(ops.matmul(weights, values))), keys, values

    def turn(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """x: (B, N, 1, D), of which the first `rotary_dim` channels turn and the others stay."""
        if self.rotary_dim == self.head_dim:
            return rotate_neighbours(x, cos, sin)
        turned = rotate_neighbours(x[..., : self.rotary_dim], cos, sin)
        return ops.concat((turned, x[..., self.rotary_dim :]), -1)


class GPTJMLP(nn.Cell):
    """out(gelu(in(x))), GELU by its tanh approximation."""

    def __init__(self, config: ModelConfig, dtype: mstype.Type) -> None:
        super().__init__()
        self.fc_in = linear(config.hidden_size, config.intermediate_size, True, dtype)
        self.fc_out = linear(config.intermediate_size, config.hidden_size, True, dtype)

    def construct(self, x: Tensor) -> Tensor:
        """x: (B, 1, hidden); so is the result."""
        return self.fc_out(ops.gelu(self.fc_in(x), approximate="tanh"))


class GPTJBlock(nn.Cell):
    """Attention and MLP side by side behind one norm."""

    def __init__(self, config: ModelConfig, cache: nn.Cell, dtype: mstype.Type) -> None:
        super().__init__()
        self.ln_1 = LayerNorm(config.hidden_size, config.norm_eps, dtype)
        self.attn = GPTJAttention(config, cache, dtype)
        self.mlp = GPTJMLP(config, dtype)

    def construct(self, x: Tensor, context: tuple, slot: Tensor | None, past: tuple) -> tuple[Tensor, Tensor, Tensor]:
        """Hidden state (B, 1, hidden) to the next, with the layer's keys and values (B, N, S, D)."""
        normed = self.ln_1(x)
        attended, keys, values = self.attn(normed, context, slot, past)
        return attended + self.mlp(normed) + x, keys, values


class GPTJ(Decoder):
    """One decode step of GPT-J."""

    def block(self) -> nn.Cell:
        """A new block."""
        return GPTJBlock(self.config, self.new_cache(), self.dtype)

    def create_ends(self) -> None:
        """Embedding, final norm, head with its bias, and the angles of positions."""
        self.wte = self.table("wte")
        self.ln_f = LayerNorm(self.config.hidden_size, self.config.norm_eps, self.dtype)
        self.lm_head = self.output_table(self.wte)
        self.lm_head_bias = zeros((self.config.vocab_size,), self.dtype, "lm_head.bias")
        self.rotary = Rotary(
            self.config.rotary_dim or self.config.head_dim, self.config.rope_theta, self.dtype, neighbours=True
        )

    def embed(self, token: Tensor, position: Tensor) -> Tensor:
        """The token's row of the table; positions come in by rotation."""
        return ops.gather(self.wte, token, 0)

    def head(self, hidden: Tensor) -> Tensor:
        """Logits (B, vocab_size) of (B, hidden_size)."""
        return self.project(self.ln_f(hidden), self.lm_head) + self.lm_head_bias

    def context(self, position: Tensor, positions: Tensor, visible: Tensor | None) -> Context:
        """Cosines and sines, (rotary_dim,), and the additive mask, (1, 1, 1, S) or None."""
        cos, sin = self.rotary(position)
        return cos, sin, self.additive(visible)
