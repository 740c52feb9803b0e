"""Masks and biases: what hides positions becomes a mask, everything else that is added stays a bias."""

from __future__ import annotations

import mindspore as ms
import networks as net
import numpy as np
import pytest
from judging import compare, draw, draw_bias, draw_hidden, tensors
from mindspore import Tensor
from networks import Attention

pytestmark = pytest.mark.grid

SCALE = 0.3
NEGATIVES = [float("-inf"), -3.4e38, -65504.0, -1e4, -1e9, -1e12]


def kind_of(adjust):
    return "selecting" if type(adjust).__name__.startswith("Select") else "additive"


def run(adjust, *extra, batch=2, **stages):
    operands = draw(batch=batch)
    return operands, compare(Attention(adjust=adjust, **stages), *tensors(*operands.bnsd, *extra))


@pytest.mark.parametrize("neg", NEGATIVES)
@pytest.mark.parametrize("adjust", [net.AdditiveKeep, net.Select])
def test_values_that_hide(adjust, neg):
    hidden = draw_hidden(2, 1, 1, 10)
    operands, outcome = run(adjust(neg), ~hidden if adjust is net.AdditiveKeep else hidden, query=net.Times(SCALE))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(SCALE, hidden=hidden[:, :, 0]))
    assert outcome.features[4:] == (f"mask: {kind_of(adjust(neg))} -> bool",)


@pytest.mark.parametrize(
    ("adjust", "true_hides"),
    [
        (net.Additive, True),
        (net.AdditiveSelect, True),
        (net.AdditiveMintWhere, True),
        (net.AdditiveOneMinus, False),
        (net.AdditiveTimes, True),
        (net.AdditiveNot, False),
        (net.AdditiveMaskedFill, True),
        (net.AdditiveKeptMinusOne, False),
        (net.AdditiveFirst, True),
        (net.AdditiveMint, True),
    ],
)
def test_additive_masks(adjust, true_hides):
    hidden = draw_hidden(2, 1, 1, 10)
    operands, outcome = run(adjust(-1e4), hidden if true_hides else ~hidden, query=net.Times(SCALE))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(SCALE, hidden=hidden[:, :, 0]))
    assert outcome.features[4:] == ("mask: additive -> bool",)


@pytest.mark.parametrize(
    ("adjust", "true_hides"),
    [
        (net.SelectKeep, False),
        (net.SelectMint, False),
        (net.SelectMaskedFillMethod, True),
        (net.SelectMaskedFillTensor, True),
        (net.SelectNot, False),
    ],
)
def test_selecting_masks(adjust, true_hides):
    hidden = draw_hidden(2, 1, 1, 10)
    operands, outcome = run(adjust(-1e9), hidden if true_hides else ~hidden, query=net.Times(SCALE))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(SCALE, hidden=hidden[:, :, 0]))
    assert outcome.features[4:] == ("mask: selecting -> bool",)


@pytest.mark.parametrize(
    ("adjust", "shape"),
    [
        (net.AdditiveReshaped(-1e9), (2, 10)),
        (net.AdditiveExpanded(-1e9), (2, 10)),
        (net.AdditiveBroadcast(-1e9), (2, 1, 1, 10)),
        (net.AdditiveBroadcastCondition(-1e9), (2, 1, 1, 10)),
        (net.SelectBroadcast(-1e9), (2, 1, 1, 10)),
        (net.AdditiveBroadcast(-1e9), (1, 1, 1, 10)),
        (net.Additive(-1e9), (1, 10)),
        (net.Additive(-1e9), (10,)),
        (net.Additive(-1e9), (1, 1, 1, 10)),
        (net.Select(-1e9), (1, 1, 1, 10)),
        (net.AdditiveWithHeads(-1e9), (2, 1, 10)),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, tuple) else str(value),
)
def test_shapes_of_masks(adjust, shape):
    hidden = draw_hidden(*shape)
    operands, outcome = run(adjust, hidden, query=net.Times(SCALE))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(SCALE, hidden=hidden.reshape(-1, 1, 10)))
    assert outcome.features[4:] == (f"mask: {kind_of(adjust)} -> bool",)


@pytest.mark.parametrize("adjust", [net.SelectNotBroadcast, net.AdditiveNotBroadcast], ids=lambda a: a.__name__)
def test_masks_negated_after_they_were_broadcast(adjust):
    hidden = draw_hidden(2, 1, 1, 10)
    operands, outcome = run(adjust(-1e9), ~hidden)
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(hidden=hidden[:, :, 0]))
    assert outcome.features[4:] == (f"mask: {kind_of(adjust(-1e9))} -> bool",)


