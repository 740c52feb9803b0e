"""Networks that look like decode attention and are not: each stays as it is, with a reason and a line."""

from __future__ import annotations

import mindspore as ms
import networks as net
import numpy as np
import pytest
from judging import compare, draw, draw_bias, draw_hidden, line_of, tensors
from mindspore import Tensor
from networks import Attention

import ifa_fusion

pytestmark = pytest.mark.grid

SOFTMAX_LINE = "ops.softmax("
LOWEST = float(np.finfo(np.float32).min)


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (net.ScoresReturned, "scores_used"),
        (net.ScoresUsedTwice, "scores_used"),
        (net.MaskMadeOfScores, "scores_used"),
        (net.TemperedByScores, "score_op"),
        (net.WeightsReturned, "probabilities_used"),
        (net.WeightsUsedTwice, "probabilities_used"),
        (net.RenormalisedWeights, "probabilities_used"),
        (net.LargestWeights, "probabilities_used"),
        (net.TalkingHeads, "value_matmul"),
        (net.HalvedWeights, "probability_op"),
        (net.ShiftedWeights, "probability_op"),
        (net.SoftCapping, "score_op"),
        (net.AbsoluteScores, "score_op"),
        (net.SoftmaxOverHeads, "softmax_axis"),
        (net.SoftmaxOverRows, "softmax_axis"),
        (net.HeadsSwapped, "score_layout"),
        (net.PositionsReversed, "probability_op"),
        (net.SwappedFactors, "score_layout"),
    ],
)
def test_near_misses(network, reason):
    outcome = compare(network(), *tensors(*draw().bnsd))
    outcome.assert_refused(reason, location=line_of(network.construct, SOFTMAX_LINE))


@pytest.mark.parametrize(
    "network", [net.SoftmaxOverAllHeads, net.ScoresAndWeightsReturned, net.SoftCappingAndHalvedWeights]
)
def test_reasons_on_both_sides_of_the_softmax(network):
    outcome = compare(network(), *tensors(*draw().bnsd))
    (site,) = outcome.report.refused
    assert site.location == line_of(network.construct, SOFTMAX_LINE)
    outcome.assert_equal(0)


def test_factor_for_each_head_after_the_softmax():
    inputs = tensors(*draw().bnsd, draw_bias(1, 6, 1, 1))
    outcome = compare(net.HeadMask(), *inputs)
    outcome.assert_refused("probability_op", location=line_of(net.HeadMask.construct, SOFTMAX_LINE))


def test_attention_sink():
    outcome = compare(net.AttentionSink(), *tensors(*draw().bnsd, draw_bias(1, 6, 1, 1)))
    outcome.assert_refused("score_op", location=line_of(net.AttentionSink.construct, SOFTMAX_LINE))


def test_dropout_that_acts():
    report = ifa_fusion.explain(net.ActingDropout(), *tensors(*draw().bnsd))
    (site,) = report.sites
    assert site.reason in ("probability_op", "probabilities_used")
    assert site.location == line_of(net.ActingDropout.construct, SOFTMAX_LINE)


@pytest.mark.parametrize("network", [net.Sigmoid, net.Relu])
def test_other_activation_is_no_site(network):
    outcome = compare(network(), *tensors(*draw().bnsd))
    assert outcome.report.sites == ()
    assert outcome.operators["IncreFlashAttention"] == 0
    outcome.assert_equal(0)


def test_softmax_without_matmuls_is_no_site():
    outcome = compare(net.Classifier(), *tensors(draw_bias(2, 10)))
    assert outcome.report.sites == ()
    outcome.assert_equal(0)


@pytest.mark.parametrize("shape", [(1,), (1, 6, 1, 1), (1, 1, 1, 10)])
def test_scale_that_is_an_input(shape):
    outcome = compare(net.ScaleOfAnInput(), *tensors(*draw().bnsd, draw_bias(*shape)))
    outcome.assert_refused("score_op", location=line_of(net.ScaleOfAnInput.construct, SOFTMAX_LINE))


