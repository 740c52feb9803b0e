"""Masks of the first positions: a condition makes them of numbers of the sequences, and a stage hides by them.

Each condition takes the scores (B, N, 1, S) and the numbers, and is true where a position is seen, unless its name says
otherwise. B, N and S are 2, 6 and 10 in conditions that name numbers.
"""

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, mint, nn, ops
from mindspore.ops import operations as P
from networks import repeat_interleave, scores_by_matmul

slots = Tensor(np.arange(10, dtype=np.int32))


class ShownWhere(nn.Cell):
    """Selects the scores where the condition holds."""

    def __init__(self, condition, neg=-1e9):
        super().__init__()
        self.condition = condition
        self.neg = neg

    def construct(self, scores, *numbers):
        return ops.where(self.condition(scores, *numbers), scores, self.neg)


class HiddenWhere(ShownWhere):
    def construct(self, scores, *numbers):
        return ops.masked_fill(scores, self.condition(scores, *numbers), self.neg)


class AddedUnless(ShownWhere):
    def construct(self, scores, *numbers):
        return scores + (1.0 - self.condition(scores, *numbers).astype(ms.float32)) * self.neg


# The number is that of the positions seen.


def by_index(scores, lengths):
    return ops.arange(10) < lengths[:, None, None, None]


def by_shape(scores, lengths):
    return ops.arange(scores.shape[-1]) < lengths.reshape(-1, 1, 1, 1)


def by_operator(scores, lengths):
    return P.Less()(P.Range()(Tensor(0), Tensor(10), Tensor(1)), ops.reshape(lengths, (2, 1, 1, 1)))


def by_cast_positions(scores, lengths):
    return ops.less(ops.arange(10).astype(ms.int32), lengths.expand_dims(1).expand_dims(1).expand_dims(1))


def by_cast_lengths(scores, lengths):
    return ops.arange(10) < lengths.astype(ms.int64)[:, None, None, None]


def by_fp32(scores, lengths):
    return ops.arange(10).astype(ms.float32) < lengths.astype(ms.float32).reshape(2, 1, 1, 1)


def by_float_range(scores, lengths):
    return ops.arange(0.0, 10.0, 1.0) < lengths.reshape(2, 1, 1, 1)


def by_constant(scores, lengths):
    return lengths[:, None, None, None] > slots


def by_constant_of_rank_4(scores, lengths):
    return slots.reshape(1, 1, 1, 10).lt(lengths.reshape(2, 1, 1, 1))


def by_rows(scores, lengths):
    """(B, S), brought to the scores' shape afterwards."""
    return ops.broadcast_to((ops.arange(10) < lengths.expand_dims(1)).reshape(2, 1, 1, 10), (2, 6, 1, 10))


def by_sequence_mask(scores, lengths):
    return ops.sequence_mask(lengths, 10)[:, None, None, :]


def by_mint(scores, lengths):
    numbers = mint.unsqueeze(mint.unsqueeze(mint.unsqueeze(lengths, 1), 2), 3)
    return mint.lt(mint.arange(10)[None, None, None, :], numbers)


def by_mint_views(scores, lengths):
    seen = mint.greater(mint.unsqueeze(lengths, 1), mint.unsqueeze(slots, 0))
    return mint.unsqueeze(mint.unsqueeze(seen, 1), 1)


def by_denial(scores, lengths):
    return ops.logical_not(ops.arange(10) >= lengths[:, None, None, None])


def by_two_denials(scores, lengths):
    return ~(~(ops.arange(10) < lengths[:, None, None, None]))


LENGTHS = [
    *(by_index, by_shape, by_operator, by_cast_positions, by_cast_lengths, by_fp32, by_float_range, by_constant),
    *(by_constant_of_rank_4, by_rows, by_sequence_mask, by_mint, by_mint_views, by_denial, by_two_denials),
]

# The number is the last position seen.


def up_to(scores, position):
    return ops.arange(10) <= position.reshape(-1, 1, 1, 1)


def up_to_swapped(scores, position):
    return ops.greater_equal(position[:, None, None, None], slots)


