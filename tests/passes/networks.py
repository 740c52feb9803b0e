"""Decode attention as people write it, put together from stages: a spelling is a choice of stages.

Query, key and value come in as (B, N, 1, D) and (B, kvN, S, D) unless a stage says otherwise; B, N, kvN, S
and D are 2, 6, 2, 10 and 8 in stages that name numbers.
"""

import mindspore as ms
from mindspore import Parameter, Tensor, lazy_inline, mint, nn, ops
from mindspore.ops import operations as P

GROUP = 3


def same(x):
    return x


# Key and value heads brought to the number of query heads.


def repeat_interleave(x):
    return ops.repeat_interleave(x, GROUP, 1)


def repeat_interleave_method(x):
    return x.repeat_interleave(GROUP, 1)


def repeat_interleave_mint(x):
    return mint.repeat_interleave(x, GROUP, dim=1)


def broadcast_to(x):
    b, n, s, d = x.shape
    return ops.broadcast_to(ops.expand_dims(x, 2), (b, n, GROUP, s, d)).reshape(b, n * GROUP, s, d)


def broadcast_to_by_index(x):
    b, n, s, d = x.shape
    return x[:, :, None].broadcast_to((b, n, GROUP, s, d)).reshape(b, n * GROUP, s, d)


def tile(x):
    b, n, s, d = x.shape
    return ops.tile(ops.expand_dims(x, 2), (1, 1, GROUP, 1, 1)).reshape(b, n * GROUP, s, d)


def tile_of_flat_heads(x):
    b, n, s, d = x.shape
    return ops.tile(ops.reshape(x, (b, n, 1, s * d)), (1, 1, GROUP, 1)).reshape(b, n * GROUP, s, d)


def tile_unknown_length(x):
    return ops.tile(ops.expand_dims(x, 2), (1, 1, GROUP, 1, 1)).reshape(2, 6, -1, 8)


def tile_in_wrong_order(x):
    return ops.tile(x, (1, GROUP, 1, 1))


def expand_in_wrong_order(x):
    b, n, s, d = x.shape
    return ops.broadcast_to(ops.expand_dims(x, 1), (b, GROUP, n, s, d)).reshape(b, n * GROUP, s, d)


def mixed_heads(x):
    """From (B, kvN, S, D), read as if it were (B, S, kvN, D)."""
    return repeat_interleave(x.reshape(2, 10, 2, 8).transpose(0, 2, 1, 3))


def heads_last_repeated(x):
    """From (B, S, kvN, D), repeated before the transpose."""
    return ops.repeat_interleave(x, GROUP, 2).transpose(0, 2, 1, 3)


def transposed_repeated(x):
    """From (B, S, kvN, D)."""
    return repeat_interleave(x.transpose(0, 2, 1, 3))


def split_repeated(x):
    """From (B, S, kvN * D)."""
    return transposed_repeated(x.reshape(x.shape[0], x.shape[1], 2, 8))


def split_repeated_unknown_length(x):
    """From (B, S, kvN * D)."""
    return repeat_interleave(x.reshape(2, -1, 2, 8).transpose(0, 2, 1, 3))


def heads_of_query_bsh(q):
    """From (B, 1, N * D)."""
    return q.reshape(q.shape[0], 1, 6, 8).transpose(0, 2, 1, 3)


def heads_of_query_view(q):
    """From (B, 1, N * D): with one position the order in memory is the same."""
    return q.reshape(q.shape[0], 6, 1, 8)


def heads_of_query_bsnd(q):
    """From (B, 1, N, D)."""
    return ops.transpose(q, (0, 2, 1, 3))


def heads_of_prompt(q):
    """From (B, 5, N * D)."""
    return q.reshape(2, 5, 6, 8).transpose(0, 2, 1, 3)


def heads_of_prompt_wrongly(q):
    """From (B, 5, N * D), as if heads came before positions."""
    return q.reshape(2, 6, 5, 8)


def grouped_query(q):
    return q.reshape(q.shape[0], 2, GROUP, 8)


def grouped_query_5d(q):
    return q.reshape(q.shape[0], 2, GROUP, 1, 8)


def with_group_axis(x):
    return ops.expand_dims(x, 2)


def flat_query(q):
    return q.reshape(-1, 1, 8)


def flat_repeated(x):
    return repeat_interleave(x).reshape(-1, x.shape[2], 8)


def repeated_rows(x):
    """From (B * kvN, S, D)."""
    return ops.repeat_interleave(x, GROUP, 0)


# Scalars on an operand or on the scores.


class Times(nn.Cell):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def construct(self, x, *extra):
        return x * self.factor


class FactorTimes(Times):
    def construct(self, x, *extra):
        return self.factor * x


