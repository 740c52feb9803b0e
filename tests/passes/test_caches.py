"""From a cache to the matmul: how caches are stored, written and scaled, and what the operator is given of them."""

from __future__ import annotations

from dataclasses import replace

import mindspore as ms
import networks as net
import numpy as np
import pytest
import quantised_networks as quant
from judging import compare, draw, draw_bias, draw_hidden, fuse, line_of, tensors
from mindspore import Tensor, ops
from mindspore.ops import operations as P
from networks import Attention

pytestmark = pytest.mark.grid

SOFTMAX_LINE = "ops.softmax("


def features(heads: str = "GQA 6/2", dtype: str = "float32") -> tuple[str, ...]:
    return (heads, f"BNSD {dtype}", "length 10", "head size 8")


# Keys that are stored (B, kvN, D, S), as the product wants them.


def transposed(operands):
    query, key, value = operands.bnsd
    return query, key.transpose(0, 1, 3, 2), value


@pytest.mark.parametrize("dtype", [ms.float16, ms.float32])
@pytest.mark.parametrize("length", [10, 8], ids=["length 10", "length of the head size"])
@pytest.mark.parametrize("kv_heads", [6, 2])
def test_key_stored_transposed(kv_heads, length, dtype):
    operands = draw(kv_heads=kv_heads, length=length)
    repeat = net.same if kv_heads == 6 else net.repeat_interleave
    attention = Attention(key=repeat, scores=net.scores_of_transposed_cache)
    outcome = compare(attention, *tensors(*transposed(operands), dtype=dtype))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend())
    assert outcome.features[4:] == ("key transposed",)
    assert outcome.other_operators == {"Transpose"}


def test_key_stored_transposed_in_bf16():
    """A CPU can't run it unfused, nor transpose it in bf16."""
    operands = draw(kv_heads=6)
    attention = Attention(key=net.same, scores=net.scores_of_transposed_cache)
    outcome = fuse(attention, *tensors(*transposed(operands), dtype=ms.bfloat16))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend())


def values_of_transposed_cache(p, v):
    """Value is (B, N, D, S)."""
    return P.BatchMatMul(transpose_b=True)(p, v)


def test_value_stored_transposed():
    operands = draw(kv_heads=6)
    query, key, value = operands.bnsd
    attention = Attention(key=net.same, output=values_of_transposed_cache)
    outcome = compare(attention, *tensors(query, key, value.transpose(0, 1, 3, 2)))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend())
    assert outcome.features[4:] == ("value transposed",)


def test_int8_key_stored_transposed():
    operands = draw(kv_heads=6)
    key, value = np.random.default_rng(4).integers(-128, 128, (2, *operands.key.shape)).astype(np.int8)
    scale = np.random.default_rng(5).uniform(0.002, 0.03, (1, 6, 1, 8))
    operands = replace(operands, key=key, value=value)
    attention = Attention(
        key=quant.Scaled(quant.as_parameter(scale.transpose(0, 1, 3, 2))),
        value=quant.Scaled(0.02),
        scores=net.scores_of_transposed_cache,
    )
    outcome = compare(attention, *tensors(*transposed(operands)))
    outcome.assert_fused()
    outcome.assert_gives(replace(operands, key=key * scale, value=value * 0.02).attend())
    assert {"int8 cache", "key transposed"} <= {*outcome.features}


def test_key_stored_transposed_of_unknown_length():
    attention = Attention(key=net.same, scores=net.scores_of_transposed_cache)
    caches = (Tensor(shape=shape, dtype=ms.float32) for shape in ([2, 6, 8, None], [2, 6, None, 8]))
    attention.set_inputs(Tensor(shape=[2, 6, 1, 8], dtype=ms.float32), *caches)
    for length in (10, 3):
        operands = draw(kv_heads=6, length=length)
        outcome = compare(attention, *tensors(*transposed(operands)))
        outcome.assert_equal()
        outcome.assert_gives(operands.attend())


def turned_round(x):
    return x.transpose(0, 1, 3, 2)