def up_to_mint(scores, position):
    return mint.le(mint.arange(10), position.view(-1, 1, 1, 1))


def up_to_denied(scores, position):
    return ops.logical_not(ops.arange(10).gt(position.reshape(-1, 1, 1, 1)))


LAST = [up_to, up_to_swapped, up_to_mint, up_to_denied]

# True where a position is hidden; the first two take lengths, the others last positions.


def hidden_from(scores, lengths):
    return ops.arange(10) >= lengths.reshape(-1, 1, 1, 1)


def hidden_from_swapped(scores, lengths):
    return mint.less_equal(lengths.reshape(-1, 1, 1, 1), mint.arange(10))


def hidden_beyond(scores, position):
    return ops.arange(10) > position.reshape(-1, 1, 1, 1)


def hidden_beyond_swapped(scores, position):
    return ops.less(position.reshape(-1, 1, 1, 1), slots)


# Numbers of other shapes, for all sequences or for each.


def as_they_are(scores, numbers):
    return slots < numbers


def of_one_element(scores, numbers):
    return slots < numbers[0]


def by_cut_numbers(scores, lengths):
    """int64 cut to int32."""
    return slots < lengths.astype(ms.int32).reshape(2, 1, 1, 1)


class OfParameter(nn.Cell):
    """`position` is a Parameter of one element."""

    def __init__(self, position):
        super().__init__()
        self.position = Parameter(position, name="position")

    def construct(self, scores):
        return slots <= self.position


# Scores of other shapes.


def of_3d_scores(scores, lengths):
    """(B * N, 1, S): the length of a sequence, repeated for its heads."""
    seen = ops.broadcast_to(slots < lengths.reshape(2, 1, 1, 1), (2, 6, 1, 10))
    return seen.reshape(12, 1, 10)


def of_5d_scores(scores, lengths):
    return slots < lengths.reshape(2, 1, 1, 1, 1)


# Not the first positions, or not as many for all heads, or not provably.


def suffix(scores, lengths):
    return ops.arange(10) > lengths.reshape(2, 1, 1, 1)


def suffix_swapped(scores, lengths):
    return lengths.reshape(2, 1, 1, 1) <= ops.arange(10)


def suffix_denied(scores, lengths):
    return ops.logical_not(ops.arange(10) < lengths.reshape(2, 1, 1, 1))


def from_one(scores, lengths):
    return ops.arange(1, 11) < lengths.reshape(2, 1, 1, 1)


def by_two(scores, lengths):
    return ops.arange(0, 20, 2) < lengths.reshape(2, 1, 1, 1)


def backwards(scores, lengths):
    return ops.arange(9, -1, -1) < lengths.reshape(2, 1, 1, 1)


def moved_by_row(scores, lengths):
    return ops.arange(10) + ops.arange(2).reshape(2, 1, 1, 1) < lengths.reshape(2, 1, 1, 1)


def written_positions(scores, lengths):
    positions = ops.arange(10)
    positions.add_(1)
    return positions < lengths.reshape(2, 1, 1, 1)


def transposed_positions(scores, lengths):
    """0, 5, 1, 6, ...: each position once, in another order."""
    positions = ops.transpose(slots.reshape(2, 5), (1, 0)).reshape(10)
    return positions < lengths.reshape(2, 1, 1, 1)


def repeated_positions(scores, lengths):
    return ops.repeat_interleave(ops.arange(5), 2, 0) < lengths.reshape(2, 1, 1, 1)


def window(scores, lengths):
    positions, last = ops.arange(10), lengths.reshape(2, 1, 1, 1)
    return ops.logical_and(positions < last, positions > last - 3)


def equal(scores, lengths):
    return ops.arange(10) == lengths.reshape(2, 1, 1, 1)


def by_position(scores, numbers):
    """Numbers (S,): not one for a sequence."""
    return slots < numbers


def by_head(scores, numbers):
    """Numbers (N,), of 10 heads."""
    return slots < numbers.reshape(10, 1, 1)