class Over(Times):
    def construct(self, x, *extra):
        return x / self.factor


class OpsOver(Times):
    def construct(self, x, *extra):
        return ops.div(x, self.factor)


class MintTimes(Times):
    def construct(self, x, *extra):
        return mint.mul(x, self.factor)


class MintOver(Times):
    def construct(self, x, *extra):
        return mint.div(x, self.factor)


class RealOver(Times):
    def construct(self, x, *extra):
        return P.RealDiv()(x, ms.Tensor(self.factor, ms.float32))


class TimesRoot(Times):
    """By the root of the shape's last size, as it is computed when the graph is compiled."""

    def construct(self, x, *extra):
        return x * (x.shape[-1] ** -0.5)


class Chain(nn.Cell):
    """Stages one after the other; what is not the main operand goes to the stage that `takes` it."""

    def __init__(self, first, second):
        super().__init__()
        self.first = first
        self.second = second

    def construct(self, x, *extra):
        return self.second(self.first(x, *extra), *extra)


class ScaledAfter(nn.Cell):
    """What a stage with extra inputs gives, times a number."""

    def __init__(self, stage, factor):
        super().__init__()
        self.stage = stage
        self.factor = factor

    def construct(self, x, *extra):
        return self.stage(x, *extra) * self.factor


# The product of query and key.


def scores_by_matmul(q, k):
    return ops.matmul(q, k.transpose(0, 1, 3, 2))


def scores_by_operator(q, k):
    return q @ k.swapaxes(-1, -2)


def scores_by_mint(q, k):
    return mint.matmul(q, ops.swapaxes(k, 2, 3))


def scores_by_bmm_flag(q, k):
    return P.BatchMatMul(transpose_b=True)(q, k)


def scores_by_bmm(q, k):
    return P.BatchMatMul()(q, k.transpose(0, 1, 3, 2))


def scores_by_bmm_both_flags(q, k):
    return P.BatchMatMul(transpose_a=True, transpose_b=True)(q.transpose(0, 1, 3, 2), k)


def scores_by_bmm_flag_left(q, k):
    return P.BatchMatMul(transpose_a=True)(q.reshape(q.shape[0], 6, 8, 1), k.transpose(0, 1, 3, 2))


def scores_5d(q, k):
    return ops.matmul(q, k.transpose(0, 1, 2, 4, 3))


def scores_3d(q, k):
    return ops.bmm(q, k.transpose(0, 2, 1))


def scores_3d_mint(q, k):
    return mint.bmm(q, ops.swapaxes(k, 1, 2))


def scores_3d_reshaped(q, k):
    return scores_3d(q, k).reshape(2, 6, 1, 10)


def scores_of_transposed_cache(q, k):
    """Key is (B, N, D, S)."""
    return ops.matmul(q, k)


# Between the scores and the softmax; masks and biases come as extra inputs.


def unchanged(scores, *extra):
    return scores


class Additive(nn.Cell):
    """Adds a tensor that is made of a condition."""

    def __init__(self, neg, dtype=ms.float32):
        super().__init__()
        self.neg = neg
        self.dtype = dtype

    def construct(self, scores, condition):
        return scores + self.mask(condition)

    def mask(self, condition):
        return ops.where(condition, self.neg, 0.0).astype(self.dtype)


class AdditiveKeep(Additive):
    def mask(self, condition):
        return ops.where(condition, 0.0, self.neg).astype(self.dtype)


class AdditiveSelect(Additive):
    def mask(self, condition):
        return ops.select(condition, Tensor(self.neg, self.dtype), Tensor(0.0, self.dtype))


class AdditiveMintWhere(Additive):
    def mask(self, condition):
        return mint.where(condition, Tensor(self.neg, self.dtype), Tensor(0.0, self.dtype))


class AdditiveOneMinus(Additive):
    """1 where the position is kept."""

    def mask(self, condition):
        return (1.0 - condition.astype(self.dtype)) * self.neg


class AdditiveTimes(Additive):
    def mask(self, condition):
        return condition.astype(self.dtype) * self.neg


class AdditiveNot(Additive):
    def mask(self, condition):
        return ops.logical_not(condition).astype(self.dtype) * self.neg


class AdditiveMaskedFill(Additive):
    def mask(self, condition):
        return ops.masked_fill(ops.zeros(condition.shape, self.dtype), condition, self.neg)


class AdditiveKeptMinusOne(Additive):
    """(keep - 1) * -NEG"""

    def mask(self, condition):
        return (condition.astype(self.dtype) - 1.0) * (-self.neg)


class AdditiveOfIntegers(Additive):
    """1 where the position is hidden, an integer input."""

    def mask(self, condition):
        return ops.where(condition == 1, self.neg, 0.0).astype(self.dtype)


