"""Gemma: Llama's blocks with norms that scale by 1 + weight, GELU in the gate, and scaled embeddings.

The first generation, without soft-capping and sliding windows; its heads are larger than hidden_size / heads
and the 2B model has one KV head. Parameter names are those of Hugging Face without the leading "model.".
"""

from __future__ import annotations

from mindspore import Tensor, nn, ops
from mindspore import dtype as mstype

from .attention import RepeatedAttend
from .llama import Llama, LlamaAttention, LlamaMLP
from .norms import RMSNorm, over_rms


class GemmaRMSNorm(RMSNorm):
    """x / rms(x) * (1 + weight), rounded to the dtype of x only at the end."""

    def construct(self, x: Tensor) -> Tensor:
        """x: (..., size); the result has its shape and dtype."""
        return ops.cast(over_rms(x, self.epsilon) * (1.0 + ops.cast(self.weight, mstype.float32)), x.dtype)


class GemmaMLP(LlamaMLP):
    """GeGLU: down(gelu(gate(x)) * up(x)), GELU by its tanh approximation."""

    def construct(self, x: Tensor) -> Tensor:
        """x: (B, 1, hidden); so is the result."""
        return self.down_proj(ops.gelu(self.gate_proj(x), approximate="tanh") * self.up_proj(x))


class Gemma(Llama):
    """One decode step of Gemma."""

    def new_attention(self) -> nn.Cell:
        """The attention of one layer."""
        return LlamaAttention(self.config, self.new_cache(), RepeatedAttend(self.config), self.dtype)

    def new_mlp(self) -> nn.Cell:
        """The MLP of one layer."""
        return GemmaMLP(self.config, self.dtype)

    def new_norm(self) -> nn.Cell:
        """A norm of hidden states."""
        return GemmaRMSNorm(self.config.hidden_size, self.config.norm_eps, self.dtype)

    def embed(self, token: Tensor, position: Tensor) -> Tensor:
        """The token's row of the table, scaled so that its entries are near 1 like those of the blocks."""
        return ops.gather(self.embed_tokens, token, 0) * self.config.hidden_size**0.5
