"""Softmax that is spelled out, with exponentials and their sums or their logarithms: fused like the operator."""

from __future__ import annotations

import mindspore as ms
import networks as net
import numpy as np
import pytest
import quantised_networks as quant
from judging import TOLERANCE, Outcome, compare, draw, draw_bias, draw_hidden, fuse, line_of, tensors
from mindspore import Tensor, mint, nn, ops
from mindspore.ops import operations as P
from networks import Attention, repeat_interleave, scores_by_matmul

import ifa_fusion

pytestmark = pytest.mark.grid

SCALE = 0.3

# Scores to probabilities.


def top(x):
    return ops.amax(x, -1, True)


def total(e):
    return ops.sum(e, -1, True)


def divided(x):
    e = ops.exp(x - top(x))
    return e / total(e)


def divided_methods(x):
    e = (x - x.max(axis=-1, keepdims=True)).exp()
    return e / e.sum(-1, keepdims=True)


def divided_mint(x):
    e = mint.exp(mint.sub(x, mint.max(x, dim=-1, keepdim=True)[0]))
    return mint.div(e, mint.sum(e, dim=-1, keepdim=True))


def divided_operators(x):
    e = P.Exp()(P.Sub()(x, P.ReduceMax(True)(x, 3)))
    return P.RealDiv()(e, P.ReduceSum(True)(e, (-1,)))


def maximum_with_index(x):
    e = ops.exp(x - ops.max(x, axis=-1, keepdims=True)[0])
    return e / total(e)


def maximum_of_a_dim(x):
    e = ops.exp(x - x.max(dim=-1, keepdim=True)[0])
    return e / total(e)


def rows_expanded(x):
    e = ops.exp(x - ops.expand_dims(ops.amax(x, -1), -1))
    return e / ops.sum(e, -1).reshape(2, 6, 1, 1)


def rows_by_index(x):
    e = ops.exp(x - ops.amax(x, -1)[..., None])
    return e / ops.sum(e, -1)[:, :, :, None]


def rows_unsqueezed_mint(x):
    e = mint.exp(x - mint.unsqueeze(mint.amax(x, dim=-1), -1))
    return e / mint.unsqueeze(mint.sum(e, dim=-1), -1)


def reciprocal(x):
    e = ops.exp(x - top(x))
    return ops.reciprocal(total(e)) * e


def one_over(x):
    e = ops.exp(x - top(x))
    return e * (1.0 / total(e))


def one_over_tensor(x):
    e = ops.exp(x - top(x))
    return e * P.RealDiv()(Tensor(1.0, ms.float32), total(e))


def halves(x):
    """Factors that cancel each other."""
    e = ops.exp(x - top(x))
    return e / (total(e) * 2.0 / 2.0)


def unshifted(x):
    e = ops.exp(x)
    return e / total(e)


def shifted_by_a_number(x):
    e = ops.exp(x - 3.0)
    return e / total(e)


def shifted_twice(x):
    x = x - 3.0
    e = ops.exp(x - top(x))
    return e / total(e)


def unshifted_twice(x):
    return ops.exp(x) / total(ops.exp(x))


def constant_gradient(x):
    e = ops.exp(x - ops.stop_gradient(top(x)))
    return e / total(e)


def less_logsumexp(x):
    return ops.exp(x - ops.logsumexp(x, -1, True))


def less_logsumexp_expanded(x):
    return ops.exp(x - ops.expand_dims(ops.logsumexp(x, -1), -1))


def less_logsumexp_mint(x):
    return mint.exp(x - mint.logsumexp(x, -1, True))


def less_log_of_sum(x):
    return ops.exp(x - ops.log(total(ops.exp(x))))


def log_softmax(x):
    return ops.exp(ops.log_softmax(x, -1))


def log_softmax_cell(x):
    return LOG_SOFTMAX(x).exp()


LOG_SOFTMAX = nn.LogSoftmax(axis=3)


