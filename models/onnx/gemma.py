"""The decode step of Gemma as an ONNX graph: Llama's, with norms by 1 + weight, GELU and scaled embeddings."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from .llama import LlamaWriter


class GemmaWriter(LlamaWriter):
    """Writes the graph of one model; see `LlamaWriter`."""

    def embed(self, tokens: ir.Value) -> ir.Value:
        """Tokens (B, L) to hidden states (B, L, hidden_size)."""
        return self.graph.op("Mul", super().embed(tokens), self.number(self.config.hidden_size**0.5))

    def norm(self, name: str, x: ir.Value) -> ir.Value:
        """The product of x / rms(x) and 1 + weight, rounded to the model's dtype only at the end."""
        op = self.graph.op
        with self.graph.part(name):
            weight = op("Cast", self.weights[f"{name}.weight"], to=ir.DataType.FLOAT)
            scaled = op("Mul", self.over_rms(x), op("Add", weight, np.array(1, np.float32)))
            return op("Cast", scaled, to=self.onnx_dtype)

    def activation(self, x: ir.Value) -> ir.Value:
        """GELU by its tanh approximation."""
        return self.graph.op("Gelu", x, approximate="tanh")