class AdditiveFirst(Additive):
    """The mask is the first operand."""

    def construct(self, scores, condition):
        return ops.add(self.mask(condition), scores)


class AdditiveMint(Additive):
    def construct(self, scores, condition):
        return mint.add(scores, self.mask(condition))


class AdditiveReshaped(Additive):
    """From (B, S): reshaped after it has become numbers."""

    def mask(self, condition):
        return ops.where(condition, self.neg, 0.0).reshape(2, 1, 1, 10)


class AdditiveExpanded(Additive):
    """From (B, S): expanded before it becomes numbers."""

    def mask(self, condition):
        return ops.where(condition[:, None, None, :], self.neg, 0.0)


class AdditiveBroadcast(Additive):
    """From (B, 1, 1, S): broadcast to all heads explicitly."""

    def mask(self, condition):
        return ops.broadcast_to(ops.where(condition, self.neg, 0.0), (2, 6, 1, 10))


class AdditiveBroadcastCondition(Additive):
    def mask(self, condition):
        return ops.where(ops.broadcast_to(condition, (2, 6, 1, 10)), self.neg, 0.0)


class AdditiveNotBroadcast(Additive):
    """True where the position is kept; negated after it was broadcast to all heads."""

    def mask(self, condition):
        return ops.where(ops.logical_not(ops.broadcast_to(condition, (2, 6, 1, 10))), self.neg, 0.0)


class TwoMasks(Additive):
    """Hides where either says so; the second is (S,)."""

    def construct(self, scores, first, second):
        return scores + ops.where(first, self.neg, 0.0) + ops.where(second, self.neg, 0.0)


class SelectAndAdditive(Additive):
    def construct(self, scores, first, second):
        return ops.masked_fill(scores, first, self.neg) + ops.where(second, self.neg, 0.0)


class MaskAndBias(Additive):
    def construct(self, scores, condition, bias):
        return scores + bias + ops.where(condition, self.neg, 0.0)


class MaskThenBias(Additive):
    def construct(self, scores, condition, bias):
        return scores + ops.where(condition, self.neg, 0.0) + bias


class BiasPlusMask(Additive):
    """Merged before they meet the scores."""

    def construct(self, scores, condition, bias):
        return scores + (bias + ops.where(condition, self.neg, 0.0))


class MaskPlusBias(Additive):
    def construct(self, scores, condition, bias):
        return scores + (ops.where(condition, self.neg, 0.0) + bias)


class BiasPlusMaskCast(Additive):
    """Merged in fp16, where -1e9 is -inf."""

    def construct(self, scores, condition, bias):
        merged = bias.astype(ms.float16) + ops.where(condition, self.neg, 0.0).astype(ms.float16)
        return merged.astype(ms.float32) + scores


class MasksAndBiasMerged(Additive):
    def construct(self, scores, first, second, bias):
        masks = ops.where(first, self.neg, 0.0), ops.where(second, self.neg, 0.0)
        return scores + (masks[0] + (bias + masks[1]))


class SlidingWindow(Additive):
    """Four positions up to the new one."""

    def construct(self, scores, position):
        steps = ops.arange(10).reshape(1, 1, 1, 10)
        hidden = ops.logical_or(steps > position, steps <= position - 4)
        return scores + ops.where(hidden, self.neg, 0.0)


class AdditiveWithHeads(Additive):
    """From (B, 1, S)."""

    def mask(self, condition):
        return ops.expand_dims(ops.where(condition, self.neg, 0.0), 1)


class AdditiveSliced(Additive):
    """From a mask that is longer than the cache."""

    def mask(self, condition):
        return ops.where(condition, self.neg, 0.0)[:, :, :, :10]


class AdditiveScattered(Additive):
    """Written, sequence by sequence, into zeros."""

    def mask(self, condition):
        rows = ops.where(condition, self.neg, 0.0)[:, :, :, :10]
        return ops.tensor_scatter_update(ops.zeros_like(rows), Tensor([[0], [1]], ms.int64), rows)


class Plus(nn.Cell):
    def __init__(self, tensor):
        super().__init__()
        self.tensor = tensor

    def construct(self, scores):
        return scores + self.tensor


class SelectThenBias(Additive):
    def construct(self, scores, condition, bias):
        return ops.masked_fill(scores, condition, self.neg) + bias


class BiasThenSelect(Additive):
    def construct(self, scores, condition, bias):
        return ops.masked_fill(scores + bias, condition, self.neg)


class Select(Additive):
    def construct(self, scores, condition):
        return ops.select(condition, Tensor(self.neg, self.dtype), scores)