def over_heads(scores, lengths):
    """The first of 10 heads of a sequence, in all positions."""
    return ops.broadcast_to(ops.arange(10).reshape(10, 1, 1) < lengths.reshape(2, 1, 1, 1), scores.shape)


def by_halves(scores, lengths):
    """fp32 lengths."""
    return ops.arange(10) < lengths.reshape(2, 1, 1, 1)


def by_fp16(scores, lengths):
    return ops.arange(10).astype(ms.float32) < lengths.astype(ms.float16).reshape(2, 1, 1, 1)


def by_long_fp32(scores, lengths):
    return ops.arange(2**24 + 2).astype(ms.float32) < lengths.astype(ms.float32)


# Larger graphs.


class PagedUpTo(nn.Cell):
    """Blocks (10, 16, kvN, D) by a table (B, 3), and the lengths of the sequences."""

    def construct(self, q, k, v, table, lengths):
        key = ops.gather(k, table, 0).reshape(2, 48, 2, 8).transpose(0, 2, 1, 3)
        value = ops.gather(v, table, 0).reshape(2, 48, 2, 8).transpose(0, 2, 1, 3)
        scores = scores_by_matmul(q, repeat_interleave(key))
        scores = ops.where(ops.arange(48) < lengths.reshape(2, 1, 1, 1), scores, -1e9)
        return ops.matmul(ops.softmax(scores, -1), repeat_interleave(value))


class CountedByKeys(nn.Cell):
    """The positions are counted by the keys' own length."""

    def __init__(self, attention):
        super().__init__()
        self.attention = attention

    def construct(self, q, k, v, lengths):
        return self.attention(q, k, v, ops.arange(k.shape[2]) < lengths.reshape(-1, 1, 1, 1))


class CountedOtherwise(CountedByKeys):
    """By the length of something that could be 1, and then broadcasts; not from 0; not one by one."""

    def __init__(self, attention, counted):
        super().__init__(attention)
        self.counted = counted

    def construct(self, q, k, v, lengths, other):
        return self.attention(q, k, v, self.counted(k, other) < lengths.reshape(-1, 1, 1, 1))


def counted_by_another(k, other):
    return ops.arange(other.shape[0])


def counted_from_one(k, other):
    return ops.arange(1, k.shape[2])


def counted_by_two(k, other):
    return ops.arange(0, k.shape[2], 2)


class Layers(nn.Cell):
    """The mask is made once, and added in each layer."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.CellList(list(layers))

    def construct(self, q, k, v, lengths):
        mask = ops.where(slots < lengths.reshape(2, 1, 1, 1), 0.0, -1e9)
        for layer in self.layers:
            q = layer(q, k, v, mask)
        return q


class Counter(nn.Cell):
    """A step that counts its position itself: before the mask is made, between mask and attention, or after it."""

    def __init__(self, when):
        super().__init__()
        self.position = Parameter(Tensor(2, ms.int32), name="position")
        self.keys = Parameter(Tensor(np.zeros((2, 2, 10, 8), np.float32)), name="keys")
        self.when = when

    def construct(self, q, k, v):
        if self.when == "before":
            ops.assign_add(self.position, Tensor(1, ms.int32))
        seen = slots <= self.position
        if self.when == "between":
            ops.assign_add(self.position, Tensor(4, ms.int32))
        ops.assign(self.keys, k)
        scores = ops.where(seen, scores_by_matmul(q, repeat_interleave(self.keys)), -1e9)
        output = ops.matmul(ops.softmax(scores, -1), repeat_interleave(v))
        if self.when == "after":
            ops.assign_add(self.position, Tensor(1, ms.int32))
        return output


class LengthsWritten(nn.Cell):
    """The input that the mask is made of is written before the scores are masked."""

    def construct(self, q, k, v, lengths):
        seen = slots < lengths.reshape(2, 1, 1, 1)
        lengths.add_(4)
        scores = ops.where(seen, scores_by_matmul(q, repeat_interleave(k)), -1e9)
        return ops.matmul(ops.softmax(scores, -1), repeat_interleave(v))
