"""The same attention, written in many ways: each is fused, and gives what it gave before."""

from __future__ import annotations

import mindspore as ms
import networks as net
import pytest
from judging import compare, draw, draw_hidden, fuse, tensors
from mindspore.ops import auto_generate as generated
from networks import Attention

pytestmark = pytest.mark.grid

SCALE = 0.3


def features(heads: str = "GQA 6/2", layout: str = "BNSD float32", length: str = "10") -> tuple[str, ...]:
    return (heads, layout, f"length {length}", "head size 8")


@pytest.mark.parametrize(
    ("repeat", "batch"),
    [
        (net.repeat_interleave, 1),
        (net.repeat_interleave, 3),
        (net.repeat_interleave_method, 3),
        (net.broadcast_to, 3),
        (net.tile, 1),
        (net.tile, 3),
        (net.tile_of_flat_heads, 3),
    ],
)
def test_repeated_heads_are_folded(repeat, batch):
    operands = draw(batch=batch)
    outcome = compare(Attention(key=repeat, adjust=net.Times(SCALE)), *tensors(*operands.bnsd))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(SCALE))
    assert outcome.features == features()
    assert not outcome.other_operators


def test_repeat_behind_an_index_is_folded():
    operands = draw()
    outcome = compare(Attention(key=net.broadcast_to_by_index), *tensors(*operands.bnsd))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend())
    assert outcome.features == features()


def test_repeat_that_has_no_kernel_on_a_cpu_is_folded():
    operands = draw()
    outcome = fuse(Attention(key=net.repeat_interleave_mint), *tensors(*operands.bnsd))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend())
    assert outcome.features == features()


def test_repeats_of_key_and_value_may_be_spelled_differently():
    operands = draw()
    outcome = compare(Attention(key=net.tile, value=net.broadcast_to), *tensors(*operands.bnsd))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend())
    assert outcome.features == features()


def test_nine_heads_on_three():
    operands = draw(heads=9, kv_heads=3, head_size=64, length=20)
    outcome = compare(Attention(adjust=net.Times(0.125)), *tensors(*operands.bnsd))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(0.125))
    assert outcome.features == ("GQA 9/3", "BNSD float32", "length 20", "head size 64")


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    "spelling",
    [
        {"query": net.grouped_query, "key": net.same},
        {
            "query": net.grouped_query,
            "key": net.same,
            "scores": net.scores_by_bmm_flag,
            "output": net.values_by_bmm,
        },
        {"query": net.grouped_query_5d, "key": net.with_group_axis, "scores": net.scores_5d},
    ],
    ids=["matmul", "bmm", "5d"],
)
def test_grouped_queries(spelling, batch):
    operands = draw(batch=batch)
    outcome = compare(Attention(**spelling, adjust=net.Times(SCALE)), *tensors(*operands.bnsd))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(SCALE))
    assert outcome.features == features()


@pytest.mark.parametrize("batch", [1, 3])
def test_one_kv_head_that_the_matmul_broadcasts(batch):
    operands = draw(batch=batch, kv_heads=1)
    outcome = compare(Attention(key=net.same, adjust=net.Times(SCALE)), *tensors(*operands.bnsd))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(SCALE))
    assert outcome.features == features("MQA 6/1")


@pytest.mark.parametrize("batch", [1, 3])
def test_as_many_kv_heads_as_query_heads(batch):
    operands = draw(batch=batch, kv_heads=6)
    outcome = compare(Attention(key=net.same, adjust=net.Times(SCALE)), *tensors(*operands.bnsd))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(SCALE))
    assert outcome.features == features("MHA 6/6")


def generated_repeat(x):
    return generated.reshape(generated.broadcast_to(generated.expand_dims(x, 2), (2, 2, 3, 10, 8)), (2, 6, 10, 8))


def generated_scores(q, k):
    return generated.BatchMatMul()(q, generated.transpose(k, (0, 1, 3, 2)))


def generated_mask(scores, hidden):
    scores = generated.cast(generated.mul(scores, SCALE), ms.float32)
    return generated.masked_fill(scores, hidden, ms.Tensor(-1e9, ms.float32))


def generated_softmax(scores):
    return generated.Softmax(-1)(scores)


def test_operators_of_auto_generate():
    operands, hidden = draw(), draw_hidden(2, 1, 1, 10)
    attention = Attention(
        key=generated_repeat,
        scores=generated_scores,
        adjust=generated_mask,
        weights=generated_softmax,
        output=generated.BatchMatMul(),
    )
    outcome = compare(attention, *tensors(*operands.bnsd, hidden))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(SCALE, hidden=hidden[:, 0]))
    assert outcome.features == (*features(), "mask: selecting -> bool")


def test_single_head():
    operands = draw(heads=1, kv_heads=1)
    outcome = compare(Attention(key=net.same, adjust=net.Times(SCALE)), *tensors(*operands.bnsd))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(SCALE))


@pytest.mark.parametrize("length", [1, 2, 6])
def test_short_caches(length):
    """Lengths that other sizes have too, so that axes could be taken for one another."""
    operands = draw(length=length)
    outcome = compare(Attention(adjust=net.Times(SCALE)), *tensors(*operands.bnsd))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(SCALE))


@pytest.mark.parametrize("size", [2, 3])
def test_sizes_that_are_all_equal(size):
    operands = draw(batch=size, heads=size, kv_heads=size, length=size, head_size=size)
    outcome = compare(Attention(key=net.same, adjust=net.Times(SCALE)), *tensors(*operands.bnsd))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(SCALE))


