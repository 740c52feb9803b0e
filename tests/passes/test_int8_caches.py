"""int8 caches: their dequantisation is folded into the operator, or else the operator is given what it gives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mindspore as ms
import networks as net
import numpy as np
import pytest
import quantised_networks as quant
from judging import Operands, compare, draw, fuse, line_of, tensors
from mindspore import Tensor
from networks import Attention
from quantised_networks import After, as_parameter

pytestmark = pytest.mark.grid

PER_CHANNEL = (1, 2, 1, 8)


def draw_int8(**sizes: int) -> Operands:
    """Caches of int8 numbers, both ends of their range among them."""
    operands = draw(**sizes)
    rng = np.random.default_rng([4, *operands.key.shape])
    key, value = rng.integers(-128, 128, (2, *operands.key.shape)).astype(np.int8)
    key.flat[:2] = value.flat[:2] = -128, 127
    return replace(operands, key=key, value=value)


def draw_scales(*shape: int) -> np.ndarray:
    """One of the key and one of the value."""
    return np.random.default_rng([5, *shape]).uniform(0.002, 0.03, (2, *shape)).astype(np.float16).astype(np.float64)


def draw_offsets(*shape: int) -> np.ndarray:
    return np.random.default_rng([6, *shape]).integers(-100, 100, (2, *shape)).astype(np.float64)


def dequantised(operands: Operands, scales: Any, offsets: Any = (0.0, 0.0)) -> Operands:
    """In float64; scales and offsets broadcast to (B, kvN, S, D)."""
    return replace(
        operands,
        key=(operands.key.astype(np.float64) + offsets[0]) * scales[0],
        value=(operands.value.astype(np.float64) + offsets[1]) * scales[1],
    )


def folded(stages: Any, repeat: Any = net.repeat_interleave, **others: Any) -> Attention:
    key, value = (After(stage, repeat) for stage in stages)
    return Attention(key=key, value=value, **others)


def assert_int8(outcome: Any, expected: np.ndarray) -> None:
    """Fused, and the caches go into the operator as they are."""
    outcome.assert_fused()
    outcome.assert_gives(expected)
    assert "int8 cache" in outcome.features
    assert not outcome.other_operators & {"Mul", "Muls", "Add", "ExpandDims", "Tile"}, str(outcome.operators)


def assert_dequantised(outcome: Any, expected: np.ndarray) -> None:
    """Fused, and the operator is given what the dequantisation gives."""
    outcome.assert_fused()
    outcome.assert_gives(expected)
    assert "int8 cache" not in outcome.features


def test_scales_that_are_numbers():
    operands = draw_int8()
    outcome = compare(folded((quant.Scaled(0.02), quant.Scaled(0.03))), *tensors(*operands.bnsd))
    assert_int8(outcome, dequantised(operands, (0.02, 0.03)).attend())
    assert not outcome.other_operators


@pytest.mark.parametrize("make", [lambda x: Tensor(x, ms.float32), as_parameter], ids=["constant", "parameter"])
@pytest.mark.parametrize("shape", [(), (1,), (8,), (2, 1, 8), PER_CHANNEL, (2, 1, 1)])
def test_scales_that_are_tensors(shape, make):
    operands = draw_int8()
    scales = draw_scales(*shape)
    outcome = compare(folded(quant.Scaled(make(x)) for x in scales), *tensors(*operands.bnsd))
    assert_int8(outcome, dequantised(operands, scales).attend())


@pytest.mark.parametrize(
    "stage", [quant.Scaled, quant.ScaleTimes, quant.ScaledUncast, quant.ScaledMint, quant.ScaledMethod]
)
@pytest.mark.parametrize("shape", [None, PER_CHANNEL], ids=["number", "tensor"])
def test_products(stage, shape):
    operands = draw_int8()
    scales = draw_scales(*(shape or ()))
    parameters = [float(x) if shape is None else as_parameter(x) for x in scales]
    outcome = compare(folded(stage(x) for x in parameters), *tensors(*operands.bnsd))
    assert_int8(outcome, dequantised(operands, scales).attend())


@pytest.mark.parametrize("stage", [quant.Divided, quant.DividedOps, quant.DividedReal])
def test_quotients(stage):
    operands = draw_int8()
    scales = draw_scales(*PER_CHANNEL)
    outcome = compare(folded(stage(as_parameter(1 / x)) for x in scales), *tensors(*operands.bnsd))
    assert_int8(outcome, dequantised(operands, scales).attend())


def test_scales_that_are_inputs():
    operands = draw_int8()
    scales = draw_scales(*PER_CHANNEL)
    outcome = compare(quant.ScalesAsInputs(), *tensors(*operands.bnsd, *scales))
    assert_int8(outcome, dequantised(operands, scales).attend())
    assert outcome.other_operators == {"Concat"}


def test_scales_of_different_kinds():
    operands = draw_int8()
    key_scale = draw_scales(*PER_CHANNEL)[0]
    stages = (quant.Scaled(as_parameter(key_scale)), quant.Scaled(0.03))
    outcome = compare(folded(stages), *tensors(*operands.bnsd))
    assert_int8(outcome, dequantised(operands, (key_scale, 0.03)).attend())


def test_no_scale_but_that_of_the_scores():
    operands = draw_int8()
    attention = folded((quant.in_float32, quant.in_float32), adjust=net.Times(0.004), finish=net.Times(0.02))
    outcome = compare(attention, *tensors(*operands.bnsd))
    outcome.assert_fused()
    outcome.assert_gives(dequantised(operands, (0.004, 0.02)).attend())
    assert "int8 cache" in outcome.features


@pytest.mark.parametrize(
    "stage", [quant.Shifted, quant.OffsetPlus, quant.ShiftedMint, quant.ZeroPoint, quant.ZeroPointMint]
)
@pytest.mark.parametrize("shape", [None, (), PER_CHANNEL], ids=["number", "scalar", "per channel"])
def test_offsets(stage, shape):
    operands = draw_int8()
    scales = draw_scales(*PER_CHANNEL)
    offsets = draw_offsets(*(shape or ()))
    stages = [
        stage(float(o) if shape is None else as_parameter(o), as_parameter(s))
        for o, s in zip(offsets, scales, strict=True)
    ]
    outcome = compare(folded(stages), *tensors(*operands.bnsd))
    sign = -1 if stage in (quant.ZeroPoint, quant.ZeroPointMint) else 1
    outcome.assert_fused()
    outcome.assert_gives(dequantised(operands, scales, sign * offsets).attend())
    assert "int8 cache" in outcome.features


@pytest.mark.parametrize("stage", [quant.ZeroPoint, quant.ZeroPointCast, quant.ZeroPointMethod])
def test_zero_points_of_int8(stage):
    operands = draw_int8()
    scales, zeros = draw_scales(*PER_CHANNEL), draw_offsets(*PER_CHANNEL)
    stages = [stage(as_parameter(z, ms.int8), as_parameter(s)) for z, s in zip(zeros, scales, strict=True)]
    outcome = compare(folded(stages), *tensors(*operands.bnsd))
    outcome.assert_fused()
    outcome.assert_gives(dequantised(operands, scales, -zeros).attend())
    assert "int8 cache" in outcome.features


def test_several_offsets_and_scales():
    operands = draw_int8()
    scales, offsets = draw_scales(*PER_CHANNEL), draw_offsets(*PER_CHANNEL)
    stages = [quant.ShiftedTwice(as_parameter(o), as_parameter(s)) for o, s in zip(offsets, scales, strict=True)]
    outcome = compare(folded(stages), *tensors(*operands.bnsd))
    outcome.assert_fused()
    outcome.assert_gives(dequantised(operands, scales / 2, offsets + 1).attend())
    assert "int8 cache" in outcome.features


def test_offset_of_one_of_the_two():
    operands = draw_int8()
    stages = (quant.Scaled(0.02), quant.Shifted(7.0, 0.03))
    outcome = compare(folded(stages), *tensors(*operands.bnsd))
    assert_int8(outcome, dequantised(operands, (0.02, 0.03), (0, 7)).attend())


@pytest.mark.parametrize("repeat", [net.repeat_interleave, net.broadcast_to, net.tile])
@pytest.mark.parametrize("shape", [(), (8,)])
def test_dequantised_after_the_repeat(repeat, shape):
    operands = draw_int8()
    scales = draw_scales(*shape)
    key, value = (After(repeat, quant.Scaled(as_parameter(x))) for x in scales)
    outcome = compare(Attention(key=key, value=value), *tensors(*operands.bnsd))
    outcome.assert_fused()
    outcome.assert_gives(dequantised(operands, scales).attend())
    assert "int8 cache" in outcome.features


def test_scales_repeated_like_the_cache():
    operands = draw_int8()
    scales = draw_scales(*PER_CHANNEL)
    key, value = (After(net.repeat_interleave, quant.RepeatedScale(as_parameter(x))) for x in scales)
    outcome = compare(Attention(key=key, value=value), *tensors(*operands.bnsd))
    assert_int8(outcome, dequantised(operands, scales).attend())


@pytest.mark.parametrize("stages", ["before", "between", "after"])
def test_cache_with_positions_before_heads(stages):
    operands = draw_int8()
    heads = draw_scales(2, 8)
    key, value = (
        {
            "before": After(
                After(quant.Scaled(as_parameter(x.reshape(16))), quant.heads_of_bsh), net.repeat_interleave
            ),
            "between": After(After(quant.heads_of_bsh, quant.Scaled(as_parameter(x[:, None]))), net.repeat_interleave),
            "after": After(After(quant.heads_of_bsh, net.repeat_interleave), quant.Scaled(as_parameter(x[0]))),
        }[stages]
        for x in heads
    )
    query, k, v = operands.bsh
    attention = Attention(net.heads_of_query_bsh, key, value)
    outcome = compare(attention, *tensors(query, k, v))
    outcome.assert_fused()
    scales = heads[:, :1, None] if stages == "after" else heads[:, :, None]
    outcome.assert_gives(dequantised(operands, scales).attend())
    assert outcome.features[1] == "BSH float32"
    assert "int8 cache" in outcome.features


def test_grouped_queries():
    operands = draw_int8()
    scales = draw_scales(*PER_CHANNEL)
    key, value = (quant.Scaled(as_parameter(x)) for x in scales)
    outcome = compare(Attention(net.grouped_query, key, value), *tensors(*operands.bnsd))
    assert_int8(outcome, dequantised(operands, scales).attend())


def test_scale_on_the_transposed_key():
    operands = draw_int8(kv_heads=6)
    scales = draw_scales(1, 6, 1, 8)
    key = After(quant.channels_first, quant.Scaled(as_parameter(scales[0].transpose(0, 1, 3, 2))))
    attention = Attention(key=key, value=quant.Scaled(as_parameter(scales[1])), scores=net.scores_of_transposed_cache)
    outcome = compare(attention, *tensors(*operands.bnsd))
    assert_int8(outcome, dequantised(operands, scales).attend())


@pytest.mark.parametrize("dtype", [ms.float16, ms.bfloat16])
def test_half_precision(dtype):
    operands = draw_int8()
    scales = draw_scales(*PER_CHANNEL)
    stages = [quant.Shifted(3.0, as_parameter(x, dtype), dtype) for x in scales]
    run = fuse if dtype == ms.bfloat16 else compare  # a CPU can't run the unfused one in bf16
    outcome = run(folded(stages), *tensors(*operands.bnsd, dtype=dtype))
    outcome.assert_fused()
    outcome.assert_gives(dequantised(operands, scales, (3, 3)).attend())
    assert outcome.features[1] == "BNSD " + {ms.float16: "float16", ms.bfloat16: "bfloat16"}[dtype]


def test_dequantised_in_fp32_for_a_product_in_fp16():
    """The operator computes in fp32, in which no scale is rounded."""
    operands = draw_int8()
    scales = draw_scales(*PER_CHANNEL)
    stages = (After(quant.Scaled(as_parameter(x)), net.in_fp16) for x in scales)
    outcome = compare(folded(stages), *tensors(*operands.bnsd, dtype=ms.float16))
    outcome.assert_fused()
    outcome.assert_gives(dequantised(operands, scales).attend())
    assert outcome.features[1] == "BNSD float32"


@pytest.mark.parametrize("unknown", [(0,), (2,), (0, 2)], ids=["batch", "length", "both"])
def test_sizes_that_only_the_run_knows(unknown):
    operands = draw_int8(kv_heads=6)
    scales = draw_scales(1, 6, 1, 8)
    attention = Attention(net.same, *(quant.Scaled(as_parameter(x)) for x in scales))
    query, key = ([None if i in unknown else n for i, n in enumerate(operands.key.shape)] for _ in range(2))
    query[2] = 1
    cache = Tensor(shape=key, dtype=ms.int8)
    attention.set_inputs(Tensor(shape=query, dtype=ms.float32), cache, cache)
    outcome = compare(attention, *tensors(*operands.bnsd))
    assert_int8(outcome, dequantised(operands, scales).attend())


@pytest.mark.parametrize("scaled", ["key", "value"])
@pytest.mark.parametrize(
    ("shape", "repeated"),
    [
        ((2, 1, 1, 1), False),
        ((2, 2, 1, 8), False),
        ((1, 1, 10, 1), False),
        ((2, 2, 10, 1), False),
        ((10, 8), False),
        ((1, 6, 1, 1), True),
        ((1, 6, 1, 8), True),
    ],
    ids=["sequence", "sequence and channel", "position", "token", "position and channel", "head", "head and channel"],
)
def test_scales_that_vary_too_much(shape, repeated, scaled):
    operands = draw_int8()
    scale = draw_scales(*shape)[0]
    stage = quant.Scaled(as_parameter(scale))
    varying = After(net.repeat_interleave, stage) if repeated else After(stage, net.repeat_interleave)
    uniform = After(quant.Scaled(0.02), net.repeat_interleave)
    stages = (varying, uniform) if scaled == "key" else (uniform, varying)
    outcome = compare(Attention(key=stages[0], value=stages[1]), *tensors(*operands.bnsd))
    if repeated:
        operands = replace(operands, key=operands.key.repeat(3, 1), value=operands.value.repeat(3, 1))
    scales = (scale, 0.02) if scaled == "key" else (0.02, scale)
    assert_dequantised(outcome, dequantised(operands, scales).attend())


def test_offsets_that_vary_too_much():
    operands = draw_int8()
    offset = draw_offsets(1, 1, 10, 1)[0]
    stages = (quant.Shifted(as_parameter(offset), 0.02), quant.Scaled(0.02))
    outcome = compare(folded(stages), *tensors(*operands.bnsd))
    assert_dequantised(outcome, dequantised(operands, (0.02, 0.02), (offset, 0)).attend())


@pytest.mark.parametrize("sizes", [{"length": 8}, {"batch": 8}, {"kv_heads": 8, "heads": 8}])
def test_scales_of_one_axis_with_the_size_of_another(sizes):
    """Every size is that of the channels; only where the scale stands tells what it belongs to."""
    operands = draw_int8(**sizes)
    (axis,) = (i for i, n in enumerate(operands.key.shape[:3]) if n == 8)
    shape = [1, 1, 1, 1]
    shape[axis] = 8
    scales = draw_scales(*shape)
    repeat = net.same if axis == 1 else net.repeat_interleave
    outcome = compare(folded((quant.Scaled(as_parameter(x)) for x in scales), repeat), *tensors(*operands.bnsd))
    expected = dequantised(operands, scales).attend()
    if axis == 1:
        assert_int8(outcome, expected)
    else:
        assert_dequantised(outcome, expected)


@pytest.mark.parametrize("quantised", ["key", "value"])
def test_only_one_of_the_caches_is_int8(quantised):
    operands = draw_int8()
    floats = draw()
    if quantised == "key":
        mixed, stages, scales = replace(operands, value=floats.value), (quant.Scaled(0.02), net.same), (0.02, 1)
    else:
        mixed, stages, scales = replace(operands, key=floats.key), (net.same, quant.Scaled(0.02)), (1, 0.02)
    outcome = compare(folded(stages), *tensors(*mixed.bnsd))
    assert_dequantised(outcome, dequantised(mixed, scales).attend())


def test_dequantised_in_two_types():
    """Neither cache can go into the operator, and what they give can't together."""
    scales = draw_scales(1, 1, 10, 1)
    key, value = (quant.Scaled(as_parameter(x, t), t) for x, t in zip(scales, (ms.float32, ms.float16), strict=True))
    outcome = compare(
        Attention(net.grouped_query, key, value, weights=net.softmax_to_fp16), *tensors(*draw_int8().bnsd)
    )
    outcome.assert_refused("kv_mismatch", location=line_of(net.softmax_to_fp16, "ops.softmax("))


