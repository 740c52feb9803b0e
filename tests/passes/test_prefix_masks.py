"""Masks of the first positions of each sequence become the operator's lengths, and all others stay masks."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import networks as net
import numpy as np
import prefix_networks as prefix
import pytest
import quantised_networks as quant
from judging import Outcome, compare, draw, draw_bias, draw_hidden, fuse, operators_of, tensors, values_of
from mindspore import Tensor
from networks import Attention
from prefix_networks import AddedUnless, HiddenWhere, ShownWhere
from test_ascend import exported, operands_of_fused_node
from test_paged_caches import draw_blocks

import ifa_fusion

pytestmark = pytest.mark.grid

LENGTHS = np.array([4, 10])
COMPARISONS = {"Less", "LessEqual", "Greater", "GreaterEqual", "LogicalNot", "Select", "MaskedFill"}


def hidden_from(lengths: Any, positions: int = 10) -> np.ndarray:
    """(B, 1, S)"""
    return np.arange(positions) >= np.reshape(lengths, (-1, 1, 1))


def run(adjust: Any, *extra: np.ndarray, batch: int = 2, **stages: Any) -> tuple[Any, Outcome]:
    operands = draw(batch=batch)
    return operands, compare(Attention(adjust=adjust, **stages), *tensors(*operands.bnsd, *extra))


def assert_lengths(outcome: Outcome, expected: np.ndarray, kind: str = "selecting") -> None:
    """Fused with lengths in the place of the mask, of which nothing is computed."""
    outcome.assert_fused()
    outcome.assert_gives(expected)
    assert outcome.features[4:] == (f"mask: {kind} -> lengths",)
    assert not outcome.other_operators & COMPARISONS, str(outcome.operators)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("condition", prefix.LENGTHS, ids=lambda f: f.__name__)
def test_spellings_of_lengths(condition, dtype):
    operands, outcome = run(ShownWhere(condition), LENGTHS.astype(dtype))
    assert_lengths(outcome, operands.attend(hidden=hidden_from(LENGTHS)))


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("condition", prefix.LAST, ids=lambda f: f.__name__)
def test_spellings_of_the_last_position(condition, dtype):
    operands, outcome = run(ShownWhere(condition), (LENGTHS - 1).astype(dtype))
    assert_lengths(outcome, operands.attend(hidden=hidden_from(LENGTHS)))


@pytest.mark.parametrize(
    ("condition", "more"),
    [
        (prefix.hidden_from, 0),
        (prefix.hidden_from_swapped, 0),
        (prefix.hidden_beyond, 1),
        (prefix.hidden_beyond_swapped, 1),
    ],
)
def test_conditions_that_are_true_where_a_position_is_hidden(condition, more):
    operands, outcome = run(HiddenWhere(condition), LENGTHS - more)
    assert_lengths(outcome, operands.attend(hidden=hidden_from(LENGTHS)))


@pytest.mark.parametrize("neg", [-1e4, -1e9, -3.4e38])
def test_added_masks(neg):
    operands, outcome = run(AddedUnless(prefix.by_index, neg), LENGTHS)
    assert_lengths(outcome, operands.attend(hidden=hidden_from(LENGTHS)), "additive")


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (1, 1, 1, 1), (2, 1, 1, 1)], ids=str)
def test_shapes_of_numbers(shape):
    numbers = np.resize(LENGTHS, shape)
    operands, outcome = run(ShownWhere(prefix.as_they_are), numbers)
    assert_lengths(outcome, operands.attend(hidden=hidden_from(numbers)))


def test_one_element_of_the_numbers():
    operands, outcome = run(ShownWhere(prefix.of_one_element), LENGTHS)
    assert_lengths(outcome, operands.attend(hidden=hidden_from(LENGTHS[0])))


@pytest.mark.parametrize("position", [Tensor(6, ms.int32), Tensor([6], ms.int64)], ids=["int32", "int64"])
def test_position_in_a_parameter(position):
    operands, outcome = run(ShownWhere(prefix.OfParameter(position)))
    assert_lengths(outcome, operands.attend(hidden=hidden_from(7)))


LOW, HIGH = np.iinfo(np.int64).min, np.iinfo(np.int64).max


@pytest.mark.parametrize("more", [0, 1], ids=["lengths", "last positions"])
def test_numbers_beyond_the_positions(more):
    """Of a sequence that sees nothing the operator makes zeros."""
    numbers = np.array([LOW, -1, 0, 1, 9, 10, 11, HIGH])
    condition = prefix.up_to if more else prefix.by_shape
    operands, outcome = run(ShownWhere(condition), numbers, batch=8)
    assert outcome.features[4:] == ("mask: selecting -> lengths",)
    lengths = [min(max(int(number) + more, 0), 10) for number in numbers]
    (got,) = outcome.fused
    sees = np.array(lengths) > 0
    expected = operands.attend(hidden=hidden_from(np.maximum(lengths, 1)))
    np.testing.assert_allclose(got[sees, :, 0], expected[sees], atol=1e-5)
    assert not got[~sees].any()


def test_int64_cut_to_int32():
    operands, outcome = run(ShownWhere(prefix.by_cut_numbers), np.array([2**32 + 4, 10]))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(hidden=hidden_from(LENGTHS)))
    assert outcome.features[4:] == ("mask: selecting -> lengths",)


FORMS = {
    "3-D": (
        prefix.of_3d_scores,
        {
            "query": net.flat_query,
            "key": net.flat_repeated,
            "scores": net.scores_3d,
            "output": net.values_3d,
        },
    ),
    "grouped": (prefix.by_index, {"query": net.grouped_query, "key": net.same}),
    "grouped in 5-D": (
        prefix.of_5d_scores,
        {"query": net.grouped_query_5d, "key": net.with_group_axis, "scores": net.scores_5d},
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_scores(form):
    condition, stages = FORMS[form]
    operands, outcome = run(ShownWhere(condition), LENGTHS, **stages)
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(hidden=hidden_from(LENGTHS)))
    assert outcome.features[4:] == ("mask: selecting -> lengths",)


def test_what_lies_beyond_a_length_is_not_read():
    operands = draw()
    expected = operands.attend(hidden=hidden_from(LENGTHS))
    for cache in (operands.key, operands.value):
        cache[0, :, LENGTHS[0] :] = np.nan
    outcome = fuse(Attention(adjust=ShownWhere(prefix.by_index)), *tensors(*operands.bnsd, LENGTHS))
    outcome.assert_gives(expected)


def test_paged_caches():
    blocks = draw_blocks()
    lengths = np.array([17, 40])
    outcome = compare(prefix.PagedUpTo(), *tensors(*blocks.inputs, lengths))
    outcome.assert_fused()
    outcome.assert_gives(blocks.gathered.attend(hidden=hidden_from(lengths, 48)))
    assert outcome.features[4:] == ("paged 16", "mask: selecting -> lengths")


def test_int8_caches():
    blocks = draw(batch=2)
    rng = np.random.default_rng(3)
    key, value = rng.integers(-128, 128, (2, *blocks.key.shape)).astype(np.int8)
    attention = Attention(key=net.Chain(quant.Scaled(0.05), net.repeat_interleave), adjust=ShownWhere(prefix.by_index))
    outcome = compare(attention, *tensors(blocks.query[:, :, None]), *tensors(key, value, LENGTHS))
    outcome.assert_fused()
    assert outcome.features[4:] == ("int8 cache", "mask: selecting -> lengths")


def test_the_shortest_of_two_prefixes():
    lengths, positions = np.array([4, 8]), np.array([6])
    adjust = TwoMasks(ShownWhere(prefix.by_index), AddedUnless(prefix.up_to))
    operands, outcome = run(adjust, lengths, positions)
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(hidden=hidden_from([4, 7])))
    assert sorted(outcome.features[4:]) == ["mask: additive -> lengths", "mask: selecting -> lengths"]


class TwoMasks(ms.nn.Cell):
    """Each with an input of its own."""

    def __init__(self, first: ms.nn.Cell, second: ms.nn.Cell) -> None:
        super().__init__()
        self.first = first
        self.second = second

    def construct(self, scores: Tensor, one: Tensor, other: Tensor) -> Tensor:
        return self.second(self.first(scores, one), other)


@pytest.mark.parametrize("other", ["mask", "bias"])
def test_beside_another_mask_or_a_bias(other):
    hidden, bias = draw_hidden(2, 1, 1, 10), draw_bias(1, 6, 1, 10)
    hidden[..., 0] = False
    second = net.Additive(-1e9) if other == "mask" else net.add
    extra = hidden if other == "mask" else bias
    operands, outcome = run(TwoMasks(ShownWhere(prefix.by_index), second), LENGTHS, extra)
    outcome.assert_fused()
    expected = {"mask": {"hidden": hidden[:, :, 0] | hidden_from(LENGTHS)}}.get(
        other, {"hidden": hidden_from(LENGTHS), "bias": bias[:, :, 0]}
    )
    outcome.assert_gives(operands.attend(**expected))
    assert set(outcome.features[4:]) == {
        "mask: selecting -> lengths",
        "mask: additive -> bool" if other == "mask" else "bias",
    }


def test_layers_share_their_lengths():
    layers = (net.Residual(Attention(adjust=net.add)) for _ in range(3))
    outcome = compare(prefix.Layers(*layers), *tensors(*draw().bnsd, LENGTHS))
    outcome.assert_fused(3)
    assert {site.features[4:] for site in outcome.report.sites} == {("mask: additive -> lengths",)}
    assert outcome.operators["Minimum"] == 1


def test_mask_in_a_loop():
    layer = net.Residual(Attention(adjust=ShownWhere(prefix.OfParameter(Tensor(6, ms.int32)))))
    outcome = compare(net.WhileLoop(layer), *tensors(*draw().bnsd, np.array(3)))
    outcome.assert_fused()
    assert outcome.features[4:] == ("mask: selecting -> lengths",)


UNKNOWN = {
    "length": (2, Attention(adjust=net.SelectKeep(-1e9))),
    "batch and length": (None, Attention(adjust=net.SelectKeep(-1e9))),
    "batch and length, grouped": (None, Attention(net.grouped_query, net.same, adjust=net.SelectKeep(-1e9))),
}


@pytest.mark.parametrize("unknown", UNKNOWN)
def test_unknown_sizes(unknown):
    """One graph for all batches and lengths."""
    batch, attention = UNKNOWN[unknown]
    network = prefix.CountedByKeys(attention)
    cache = Tensor(shape=(batch, 2, None, 8), dtype=ms.float32)
    query, numbers = Tensor(shape=(batch, 6, 1, 8), dtype=ms.float32), Tensor(shape=(batch,), dtype=ms.int32)
    network.set_inputs(query, cache, cache, numbers)
    with ifa_fusion.fusion():
        for rows, length in ((2, 10), (batch or 3, 5), (batch or 1, 1)):
            operands = draw(batch=rows, length=length)
            for lengths in (np.array([4, 99, 1][:rows]), np.array([3] * (batch or 1))):
                (got,) = values_of(network(*tensors(*operands.bnsd, lengths.astype(np.int32))))
                expected = operands.attend(hidden=hidden_from(lengths, length))
                np.testing.assert_allclose(got.reshape(expected.shape), expected, atol=1e-5)
    (site,) = ifa_fusion.report(reset=True).sites
    assert site.features[2:] == ("length ?", "head size 8", "mask: selecting -> lengths")
    assert not COMPARISONS & set(operators_of(network))


@pytest.mark.parametrize("counted", [prefix.counted_by_another, prefix.counted_from_one, prefix.counted_by_two])
def test_positions_counted_otherwise(counted):
    network = prefix.CountedOtherwise(Attention(adjust=net.SelectKeep(-1e9)), counted)
    cache = Tensor(shape=(2, 2, None, 8), dtype=ms.float32)
    query, numbers = Tensor(shape=(2, 6, 1, 8), dtype=ms.float32), Tensor(shape=(2,), dtype=ms.int32)
    network.set_inputs(query, cache, cache, numbers, Tensor(shape=(None,), dtype=ms.float32))
    inputs = tensors(*draw().bnsd, np.array([4, 1], np.int32), np.zeros(1))
    (site,) = ifa_fusion.explain(network, *inputs).sites
    assert site.features[4:] == ("mask: selecting -> bool",)


@pytest.mark.parametrize("adjust", [ShownWhere, AddedUnless])
def test_strict_mode_keeps_sequences_that_see_nothing(adjust):
    inputs = tensors(*draw().bnsd, np.array([0, 4]))
    outcome = compare(Attention(adjust=adjust(prefix.by_index, -1e4)), *inputs, strict=True)
    outcome.assert_fused()
    assert not any("lengths" in feature for feature in outcome.features)


@pytest.mark.parametrize("when", ["before", "between", "after"])
def test_position_that_the_step_counts_itself(when):
    operands = draw()
    unfused, fused = prefix.Counter(when), prefix.Counter(when)
    expected = [values_of(unfused(*tensors(*operands.bnsd)))[0] for _ in range(3)]
    with ifa_fusion.fusion():
        got = [values_of(fused(*tensors(*operands.bnsd)))[0] for _ in range(3)]
    np.testing.assert_allclose(got, expected, atol=1e-5)
    (site,) = ifa_fusion.report(reset=True).sites
    assert site.features[4:] == (f"mask: selecting -> {'bool' if when == 'between' else 'lengths'}",)


def test_lengths_that_are_written_later():
    operands = draw()
    inputs = [tensors(*operands.bnsd, LENGTHS) for _ in range(2)]
    (expected,) = values_of(prefix.LengthsWritten()(*inputs[0]))
    with ifa_fusion.fusion():
        (got,) = values_of(prefix.LengthsWritten()(*inputs[1]))
    np.testing.assert_allclose(got, expected, atol=1e-5)
    np.testing.assert_array_equal(inputs[0][-1].asnumpy(), inputs[1][-1].asnumpy())


@pytest.mark.parametrize(
    ("condition", "numbers"),
    [
        *((near, LENGTHS - 2) for near in (prefix.suffix, prefix.suffix_swapped, prefix.suffix_denied)),
        *((near, LENGTHS) for near in (prefix.from_one, prefix.by_two, prefix.backwards, prefix.moved_by_row)),
        *((near, LENGTHS) for near in (prefix.written_positions, prefix.transposed_positions)),
        (prefix.repeated_positions, LENGTHS),
        *((near, LENGTHS - 1) for near in (prefix.window, prefix.equal)),
        (prefix.by_position, np.array([9, 0, 9, 0, 9, 0, 9, 0, 9, 0])),
        (prefix.by_halves, np.array([3.5, 9.5])),
        (prefix.by_fp16, LENGTHS),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_other_masks_stay_masks(condition, numbers):
    _, outcome = run(AddedUnless(condition, -1e4), numbers)
    outcome.assert_fused()
    assert outcome.features[4:] == ("mask: additive -> bool",)


@pytest.mark.parametrize("condition", [prefix.by_head, prefix.over_heads])
def test_masks_that_differ_by_head_stay_biases(condition):
    inputs = tensors(*draw(heads=10, kv_heads=10).bnsd, np.arange(1, 11) if condition is prefix.by_head else LENGTHS)
    outcome = compare(Attention(key=net.same, adjust=AddedUnless(condition, -1e4)), *inputs)
    outcome.assert_fused()
    assert outcome.features[4:] == ("bias",)


def test_positions_that_fp32_does_not_tell_apart():
    """2**24 + 1 becomes 2**24."""
    cache = Tensor(np.zeros((1, 1, 2**24 + 2, 1), np.float16))
    inputs = (Tensor(np.zeros((1, 1, 1, 1), np.float16)), cache, cache, Tensor([2**24 + 1], ms.int32))
    adjust = ShownWhere(prefix.by_long_fp32, -1e4)
    (site,) = ifa_fusion.explain(Attention(key=net.same, adjust=adjust), *inputs).sites
    assert site.features[4:] == ("mask: selecting -> bool",)


def test_lengths_on_ascend():
    inputs = [*tensors(*draw(head_size=16).bnsd, dtype=ms.float16), Tensor(LENGTHS, ms.int32)]
    operands = operands_of_fused_node(exported(Attention(adjust=ShownWhere(prefix.by_index)), *inputs))
    assert operands[3:5] == [None, ("int64", 2)]