class SelectKeep(Additive):
    def construct(self, scores, condition):
        return ops.where(condition, scores, self.neg)


class SelectMint(Additive):
    def construct(self, scores, condition):
        return mint.where(condition, scores, Tensor(self.neg, self.dtype))


class SelectMaskedFill(Additive):
    def construct(self, scores, condition):
        return ops.masked_fill(scores, condition, self.neg)


class SelectMaskedFillMethod(Additive):
    def construct(self, scores, condition):
        return scores.masked_fill(condition, self.neg)


class SelectMaskedFillTensor(Additive):
    def construct(self, scores, condition):
        return ops.masked_fill(scores, condition, Tensor(self.neg, self.dtype))


class SelectNot(Additive):
    """True where the position is kept."""

    def construct(self, scores, condition):
        return ops.masked_fill(scores, ops.logical_not(condition), self.neg)


class SelectWhereNot(Additive):
    """Keeps the scores where the condition is False."""

    def construct(self, scores, condition):
        return ops.where(ops.logical_not(condition), scores, self.neg)


class SelectNotBroadcast(Additive):
    """True where the position is kept; negated after it was broadcast to all heads."""

    def construct(self, scores, condition):
        return ops.masked_fill(scores, ops.logical_not(ops.broadcast_to(condition, scores.shape)), self.neg)


class SelectBroadcast(Additive):
    def construct(self, scores, condition):
        return ops.masked_fill(scores, ops.broadcast_to(condition, scores.shape), self.neg)


class TwoSelects(nn.Cell):
    """With fills of their own."""

    def __init__(self, inner, outer):
        super().__init__()
        self.inner = inner
        self.outer = outer

    def construct(self, scores, first, second):
        return ops.masked_fill(ops.masked_fill(scores, first, self.inner), second, self.outer)


class Bounded(nn.Cell):
    """Scores raised to a number, and lowered to another where there is one."""

    def __init__(self, lowest, highest=None):
        super().__init__()
        self.lowest = lowest
        self.highest = highest

    def construct(self, scores):
        return ops.clamp(scores, self.lowest, self.highest)


class Raised(Bounded):
    def construct(self, scores):
        return ops.maximum(Tensor(self.lowest, ms.float32), scores)


def add(scores, bias):
    return scores + bias


def add_first(scores, bias):
    return bias + scores


def add_mint(scores, bias):
    return mint.add(scores, bias)


def add_alpha(scores, bias):
    return mint.add(scores, bias, alpha=0.5)


def subtract(scores, bias):
    return scores - bias


# From scores to weights.


def softmax(scores):
    return ops.softmax(scores, -1)


def softmax_positive_axis(scores):
    return ops.softmax(scores, 3)


def softmax_operator(scores):
    return P.Softmax(axis=-1)(scores)


def softmax_mint(scores):
    return mint.nn.functional.softmax(scores, dim=-1)


def softmax_in_fp32(scores):
    return ops.softmax(scores.astype(ms.float32), -1).astype(scores.dtype)


def softmax_in_fp32_mint(scores):
    return mint.nn.functional.softmax(scores, dim=-1, dtype=ms.float32).to(scores.dtype)


class SoftmaxCell(nn.Cell):
    def __init__(self):
        super().__init__()
        self.softmax = nn.Softmax(axis=-1)
        self.dropout = nn.Dropout(p=0.0)

    def construct(self, scores):
        return self.dropout(self.softmax(scores))


def softmax_reshaped(scores):
    """3-D scores to 4-D and back."""
    return ops.softmax(scores.reshape(2, 6, 1, 10), -1).reshape(12, 1, 10)


# The weighted sum of values.


def values_by_matmul(p, v):
    return ops.matmul(p, v)


def values_by_mint(p, v):
    return mint.matmul(p, v)


def values_by_bmm(p, v):
    return P.BatchMatMul()(p, v)


def values_by_bmm_flag(p, v):
    return P.BatchMatMul(transpose_b=True)(p, v.transpose(0, 1, 3, 2))


def values_3d(p, v):
    return ops.bmm(p, v)


def values_3d_mint(p, v):
    return mint.bmm(p, v)


def merged(o):
    return o.transpose(0, 2, 1, 3).reshape(o.shape[0], 1, 48)


def heads_to_the_end(o):
    return o.transpose(0, 2, 3, 1)


def in_fp32(x):
    return x.astype(ms.float32)


def in_bf16(x):
    return x.astype(ms.bfloat16)


def in_fp32_of(scores, *extra):
    return scores.astype(ms.float32)


def softmax_to_fp16(scores):
    return ops.softmax(scores, -1).astype(ms.float16)


def in_fp16(x):
    return x.astype(ms.float16)


