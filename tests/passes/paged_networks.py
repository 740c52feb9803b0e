"""Decode attention on caches that lie in blocks, gathered by a table.

A table (B, blocks of a sequence) holds the numbers of the blocks. In stages that name numbers, a cache has 10 blocks of
16 positions, and B, N, kvN and D are 2, 6, 2 and 8, as in `networks`.
"""

import mindspore as ms
from mindspore import Parameter, Tensor, mint, nn, ops
from mindspore.ops import operations as P
from networks import repeat_interleave, same, scores_by_matmul, unchanged

# The blocks of both sequences, gathered.


def gather(x, table):
    return ops.gather(x, table, 0)


def gather_method(x, table):
    return x.gather(table, 0)


def gather_operator(x, table):
    return P.Gather()(x, table, 0)


def gather_flat(x, table):
    return ops.gather(x, table.reshape(-1), 0)


def index(x, table):
    return x[table]


def index_flat(x, table):
    return x[table.reshape(-1)]


def index_select(x, table):
    return ops.index_select(x, 0, table.reshape(-1))


def index_select_method(x, table):
    return x.index_select(0, table.reshape(-1))


def index_select_mint(x, table):
    return mint.index_select(x, 0, mint.reshape(table, (-1,)))


def gather_nd(x, table):
    return ops.gather_nd(x, ops.expand_dims(table, -1))


def gather_flat_rows(x, table):
    """Each block as one row."""
    return ops.gather(x.reshape(10, 256), table, 0)


def gather_positions(x, table):
    """From (B, S, kvN, D), not from blocks."""
    return ops.gather(x, table, 1)


# Gathered blocks as a key or value (B, kvN, S, D).


def positions_first(x):
    """From (B, blocks, 16, kvN * D), in any shape."""
    return x.reshape(2, -1, 2, 8).transpose(0, 2, 1, 3)


def positions_first_of_any(x):
    return x.reshape(-1, 48, 2, 8).transpose(0, 2, 1, 3)


def heads_first(x):
    """From (B, blocks, kvN, 16, D), in any shape."""
    return x.reshape(2, -1, 2, 16, 8).transpose(0, 2, 1, 3, 4).reshape(2, 2, -1, 8)


def heads_first_unmoved(x):
    """From (B, 4, kvN, 16, D), read as if heads came before blocks."""
    return x.reshape(2, 2, 64, 8)


def blocks_inside(x):
    """From (B, blocks, 16, kvN, D): position 0 of each block, then position 1, ..."""
    return positions_first(x.transpose(0, 2, 1, 3, 4))


class Paged(nn.Cell):
    """Keys and values are gathered by the same table."""

    def __init__(self, gather=gather, heads=positions_first, key=same, value=None, adjust=unchanged, finish=same):
        super().__init__()
        self.gather = gather
        self.heads = heads
        self.key = key
        self.value = key if value is None else value
        self.adjust = adjust
        self.finish = finish

    def attend(self, q, k, v, *extra):
        key, value = (repeat_interleave(x) for x in (self.key(self.heads(k)), self.value(self.heads(v))))
        weights = ops.softmax(self.adjust(scores_by_matmul(q, key), *extra), -1)
        return self.finish(ops.matmul(weights, value))

    def construct(self, q, k, v, table, *extra):
        return self.attend(q, self.gather(k, table), self.gather(v, table), *extra)


class TwoTables(Paged):
    """Values are gathered by a table of their own."""

    def construct(self, q, k, v, table, value_table):
        return self.attend(q, ops.gather(k, table, 0), ops.gather(v, value_table, 0))


class TableOfTheScores(nn.Cell):
    """The blocks of values depend on the scores."""

    def construct(self, q, k, v, table):
        scores = scores_by_matmul(q, repeat_interleave(positions_first(gather(k, table))))
        table = table - (scores.sum() > 0).astype(table.dtype)
        return ops.matmul(ops.softmax(scores, -1), repeat_interleave(positions_first(gather(v, table))))


class TableWrittenBetween(Paged):
    """The table is read for the keys, overwritten, and read again for the values."""

    def __init__(self, table):
        super().__init__()
        self.table = Parameter(Tensor(table, ms.int32), name="table")

    def construct(self, q, k, v, new_table):
        scores = scores_by_matmul(q, repeat_interleave(positions_first(gather(k, self.table))))
        ops.assign(self.table, new_table)
        return ops.matmul(ops.softmax(scores, -1), repeat_interleave(positions_first(gather(v, self.table))))


class PagedCaches(Paged):
    """Caches in parameters: written before the attention, and again after it."""

    def __init__(self, key, value):
        super().__init__()
        self.key_cache = Parameter(Tensor(key, ms.float32), name="key_cache")
        self.value_cache = Parameter(Tensor(value, ms.float32), name="value_cache")

    def construct(self, q, k, v, table):
        ops.assign(self.key_cache, k)
        ops.assign(self.value_cache, v)
        output = self.attend(q, self.gather(self.key_cache, table), self.gather(self.value_cache, table))
        ops.assign(self.key_cache, k * 0.0)
        ops.assign(self.value_cache, v * 0.0)
        return output


class TwoLayers(Paged):
    def construct(self, q, k, v, table):
        first = self.attend(q, self.gather(k, table), self.gather(v, table))
        return self.attend(first, self.gather(k, table), self.gather(v, table))