@pytest.mark.parametrize("scale", [[3.0], np.arange(1.0, 7.0).reshape(1, 6, 1, 1)], ids=["scalar", "by head"])
def test_scale_that_is_a_parameter(scale):
    outcome = compare(net.ScaleOfAParameter(scale), *tensors(*draw().bnsd))
    outcome.assert_refused("score_op", location=line_of(net.ScaleOfAParameter.construct, SOFTMAX_LINE))


def test_constant_scale_that_differs_by_head():
    scale = Tensor(np.arange(1, 7).reshape(1, 6, 1, 1).astype(np.float32))
    outcome = compare(Attention(adjust=net.Times(scale)), *tensors(*draw().bnsd))
    outcome.assert_refused("score_op")


def test_constant_scale_that_widens_the_scores():
    scale = Tensor(np.full((2, 1, 1, 1, 1), 0.5, np.float32))
    outcome = compare(Attention(adjust=net.Times(scale)), *tensors(*draw().bnsd))
    outcome.assert_refused("score_op")


@pytest.mark.parametrize("length", [2, 5, 6])
def test_several_query_positions(length):
    operands = draw()
    query = draw_bias(2, 6, length, 8)
    outcome = compare(Attention(adjust=net.Times(0.3)), *tensors(query, *operands.bnsd[1:]))
    outcome.assert_refused("query_length", location=line_of(net.softmax, SOFTMAX_LINE))


@pytest.mark.parametrize("query", [net.heads_of_prompt, net.heads_of_prompt_wrongly])
def test_several_query_positions_in_one_axis_with_the_heads(query):
    operands = draw()
    prompt = draw_bias(2, 5, 48)
    outcome = compare(Attention(query), *tensors(prompt, *operands.bnsd[1:]))
    outcome.assert_refused("query_length")


def test_several_query_positions_in_3d():
    operands = draw(kv_heads=6)
    query = draw_bias(12, 5, 8)
    attention = Attention(key=net.same, scores=net.scores_3d, output=net.values_3d)
    outcome = compare(attention, *tensors(query, *operands.rows[1:]))
    outcome.assert_refused("query_length")


def test_several_positions_of_grouped_queries():
    operands = draw()
    query = draw_bias(2, 2, 15, 8)
    outcome = compare(Attention(key=net.same), *tensors(query, *operands.bnsd[1:]))
    outcome.assert_refused("query_length")


def test_causal_prompt():
    operands = draw(length=5)
    query = draw_bias(2, 6, 5, 8)
    hidden = np.triu(np.ones((1, 1, 5, 5), bool), 1)
    outcome = compare(Attention(adjust=net.Additive(-1e9)), *tensors(query, *operands.bnsd[1:], hidden))
    outcome.assert_refused("query_length")


def test_query_length_that_only_the_run_knows():
    operands = draw()
    query = Tensor(shape=[2, 6, None, 8], dtype=ms.float32)
    attention = Attention(scores=net.scores_by_bmm_flag)
    attention.set_inputs(query, *tensors(*operands.bnsd[1:]))
    outcome = compare(attention, *tensors(*operands.bnsd))
    outcome.assert_refused("query_length", location=line_of(net.softmax, SOFTMAX_LINE))


def of_unknown_sizes(attention, *sizes):
    """Given the inputs' shapes, None where only the run knows."""
    attention.set_inputs(*(Tensor(shape=shape, dtype=dtype) for shape, dtype in sizes))
    return attention


@pytest.mark.parametrize("axis", [1, 3], ids=["heads", "head size"])
def test_heads_that_only_the_run_knows(axis):
    query, cache = ([None if i == axis else n for i, n in enumerate(shape)] for shape in ((2, 6, 1, 8), (2, 6, 10, 8)))
    sizes = ((shape, ms.float32) for shape in (query, cache, cache))
    attention = of_unknown_sizes(Attention(key=net.same, scores=net.scores_by_bmm_flag), *sizes)
    outcome = compare(attention, *tensors(*draw(kv_heads=6).bnsd))
    outcome.assert_refused("dynamic_heads", location=line_of(net.softmax, SOFTMAX_LINE))