class Attention(nn.Cell):
    """The spelling that its stages are."""

    def __init__(
        self,
        query=same,
        key=repeat_interleave,
        value=None,
        scores=scores_by_matmul,
        adjust=unchanged,
        weights=softmax,
        output=values_by_matmul,
        finish=same,
    ):
        super().__init__()
        self.query = query
        self.key = key
        self.value = key if value is None else value
        self.scores = scores
        self.adjust = adjust
        self.weights = weights
        self.output = output
        self.finish = finish

    def construct(self, q, k, v, *extra):
        scores = self.adjust(self.scores(self.query(q), self.key(k)), *extra)
        return self.finish(self.output(self.weights(scores), self.value(v)))


class AttentionOfTwoBatches(nn.Cell):
    """Two attentions of their own numbers of sequences under one mask."""

    def __init__(self):
        super().__init__()
        self.attention = Attention(key=same, scores=scores_by_bmm_flag, adjust=SelectMaskedFill(-1e9))

    def construct(self, q, k, v, other_q, other_k, other_v, hidden):
        return self.attention(q, k, v, hidden), self.attention(other_q, other_k, other_v, hidden)


# Networks that look like attention and must stay as they are. The softmax of each is on a line of its own.


class ScoresReturned(nn.Cell):
    def construct(self, q, k, v):
        scores = scores_by_matmul(q, repeat_interleave(k)) * 0.3
        weights = ops.softmax(scores, -1)
        return ops.matmul(weights, repeat_interleave(v)), scores


class ScoresUsedTwice(nn.Cell):
    def construct(self, q, k, v):
        scores = scores_by_matmul(q, repeat_interleave(k))
        scores = ops.where(scores > 0.5, scores, -1e9)
        weights = ops.softmax(scores, -1)
        return ops.matmul(weights, repeat_interleave(v))


class MaskMadeOfScores(nn.Cell):
    def construct(self, q, k, v):
        scores = scores_by_matmul(q, repeat_interleave(k))
        weights = ops.softmax(scores + ops.where(scores < 0.0, -1e9, 0.0), -1)
        return ops.matmul(weights, repeat_interleave(v))


class WeightsReturned(nn.Cell):
    def construct(self, q, k, v):
        weights = ops.softmax(scores_by_matmul(q, repeat_interleave(k)), -1)
        return ops.matmul(weights, repeat_interleave(v)), weights


class WeightsUsedTwice(nn.Cell):
    def construct(self, q, k, v):
        weights = ops.softmax(scores_by_matmul(q, repeat_interleave(k)), -1)
        return ops.matmul(weights, repeat_interleave(v)) + ops.matmul(weights, repeat_interleave(k))


class HeadMask(nn.Cell):
    """The extra input is one factor a head."""

    def construct(self, q, k, v, head_mask):
        weights = ops.softmax(scores_by_matmul(q, repeat_interleave(k)), -1)
        return ops.matmul(weights * head_mask, repeat_interleave(v))


class HalvedWeights(nn.Cell):
    def construct(self, q, k, v):
        weights = ops.softmax(scores_by_matmul(q, repeat_interleave(k)), -1)
        return ops.matmul(weights * 0.5, repeat_interleave(v))


class RenormalisedWeights(nn.Cell):
    """Divided by another sum than the softmax's own."""

    def construct(self, q, k, v):
        weights = ops.softmax(scores_by_matmul(q, repeat_interleave(k)), -1)
        weights = weights / (weights.sum(-1, keepdims=True) + 0.5)
        return ops.matmul(weights, repeat_interleave(v))


class LargestWeights(nn.Cell):
    """Top-k: all weights below the third are dropped."""

    def construct(self, q, k, v):
        weights = ops.softmax(scores_by_matmul(q, repeat_interleave(k)), -1)
        least = ops.topk(weights, 3)[0][..., 2:]
        return ops.matmul(ops.where(weights >= least, weights, 0.0), repeat_interleave(v))


class TalkingHeads(nn.Cell):
    """Each head's weights are a mixture of all heads'."""

    def __init__(self):
        super().__init__()
        self.mixture = Tensor([[1.0 / (1 + abs(i - j)) for j in range(6)] for i in range(6)], ms.float32)

    def construct(self, q, k, v):
        weights = ops.softmax(scores_by_matmul(q, repeat_interleave(k)), -1)
        weights = ops.matmul(self.mixture, weights.reshape(2, 6, 10)).reshape(2, 6, 1, 10)
        return ops.matmul(weights, repeat_interleave(v))


class ShiftedWeights(nn.Cell):
    def construct(self, q, k, v):
        weights = ops.softmax(scores_by_matmul(q, repeat_interleave(k)), -1)
        return ops.matmul(weights + 0.5, repeat_interleave(v))


