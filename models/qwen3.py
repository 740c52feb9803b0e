"""Qwen3: Llama's blocks, with the queries and keys of each head normed before they are rotated.

The heads' size is free of hidden_size. Parameter names are those of Hugging Face without the leading "model.".
"""

from __future__ import annotations

from mindspore import Tensor, nn
from mindspore import dtype as mstype

from .attention import RepeatedAttend, split_heads
from .config import ModelConfig
from .llama import Llama, LlamaAttention
from .norms import RMSNorm


class Qwen3Attention(LlamaAttention):
    """Llama's attention with a norm over each head of the query and of the key."""

    def __init__(self, config: ModelConfig, cache: nn.Cell, attend: nn.Cell, dtype: mstype.Type) -> None:
        super().__init__(config, cache, attend, dtype)
        self.q_norm = RMSNorm(config.head_dim, config.norm_eps, dtype)
        self.k_norm = RMSNorm(config.head_dim, config.norm_eps, dtype)

    def query_and_key(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, 1, D) and (B, kvN, 1, D) before they are rotated."""
        query = self.q_norm(split_heads(self.q_proj(x), self.heads))
        return query, self.k_norm(split_heads(self.k_proj(x), self.kv_heads))


class Qwen3(Llama):
    """One decode step of Qwen3."""

    def new_attention(self) -> nn.Cell:
        """The attention of one layer."""
        return Qwen3Attention(self.config, self.new_cache(), RepeatedAttend(self.config), self.dtype)
