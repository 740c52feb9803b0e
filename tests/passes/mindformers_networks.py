"""Decode attention as MindFormers writes it, from its caches to the merged heads, with the operators that it uses.

A step of one position, with B, N, S and D of 2, 6, 10 and 8. The new token's query, key and value come in as
(B, 1, heads * D); caches hold `past` positions, and one-hot caches are 0 from there on.
"""

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops
from mindspore.ops import operations as P

HEADS, LENGTH, HEAD_SIZE = 6, 10, 8
HIDDEN = -10000.0


class Split(nn.Cell):
    """(B, 1, heads * D) to (B, heads, 1, D), and the heads of a result merged again."""

    def __init__(self):
        super().__init__()
        self.shape = P.Shape()
        self.reshape = P.Reshape()
        self.transpose = P.Transpose()

    def construct(self, x):
        return self.transpose(self.reshape(x, (self.shape(x)[0], 1, -1, HEAD_SIZE)), (0, 2, 1, 3))

    def merged(self, x):
        return self.reshape(self.transpose(x, (0, 2, 1, 3)), (self.shape(x)[0], 1, HEADS * HEAD_SIZE))


class OneHot(nn.Cell):
    """Where the new position is, (B, 1, S)."""

    def __init__(self):
        super().__init__()
        self.range = Tensor(np.arange(LENGTH).reshape(1, 1, -1), ms.int32)
        self.equal = P.Equal()
        self.reshape = P.Reshape()
        self.cast = P.Cast()

    def construct(self, past, dtype):
        return self.cast(self.equal(self.reshape(past, (-1, 1, 1)), self.range), dtype)


class MultiHeadAttention(nn.Cell):
    """Up to 1.3: keys are kept (B, N, D, S), the fourth root of D divides query and key, and the mask is made of the
    positions of the key that are not 0."""

    def __init__(self):
        super().__init__()
        self.split = Split()
        self.one_hot = OneHot()
        self.scale_factor = Tensor(HEAD_SIZE**0.25)
        self.range = Tensor(np.arange(LENGTH).reshape(1, 1, -1), ms.int32)
        self.multiply_data = Tensor([HIDDEN], ms.float32)
        self.transpose = P.Transpose()
        self.tile = P.Tile()
        self.mul = P.Mul()
        self.add = P.Add()
        self.sub = P.Sub()
        self.real_div = P.RealDiv()
        self.expand_dims = P.ExpandDims()
        self.batch_matmul = P.BatchMatMul()
        self.softmax = P.Softmax()
        self.slice = P.StridedSlice()
        self.not_equal = P.NotEqual()
        self.less_equal = P.LessEqual()
        self.reduce_sum = P.ReduceSum()
        self.reshape = P.Reshape()
        self.cast = P.Cast()

    def visible(self, key):
        """(B, 1, 1, S), 1 where a position is filled."""
        channel = self.slice(key, (0, 0, 0, 0), (key.shape[0], 1, 1, LENGTH), (1, 1, 1, 1))
        count = self.reduce_sum(self.cast(self.not_equal(channel, 0), ms.float32), (1, 2, 3))
        last = self.reshape(self.sub(self.cast(count, ms.int32), 1), (-1, 1, 1))
        return self.expand_dims(self.cast(self.less_equal(self.range, last), ms.int32), 2)

    def construct(self, query, key, value, key_past, value_past, past):
        here = self.one_hot(past, query.dtype)
        key = self.tile(self.transpose(self.split(key), (0, 1, 3, 2)), (1, 1, 1, LENGTH))
        key = self.add(key_past, self.mul(key, self.expand_dims(here, 2)))
        value = self.tile(self.split(value), (1, 1, LENGTH, 1))
        value = self.add(value_past, self.mul(value, self.expand_dims(here, 3)))

        factor = self.cast(self.scale_factor, query.dtype)
        query, key = self.real_div(self.split(query), factor), self.real_div(key, factor)
        scores = self.cast(self.batch_matmul(query, key), ms.float32)
        one = self.cast(Tensor((1.0,)), scores.dtype)
        hidden = self.mul(self.sub(one, self.cast(self.visible(key), scores.dtype)), self.multiply_data)
        weights = self.cast(self.softmax(self.add(hidden, scores)), value.dtype)
        return self.split.merged(self.batch_matmul(weights, value))