class ActingDropout(nn.Cell):
    def __init__(self):
        super().__init__()
        self.dropout = nn.Dropout(p=0.5)
        self.set_train()

    def construct(self, q, k, v):
        weights = ops.softmax(scores_by_matmul(q, repeat_interleave(k)), -1)
        return ops.matmul(self.dropout(weights), repeat_interleave(v))


class SoftCapping(nn.Cell):
    def construct(self, q, k, v):
        scores = ops.tanh(scores_by_matmul(q, repeat_interleave(k)) / 2.0) * 2.0
        weights = ops.softmax(scores, -1)
        return ops.matmul(weights, repeat_interleave(v))


class SoftCappingAndMask(nn.Cell):
    """As Gemma 2 has it: a tensor is added to scores that are capped."""

    def construct(self, q, k, v, bias):
        capped = ops.tanh(scores_by_matmul(q, repeat_interleave(k)) / 2.0) * 2.0
        weights = ops.softmax((capped + bias).astype(ms.float32), -1)
        return ops.matmul(weights, repeat_interleave(v))


class AttentionSink(nn.Cell):
    """A learned score of each head takes its share of the weights."""

    def construct(self, q, k, v, sink):
        scores = scores_by_matmul(q, repeat_interleave(k))
        scores = ops.concat((scores, ops.broadcast_to(sink, (2, 6, 1, 1))), -1)
        weights = ops.softmax(scores - scores.max(-1, keepdims=True), -1)
        return ops.matmul(weights[..., :-1], repeat_interleave(v))


class AbsoluteScores(nn.Cell):
    def construct(self, q, k, v):
        weights = ops.softmax(ops.abs(scores_by_matmul(q, repeat_interleave(k))), -1)
        return ops.matmul(weights, repeat_interleave(v))


class Sigmoid(nn.Cell):
    def construct(self, q, k, v):
        weights = ops.sigmoid(scores_by_matmul(q, repeat_interleave(k)))
        return ops.matmul(weights, repeat_interleave(v))


class Relu(nn.Cell):
    def construct(self, q, k, v):
        weights = ops.relu(scores_by_matmul(q, repeat_interleave(k)))
        return ops.matmul(weights, repeat_interleave(v))


class SoftmaxOverHeads(nn.Cell):
    def construct(self, q, k, v):
        weights = ops.softmax(scores_by_matmul(q, repeat_interleave(k)), 1)
        return ops.matmul(weights, repeat_interleave(v))


class SoftmaxOverRows(nn.Cell):
    def construct(self, q, k, v):
        weights = ops.softmax(scores_by_matmul(q, repeat_interleave(k)), -2)
        return ops.matmul(weights, repeat_interleave(v))


class SoftmaxOverAllHeads(nn.Cell):
    """Heads and positions in one row."""

    def construct(self, q, k, v):
        scores = scores_by_matmul(q, repeat_interleave(k)).reshape(2, 1, 1, 60)
        weights = ops.softmax(scores, -1).reshape(2, 6, 1, 10)
        return ops.matmul(weights, repeat_interleave(v))


class ScoresAndWeightsReturned(nn.Cell):
    def construct(self, q, k, v):
        scores = scores_by_matmul(q, repeat_interleave(k))
        weights = ops.softmax(scores, -1)
        return ops.matmul(weights, repeat_interleave(v)), scores, weights


class SoftCappingAndHalvedWeights(nn.Cell):
    def construct(self, q, k, v):
        scores = ops.tanh(scores_by_matmul(q, repeat_interleave(k)))
        weights = ops.softmax(scores, -1)
        return ops.matmul(weights * 0.5, repeat_interleave(v))


class HeadsSwapped(nn.Cell):
    """The probabilities of one head meet the values of another."""

    def construct(self, q, k, v):
        scores = scores_by_matmul(q, repeat_interleave(k)).reshape(2, 3, 2, 10).transpose(0, 2, 1, 3)
        weights = ops.softmax(scores, -1).reshape(2, 6, 1, 10)
        return ops.matmul(weights, repeat_interleave(v))


class PositionsReversed(nn.Cell):
    def construct(self, q, k, v):
        weights = ops.softmax(scores_by_matmul(q, repeat_interleave(k)), -1)
        return ops.matmul(ops.flip(weights, (3,)), repeat_interleave(v))


class ScaleOfAnInput(nn.Cell):
    """The extra input broadcasts to the scores."""

    def construct(self, q, k, v, scale):
        weights = ops.softmax(scores_by_matmul(q, repeat_interleave(k)) * scale, -1)
        return ops.matmul(weights, repeat_interleave(v))