def test_integers_negated_after_they_were_broadcast():
    hidden = draw_hidden(2, 1, 1, 10)
    operands, outcome = run(net.AdditiveNotBroadcast(-1e9), np.where(hidden, 0, 2).astype(np.int32))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(hidden=hidden[:, :, 0]))


def test_integers_whose_negation_shows_positions():
    """They hide by what is not 0, which is no mask to the operator: 256 has the lowest byte of 0."""
    hidden = draw_hidden(2, 1, 1, 10)
    operands, outcome = run(net.SelectWhereNot(-1e9), np.where(hidden, 256, 0).astype(np.int32))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(hidden=hidden[:, :, 0]))


def test_mask_of_integers():
    hidden = draw_hidden(2, 1, 1, 10)
    operands, outcome = run(net.AdditiveOfIntegers(-1e9), hidden.astype(np.int32))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(hidden=hidden[:, :, 0]))
    assert outcome.features[4:] == ("mask: additive -> bool",)


@pytest.mark.parametrize("adjust", [net.Additive(-1e9), net.SelectMaskedFill(-1e9)])
def test_mask_before_the_scale(adjust):
    hidden = draw_hidden(2, 1, 1, 10)
    operands, outcome = run(net.Chain(adjust, net.Times(SCALE)), hidden)
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(SCALE, hidden=hidden[:, :, 0]))
    assert outcome.features[4:] == (f"mask: {kind_of(adjust)} -> bool",)


def test_mask_that_the_scale_weakens_stays_a_bias():
    """-1e4 becomes -10, and that does not hide."""
    hidden = draw_hidden(2, 1, 1, 10)
    operands, outcome = run(net.Chain(net.Additive(-1e4), net.Times(1e-3)), hidden)
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(1e-3, bias=np.where(hidden[:, :, 0], -10.0, 0.0)))
    assert outcome.features[4:] == ("bias",)


@pytest.mark.parametrize("neg", [-1.0, -5000.0, 2.0])
def test_added_constant_that_does_not_hide_stays_a_bias(neg):
    hidden = draw_hidden(2, 1, 1, 10)
    operands, outcome = run(net.Additive(neg), hidden)
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(bias=np.where(hidden[:, :, 0], neg, 0.0)))
    assert outcome.features[4:] == ("bias",)


@pytest.mark.parametrize("query", [net.same, net.grouped_query])
@pytest.mark.parametrize("spelling", ["two masks", "select and additive"])
def test_two_masks(spelling, query):
    first, second = draw_hidden(2, 1, 1, 10), draw_hidden(10, seed=5)
    first_kind = "additive" if spelling == "two masks" else "selecting"
    adjust = net.TwoMasks(-1e9) if spelling == "two masks" else net.SelectAndAdditive(-1e9)
    stages = {} if query is net.same else {"query": query, "key": net.same}
    operands, outcome = run(adjust, first, second, **stages)
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(hidden=(first | second)[:, :, 0]))
    assert sorted(outcome.features[4:]) == ["mask: additive -> bool", f"mask: {first_kind} -> bool"]


@pytest.mark.parametrize(
    "adjust",
    [net.MaskAndBias(-1e9), net.MaskThenBias(-1e9), net.SelectThenBias(-1e9)],
    ids=lambda a: type(a).__name__,
)
def test_mask_and_bias(adjust):
    hidden, bias = draw_hidden(2, 1, 1, 10), draw_bias(1, 6, 1, 10)
    operands, outcome = run(adjust, hidden, bias)
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(bias=bias[:, :, 0], hidden=hidden[:, :, 0]))
    assert outcome.features[4:] == (f"mask: {kind_of(adjust)} -> bool", "bias")


@pytest.mark.parametrize("adjust", [net.BiasPlusMask, net.MaskPlusBias, net.BiasPlusMaskCast])
def test_mask_merged_with_a_bias(adjust):
    hidden, bias = draw_hidden(2, 1, 1, 10), draw_bias(1, 6, 1, 10)
    operands, outcome = run(adjust(-1e9), hidden, bias)
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(bias=bias[:, :, 0], hidden=hidden[:, :, 0]))
    assert outcome.features[4:] == ("mask: additive -> bool", "bias")


def test_two_masks_merged_with_a_bias():
    first, second, bias = draw_hidden(2, 1, 1, 10), draw_hidden(10, seed=5), draw_bias(1, 6, 1, 10)
    operands, outcome = run(net.MasksAndBiasMerged(-1e9), first, second, bias)
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(bias=bias[:, :, 0], hidden=(first | second)[:, :, 0]))
    assert outcome.features[4:] == ("mask: additive -> bool", "mask: additive -> bool", "bias")