def log_softmax_mint(x):
    return mint.exp(mint.nn.functional.log_softmax(x, -1))


def log_softmax_spelled_out(x):
    x = x - top(x)
    return ops.exp(x - ops.log(total(ops.exp(x))))


def in_fp32(x):
    wide = x.astype(ms.float32)
    e = ops.exp(wide - top(wide))
    return (e / total(e)).astype(x.dtype)


def partly_in_fp32(x):
    """The maximum before the cast, the sum behind another."""
    e = ops.exp(x.astype(ms.float32) - top(x).astype(ms.float32))
    return (e / total(e.astype(ms.float16)).astype(ms.float32)).astype(x.dtype)


SPELLINGS = [divided, divided_methods, divided_mint, divided_operators, maximum_with_index, maximum_of_a_dim]
SPELLINGS += [rows_expanded, rows_by_index, rows_unsqueezed_mint, reciprocal, one_over, one_over_tensor, halves]
SPELLINGS += [unshifted, unshifted_twice, shifted_by_a_number, shifted_twice, constant_gradient]
SPELLINGS += [less_logsumexp, less_logsumexp_expanded, less_logsumexp_mint, less_log_of_sum]
SPELLINGS += [log_softmax, log_softmax_cell, log_softmax_mint, log_softmax_spelled_out, in_fp32]
UNSTABLE = [unshifted, shifted_by_a_number, less_logsumexp, less_log_of_sum]

#: On a CPU.
WITHOUT_KERNELS = [less_logsumexp_mint, log_softmax_mint]

# Scores and values to outputs: divided behind the value matmul.


def behind(x, v):
    e = ops.exp(x - top(x))
    return ops.matmul(e, v) / total(e)


def behind_methods(x, v):
    e = (x - x.max(axis=-1, keepdims=True)).exp()
    return (e @ v) / e.sum(axis=-1, keepdims=True)


def behind_mint(x, v):
    e = mint.exp(x - mint.amax(x, dim=-1, keepdim=True))
    return mint.div(mint.matmul(e, v), mint.sum(e, dim=-1, keepdim=True))


def behind_reciprocal(x, v):
    e = ops.exp(x - top(x))
    return ops.matmul(e, v) * ops.reciprocal(total(e))


def behind_unshifted(x, v):
    e = ops.exp(x)
    return ops.matmul(e, v) / total(e)


def behind_casts(x, v):
    e = ops.exp(x.astype(ms.float32) - top(x.astype(ms.float32)))
    return (ops.matmul(e.astype(v.dtype), v).astype(ms.float32) / total(e)).astype(v.dtype)


def behind_sum_of_the_cast(x, v):
    e = ops.exp(x - top(x)).astype(ms.float16)
    return ops.matmul(e.astype(ms.float32), v) / total(e).astype(ms.float32)


def behind_reshape(x, v):
    """3-D products, divided in 4-D."""
    e = ops.exp(x - top(x))
    output = ops.bmm(e.reshape(12, 1, 10), v.reshape(12, 10, 8)).reshape(2, 6, 1, 8)
    return output / total(e)


def behind_transpose(x, v):
    e = ops.exp(x - top(x))
    return ops.matmul(e, v).transpose(0, 2, 1, 3) / total(e).reshape(2, 1, 6, 1)


def behind_sums_of_reshaped(x, v):
    """All after the exponentials in 3-D."""
    e = ops.exp(x - top(x)).reshape(12, 1, 10)
    return (ops.bmm(e, v.reshape(12, 10, 8)) / total(e)).reshape(2, 6, 1, 8)


def behind_sums_reshaped_apart(x, v):
    """The sums alone, by group."""
    e = ops.exp(x - top(x))
    return ops.matmul(e, v) / total(e.reshape(2, 2, 3, 10)).reshape(2, 6, 1, 1)