class ScaleOfAParameter(nn.Cell):
    def __init__(self, scale):
        super().__init__()
        self.scale = Parameter(Tensor(scale, ms.float32), name="scale")

    def construct(self, q, k, v):
        weights = ops.softmax(scores_by_matmul(q, repeat_interleave(k)) / self.scale, -1)
        return ops.matmul(weights, repeat_interleave(v))


class FillOfAnInput(nn.Cell):
    def construct(self, q, k, v, condition, fill):
        scores = ops.where(condition, scores_by_matmul(q, repeat_interleave(k)), fill)
        weights = ops.softmax(scores, -1)
        return ops.matmul(weights, repeat_interleave(v))


class SwappedFactors(nn.Cell):
    """The value is the left factor: (D, S) (S, 1)."""

    def construct(self, q, k, v):
        weights = ops.softmax(scores_by_matmul(q, repeat_interleave(k)), -1)
        return ops.matmul(repeat_interleave(v).transpose(0, 1, 3, 2), weights.transpose(0, 1, 3, 2))


class BiasThatWidensScores(nn.Cell):
    """One row of scores and a bias of (B, N, 3, S): three rows of weights."""

    def construct(self, q, k, v, bias):
        weights = ops.softmax(scores_by_matmul(q, repeat_interleave(k)) + bias, -1)
        return ops.matmul(weights, repeat_interleave(v))


class TemperedByScores(nn.Cell):
    """What is subtracted is a function of the scores; it moves rows as a whole, which no step looks at."""

    def construct(self, q, k, v):
        scores = scores_by_matmul(q, repeat_interleave(k))
        scores = scores - ops.stop_gradient(scores).max(-1, keepdims=True) * 2.0
        weights = ops.softmax(scores, -1)
        return ops.matmul(weights, repeat_interleave(v))


class LinearLayers(nn.Cell):
    """A softmax between matmuls that is no attention."""

    def construct(self, x, w, u):
        weights = ops.softmax(ops.matmul(x, w), -1)
        return ops.matmul(weights, u)


def classify(x):
    return ops.softmax(ops.relu(x), -1)


class Classifier(nn.Cell):
    def construct(self, x):
        return classify(x)


# Attention in larger graphs.


class Residual(nn.Cell):
    """A cell that calls a cell."""

    def __init__(self, attention):
        super().__init__()
        self.attention = attention

    def construct(self, q, k, v, *extra):
        return q + self.attention(q, k, v, *extra)


class LazyResidual(nn.Cell):
    """The same, with a graph of its own for each instance."""

    @lazy_inline
    def __init__(self, attention):
        super().__init__()
        self.attention = attention

    def construct(self, q, k, v):
        return q + self.attention(q, k, v)


class Stack(nn.Cell):
    """Layers one after the other, all with the same extra inputs."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.CellList(list(layers))

    def construct(self, q, k, v, *extra):
        for layer in self.layers:
            q = layer(q, k, v, *extra)
        return q


class StackSharingMask(nn.Cell):
    """The mask is made once, from a condition, and added in each layer."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.CellList(list(layers))

    def construct(self, q, k, v, condition):
        mask = (1.0 - condition.astype(ms.float32)) * -1e9
        for layer in self.layers:
            q = layer(q, k, v, mask)
        return q


class StackSharingMergedMask(nn.Cell):
    """A bias and a mask made of a condition are merged once and added in each layer."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.CellList(list(layers))

    def construct(self, q, k, v, condition, bias):
        merged = bias + (1.0 - condition.astype(ms.float32)) * -1e9
        for layer in self.layers:
            q = layer(q, k, v, merged)
        return q


class WhileLoop(nn.Cell):
    """As many layers as the extra input says."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def construct(self, q, k, v, count):
        i = Tensor(0, ms.int32)
        while i < count:
            q = self.layer(q, k, v)
            i = i + 1
        return q


class IfElse(nn.Cell):
    """One or the other, as the extra input says."""

    def __init__(self, one, other):
        super().__init__()
        self.one = one
        self.other = other

    def construct(self, q, k, v, flag):
        if flag > 0:
            return self.one(q, k, v)
        return self.other(q, k, v)


class ValuesInBranch(nn.Cell):
    """The weights are made outside of the branch that uses them."""

    def construct(self, q, k, v, flag):
        weights = ops.softmax(scores_by_matmul(q, repeat_interleave(k)), -1)
        if flag > 0:
            return ops.matmul(weights, repeat_interleave(v))
        return q


