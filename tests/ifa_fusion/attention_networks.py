"""Decode attention in the few forms that the tests of the Python interface need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, mint, nn, ops

GROUP = 3


def attend(q, k, v):
    scores = ops.BatchMatMul(transpose_b=True)(q, ops.repeat_interleave(k, GROUP, 1)) * 0.3
    return ops.BatchMatMul()(ops.softmax(scores, -1), ops.repeat_interleave(v, GROUP, 1))


class Attention(nn.Cell):
    """GQA of 6 heads on 2."""

    def construct(self, q, k, v):
        return attend(q, k, v)


class RefusedAttention(nn.Cell):
    """The weights are used once more."""

    def construct(self, q, k, v):
        weights = ops.softmax(ops.BatchMatMul(transpose_b=True)(q, ops.repeat_interleave(k, GROUP, 1)), -1)
        return ops.BatchMatMul()(weights, ops.repeat_interleave(v, GROUP, 1)), weights


class TwoSites(nn.Cell):
    """One is fused, one is refused."""

    def __init__(self):
        super().__init__()
        self.fused = Attention()
        self.refused = RefusedAttention()

    def construct(self, q, k, v):
        return self.refused(self.fused(q, k, v), k, v)


def attend_masked(q, k, v, hidden):
    """Unfused, fused and fused strictly, a row that is hidden throughout has three values."""
    scores = ops.BatchMatMul(transpose_b=True)(q, ops.repeat_interleave(k, GROUP, 1)) * 0.3
    scores = scores + ops.where(hidden, -1e4, 0.0)
    return ops.BatchMatMul()(ops.softmax(scores, -1), ops.repeat_interleave(v, GROUP, 1))


class MaskedAttention(nn.Cell):
    def construct(self, q, k, v, hidden):
        return attend_masked(q, k, v, hidden)


class MaskedAttentionInInt8(nn.Cell):
    def construct(self, q, k, v, hidden):
        return ops.clamp(ops.round(attend_masked(q, k, v, hidden)), -128, 127).astype(ms.int8)


class JittedAttention(nn.Cell):
    @ms.jit
    def construct(self, q, k, v, hidden):
        return attend_masked(q, k, v, hidden)


class Decoder(nn.Cell):
    """Projections and a KV cache in parameters; the cache moves on by one position a call."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        rng = np.random.default_rng(seed)

        def parameter(name: str, *shape: int) -> Parameter:
            return Parameter(Tensor(rng.standard_normal(shape).astype(np.float32) / 4), name=name)

        self.to_query, self.to_key = parameter("to_query", 48, 48), parameter("to_key", 48, 16)
        self.to_value = parameter("to_value", 48, 16)
        self.key, self.value = parameter("key", 1, 2, 10, 8), parameter("value", 1, 2, 10, 8)

    def construct(self, x):
        q = ops.matmul(x, self.to_query).reshape(1, 6, 1, 8)
        new_key = ops.matmul(x, self.to_key).reshape(1, 2, 1, 8)
        new_value = ops.matmul(x, self.to_value).reshape(1, 2, 1, 8)
        ops.assign(self.key, ops.concat((self.key[:, :, 1:], new_key), 2))
        ops.assign(self.value, ops.concat((self.value[:, :, 1:], new_value), 2))
        return attend(q, self.key, self.value).reshape(1, 48)


class Projected(nn.Cell):
    """Attention with a parameter in front."""

    def __init__(self) -> None:
        super().__init__()
        weight = np.random.default_rng(5).standard_normal((8, 8)).astype(np.float32)
        self.weight = Parameter(Tensor(weight), name="weight")

    def construct(self, q, k, v):
        return attend(mint.matmul(q, self.weight), k, v)


def operands(length: int = 10, dtype: ms.Type = ms.float32, seed: int = 0) -> list[Tensor]:
    rng = np.random.default_rng([seed, length])
    shapes = ((2, 6, 1, 8), (2, 2, length, 8), (2, 2, length, 8))
    return [Tensor(rng.standard_normal(shape).astype(np.float32)).astype(dtype) for shape in shapes]


def values_of(output: Tensor) -> np.ndarray:
    return output.astype(ms.float32).asnumpy()


def run_python(code: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a script in a process of its own, in a folder; it can import what the tests here can."""
    script = folder / "script.py"
    script.write_text(f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n{code}")
    command = [sys.executable, str(script), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
