"""GPT-2: LayerNorm, learned positions, multi-head attention with one projection for q, k and v, GELU.

Attention is spelled differently from Llama's, as in the original: the key is transposed, the scores are
divided, and the mask selects. Parameter names are those of Hugging Face with "layers" for "transformer.h";
projections are (out, in).
"""

from __future__ import annotations

from mindspore import Tensor, nn, ops
from mindspore import dtype as mstype

from .attention import merge_heads, split_heads
from .config import ModelConfig
from .decoder import Context, Decoder, lowest
from .norms import LayerNorm
from .weights import linear, zeros


class GPT2Attention(nn.Cell):
    """Multi-head attention of one new token over the cache."""

    def __init__(self, config: ModelConfig, cache: nn.Cell, dtype: mstype.Type) -> None:
        super().__init__()
        hidden = config.hidden_size
        self.c_attn = linear(hidden, 3 * hidden, True, dtype)
        self.c_proj = linear(hidden, hidden, True, dtype)
        self.cache = cache
        self.heads, self.hidden = config.num_heads, hidden
        self.root = config.head_dim**0.5
        self.masked = Tensor(lowest(dtype), dtype)

    def construct(self, x: Tensor, visible: Tensor | None, slot: Tensor | None, past: tuple) -> tuple:
        """x: (B, 1, hidden). `visible`: bool (1, 1, 1, S) or None."""
        query, key, value = ops.split(self.c_attn(x), self.hidden, -1)
        query, key, value = split_heads(query, self.heads), split_heads(key, self.heads), split_heads(value, self.heads)
        keys, values = self.cache(key, value, slot, past)

        scores = ops.matmul(query, ops.transpose(keys, (0, 1, 3, 2))) / self.root
        if visible is not None:
            scores = ops.where(visible, scores, self.masked)
        weights = ops.cast(ops.softmax(ops.cast(scores, mstype.float32), -1), x.dtype)
        mixed = ops.matmul(weights, values)
        return self.c_proj(merge_heads(mixed)), keys, values


class GPT2MLP(nn.Cell):
    """proj(gelu(fc(x))), GELU by its tanh approximation."""

    def __init__(self, config: ModelConfig, dtype: mstype.Type) -> None:
        super().__init__()
        self.c_fc = linear(config.hidden_size, config.intermediate_size, True, dtype)
        self.c_proj = linear(config.intermediate_size, config.hidden_size, True, dtype)

    def construct(self, x: Tensor) -> Tensor:
        """x: (B, 1, hidden); so is the result."""
        return self.c_proj(ops.gelu(self.c_fc(x), approximate="tanh"))


class GPT2Block(nn.Cell):
    """Attention and MLP, each behind a norm and a residual."""

    def __init__(self, config: ModelConfig, cache: nn.Cell, dtype: mstype.Type) -> None:
        super().__init__()
        self.ln_1 = LayerNorm(config.hidden_size, config.norm_eps, dtype)
        self.attn = GPT2Attention(config, cache, dtype)
        self.ln_2 = LayerNorm(config.hidden_size, config.norm_eps, dtype)
        self.mlp = GPT2MLP(config, dtype)

    def construct(self, x: Tensor, context: Tensor | None, slot: Tensor | None, past: tuple) -> tuple:
        """Hidden state (B, 1, hidden) to the next, with the layer's keys and values (B, kvN, S, D)."""
        attended, keys, values = self.attn(self.ln_1(x), context, slot, past)
        x = x + attended
        return x + self.mlp(self.ln_2(x)), keys, values


class GPT2(Decoder):
    """One decode step of GPT-2."""

    def block(self) -> nn.Cell:
        """A new block."""
        return GPT2Block(self.config, self.new_cache(), self.dtype)

    def create_ends(self) -> None:
        """Embeddings of tokens and positions, final norm, head."""
        self.wte = self.table("wte")
        self.wpe = zeros((self.config.max_positions, self.config.hidden_size), self.dtype, "wpe.weight")
        self.ln_f = LayerNorm(self.config.hidden_size, self.config.norm_eps, self.dtype)
        self.lm_head = self.output_table(self.wte)

    def embed(self, token: Tensor, position: Tensor) -> Tensor:
        """The token's row plus the position's."""
        return ops.gather(self.wte, token, 0) + ops.gather(self.wpe, position, 0)

    def head(self, hidden: Tensor) -> Tensor:
        """Logits (B, vocab_size) of (B, hidden_size)."""
        return self.project(self.ln_f(hidden), self.lm_head)

    def context(self, position: Tensor, positions: Tensor, visible: Tensor | None) -> Context:
        """The mask, bool (1, 1, 1, S) or None."""
        return visible