def test_key_that_the_network_turns_round_itself():
    """Once, as before."""
    operands = draw(kv_heads=6)
    attention = Attention(key=turned_round, value=net.same)
    outcome = compare(attention, *tensors(*transposed(operands)))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend())
    assert outcome.operators["Transpose"] == 1


# Other ways to get there.


def turned_in_3d(q, k):
    """To (B * N, S, D), (B * N, D, S) and back to 4-D."""
    return ops.matmul(q, k.reshape(12, 10, 8).transpose(0, 2, 1).reshape(2, 6, 8, 10))


def stacked(x):
    return ops.stack((x,) * 3, 2).reshape(2, 6, 10, 8)


def stacked_in_wrong_order(x):
    return ops.stack((x,) * 3, 1).reshape(2, 6, 10, 8)


def stacked_with_another(x):
    return ops.stack((x, x, x * 2.0), 2).reshape(2, 6, 10, 8)


@pytest.mark.parametrize("stages", [{"scores": turned_in_3d}, {"key": stacked}], ids=["3-D", "stacked"])
def test_ways_to_the_product(stages):
    operands = draw()
    outcome = compare(Attention(**stages), *tensors(*operands.bnsd))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend())
    assert outcome.features == features()
    assert not outcome.other_operators


@pytest.mark.parametrize("stack", [stacked_in_wrong_order, stacked_with_another], ids=lambda stage: stage.__name__)
def test_stacks_that_are_no_repeat_of_heads(stack):
    outcome = compare(Attention(key=stack, value=stacked), *tensors(*draw().bnsd))
    outcome.assert_equal()
    assert outcome.report.sites[0].features[:1] != ("GQA 6/2",)


def test_key_that_is_the_value():
    operands = draw()
    query, key, _ = tensors(*operands.bnsd)
    outcome = compare(KeyIsValue(), query, key)
    outcome.assert_fused()
    outcome.assert_gives(replace(operands, value=operands.key).attend())
    assert outcome.features == features()


class KeyIsValue(Attention):
    def construct(self, q, x):
        x = self.key(x)
        return self.output(self.weights(self.scores(q, x)), x)


def root_of_a_shape(k):
    return k * ops.rsqrt(ops.dyn_shape(k)[-1].astype(ms.float32))


def root_of_a_part_of_a_shape(k):
    return k / ops.dyn_shape(k)[3:4].astype(ms.float32).sqrt()


def power(k):
    return k * ops.pow(Tensor(8.0), -0.5)


def root_of_a_number(k):
    return k * ops.rsqrt(Tensor(8.0))


def reciprocal(k):
    return k * ops.reciprocal(ops.sqrt(ops.dyn_shape(k)[-1].astype(ms.float32)))


@pytest.mark.parametrize("scaled", [root_of_a_shape, root_of_a_part_of_a_shape, power, root_of_a_number, reciprocal])
def test_scales_that_the_run_would_compute(scaled):
    operands = draw()
    attention = Attention(key=net.Chain(scaled, net.repeat_interleave), value=net.repeat_interleave)
    outcome = compare(attention, *tensors(*operands.bnsd))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(8**-0.5))
    assert outcome.features == features()
    assert not outcome.other_operators


def root_of_the_length(scores):
    return scores / ops.sqrt(ops.dyn_shape(scores)[-1].astype(ms.float32))


def test_scale_of_a_length_that_only_the_run_knows():
    attention = Attention(key=net.same, scores=net.scores_by_bmm_flag, adjust=root_of_the_length)
    cache = Tensor(shape=[2, 6, None, 8], dtype=ms.float32)
    attention.set_inputs(Tensor(shape=[2, 6, 1, 8], dtype=ms.float32), cache, cache)
    outcome = compare(attention, *tensors(*draw(kv_heads=6).bnsd))
    outcome.assert_refused("score_op")


def written_elements(cache, new, position):
    """ScatterElements along the positions."""
    index = ops.broadcast_to(position.reshape(1, 1, 1, 1), new.shape)
    return ops.tensor_scatter_elements(cache, index, new, 2)