BEHIND = [behind, behind_methods, behind_mint, behind_reciprocal, behind_unshifted]
BEHIND += [behind_reshape, behind_transpose, behind_sums_of_reshaped, behind_sums_reshaped_apart]


# Near misses in place of the probabilities.


def summed_over_heads(x):
    e = ops.exp(x - top(x))
    return e / ops.sum(e, 1, True)


def summed_over_all(x):
    e = ops.exp(x - top(x))
    return e / ops.sum(e)


def sum_of_other_exponentials(x):
    return ops.exp(x) / total(ops.exp(x * 0.5))


def sum_with_another_shift(x):
    return ops.exp(x - top(x)) / total(ops.exp(x))


def sum_plus_one(x):
    e = ops.exp(x - top(x))
    return e / (total(e) + 1.0)


def sum_doubled(x):
    e = ops.exp(x - top(x))
    return e / (total(e) * 2.0)


def sum_of_squares(x):
    return ops.exp(x) / total(ops.square(x))


def upside_down(x):
    e = ops.exp(x - top(x))
    return total(e) / e


def sum_times(x):
    e = ops.exp(x - top(x))
    return e * total(e)


def sum_of_integers(x):
    e = ops.exp(x - top(x))
    return e / ops.sum(e, -1, True, dtype=ms.int32)


def sums_of_other_heads(x):
    e = ops.exp(x - top(x))
    return e / ops.sum(e, -1).reshape(2, 6).transpose(1, 0).reshape(2, 6, 1, 1)


def sums_of_reordered_heads(x):
    e = ops.exp(x - top(x))
    return e / total(e.transpose(1, 0, 2, 3).reshape(2, 6, 1, 10))


def over_maxima(x):
    e = ops.exp(x)
    return e / top(e)


def sums_over_other_axis(x):
    """With as many positions as heads, and one sequence."""
    e = ops.exp(x - top(x))
    return e / ops.sum(e, 1).reshape(1, 6, 1, 1)


def sums_for_other_axis(x):
    """With as many positions as heads, and one sequence."""
    e = ops.exp(x - top(x))
    return e / ops.sum(e, -1).reshape(1, 1, 1, 6)


def summed_before_the_mask(x):
    e = ops.exp(x - top(x))
    return ops.masked_fill(e, x > 0.5, 0.0) / total(e)


def mask_left_out_of_the_sum(x):
    masked = ops.masked_fill(x, ops.arange(10) < 4, -1e9)
    return ops.exp(masked - top(masked)) / total(ops.exp(x - top(masked)))


def less_maximum_over_heads(x):
    e = ops.exp(x - ops.amax(x, 1, True))
    return e / total(e)


def less_maximum_for_other_axis(x):
    """With as many positions as heads, and one sequence."""
    e = ops.exp(x - ops.amax(x, -1).reshape(1, 1, 1, 6))
    return e / total(e)


def less_part_of_the_maximum(x):
    e = ops.exp(mint.sub(x, top(x), alpha=0.5))
    return e / total(e)


def widened_by_numbers(x):
    e = ops.exp(x - WIDE)
    return e / total(e)


WIDE = Tensor(np.full((1, 1, 3, 1), 2.0), ms.float32)


def less_a_power(x):
    e = ops.exp(x - x**2)
    return e / total(e)


def less_other_logsumexp(x):
    return ops.exp(x - ops.logsumexp(x * 0.5, -1, True))


def less_logsumexp_over_heads(x):
    return ops.exp(x - ops.logsumexp(x, 1, True))


def less_logsumexp_twice(x):
    return ops.exp(x - ops.logsumexp(x, -1, True) * 2.0)


def less_maximum_alone(x):
    return ops.exp(x - top(x))


def halved_exponentials(x):
    return ops.exp(x) / TWO


TWO = Tensor(2.0, ms.float32)


def log_softmax_over_heads(x):
    return ops.exp(ops.log_softmax(x, 1))


def powers_of_two(x):
    e = ops.pow(2.0, x - top(x))
    return e / total(e)