def test_mask_of_a_number_of_sequences_that_only_the_run_knows():
    operands = tensors(*draw().bnsd)
    sizes = (*((operand.shape, ms.float32) for operand in operands), ([None, 1, 1, 10], ms.bool_))
    attention = of_unknown_sizes(Attention(adjust=net.SelectMaskedFill(-1e9)), *sizes)
    outcome = compare(attention, *operands, *tensors(draw_hidden(1, 1, 1, 10)))
    outcome.assert_refused("dynamic_shape", location=line_of(net.softmax, SOFTMAX_LINE))


def test_value_heads_of_another_size():
    operands = draw()
    value = draw_bias(2, 2, 10, 4)
    outcome = compare(Attention(), *tensors(*operands.bnsd[:2], value))
    outcome.assert_refused("head_size", location=line_of(net.softmax, SOFTMAX_LINE))


def test_head_size_beyond_the_operator():
    operands = draw(heads=1, kv_heads=1, head_size=520)
    outcome = compare(Attention(key=net.same), *tensors(*operands.bnsd))
    outcome.assert_refused("head_size")


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (net.tile_in_wrong_order, None, "head_order"),
        (net.tile_in_wrong_order, net.repeat_interleave, "head_order"),
        (net.repeat_interleave, net.tile_in_wrong_order, "head_order"),
        (net.expand_in_wrong_order, None, "head_order"),
    ],
    ids=["both", "key", "value", "expanded"],
)
def test_heads_repeated_in_another_order(key, value, reason):
    operands = draw()
    outcome = compare(Attention(key=key, value=value), *tensors(*operands.bnsd))
    outcome.assert_refused(reason, location=line_of(net.softmax, SOFTMAX_LINE))
    assert not np.allclose(outcome.unfused[0][:, :, 0], operands.attend(), atol=0.01)


def test_order_of_one_repeated_head_does_not_matter():
    operands = draw(heads=3, kv_heads=1)
    outcome = compare(Attention(key=net.tile_in_wrong_order), *tensors(*operands.bnsd))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend())


@pytest.mark.parametrize(("keys", "values"), [(1, 2), (2, 1), (1, 1)], ids=["key", "value", "both"])
def test_cache_that_all_sequences_share(keys, values):
    operands = draw()
    outcome = compare(Attention(), *tensors(operands.bnsd[0], operands.key[:keys], operands.value[:values]))
    outcome.assert_refused("kv_layout", location=line_of(net.softmax, SOFTMAX_LINE))


def test_single_head_that_all_sequences_share_for_keys_alone():
    """It could be the one KV head of a single sequence, as that of the values can't."""
    operands = draw(kv_heads=1)
    outcome = compare(Attention(key=net.same), *tensors(operands.bnsd[0], operands.key[:1], operands.value))
    outcome.assert_refused("kv_mismatch")


def test_one_query_for_several_sequences():
    operands = draw()
    outcome = compare(Attention(), *tensors(operands.bnsd[0][:1], operands.key, operands.value))
    outcome.assert_refused("matmul_shape")


def test_key_before_heads_are_split_is_not_taken_for_positions_before_heads():
    """(B, kvN, S, D) reshaped as if it were (B, S, kvN, D): positions and heads are mixed."""
    operands = draw()
    outcome = compare(Attention(key=net.mixed_heads), *tensors(*operands.bnsd))
    outcome.assert_equal()
    assert not np.allclose(outcome.unfused[0][:, :, 0], operands.attend(), atol=0.01)


@pytest.mark.parametrize("adjust", [net.Select, net.SelectKeep, net.SelectMaskedFill, net.SelectNotBroadcast])
def test_selecting_mask_that_differs_by_head(adjust):
    outcome = compare(Attention(adjust=adjust(-1e9)), *tensors(*draw().bnsd, draw_hidden(1, 6, 1, 10)))
    outcome.assert_refused("mask_heads", location=line_of(net.softmax, SOFTMAX_LINE))


def test_selecting_mask_that_differs_by_group():
    attention = Attention(query=net.grouped_query, key=net.same, adjust=net.Select(-1e9))
    outcome = compare(attention, *tensors(*draw().bnsd, draw_hidden(1, 1, 3, 10)))
    outcome.assert_refused("mask_heads")


