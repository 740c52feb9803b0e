"""Outputs that are brought to int8: the quantisation is folded into the operator, or stays behind it."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import networks as net
import numpy as np
import pytest
import quantised_networks as quant
from judging import compare, draw, tensors
from mindspore import Tensor
from networks import Attention
from quantised_networks import After, as_parameter

pytestmark = pytest.mark.grid

PER_CHANNEL = (6, 1, 8)


def draw_scale(*shape: int) -> np.ndarray:
    """Large enough for some numbers to be saturated at both ends."""
    return np.random.default_rng([7, *shape]).uniform(120.0, 300.0, shape)


def assert_rounds(got: np.ndarray, exact: np.ndarray) -> None:
    """Saturated and rounded right, but for what lies so near a half that fp32 can't tell."""
    exact = np.clip(exact, -128, 127)
    assert got.min() == -128 and got.max() == 127
    np.testing.assert_array_less(np.abs(got.reshape(exact.shape) - exact), 0.5 + 1e-3)


def assert_folded(outcome: Any, exact: np.ndarray) -> None:
    assert [site.reason for site in outcome.report.sites] == ["fused"], str(outcome.report)
    assert "int8 output" in outcome.features
    assert outcome.dtype == ms.int8
    assert not outcome.other_operators & {"Round", "ClampScalar", "Maximum", "Minimum", "Cast"}
    assert_rounds(outcome.unfused[0], exact)
    assert_rounds(outcome.fused[0], exact)


def assert_left(outcome: Any) -> None:
    """The attention is fused, and what follows it is as it was."""
    assert [site.reason for site in outcome.report.sites] == ["fused"], str(outcome.report)
    assert "int8 output" not in outcome.features
    for got, expected in zip(outcome.fused, outcome.unfused, strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1)


@pytest.mark.parametrize(
    "stage",
    [
        quant.Quantised,
        quant.QuantisedClip,
        quant.QuantisedMint,
        quant.QuantisedMethods,
        quant.QuantisedClampFirst,
        quant.QuantisedInFloat32,
    ],
)
@pytest.mark.parametrize("offset", [None, 5.0])
def test_products_with_numbers(stage, offset):
    operands = draw()
    outcome = compare(Attention(finish=stage(200.0, offset)), *tensors(*operands.bnsd))
    assert_folded(outcome, operands.attend() * 200.0 + (offset or 0.0))
    assert not outcome.other_operators


@pytest.mark.parametrize("make", [lambda x: Tensor(x, ms.float32), as_parameter], ids=["constant", "parameter"])
@pytest.mark.parametrize("shape", [(), (1,), (8,), (6, 1, 1), PER_CHANNEL, (1, *PER_CHANNEL)])
def test_scales_that_are_tensors(shape, make):
    operands = draw()
    scale = draw_scale(*shape)
    outcome = compare(Attention(finish=quant.Quantised(make(scale))), *tensors(*operands.bnsd))
    assert_folded(outcome, (operands.attend()[:, :, None] * scale)[:, :, 0])


@pytest.mark.parametrize("shape", [(), PER_CHANNEL])
def test_quotients_and_differences(shape):
    operands = draw()
    scale, offset = draw_scale(*shape), draw_scale(*shape) / 30
    stage = quant.QuantisedOver(as_parameter(1 / scale), as_parameter(offset))
    outcome = compare(Attention(finish=stage), *tensors(*operands.bnsd))
    assert_folded(outcome, (operands.attend()[:, :, None] * scale - offset)[:, :, 0])


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("shape", [(), (48,), (1, 1, 48)])
def test_quantised_after_the_heads_are_merged(shape, batch):
    operands = draw(batch=batch)
    scale = draw_scale(*shape)
    finish = After(net.merged, quant.Quantised(as_parameter(scale)))
    outcome = compare(Attention(finish=finish), *tensors(*operands.bnsd))
    assert_folded(outcome, (operands.attend().reshape(batch, 1, 48) * scale))


def test_heads_merged_between_scaling_and_rounding():
    operands = draw()
    finish = After(After(net.Times(as_parameter(draw_scale(*PER_CHANNEL))), net.merged), quant.Quantised(1.0))
    outcome = compare(Attention(finish=finish), *tensors(*operands.bnsd))
    assert_folded(outcome, (operands.attend()[:, :, None] * draw_scale(*PER_CHANNEL)).reshape(2, 1, 48))


def test_positions_before_heads():
    operands = draw()
    scale = draw_scale(*PER_CHANNEL)
    attention = Attention(
        net.heads_of_query_bsh,
        net.split_repeated,
        finish=quant.Quantised(as_parameter(scale), as_parameter(scale / 20)),
    )
    outcome = compare(attention, *tensors(*operands.bsh))
    assert_folded(outcome, (operands.attend()[:, :, None] * scale + scale / 20)[:, :, 0])


def test_scale_that_is_an_input():
    operands = draw()
    scale = draw_scale(*PER_CHANNEL)
    outcome = compare(quant.OutputScaleAsInput(), *tensors(*operands.bnsd, scale))
    assert_folded(outcome, (operands.attend()[:, :, None] * scale)[:, :, 0])


def test_halves_are_rounded_to_even():
    """Over a single position the output is its value, exactly."""
    operands = draw(length=1)
    value = np.arange(-150, 150, 300 / operands.value.size).astype(np.int64).reshape(operands.value.shape) + 0.5
    outcome = compare(Attention(finish=quant.Quantised(1.0)), *tensors(*operands.bnsd[:2], value))
    assert "int8 output" in outcome.features
    expected = np.clip(np.rint(np.repeat(value, 3, 1)), -128, 127)
    np.testing.assert_array_equal(outcome.unfused[0], expected)
    np.testing.assert_array_equal(outcome.fused[0], expected)


def test_caches_and_output_of_int8():
    operands = draw()
    caches = [np.clip(np.rint(x * 40), -128, 127).astype(np.int8) for x in (operands.key, operands.value)]
    stage = After(quant.Scaled(1 / 40), net.repeat_interleave)
    outcome = compare(Attention(key=stage, finish=quant.Quantised(200.0)), *tensors(operands.bnsd[0], *caches))
    assert [site.reason for site in outcome.report.sites] == ["fused"]
    assert {"int8 cache", "int8 output"} <= set(outcome.features)
    assert not outcome.other_operators
    np.testing.assert_allclose(outcome.fused[0], outcome.unfused[0], rtol=0, atol=1)


@pytest.mark.parametrize(
    "stage",
    [
        quant.QuantisedShiftedFirst,
        quant.QuantisedShiftedLast,
        quant.QuantisedSymmetrically,
        quant.QuantisedUnrounded,
        quant.QuantisedUnsaturated,
        quant.QuantisedAndUsed,
    ],
)
def test_what_the_operator_computes_in_another_way_stays(stage):
    outcome = compare(Attention(finish=stage(200.0, 5.0)), *tensors(*draw().bnsd))
    assert_left(outcome)


@pytest.mark.parametrize("shape", [(2, 1, 1, 1), (2, 6, 1, 8)])
def test_scale_that_differs_by_sequence_stays(shape):
    stage = quant.Quantised(as_parameter(draw_scale(*shape)))
    outcome = compare(Attention(finish=stage), *tensors(*draw().bnsd))
    assert_left(outcome)


def test_quantised_behind_heads_in_another_order_stays():
    outcome = compare(Attention(finish=After(net.heads_to_the_end, quant.Quantised(200.0))), *tensors(*draw().bnsd))
    assert_left(outcome)