FORMS = {
    summed_over_heads: "softmax_axis",
    summed_over_all: "softmax_axis",
    sum_of_other_exponentials: "softmax_form",
    sum_with_another_shift: "softmax_form",
    sum_plus_one: "softmax_form",
    sum_doubled: "softmax_form",
    sum_of_squares: "softmax_form",
    sum_times: "probability_op",
    upside_down: "probability_op",
    sum_of_integers: "softmax_form",
    sums_of_other_heads: "softmax_form",
    sums_of_reordered_heads: "softmax_form",
    over_maxima: "softmax_form",
    summed_before_the_mask: "probability_op",
    mask_left_out_of_the_sum: "softmax_form",
    less_maximum_over_heads: "score_op",
    less_part_of_the_maximum: "score_op",
    less_a_power: "score_op",
    widened_by_numbers: "score_op",
}
NO_SOFTMAX = [less_other_logsumexp, less_logsumexp_over_heads, less_logsumexp_twice, less_maximum_alone]
NO_SOFTMAX += [halved_exponentials, log_softmax_over_heads, powers_of_two]
OF_OTHER_AXES = {
    sums_for_other_axis: "softmax_form",
    sums_over_other_axis: "softmax_axis",
    less_maximum_for_other_axis: "score_op",
}

# Near misses behind the value matmul.


def behind_sum_of_other_exponentials(x, v):
    return ops.matmul(ops.exp(x), v) / total(ops.exp(x * 0.5))


def behind_sum_plus_one(x, v):
    e = ops.exp(x - top(x))
    return ops.matmul(e, v) / (total(e) + 1.0)


def behind_sums_over_heads(x, v):
    e = ops.exp(x - top(x))
    return ops.matmul(e, v) / ops.sum(e, 1, True)[:, :, :, :1]


def behind_sums_of_other_heads(x, v):
    e = ops.exp(x - top(x))
    return ops.matmul(e, v) / ops.sum(e, -1).reshape(2, 6).transpose(1, 0).reshape(2, 6, 1, 1)


def behind_sums_of_reordered_heads(x, v):
    e = ops.exp(x - top(x))
    return ops.matmul(e, v) / total(e.transpose(1, 0, 2, 3).reshape(2, 6, 1, 10))


def behind_sums_of_half_rows(x, v):
    e = ops.exp(x - top(x))
    return ops.matmul(e, v) / total(e.reshape(2, 6, 2, 5))[:, :, :1]


def behind_sums_of_reshaped_over_heads(x, v):
    e = ops.exp(x - top(x))
    return ops.matmul(e, v) / ops.sum(e.reshape(12, 1, 10), 0, True)[:, :, :1]


def behind_reordered_heads(x, v):
    e = ops.exp(x - top(x))
    output = ops.matmul(e, v).transpose(1, 0, 2, 3).reshape(2, 6, 1, 8)
    return output / total(e)


def behind_times(x, v):
    e = ops.exp(x - top(x))
    return ops.matmul(e, v) * total(e)


def behind_nothing(x, v):
    e = ops.exp(x - top(x))
    return ops.matmul(e, v) + total(e)


def behind_left_over(x, v):
    """The undivided result is used too."""
    e = ops.exp(x - top(x))
    output = ops.matmul(e, v)
    return output / total(e) + output


BEHIND_FORMS = {
    behind_sum_of_other_exponentials: "softmax_form",
    behind_sum_plus_one: "softmax_form",
    behind_sums_over_heads: "softmax_axis",
    behind_sums_of_reshaped_over_heads: "softmax_axis",
    behind_sums_of_other_heads: "softmax_form",
    behind_reordered_heads: "softmax_form",
    behind_times: "softmax_form",
    behind_nothing: "softmax_form",
    behind_left_over: "softmax_form",
}

#: Their sums can't be reached from the exponentials.
BEHIND_NO_SOFTMAX = [behind_sums_of_reordered_heads, behind_sums_of_half_rows]

