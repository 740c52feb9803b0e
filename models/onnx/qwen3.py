"""The decode step of Qwen3 as an ONNX graph: Llama's, with a norm over each head of query and key."""

from __future__ import annotations

import onnx_ir as ir

from .llama import LlamaWriter


class Qwen3Writer(LlamaWriter):
    """Writes the graph of one model; see `LlamaWriter`."""

    def heads(self, name: str, part: str, x: ir.Value, heads: int) -> ir.Value:
        """The queries (`part` is q), keys or values of hidden states, queries and keys normed: (B, heads, L, D)."""
        split = super().heads(name, part, x, heads)
        return split if part == "v" else self.norm(f"{name}.{part}_norm", split)
