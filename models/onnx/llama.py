"""The decode step of Llama, Mistral, Qwen2 and SmolLM2 as an ONNX graph, in plain operators.

It computes what `models.llama` computes, with the same weights under the same names. Hidden states are (B * L,
hidden_size) throughout, so that a projection is one Gemm with the weight as it is, (out, in).
"""

from __future__ import annotations

from collections.abc import Mapping

import ml_dtypes
import numpy as np
import onnx_ir as ir

from ..config import ModelConfig
from .graph import GraphWriter


class LlamaWriter:
    """Writes the graph of one model.

    Its inputs are `input_ids` and `position_ids`, int64 (batch, sequence_length), and the past of each layer, as
    `past_key_values.N.key` and `.value`, (batch, kvN, past_sequence_length, D). Its outputs are `logits`, (batch,
    sequence_length, vocab_size), and `present.N.key` and `.value`, the past with the new tokens behind it. A token's
    position is its place in the cache, counted from 0: it sees those before it, the window's if there is one.
    """

    def __init__(self, config: ModelConfig, weights: Mapping[str, np.ndarray]) -> None:
        self.config = config
        self.graph = GraphWriter("decode_step")
        self.dtype = weights["embed_tokens.weight"].dtype
        self.onnx_dtype = ir.DataType.from_numpy(self.dtype)
        self.weights = {name: self.graph.weight(name, array) for name, array in weights.items()}

    def write(self) -> ir.Model:
        """The model."""
        config, op = self.config, self.graph.op
        tokens, positions = (
            self.graph.input(name, ir.DataType.INT64, ("batch", "sequence_length"))
            for name in ("input_ids", "position_ids")
        )
        kv = "batch", config.num_kv_heads, "past_sequence_length", config.head_dim
        past = [
            [self.graph.input(f"past_key_values.{i}.{part}", self.onnx_dtype, kv) for part in ("key", "value")]
            for i in range(config.num_layers)
        ]
        self.sizes = op("Shape", tokens)
        cos, sin = self.angles(positions)
        mask = self.mask(positions, past[0][0])
        hidden = op("Reshape", self.embed(tokens), np.array([-1, config.hidden_size]))
        present = []
        for i in range(config.num_layers):
            hidden, cache = self.block(f"layers.{i}", hidden, (cos, sin), mask, past[i])
            present.append(cache)
        table = "embed_tokens.weight" if config.tied_embeddings else "lm_head.weight"
        logits = op("Gemm", self.norm("norm", hidden), self.weights[table], transB=1)
        shape = "batch", "sequence_length", config.vocab_size
        self.graph.output("logits", self.by_token(logits, config.vocab_size), self.onnx_dtype, shape)
        kv = "batch", config.num_kv_heads, "total_sequence_length", config.head_dim
        for i, cache in enumerate(present):
            for part, value in zip(("key", "value"), cache, strict=True):
                self.graph.output(f"present.{i}.{part}", value, self.onnx_dtype, kv)
        return self.graph.model()

    def number(self, value: float) -> np.ndarray:
        """A constant of the model's dtype."""
        return np.array(value, self.dtype)

    def embed(self, tokens: ir.Value) -> ir.Value:
        """Tokens (B, L) to hidden states (B, L, hidden_size)."""
        return self.graph.op("Gather", self.weights["embed_tokens.weight"], tokens)

    def angles(self, positions: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Cosines and sines of positions (B, L), both (B, 1, L, D)."""
        op, size = self.graph.op, self.config.head_dim
        frequencies = self.config.rope_theta ** -(np.arange(0, size, 2, dtype=np.float64) / size)
        with self.graph.part("rotary"):
            numbers = op("Cast", op("Unsqueeze", positions, np.array([1, 3])), to=ir.DataType.FLOAT)
            angles = op("Mul", numbers, np.tile(frequencies, 2).astype(np.float32))
            cos, sin = (op("Cast", op(turn, angles), to=self.onnx_dtype) for turn in ("Cos", "Sin"))
        return cos, sin

    def mask(self, positions: ir.Value, past: ir.Value) -> ir.Value:
        """What is added to scores, (B, 1, L, S): 0, or the lowest number where a key is not seen."""
        op = self.graph.op
        with self.graph.part("mask"):
            new = op("Gather", self.sizes, np.array(1))
            length = op("Add", op("Gather", op("Shape", past), np.array(2)), new)
            keys = op("Range", np.array(0), length, np.array(1))
            queries = op("Unsqueeze", positions, np.array([1, 3]))
            seen = op("LessOrEqual", keys, queries)
            if self.config.window is not None:
                seen = op("And", seen, op("Greater", keys, op("Sub", queries, np.array(self.config.window))))
            return op("Where", seen, self.number(0), self.number(float(ml_dtypes.finfo(self.dtype).min)))

    def block(
        self, name: str, hidden: ir.Value, angles: tuple[ir.Value, ir.Value], mask: ir.Value, past: list[ir.Value]
    ) -> tuple[ir.Value, list[ir.Value]]:
        """A layer: hidden states (B * L, hidden_size) to the next, and its keys and values (B, kvN, S, D)."""
        op = self.graph.op
        normed = self.norm(f"{name}.input_layernorm", hidden)
        attended, cache = self.attention(f"{name}.self_attn", normed, angles, mask, past)
        hidden = op("Add", hidden, attended)
        return op("Add", hidden, self.mlp(f"{name}.mlp", self.norm(f"{name}.post_attention_layernorm", hidden))), cache

    def norm(self, name: str, x: ir.Value) -> ir.Value:
        """The product of x / rms(x) and a weight, over the last axis, in fp32 up to the weight."""
        with self.graph.part(name):
            rounded = self.graph.op("Cast", self.over_rms(x), to=self.onnx_dtype)
            return self.graph.op("Mul", rounded, self.weights[f"{name}.weight"])

    def over_rms(self, x: ir.Value) -> ir.Value:
        """Divide x by its root mean square over the last axis; fp32."""
        op = self.graph.op
        wide = op("Cast", x, to=ir.DataType.FLOAT)
        squares = op("ReduceMean", op("Mul", wide, wide), np.array([-1]))
        return op("Div", wide, op("Sqrt", op("Add", squares, np.array(self.config.norm_eps, np.float32))))

    def attention(
        self, name: str, x: ir.Value, angles: tuple[ir.Value, ir.Value], mask: ir.Value, past: list[ir.Value]
    ) -> tuple[ir.Value, list[ir.Value]]:
        """Grouped-query attention over the past and the new tokens; the result and keys and values (B, kvN, S, D)."""
        config, op = self.config, self.graph.op
        with self.graph.part(name):
            query, key, value = (
                self.heads(name, part, x, heads)
                for part, heads in (("q", config.num_heads), ("k", config.num_kv_heads), ("v", config.num_kv_heads))
            )
            new = self.turn(key, angles), value
            cache = [op("Concat", *pair, axis=2) for pair in zip(past, new, strict=True)]
            keys, values = (self.repeat(x) for x in cache)
            products = op("MatMul", self.turn(query, angles), op("Transpose", keys, perm=(0, 1, 3, 2)))
            scores = op("Add", op("Mul", products, self.number(config.head_dim**-0.5)), mask)
            weights = op("Softmax", op("Cast", scores, to=ir.DataType.FLOAT), axis=-1)
            mixed = op("MatMul", op("Cast", weights, to=self.onnx_dtype), values)
            merged = op("Transpose", mixed, perm=(0, 2, 1, 3))
            flat = op("Reshape", merged, np.array([-1, config.num_heads * config.head_dim]))
            return self.linear(f"{name}.o_proj", flat), cache

    def heads(self, name: str, part: str, x: ir.Value, heads: int) -> ir.Value:
        """The queries (`part` is q), keys or values of hidden states: (B, heads, L, D)."""
        split = self.by_token(self.linear(f"{name}.{part}_proj", x), heads, self.config.head_dim)
        return self.graph.op("Transpose", split, perm=(0, 2, 1, 3))

    def turn(self, x: ir.Value, angles: tuple[ir.Value, ir.Value]) -> ir.Value:
        """Rotate heads (B, N, L, D), channel i together with channel i + D/2."""
        op = self.graph.op
        first, second = self.graph.halves(x)
        swapped = op("Concat", op("Neg", second), first, axis=-1)
        return op("Add", op("Mul", x, angles[0]), op("Mul", swapped, angles[1]))

    def repeat(self, x: ir.Value) -> ir.Value:
        """KV heads (B, kvN, S, D) for each query head: (B, N, S, D)."""
        op, config = self.graph.op, self.config
        copies = op("Expand", op("Unsqueeze", x, np.array([2])), np.array([1, 1, config.group_size, 1, 1]))
        return op("Reshape", copies, np.array([0, config.num_heads, -1, config.head_dim]))

    def mlp(self, name: str, x: ir.Value) -> ir.Value:
        """down(activation(gate(x)) * up(x))."""
        with self.graph.part(name):
            gate = self.activation(self.linear(f"{name}.gate_proj", x))
            return self.linear(f"{name}.down_proj", self.graph.op("Mul", gate, self.linear(f"{name}.up_proj", x)))

    def activation(self, x: ir.Value) -> ir.Value:
        """SiLU."""
        return self.graph.op("Mul", x, self.graph.op("Sigmoid", x))

    def linear(self, name: str, x: ir.Value) -> ir.Value:
        """A projection of rows, with its bias if it has one."""
        operands = (self.weights[key] for key in (f"{name}.weight", f"{name}.bias") if key in self.weights)
        return self.graph.op("Gemm", x, *operands, transB=1)

    def by_token(self, x: ir.Value, *sizes: int) -> ir.Value:
        """Rows (B * L, ...) as (B, L, *sizes)."""
        op = self.graph.op
        return op("Reshape", x, op("Concat", self.sizes, np.array(sizes), axis=0))