# Parts that something else uses.


def maximum_used(x, v):
    e = ops.exp(x - top(x))
    return ops.matmul(e / total(e), v) + top(x)


def exponentials_used(x, v):
    e = ops.exp(x - top(x))
    return ops.matmul(e / total(e), v) + e[:, :, :, :1]


def sums_used(x, v):
    e = ops.exp(x - top(x))
    return ops.matmul(e / total(e), v) + total(e)


def scores_used(x, v):
    return ops.matmul(divided(x), v) + x[:, :, :, :1]


def shifted_scores_used(x, v):
    x = x - top(x)
    e = ops.exp(x)
    return ops.matmul(e / total(e), v) + x[:, :, :, :1]


def probabilities_used(x, v):
    p = divided(x)
    return ops.matmul(p, v) + p[:, :, :, :1]


def logsumexp_used(x, v):
    lse = ops.logsumexp(x, -1, True)
    return ops.matmul(ops.exp(x - lse), v) + lse


def sums_used_behind(x, v):
    e = ops.exp(x - top(x))
    return ops.matmul(e, v) / total(e) + total(e)


def exponentials_used_behind(x, v):
    e = ops.exp(x - top(x))
    return ops.matmul(e, v) / total(e) + e[:, :, :, :1]


USED = {
    maximum_used: "scores_used",
    exponentials_used: "probabilities_used",
    sums_used: "probabilities_used",
    scores_used: "scores_used",
    shifted_scores_used: "scores_used",
    probabilities_used: "probabilities_used",
    logsumexp_used: "probabilities_used",
    sums_used_behind: "probabilities_used",
    exponentials_used_behind: "probabilities_used",
}


class FlashAttention(nn.Cell):
    """Scores and values go to one stage."""

    def __init__(self, stage, adjust=net.unchanged, finish=net.same) -> None:
        super().__init__()
        self.stage = stage
        self.adjust = adjust
        self.finish = finish

    def construct(self, q, k, v, *extra):
        scores = self.adjust(scores_by_matmul(q, repeat_interleave(k)) * SCALE, *extra)
        return self.finish(self.stage(scores, repeat_interleave(v)))


def assert_fused(outcome: Outcome) -> None:
    outcome.assert_fused()
    computing = {"Exp", "Div", "RealDiv", "SumExt", "ReduceSum", "ReduceMax", "ArgMaxWithValue", "MaxDim", "Log", "Sub"}
    assert not outcome.other_operators & (computing | {"LogSoftmax", "Reciprocal", "Load", "ExpandDimsView"})


def assert_no_site(outcome: Outcome) -> None:
    assert outcome.report.sites == ()
    assert outcome.operators["IncreFlashAttention"] == 0
    outcome.assert_equal(0)


@pytest.mark.parametrize("weights", SPELLINGS, ids=lambda stage: stage.__name__)
def test_spellings(weights):
    operands = draw()
    run = fuse if weights in WITHOUT_KERNELS else compare
    outcome = run(Attention(adjust=net.Times(SCALE), weights=weights), *tensors(*operands.bnsd))
    assert_fused(outcome)
    outcome.assert_gives(operands.attend(SCALE))


@pytest.mark.parametrize("stage", BEHIND, ids=lambda stage: stage.__name__)
def test_divisions_behind_the_value_matmul(stage):
    operands = draw()
    outcome = compare(FlashAttention(stage), *tensors(*operands.bnsd))
    assert_fused(outcome)
    outcome.assert_gives(operands.attend(SCALE))


def test_sum_of_rounded_exponentials_behind_the_value_matmul():
    operands = draw()
    outcome = compare(FlashAttention(behind_sum_of_the_cast), *tensors(*operands.bnsd))
    assert [site.reason for site in outcome.report.sites] == ["fused"], str(outcome.report)
    assert "Exp" not in outcome.operators
    outcome.assert_equal(TOLERANCE[ms.float16])
    outcome.assert_gives(operands.attend(SCALE))