@pytest.mark.parametrize("adjust", [net.Select, net.SelectMaskedFill])
def test_selecting_mask_that_widens_the_scores(adjust):
    outcome = compare(Attention(adjust=adjust(-1e9)), *tensors(*draw().bnsd, draw_hidden(2, 6, 3, 10)))
    outcome.assert_refused("mask_shape", location=line_of(net.softmax, SOFTMAX_LINE))


@pytest.mark.parametrize(
    ("adjust", "fill"),
    [
        (net.Select, -1.0),
        (net.Select, -5000.0),
        (net.Select, 0.0),
        (net.Select, 1e9),
        (net.SelectMaskedFill, -5000.0),
    ],
)
def test_fill_that_does_not_hide(adjust, fill):
    outcome = compare(Attention(adjust=adjust(fill)), *tensors(*draw().bnsd, draw_hidden(2, 1, 1, 10)))
    outcome.assert_refused("mask_value", location=line_of(net.softmax, SOFTMAX_LINE))


@pytest.mark.parametrize("scale", [1e-3, 0.0, -1.0])
def test_fill_that_the_scale_weakens(scale):
    attention = Attention(adjust=net.ScaledAfter(net.SelectMaskedFill(-1e4), scale))
    outcome = compare(attention, *tensors(*draw().bnsd, draw_hidden(2, 1, 1, 10)))
    outcome.assert_refused("mask_value")


@pytest.mark.parametrize("shape", [(), (2, 6, 1, 10)], ids=["scalar", "tensor"])
def test_fill_that_is_an_input(shape):
    inputs = tensors(*draw().bnsd, draw_hidden(2, 1, 1, 10), -np.abs(draw_bias(*shape)) * 1e5)
    outcome = compare(net.FillOfAnInput(), *inputs)
    outcome.assert_refused("mask_value", location=line_of(net.FillOfAnInput.construct, SOFTMAX_LINE))


@pytest.mark.parametrize(
    "adjust",
    [net.Bounded(-1e4), net.Bounded(0.0), net.Bounded(LOWEST, 1.0), net.Raised(-65504.0), net.Raised(0.0)],
    ids=["-1e4", "0", "from above", "lowest of fp16", "raised to 0"],
)
def test_bounds_that_change_scores(adjust):
    outcome = compare(Attention(adjust=adjust), *tensors(*draw().bnsd))
    outcome.assert_refused("score_op", location=line_of(net.softmax, SOFTMAX_LINE))


def test_strict_mode_refuses_scores_raised_to_their_lowest():
    outcome = compare(Attention(adjust=net.Bounded(LOWEST)), *tensors(*draw().bnsd), strict=True)
    outcome.assert_refused("strict_mask")


def test_bias_that_widens_the_scores():
    outcome = compare(net.BiasThatWidensScores(), *tensors(*draw().bnsd, draw_bias(2, 6, 3, 10)))
    outcome.assert_refused("bias_shape", location=line_of(net.BiasThatWidensScores.construct, SOFTMAX_LINE))


def test_bias_subtracted():
    """No sum, so not taken; what it gives must not change."""
    outcome = compare(Attention(adjust=net.subtract), *tensors(*draw().bnsd, draw_bias(2, 6, 1, 10)))
    outcome.assert_equal()


def test_bias_added_in_part():
    outcome = compare(Attention(adjust=net.add_alpha), *tensors(*draw().bnsd, draw_bias(2, 6, 1, 10)))
    outcome.assert_equal()


def test_matrices_without_heads():
    rng = np.random.default_rng(3)
    outcome = compare(net.LinearLayers(), *tensors(*(rng.standard_normal(s) for s in ((4, 8), (8, 10), (10, 8)))))
    outcome.assert_refused("query_length", location=line_of(net.LinearLayers.construct, SOFTMAX_LINE))


@pytest.mark.parametrize("adjust", [net.SelectMaskedFill, net.Additive])
def test_strict_mode_refuses_masks_that_make_masked_rows_nan(adjust):
    inputs = tensors(*draw().bnsd, draw_hidden(2, 1, 1, 10))
    outcome = compare(Attention(adjust=adjust(float("-inf"))), *inputs, strict=True)
    outcome.assert_refused("strict_mask", location=line_of(net.softmax, SOFTMAX_LINE))
