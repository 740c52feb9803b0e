"""Probabilities in which NaN is set to 0 behind the softmax: what torch's attention becomes when it is exported."""

from __future__ import annotations

import mindspore as ms
import pytest
from judging import compare, draw, draw_hidden, tensors
from mindspore import mint, nn, ops
from networks import broadcast_to

pytestmark = pytest.mark.grid


def select(p):
    return ops.where(ops.isnan(p), 0.0, p)


def select_zeros(p):
    return ops.select(ops.isnan(p), ops.zeros_like(p), p)


def select_mint(p):
    return mint.where(mint.isnan(p), 0.0, p)


def select_by_inequality(p):
    return ops.where(p != p, ops.zeros_like(p), p)


def fill(p):
    return ops.masked_fill(p, ops.isnan(p), 0.0)


def fill_method(p):
    return p.masked_fill(p.isnan(), 0)


def fill_in_fp16(p):
    return fill(p.astype(ms.float16)).astype(ms.float32)


GUARDS = [select, select_zeros, select_mint, select_by_inequality, fill, fill_method, fill_in_fp16]

# Near misses.


def set_to_one(p):
    return ops.where(ops.isnan(p), 1.0, p)


def keep_only_nan(p):
    return ops.where(ops.isnan(p), p, 0.0)


def other_test(p):
    return ops.where(ops.isnan(p + 1.0), 0.0, p)


def infinities(p):
    return ops.where(ops.isinf(p), 0.0, p)


def comparison_with_something_else(p):
    return ops.where(p != p * 1.5, ops.zeros_like(p), p)


def counted(p):
    nan = ops.isnan(p)
    return ops.where(nan, 0.0, p) + nan.astype(ms.float32)


def doubled(p):
    return ops.where(ops.isnan(p), 0.0, p) + p


NEAR_MISSES = [set_to_one, keep_only_nan, other_test, infinities, comparison_with_something_else]
NEAR_MISSES += [counted, doubled]


class Guarded(nn.Cell):
    def __init__(self, guard) -> None:
        super().__init__()
        self.guard = guard

    def construct(self, q, k, v, *mask):
        scores = ops.matmul(q, broadcast_to(k).swapaxes(-1, -2)) * 0.3
        for hidden in mask:
            scores = scores + ops.where(hidden, float("-inf"), 0.0)
        return ops.matmul(self.guard(ops.softmax(scores, -1)), broadcast_to(v))


@pytest.mark.parametrize("guard", GUARDS)
def test_guards(guard):
    operands, hidden = draw(), draw_hidden(2, 1, 1, 10)
    outcome = compare(Guarded(guard), *tensors(*operands.bnsd, hidden))
    assert [site.reason for site in outcome.report.sites] == ["fused"], str(outcome.report)
    assert outcome.operators["IncreFlashAttention"] == 1
    assert not outcome.operators.keys() & {"IsNan", "NotEqual", "Select", "MaskedFill", "MaskedFillScalar", "Softmax"}
    outcome.assert_equal(1e-3 if guard is fill_in_fp16 else None)
    if guard is not fill_in_fp16:
        outcome.assert_gives(operands.attend(0.3, hidden=hidden[:, 0]))


@pytest.mark.parametrize("guard", NEAR_MISSES)
def test_near_misses(guard):
    outcome = compare(Guarded(guard), *tensors(*draw().bnsd))
    (site,) = outcome.report.sites
    assert site.reason in ("probabilities_used", "probability_op")
    outcome.assert_equal(0)


def test_what_becomes_0_where_all_is_masked_is_refused_when_strict():
    # The mask of the run hides not all: MindSpore's CPU softmax of a row of -inf is NaN or 0 as it comes.
    inputs = tensors(*draw().bnsd, draw_hidden(2, 1, 1, 10))
    outcome = compare(Guarded(select), *inputs, strict=True)
    outcome.assert_refused("strict_mask")
    compare(Guarded(select), *inputs[:3], strict=True).assert_fused()