@pytest.mark.parametrize("weights", [in_fp32, partly_in_fp32], ids=lambda stage: stage.__name__)
def test_casts(weights):
    operands = draw()
    inputs = tensors(*operands.bnsd, dtype=ms.float16)
    outcome = compare(Attention(adjust=net.Times(SCALE), weights=weights), *inputs)
    assert_fused(outcome)
    outcome.assert_gives(operands.attend(SCALE))


def test_casts_behind_the_value_matmul():
    operands = draw()
    outcome = compare(FlashAttention(behind_casts), *tensors(*operands.bnsd, dtype=ms.float16))
    assert_fused(outcome)
    outcome.assert_gives(operands.attend(SCALE))


@pytest.mark.parametrize("adjust", [net.Additive(-1e9), net.Additive(float("-inf")), net.SelectMaskedFill(-1e9)])
@pytest.mark.parametrize("stage", [divided, unshifted, less_logsumexp, log_softmax], ids=lambda stage: stage.__name__)
def test_masks(stage, adjust):
    operands, hidden = draw(), draw_hidden(2, 1, 1, 10)
    outcome = compare(Attention(adjust=adjust, weights=stage), *tensors(*operands.bnsd, hidden))
    assert_fused(outcome)
    outcome.assert_gives(operands.attend(hidden=hidden[:, :, 0]))
    kind = "selecting" if isinstance(adjust, net.SelectMaskedFill) else "additive"
    assert outcome.features[4:] == (f"mask: {kind} -> bool",)


@pytest.mark.parametrize("stage", [behind, behind_unshifted], ids=lambda stage: stage.__name__)
def test_masks_with_a_division_behind_the_value_matmul(stage):
    operands, hidden, bias = draw(), draw_hidden(2, 1, 1, 10), draw_bias(1, 6, 1, 10)
    outcome = compare(FlashAttention(stage, net.MaskAndBias(-1e9)), *tensors(*operands.bnsd, hidden, bias))
    assert_fused(outcome)
    outcome.assert_gives(operands.attend(SCALE, bias[:, :, 0], hidden[:, :, 0]))


@pytest.mark.parametrize(
    "stage", [divided, behind, log_softmax, log_softmax_spelled_out], ids=lambda stage: stage.__name__
)
def test_strict_mode_keeps_rows_that_are_masked_throughout(stage):
    hidden = draw_hidden(2, 1, 1, 10)
    hidden[0] = True
    adjust = net.Additive(-1e9)
    network = FlashAttention(stage, adjust) if stage is behind else Attention(adjust=adjust, weights=stage)
    outcome = compare(network, *tensors(*draw().bnsd, hidden), strict=True)
    assert_fused(outcome)
    assert np.isfinite(outcome.fused[0]).all()


@pytest.mark.parametrize("stage", [*UNSTABLE, behind_unshifted], ids=lambda stage: stage.__name__)
def test_strict_mode_refuses_masks_where_the_maximum_is_not_subtracted(stage):
    """All exponentials of a masked row become 0, or 1."""
    adjust = net.Additive(-1e9)
    is_behind = stage is behind_unshifted
    network = FlashAttention(stage, adjust) if is_behind else Attention(adjust=adjust, weights=stage)
    inputs = tensors(*draw().bnsd, draw_hidden(2, 1, 1, 10))
    compare(network, *inputs, strict=True).assert_refused("strict_mask", location=line_of(stage, "ops.exp("))
    unmasked = FlashAttention(stage) if is_behind else Attention(weights=stage)
    assert_fused(compare(unmasked, *inputs[:3], strict=True))


def guarded(x):
    p = divided(x)
    return ops.where(ops.isnan(p), 0.0, p)


