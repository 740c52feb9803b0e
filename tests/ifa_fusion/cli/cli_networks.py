"""What MODEL names in the tests: functions that give a network and its inputs."""

from __future__ import annotations

import os

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops


def operands(length: int = 16) -> tuple[Tensor, Tensor, Tensor]:
    random = np.random.default_rng(1)
    shapes = (1, 6, 1, 8), (1, 6, length, 8), (1, 6, length, 8)
    return tuple(Tensor(random.standard_normal(shape), ms.float32) for shape in shapes)


class Attention(nn.Cell):
    def construct(self, query, key, value):
        scores = ops.BatchMatMul(transpose_b=True)(query, key) * 0.3
        return ops.BatchMatMul()(ops.softmax(scores, -1), value)


class Masked(nn.Cell):
    """A row that is hidden throughout has another value unfused than fused."""

    def construct(self, query, key, value, hidden):
        scores = ops.BatchMatMul(transpose_b=True)(query, key) * 0.3 + ops.where(hidden, -1e4, 0.0)
        return ops.BatchMatMul()(ops.softmax(scores, -1), value)


class NotFinite(nn.Cell):
    def construct(self, x):
        return x / 0.0 - x / 0.0


class Broken(nn.Cell):
    def construct(self, query, key, value):
        return ops.BatchMatMul()(query, value)


def attention():
    return Attention(), *operands()


def talkative():
    print("made in Python")
    os.write(1, b"made in C\n")
    return attention()


def hidden():
    return Masked(), *operands(), Tensor(np.ones((1, 1, 1, 16), np.bool_))


def without_attention():
    return nn.ReLU(), operands()[0]


def not_finite():
    return NotFinite(), operands()[0]


def broken():
    return Broken(), *operands()


def failing():
    raise KeyError("weights")


def interrupted():
    raise KeyboardInterrupt


def nothing():
    return None