def written_by_numbers(cache, new, position):
    """ScatterND, from a cache with positions first."""
    turned = ops.tensor_scatter_update(cache.transpose(2, 0, 1, 3), position.reshape(1, 1), new.transpose(2, 0, 1, 3))
    return turned.transpose(1, 2, 0, 3)


def written_by_one_hot(cache, new, position):
    here = ops.one_hot(position, 10).reshape(1, 1, 10, 1)
    return cache * (1.0 - here) + new * here


class Written(Attention):
    """A new position in caches of a fixed length."""

    def __init__(self, write):
        super().__init__()
        self.write = write

    def construct(self, q, k, v, new_key, new_value, position):
        key, value = self.write(k, new_key, position), self.write(v, new_value, position)
        return self.output(self.weights(self.scores(q, self.key(key))), self.value(value))


@pytest.mark.parametrize("write", [written_elements, written_by_numbers, written_by_one_hot])
def test_caches_of_a_fixed_length(write):
    operands = draw()
    new = [x[:, :, 4:5] for x in (operands.key, operands.value)]
    old = [np.where(np.arange(10)[:, None] == 4, 0.0, x) for x in (operands.key, operands.value)]
    inputs = tensors(operands.bnsd[0], *old, *new)
    outcome = compare(Written(write), *inputs, Tensor(4, ms.int64))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend())
    assert outcome.features[2:] == features()[2:]


# Caches of B * kvN rows: what are the sequences shows only where a mask or bias meets the scores.


def rows_repeated(x):
    """From (B * kvN, S, D), to (B, N, S, D)."""
    return net.repeat_interleave(x.reshape(2, 2, 10, 8))


@pytest.mark.parametrize(
    ("kind", "adjust"), [("selecting", net.SelectMaskedFill(-1e9)), ("additive", net.Additive(-1e9))]
)
def test_rows_with_a_mask_by_sequence(kind, adjust):
    operands, hidden = draw(), draw_hidden(2, 1, 1, 10)
    query, (_, key, value) = operands.bnsd[0], operands.rows
    outcome = compare(Attention(key=rows_repeated, adjust=adjust), *tensors(query, key, value, hidden))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(hidden=hidden[:, 0]))
    assert outcome.features == (*features(), f"mask: {kind} -> bool")


def test_rows_in_3d_with_a_mask_in_4d():
    operands, hidden = draw(), draw_hidden(2, 1, 1, 10)
    attention = Attention(
        net.same,
        net.repeated_rows,
        scores=net.scores_3d_reshaped,
        adjust=net.Select(-1e9),
        output=values_of_rows,
    )
    outcome = compare(attention, *tensors(*operands.rows, hidden))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(hidden=hidden[:, 0]))
    assert outcome.features == (*features(), "mask: selecting -> bool")


def values_of_rows(p, v):
    return ops.bmm(p.reshape(12, 1, 10), v)


def test_rows_with_a_bias_by_head():
    operands, bias = draw(), draw_bias(1, 6, 1, 10)
    query, (_, key, value) = operands.bnsd[0], operands.rows
    outcome = compare(Attention(key=rows_repeated, adjust=net.add), *tensors(query, key, value, bias))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(bias=bias[:, :, 0]))
    assert outcome.features == (*features(), "bias")
    assert outcome.other_operators <= {"Reshape"}


def positions_outermost(x):
    """From (S, B, kvN, D)."""
    return net.repeat_interleave(x.transpose(1, 2, 0, 3)) if x.shape[2] == 2 else x.transpose(1, 2, 0, 3)


@pytest.mark.parametrize("kv_heads", [1, 2, 6])
def test_caches_with_positions_outermost_and_a_mask_by_sequence(kv_heads):
    operands, hidden = draw(kv_heads=kv_heads), draw_hidden(2, 1, 1, 10)
    query, *caches = operands.bnsd
    attention = Attention(key=positions_outermost, adjust=net.Select(-1e9))
    outcome = compare(attention, *tensors(query, *(x.transpose(2, 0, 1, 3) for x in caches), hidden))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(hidden=hidden[:, 0]))
    assert outcome.features[0].endswith(f"6/{kv_heads}")