def test_guard_against_nan():
    operands, hidden = draw(), draw_hidden(2, 1, 1, 10)
    inputs = tensors(*operands.bnsd, hidden)
    network = Attention(adjust=net.Additive(float("-inf")), weights=guarded)
    outcome = compare(network, *inputs)
    assert_fused(outcome)
    outcome.assert_gives(operands.attend(hidden=hidden[:, :, 0]))
    compare(Attention(adjust=net.Additive(-1e9), weights=guarded), *inputs, strict=True).assert_refused("strict_mask")


@pytest.mark.parametrize("offset", [None, 5.0])
def test_int8_output_of_a_division_behind_the_value_matmul(offset):
    operands = draw()
    network = FlashAttention(behind, finish=quant.Quantised(200.0, offset))
    outcome = compare(network, *tensors(*operands.bnsd))
    assert outcome.features[-1] == "int8 output"
    assert not outcome.other_operators
    assert outcome.dtype == ms.int8
    exact = np.clip(operands.attend(SCALE) * 200.0 + (offset or 0.0), -128, 127)
    for got in (*outcome.fused, *outcome.unfused):
        np.testing.assert_array_less(np.abs(got[:, :, 0] - exact), 0.5 + 1e-3)


@pytest.mark.parametrize(
    "weights", [rows_unsqueezed_mint, divided_mint, less_logsumexp], ids=lambda stage: stage.__name__
)
def test_unknown_length(weights):
    attention = Attention(scores=net.scores_by_bmm_flag, adjust=net.Times(SCALE), weights=weights)
    cache = Tensor(shape=[2, 2, None, 8], dtype=ms.float32)
    attention.set_inputs(tensors(draw().bnsd[0])[0], cache, cache)
    for length in (10, 1, 17):
        operands = draw(length=length)
        outcome = compare(attention, *tensors(*operands.bnsd))
        outcome.assert_equal()
        outcome.assert_gives(operands.attend(SCALE))
    assert outcome.operators["IncreFlashAttention"] == 1


def test_layers():
    layers = [Attention(weights=less_logsumexp), FlashAttention(behind), Attention(), Attention(weights=divided)]
    outcome = compare(net.Stack(*(net.Residual(layer) for layer in layers)), *tensors(*draw().bnsd))
    outcome.assert_fused(4)
    assert outcome.operators["Exp"] == 0


class WriteBetween(net.ReadBeforeWrite):
    """The keys are read before they are overwritten, the values after."""

    def construct(self, q, new_key, new_value):
        e = ops.exp(scores_by_matmul(q, repeat_interleave(self.key)) * SCALE)
        ops.assign(self.key, new_key)
        ops.assign(self.value, new_value)
        return ops.matmul(e, repeat_interleave(self.value)) / total(e)


def test_caches_that_are_written_before_the_division():
    operands, other = draw(), draw(seed=3)
    old, new = tensors(*operands.bnsd), tensors(*other.bnsd)
    expected = []
    for fusing in (False, True):
        network = WriteBetween(old[1].copy(), old[2].copy())
        outcome = (fuse if fusing else compare)(network, old[0], *new[1:])
        expected.append(outcome.unfused[0])
    np.testing.assert_array_equal(*expected)


@pytest.mark.parametrize("weights", FORMS, ids=lambda stage: stage.__name__)
def test_near_misses(weights):
    outcome = compare(Attention(weights=weights), *tensors(*draw().bnsd))
    outcome.assert_refused(FORMS[weights])


@pytest.mark.parametrize("weights", OF_OTHER_AXES, ids=lambda stage: stage.__name__)
def test_rows_that_meet_another_axis_of_the_same_size(weights):
    outcome = compare(Attention(weights=weights), *tensors(*draw(batch=1, length=6).bnsd))
    outcome.assert_refused(OF_OTHER_AXES[weights])


@pytest.mark.parametrize("weights", NO_SOFTMAX, ids=lambda stage: stage.__name__)
def test_what_is_no_softmax_is_no_site(weights):
    assert_no_site(compare(Attention(weights=weights), *tensors(*draw().bnsd)))