class LLamaAttention(nn.Cell):
    """2.x without paged attention; `visible` is bool, (B, 1, S)."""

    def __init__(self, kv_heads):
        super().__init__()
        self.repeats = HEADS // kv_heads
        self.split = Split()
        self.inv_norm_factor = Tensor(HEAD_SIZE**-0.5)
        self.concat = P.Concat(axis=2)
        self.reshape = P.Reshape()
        self.shape = P.Shape()
        self.tile = P.Tile()
        self.mul = P.Mul()
        self.add = P.Add()
        self.sub = P.Sub()
        self.expand_dims = P.ExpandDims()
        self.batch_matmul_q_k = P.BatchMatMul(transpose_b=True)
        self.batch_matmul = P.BatchMatMul()
        self.softmax = P.Softmax()
        self.cast = P.Cast()

    def written(self, cache, new, past):
        return self.concat((cache, self.split(new)))

    def repeated(self, x):
        batch, heads, length, size = self.shape(x)
        x = self.tile(self.reshape(x, (batch, heads, 1, length * size)), (1, 1, self.repeats, 1))
        return self.reshape(x, (batch, heads * self.repeats, length, size))

    def mask(self, visible, dtype):
        one = self.cast(Tensor([1.0]), dtype)
        hidden = self.mul(self.sub(one, self.cast(visible, dtype)), self.cast(Tensor([HIDDEN]), dtype))
        return self.expand_dims(hidden, 1)

    def construct(self, query, key, value, key_past, value_past, past, visible, *alibi):
        key, value = self.written(key_past, key, past), self.written(value_past, value, past)
        scores = self.batch_matmul_q_k(self.split(query), self.repeated(key))
        scores = self.mul(scores, self.cast(self.inv_norm_factor, scores.dtype))
        for bias in alibi:
            scores = self.add(scores, bias)
        scores = self.add(self.mask(visible, scores.dtype), scores)
        weights = self.cast(self.softmax(self.cast(scores, ms.float32)), value.dtype)
        return self.split.merged(self.batch_matmul(weights, self.repeated(value)))


class OlderLLamaAttention(LLamaAttention):
    """The same on one-hot caches (B, kvN, S, D)."""

    def __init__(self, kv_heads):
        super().__init__(kv_heads)
        self.one_hot = OneHot()

    def written(self, cache, new, past):
        here = self.expand_dims(self.one_hot(past, cache.dtype), 3)
        return self.add(cache, self.mul(self.tile(self.split(new), (1, 1, LENGTH, 1)), here))


class ChatGLM2Attention(nn.Cell):
    """The query is divided before the product; `hidden` is bool, (B, 1, 1, S)."""

    def __init__(self, kv_heads):
        super().__init__()
        self.repeats = HEADS // kv_heads
        self.split = Split()
        self.norm_factor = HEAD_SIZE**0.5
        self.concat = P.Concat(axis=2)
        self.tile = P.Tile()
        self.div = P.Div()
        self.mul = P.Mul()
        self.add = P.Add()
        self.batch_matmul_q_k = P.BatchMatMul(transpose_b=True)
        self.batch_matmul = P.BatchMatMul()
        self.softmax = nn.Softmax()
        self.cast = P.Cast()

    def repeated(self, x):
        batch, heads, length, size = x.shape
        x = self.tile(x.expand_dims(2), (1, 1, self.repeats, 1, 1))
        return x.reshape((batch, heads * self.repeats, length, size))

    def construct(self, query, key, value, key_past, value_past, past, hidden):
        key = self.concat((key_past, self.split(key)))
        value = self.concat((value_past, self.split(value)))
        query = self.div(self.split(query), self.norm_factor)
        scores = self.batch_matmul_q_k(query, self.repeated(key))
        scores = self.add(scores, self.mul(self.cast(hidden, scores.dtype), HIDDEN))
        weights = self.cast(self.softmax(self.cast(scores, ms.float32)), value.dtype)
        context = self.cast(self.batch_matmul(weights, self.repeated(value)), ms.float32)
        return self.split.merged(context)


class DotProductAttention(nn.Cell):
    """3-D products; `hidden` is bool, (B, 1, 1, S), and fills the scores or is added to them."""

    def __init__(self, kv_heads, fills):
        super().__init__()
        self.repeats = HEADS // kv_heads
        self.fills = fills
        self.split = Split()
        self.norm_factor = HEAD_SIZE**0.5
        self.concat = P.Concat(axis=2)

    def flat(self, x):
        return x.reshape((-1, x.shape[2], HEAD_SIZE))

    def masked(self, scores, hidden):
        if self.fills:
            return ops.masked_fill(scores, hidden, HIDDEN)
        return ops.add(scores, ops.mul(hidden.astype(scores.dtype), HIDDEN))

    def construct(self, query, key, value, key_past, value_past, past, hidden):
        key = self.concat((key_past, self.split(key))).repeat_interleave(self.repeats, 1)
        value = self.concat((value_past, self.split(value))).repeat_interleave(self.repeats, 1)
        scores = ops.bmm(self.flat(self.split(query)), self.flat(key).transpose((0, 2, 1)))
        scores = ops.mul(scores, 1.0 / self.norm_factor).reshape((-1, HEADS, 1, LENGTH)).astype(ms.float32)
        weights = ops.softmax(self.masked(scores, hidden), -1).astype(value.dtype)
        context = ops.bmm(weights.reshape((-1, 1, LENGTH)), self.flat(value))
        return self.split.merged(context.reshape((-1, HEADS, 1, HEAD_SIZE)))