@pytest.mark.parametrize(
    "scores",
    [
        net.scores_by_operator,
        net.scores_by_mint,
        net.scores_by_bmm_flag,
        net.scores_by_bmm,
        net.scores_by_bmm_both_flags,
        net.scores_by_bmm_flag_left,
    ],
    ids=lambda stage: stage.__name__,
)
def test_products_of_query_and_key(scores):
    operands = draw()
    outcome = compare(Attention(scores=scores, adjust=net.Times(SCALE)), *tensors(*operands.bnsd))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(SCALE))
    assert outcome.features == features()


@pytest.mark.parametrize(
    "output",
    [net.values_by_mint, net.values_by_bmm, net.values_by_bmm_flag],
    ids=lambda stage: stage.__name__,
)
def test_products_of_weights_and_value(output):
    operands = draw()
    outcome = compare(Attention(output=output, adjust=net.Times(SCALE)), *tensors(*operands.bnsd))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(SCALE))
    assert outcome.features == features()


@pytest.mark.parametrize(
    "spelling",
    [
        {"scores": net.scores_3d, "output": net.values_3d},
        {"scores": net.scores_3d_mint, "output": net.values_3d_mint},
        {"scores": net.scores_3d, "output": net.values_3d, "weights": net.softmax_reshaped},
    ],
    ids=["bmm", "mint", "softmax in 4-D"],
)
def test_products_in_3d(spelling):
    operands = draw()
    attention = Attention(net.flat_query, net.flat_repeated, adjust=net.Times(SCALE), **spelling)
    outcome = compare(attention, *tensors(*operands.bnsd))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(SCALE))
    assert outcome.features == features()


def test_sources_in_3d():
    operands = draw()
    attention = Attention(net.same, net.repeated_rows, scores=net.scores_3d, output=net.values_3d)
    outcome = compare(attention, *tensors(*operands.rows))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend())
    assert outcome.other_operators <= {"Reshape"}


@pytest.mark.parametrize(
    ("query", "key", "layout", "batch"),
    [
        (net.heads_of_query_bsh, net.split_repeated, "bsh", 1),
        (net.heads_of_query_bsh, net.split_repeated, "bsh", 3),
        (net.heads_of_query_view, net.split_repeated, "bsh", 3),
        (net.heads_of_query_bsnd, net.transposed_repeated, "bsnd", 3),
        (net.heads_of_query_bsnd, net.heads_last_repeated, "bsnd", 3),
    ],
    ids=["bsh, batch 1", "bsh", "bsh by view", "bsnd", "bsnd repeated first"],
)
def test_sources_with_positions_before_heads(query, key, layout, batch):
    operands = draw(batch=batch)
    attention = Attention(query, key, adjust=net.Times(SCALE))
    outcome = compare(attention, *tensors(*getattr(operands, layout)))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(SCALE))
    assert outcome.features == features(layout="BSH float32")
    assert outcome.operators["Transpose"] == 0


def test_key_and_value_of_different_layouts():
    operands = draw()
    attention = Attention(net.same, net.repeat_interleave, net.transposed_repeated)
    outcome = compare(attention, *tensors(*operands.bnsd[:2], operands.bsnd[2]))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend())


@pytest.mark.parametrize(
    ("spelling", "scale"),
    [
        ({}, 1.0),
        ({"adjust": net.FactorTimes(SCALE)}, SCALE),
        ({"adjust": net.MintTimes(SCALE)}, SCALE),
        ({"adjust": net.Times(ms.Tensor(SCALE, ms.float32))}, SCALE),
        ({"adjust": net.Times(ms.Tensor([[[[SCALE]]]], ms.float32))}, SCALE),
        ({"adjust": net.Times(-SCALE)}, -SCALE),
        ({"adjust": net.Over(3.5)}, 1 / 3.5),
        ({"adjust": net.Over(3)}, 1 / 3),
        ({"adjust": net.OpsOver(3.5)}, 1 / 3.5),
        ({"adjust": net.MintOver(3.5)}, 1 / 3.5),
        ({"adjust": net.RealOver(3.5)}, 1 / 3.5),
        ({"adjust": net.Chain(net.Times(0.6), net.Over(2.5))}, 0.24),
        ({"query": net.Times(SCALE)}, SCALE),
        ({"query": net.Over(3.5)}, 1 / 3.5),
        ({"query": net.TimesRoot(0)}, 8**-0.5),
        (
            {
                "query": net.Times(0.6),
                "key": net.Chain(net.Times(0.5), net.repeat_interleave),
                "value": net.repeat_interleave,
            },
            0.3,
        ),
        ({"key": net.Chain(net.repeat_interleave, net.Over(3.5)), "value": net.repeat_interleave}, 1 / 3.5),
        (
            {
                "query": net.RealOver(8**0.25),
                "key": net.Chain(net.repeat_interleave, net.RealOver(8**0.25)),
                "value": net.repeat_interleave,
                "adjust": net.Times(1.5),
            },
            1.5 * 8**-0.5,
        ),
    ],
)
def test_scales(spelling, scale):
    operands = draw()
    outcome = compare(Attention(**spelling), *tensors(*operands.bnsd))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(scale))
    assert outcome.features == features()
    assert not outcome.other_operators