@pytest.mark.parametrize("stage", BEHIND_NO_SOFTMAX, ids=lambda stage: stage.__name__)
def test_what_is_no_softmax_behind_the_value_matmul_is_no_site(stage):
    assert_no_site(compare(FlashAttention(stage), *tensors(*draw().bnsd)))


@pytest.mark.parametrize("stage", BEHIND_FORMS, ids=lambda stage: stage.__name__)
def test_near_misses_behind_the_value_matmul(stage):
    outcome = compare(FlashAttention(stage), *tensors(*draw().bnsd))
    outcome.assert_refused(BEHIND_FORMS[stage], location=line_of(stage, "ops.exp(x"))


@pytest.mark.parametrize("stage", USED, ids=lambda stage: stage.__name__)
def test_parts_that_are_used_elsewhere(stage):
    compare(FlashAttention(stage), *tensors(*draw().bnsd)).assert_refused(USED[stage])


class DividedInBranch(nn.Cell):
    """The division is in another graph than the value matmul."""

    def construct(self, q, k, v, flag):
        e = ops.exp(scores_by_matmul(q, repeat_interleave(k)))
        output = ops.matmul(e, repeat_interleave(v))
        if flag > 0:
            return output / total(e)
        return q


def test_division_in_a_branch():
    outcome = compare(DividedInBranch(), *tensors(*draw().bnsd), Tensor(1, ms.int32))
    assert not outcome.report.fused
    outcome.assert_equal(0)


class Classifier(nn.Cell):
    def construct(self, x):
        return divided(ops.relu(x))


class GatedLayers(nn.Cell):
    """A sigmoid, and exponentials as features, between matmuls."""

    def construct(self, x, w, u):
        x = ops.matmul(x, w)
        return ops.matmul(x / (1.0 + ops.exp(-x)) + ops.exp(x) / (ops.exp(x) + 1.0), u)


def test_softmax_without_matmuls_is_no_site():
    outcome = compare(Classifier(), *tensors(draw_bias(2, 10)))
    assert outcome.report.sites == ()
    outcome.assert_equal(0)


def test_other_exponentials_between_matmuls_are_no_site():
    rng = np.random.default_rng(3)
    outcome = compare(GatedLayers(), *tensors(*(rng.standard_normal(s) for s in ((4, 8), (8, 10), (10, 8)))))
    assert outcome.report.sites == ()
    outcome.assert_equal(0)


@pytest.mark.parametrize(
    ("network", "operators"),
    [
        (Attention(weights=divided), ["Div", "Exp", "ReduceMax", "Sub", "SumExt"]),
        (Attention(weights=maximum_with_index), ["ArgMaxWithValue", "Div", "Exp", "Sub", "SumExt", "TupleGetItem"]),
        (FlashAttention(behind), ["Div", "Exp", "ReduceMax", "Sub", "SumExt"]),
        (Attention(weights=log_softmax), ["Exp", "LogSoftmax"]),
    ],
    ids=["divided", "index", "behind", "log_softmax"],
)
def test_nodes_of_the_report(network, operators):
    (site,) = ifa_fusion.explain(network, *tensors(*draw().bnsd)).sites
    assert site.fused
    assert sorted(node.operator for node in site.before if node.role == "softmax") == operators
    taken = {taken.node for node in site.before for taken in node.inputs}
    assert set(range(len(site.before))) - taken == {len(site.before) - 1}


@pytest.mark.parametrize(
    ("stage", "operator"),
    [
        (behind_sum_plus_one, "Exp"),
        (behind_sums_over_heads, "SumExt"),
        (sums_used, "SumExt"),
        (maximum_used, "ReduceMax"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_node_that_is_the_reason(stage, operator):
    (site,) = ifa_fusion.explain(FlashAttention(stage), *tensors(*draw().bnsd)).sites
    assert site.before[site.refused_at].operator == operator