def test_merged_mask_that_the_scale_weakens_stays_in_the_bias():
    hidden, bias = draw_hidden(2, 1, 1, 10), draw_bias(1, 6, 1, 10)
    operands, outcome = run(net.ScaledAfter(net.BiasPlusMask(-1e4), 1e-3), hidden, bias)
    outcome.assert_fused()
    added = bias[:, :, 0] - 1e4 * hidden[:, :, 0]
    outcome.assert_gives(operands.attend(1e-3, bias=1e-3 * added))
    assert outcome.features[4:] == ("bias",)


def test_layers_that_share_a_mask_merged_with_a_bias():
    hidden, bias = draw_hidden(2, 1, 1, 10), draw_bias(1, 6, 1, 10)
    layers = (net.Residual(Attention(adjust=net.add)) for _ in range(2))
    outcome = compare(net.StackSharingMergedMask(*layers), *tensors(*draw().bnsd, ~hidden, bias))
    outcome.assert_fused(2)
    assert all(site.features[4:] == ("mask: additive -> bool", "bias") for site in outcome.report.sites)
    assert outcome.operators["LogicalNot"] <= 1


@pytest.mark.parametrize("shape", [(1, 6, 1, 10), (2, 6, 1, 10)], ids=str)
def test_additive_mask_that_differs_by_head_becomes_a_bias(shape):
    """The operator's mask is the same for all heads."""
    hidden = draw_hidden(*shape)
    operands, outcome = run(net.Additive(-1e9), hidden)
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(hidden=hidden[:, :, 0]))


def test_sliding_window():
    """Of four positions, computed from the new one's number."""
    operands = draw()
    outcome = compare(Attention(adjust=net.SlidingWindow(-1e9)), *tensors(*operands.bnsd), Tensor(7, ms.int64))
    outcome.assert_fused()
    steps = np.arange(10)
    outcome.assert_gives(operands.attend(hidden=(steps > 7) | (steps <= 3)))
    assert outcome.features[4:] == ("mask: additive -> bool",)


@pytest.mark.parametrize("adjust", [net.AdditiveSliced, net.AdditiveScattered], ids=lambda a: a.__name__)
def test_masks_cut_out_or_scattered_after_they_became_numbers(adjust):
    hidden = draw_hidden(2, 1, 1, 12)
    hidden[..., 10:] = True
    operands, outcome = run(adjust(-1e9), hidden)
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(hidden=hidden[:, 0, :, :10]))


def test_mask_that_is_a_constant():
    hidden = draw_hidden(2, 1, 1, 10)
    constant = Tensor(np.where(hidden, -1e9, 0.0).astype(np.float32))
    operands, outcome = run(net.Plus(constant))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(hidden=hidden[:, 0]))


@pytest.mark.parametrize(
    "shape",
    [(10,), (1, 1, 1, 10), (3, 1, 1, 10), (1, 6, 1, 10), (3, 6, 1, 10), (6, 1, 10), (6, 1, 1)],
    ids=str,
)
def test_biases(shape):
    bias = draw_bias(*shape)
    operands, outcome = run(net.add, bias, batch=3, query=net.Times(SCALE))
    outcome.assert_fused()
    expanded = np.broadcast_to(bias, (3, 6, 1, 10))[:, :, 0]
    outcome.assert_gives(operands.attend(SCALE, bias=expanded))
    assert outcome.features[4:] == ("bias",)


def test_bias_of_a_single_sequence():
    bias = draw_bias(1, 6, 1, 10)
    operands, outcome = run(net.add, bias, batch=1)
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(bias=bias[:, :, 0]))


@pytest.mark.parametrize("adjust", [net.add_first, net.add_mint], ids=lambda stage: stage.__name__)
def test_ways_to_add_a_bias(adjust):
    bias = draw_bias(2, 6, 1, 10)
    operands, outcome = run(adjust, bias)
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(bias=bias[:, :, 0]))


def test_bias_before_the_scale_is_scaled():
    bias = draw_bias(2, 6, 1, 10)
    operands, outcome = run(net.ScaledAfter(net.add, SCALE), bias)
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(SCALE, bias=SCALE * bias[:, :, 0]))


def test_bias_of_grouped_scores():
    bias = draw_bias(1, 2, 3, 10)
    operands, outcome = run(net.add, bias, query=net.grouped_query, key=net.same)
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(bias=bias.reshape(1, 6, 10)))