@pytest.mark.parametrize("stage", [quant.ShiftedAfter, quant.ShiftedBetween])
@pytest.mark.parametrize("scale", [0.02, PER_CHANNEL], ids=["number", "tensor"])
@pytest.mark.parametrize("shifted", ["key", "value"])
def test_offset_added_to_what_was_scaled(stage, scale, shifted):
    operands = draw_int8()
    number = scale if isinstance(scale, float) else draw_scales(*scale)[0]
    stages = [
        stage(as_parameter(np.full((8,), 0.5)), scale if isinstance(scale, float) else as_parameter(number)),
        quant.Scaled(0.02),
    ]
    offset = 0.5 / number if stage is quant.ShiftedAfter else 1.0
    scales, offsets = [number if stage is quant.ShiftedAfter else number / 2, 0.02], [offset, 0]
    if shifted == "value":
        for column in (stages, scales, offsets):
            column.reverse()
    outcome = compare(folded(stages), *tensors(*operands.bnsd))
    assert_dequantised(outcome, dequantised(operands, scales, offsets).attend())


def test_difference_of_int8_numbers_that_wraps_around():
    """The difference is what the cache is then, not what the cache was taken from."""
    operands = draw_int8()
    zeros = draw_offsets(*PER_CHANNEL)
    stages = [quant.ZeroPointInt8(as_parameter(z, ms.int8), 0.02) for z in zeros]
    outcome = compare(folded(stages), *tensors(*operands.bnsd))
    outcome.assert_fused()
    wrapped = [
        (x - z.astype(np.int8)).astype(np.int8) for x, z in zip((operands.key, operands.value), zeros, strict=True)
    ]
    outcome.assert_gives(dequantised(replace(operands, key=wrapped[0], value=wrapped[1]), (0.02, 0.02)).attend())