class ValuesInLoop(nn.Cell):
    """The weights are made outside of the loop that uses them."""

    def construct(self, q, k, v, count):
        weights = ops.softmax(scores_by_matmul(q, repeat_interleave(k)), -1)
        total = ops.zeros_like(q)
        i = Tensor(0, ms.int32)
        while i < count:
            total = total + ops.matmul(weights, repeat_interleave(v))
            i = i + 1
        return total


def attend(q, k, v):
    scores = scores_by_matmul(q, repeat_interleave(k)) * 0.3
    return ops.matmul(ops.softmax(scores, -1), repeat_interleave(v))


class JittedConstruct(nn.Cell):
    @ms.jit
    def construct(self, q, k, v):
        scores = scores_by_matmul(q, repeat_interleave(k)) * 0.3
        return ops.matmul(ops.softmax(scores, -1), repeat_interleave(v))


class KvCache(nn.Cell):
    """Keys and values in parameters, (B, kvN, S, D): new ones are written at a position, all are read."""

    def __init__(self, key, value):
        super().__init__()
        self.key = Parameter(key, name="key")
        self.value = Parameter(value, name="value")

    def construct(self, q, new_key, new_value, position):
        steps = ops.arange(10).reshape(1, 1, 10, 1)
        here = ops.equal(steps, position)
        ops.assign(self.key, ops.where(here, new_key, self.key))
        ops.assign(self.value, ops.where(here, new_value, self.value))
        scores = scores_by_matmul(q, repeat_interleave(self.key)) * 0.3
        scores = ops.where((steps > position).reshape(1, 1, 1, 10), -1e9, scores)
        return ops.matmul(ops.softmax(scores, -1), repeat_interleave(self.value))


class ReadBeforeWrite(nn.Cell):
    """Attends to what the caches hold, and overwrites them before the values are used."""

    def __init__(self, key, value):
        super().__init__()
        self.key = Parameter(key, name="key")
        self.value = Parameter(value, name="value")

    def construct(self, q, new_key, new_value):
        scores = scores_by_matmul(q, repeat_interleave(self.key)) * 0.3
        value = repeat_interleave(self.value)
        ops.assign(self.key, new_key)
        weights = ops.softmax(scores, -1)
        ops.assign(self.value, new_value)
        return ops.matmul(weights, value)


class WriteBetween(ReadBeforeWrite):
    """The keys are read before they are overwritten, the values after."""

    def construct(self, q, new_key, new_value):
        scores = scores_by_matmul(q, repeat_interleave(self.key)) * 0.3
        ops.assign(self.key, new_key)
        ops.assign(self.value, new_value)
        weights = ops.softmax(scores, -1)
        return ops.matmul(weights, repeat_interleave(self.value))


class WriteWhatWasAttended(ReadBeforeWrite):
    """The caches take on a function of the result."""

    def construct(self, q, new_key, new_value):
        scores = scores_by_matmul(q, repeat_interleave(self.key)) * 0.3
        output = ops.matmul(ops.softmax(scores, -1), repeat_interleave(self.value))
        ops.assign(self.key, new_key + output[:, :2])
        ops.assign(self.value, new_value * 2.0)
        return output + self.key.sum() + self.value.sum()


class MintAttention(nn.Cell):
    """Written with `mint`, whose views share memory and are ordered among side effects."""

    def construct(self, q, k, v):
        k = mint.reshape(mint.broadcast_to(mint.unsqueeze(k, 2), (2, 2, 3, 10, 8)), (2, 6, 10, 8))
        v = mint.reshape(mint.broadcast_to(mint.unsqueeze(v, 2), (2, 2, 3, 10, 8)), (2, 6, 10, 8))
        weights = mint.nn.functional.softmax(mint.matmul(q, mint.transpose(k, 2, 3)), dim=-1)
        return mint.matmul(weights, v)


class MintAttentionWrittenInBetween(nn.Cell):
    """The memory that the keys' view shares is written before the scores are computed from the view."""

    def construct(self, q, k, v):
        k = repeat_interleave(k) * 1.0
        view = mint.transpose(k, 2, 3)
        k.add_(1.0)
        weights = ops.softmax(ops.matmul(q, view), -1)
        return ops.matmul(weights, repeat_interleave(v))


class TwoFunctions(nn.Cell):
    """Two attentions that call the same library functions, in two functions of the user's."""

    def plain(self, q, k, v):
        scores = ops.matmul(q, k.swapaxes(-1, -2)) / 2.0
        return ops.matmul(ops.softmax(scores, -1), v)

    def capped(self, q, k, v):
        scores = ops.matmul(q, k.swapaxes(-1, -2)) / 3.0
        scores = ops.tanh(scores)
        return ops.matmul(ops.softmax(scores, -1), v)

    def construct(self, q, k, v):
        return self.plain(q[:, :2], k, v) + self.capped(q[:, 2:4], k, v)