def test_bias_of_scores_in_3d():
    bias = draw_bias(12, 1, 10)
    stages = {"scores": net.scores_3d, "output": net.values_3d}
    operands, outcome = run(net.add, bias, query=net.flat_query, key=net.flat_repeated, **stages)
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(bias=bias.reshape(2, 6, 10)))


def test_mask_of_scores_in_3d():
    """One row a head; the heads of a sequence agree, which the graph does not show: at least not wrong."""
    hidden = np.repeat(draw_hidden(2, 1, 1, 10), 6, axis=1).reshape(12, 1, 10)
    stages = {"scores": net.scores_3d, "output": net.values_3d}
    operands, outcome = run(net.Additive(-1e9), hidden, query=net.flat_query, key=net.flat_repeated, **stages)
    outcome.assert_equal()
    outcome.assert_gives(operands.attend(hidden=hidden.reshape(2, 6, 10)))


def test_large_negative_numbers_that_come_in_as_a_tensor_stay_a_bias():
    hidden = draw_hidden(2, 1, 1, 10)
    operands, outcome = run(net.add, np.where(hidden, -1e9, 0.0))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(hidden=hidden[:, :, 0]))
    assert outcome.features[4:] == ("bias",)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("adjust", [net.Additive(-1e9), net.SelectMaskedFill(-1e9)], ids=["additive", "select"])
def test_masks_keep_their_meaning_in_strict_mode(adjust, strict):
    hidden = draw_hidden(2, 1, 1, 10)
    operands = draw()
    inputs = tensors(*operands.bnsd, hidden)
    outcome = compare(Attention(query=net.Times(SCALE), adjust=adjust), *inputs, strict=strict)
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(SCALE, hidden=hidden[:, :, 0]))


STRICT_ADJUSTS = {
    "additive -1e9": (net.Additive(-1e9), 1),
    "additive -1e4": (net.Additive(-1e4), 1),
    "additive -inf": (net.Additive(float("-inf")), 1),
    "one minus": (net.AdditiveNot(-1e9), 1),
    "scaled additive": (net.ScaledAfter(net.Additive(-1e9), SCALE), 1),
    "select -1e9": (net.SelectMaskedFill(-1e9), 1),
    "select -1e4": (net.Select(-1e4), 1),
    "select -inf": (net.SelectMaskedFill(float("-inf")), 1),
    "two masks": (net.TwoMasks(-1e9), 2),
    "select and additive": (net.SelectAndAdditive(-1e9), 2),
    "equal selects": (net.TwoSelects(-1e9, -1e9), 2),
    "inner select deeper": (net.TwoSelects(-1e9, -1e4), 2),
    "outer select deeper": (net.TwoSelects(-1e4, -1e9), 2),
}


@pytest.mark.parametrize("name", STRICT_ADJUSTS)
def test_strict_mode_keeps_rows_that_are_masked_throughout(name):
    adjust, conditions = STRICT_ADJUSTS[name]
    first = draw_hidden(2, 1, 1, 10)
    first[0] = np.arange(10) < 4
    second = ~first
    second[1] = False
    extra = (first, second) if conditions == 2 else (first | second,)
    if isinstance(adjust, net.AdditiveNot):
        extra = tuple(~x for x in extra)
    if name.endswith("-inf"):
        extra[0][0, ..., -1] = False  # MindSpore's softmax of nothing but -inf is NaN or numbers, as it comes
    inputs = tensors(*draw().bnsd, *extra)
    outcome = compare(Attention(adjust=adjust), *inputs, strict=True)
    outcome.assert_equal()


@pytest.mark.parametrize("adjust", [net.MaskThenBias, net.MaskAndBias, net.SelectThenBias, net.BiasThenSelect])
def test_strict_mode_keeps_masked_rows_with_a_bias(adjust):
    hidden = np.ones((2, 1, 1, 10), bool)
    hidden[1, ..., 3] = False
    inputs = tensors(*draw().bnsd, hidden, draw_bias(1, 6, 1, 10))
    outcome = compare(Attention(adjust=adjust(-1e4)), *inputs, strict=True)
    outcome.assert_equal(2e-3)  # what fp32 leaves of a score beside -1e4


def test_strict_mode_keeps_masked_rows_of_fp16_caches():
    """-1e9 is finite in the scores' type and infinite in the caches'."""
    hidden = np.ones((2, 1, 1, 10), bool)
    attention = Attention(adjust=net.Chain(net.in_fp32_of, net.Additive(-1e9)), weights=net.softmax_to_fp16)
    inputs = tensors(*draw().bnsd, hidden, dtype=ms.float16)
    outcome = compare(attention, *inputs, strict=True)
    outcome.assert_equal()
    assert np.isfinite(outcome.fused[0]).all()