def test_rows_of_one_sequence():
    operands, hidden = draw(batch=1), draw_hidden(1, 1, 1, 10)
    query, (_, key, value) = operands.bnsd[0], operands.rows
    attention = Attention(key=one_sequence, adjust=net.Select(-1e9))
    outcome = compare(attention, *tensors(query, key, value, hidden))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(hidden=hidden[:, 0]))
    assert outcome.features == (*features(), "mask: selecting -> bool")


def one_sequence(x):
    return net.repeat_interleave(x.reshape(1, 2, 10, 8))


def test_rows_with_a_mask_by_head():
    hidden = draw_hidden(1, 6, 1, 10)
    operands = draw()
    query, (_, key, value) = operands.bnsd[0], operands.rows
    attention = Attention(key=rows_repeated, adjust=net.Select(-1e9))
    outcome = compare(attention, *tensors(query, key, value, hidden))
    outcome.assert_refused("mask_heads", location=line_of(net.softmax, SOFTMAX_LINE))


# One KV head, and the query's heads as the rows of one matrix.


def heads_as_rows(q):
    """From (B, N, 1, D)."""
    return q.reshape(q.shape[0], 6, 8)


def heads_as_rows_4d(q):
    return q.reshape(q.shape[0], 1, 6, 8)


def heads_as_rows_squeezed(q):
    return q.squeeze(2)


def without_head(x):
    return x.squeeze(1)


IN_3D = {"key": without_head, "scores": net.scores_3d, "output": net.values_3d}
SINGLE = {
    "3-D": {"query": heads_as_rows, **IN_3D},
    "squeezed": {"query": heads_as_rows_squeezed, **IN_3D},
    "4-D": {"query": heads_as_rows_4d, "key": net.same},
    "scaled": {"query": net.Chain(net.Times(1.0), heads_as_rows_4d), "key": net.same},
}


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", SINGLE)
def test_heads_as_rows_of_one_matrix(name, batch):
    operands = draw(batch=batch, kv_heads=1)
    outcome = compare(Attention(**SINGLE[name]), *tensors(*operands.bnsd))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend())
    assert outcome.features[0] == "MQA 6/1"


def test_heads_as_rows_on_a_cache_in_3d():
    operands = draw(kv_heads=1)
    query, key, value = operands.bnsd
    attention = Attention(heads_as_rows, net.same, scores=net.scores_3d, output=net.values_3d)
    outcome = compare(attention, *tensors(query, key[:, 0], value[:, 0]))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend())
    assert outcome.features[0] == "MQA 6/1"


def turned(q):
    return q.transpose(0, 2, 1, 3)


def turned_flat(q):
    return q.transpose(0, 2, 1, 3).reshape(2, 5, 8)


def heads_merged(q):
    return q.reshape(2, 5, 48)


def test_positions_as_rows_of_merged_heads():
    operands = draw(heads=1, kv_heads=1, head_size=48)
    attention = Attention(heads_merged, **IN_3D)
    outcome = compare(attention, *tensors(draw_bias(2, 5, 6, 8), *operands.bnsd[1:]))
    outcome.assert_refused("query_length")


@pytest.mark.parametrize(
    ("shape", "stages"),
    [
        ((2, 1, 5, 8), {"key": net.same}),
        ((2, 5, 1, 8), {"query": turned, "key": net.same}),
        ((2, 5, 8), IN_3D),
        ((2, 1, 5, 8), {"query": turned_flat, **IN_3D}),
    ],
    ids=["as they are", "positions before the head", "3-D", "turned"],
)
def test_positions_as_rows_of_one_matrix(shape, stages):
    """A prompt of five positions for a single head."""
    operands = draw(kv_heads=1)
    query = draw_bias(*shape)
    outcome = compare(Attention(**stages), *tensors(query, *operands.bnsd[1:]))
    outcome.assert_refused("query_length", location=line_of(net.softmax, SOFTMAX_LINE))