def test_offset_subtracted_in_part():
    stages = [quant.ZeroPointTwice(as_parameter(o), 0.02) for o in draw_offsets(*PER_CHANNEL)]
    outcome = compare(folded(stages), *tensors(*draw_int8().bnsd))
    outcome.assert_fused()
    assert "int8 cache" not in outcome.features


def test_rotated_after_it_was_dequantised():
    """The operator can't rotate: it is given what the rotation gives."""
    for value in (quant.Scaled(0.02), quant.Rotated(0.02)):
        outcome = compare(folded((quant.Rotated(0.02), value)), *tensors(*draw_int8().bnsd))
        outcome.assert_fused()
        assert "int8 cache" not in outcome.features


def test_new_token_that_is_not_int8():
    operands = draw_int8()
    new = draw(length=1)
    outcome = compare(quant.NewToken(), *tensors(*operands.bnsd, new.key, new.value))
    outcome.assert_fused()
    assert "int8 cache" not in outcome.features


def test_weight_on_keys_that_are_not_int8():
    operands = draw()
    weights = draw_scales(*PER_CHANNEL)
    outcome = compare(folded(net.Times(as_parameter(x)) for x in weights), *tensors(*operands.bnsd))
    outcome.assert_fused()
    outcome.assert_gives(dequantised(operands, weights).attend())
    assert "int8 cache" not in outcome.features


def test_scale_that_is_written_before_the_operator_would_read_it():
    """The operator is given what the dequantisation gave before."""
    operands = draw_int8()
    old, new = draw_scales(*PER_CHANNEL)
    outcome = fuse(quant.ScaleWrittenBetween(old), *tensors(*operands.bnsd, new))
    assert_dequantised(outcome, dequantised(operands, (old, new)).attend())
    assert outcome.features[0] == "GQA 6/2"
