"""The float64 reference: cases computed by hand, and identities between calls that must mean the same."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from ifa_fusion.reference import incre_flash_attention

RNG_SEED = 20240611


def close(left: np.ndarray, right: np.ndarray) -> None:
    np.testing.assert_allclose(left, right, rtol=1e-12, atol=1e-13)


def bnsd(batch=2, heads=6, kv_heads=3, length=11, head_size=4) -> dict[str, Any]:
    rng = np.random.default_rng(RNG_SEED)
    return {
        "query": rng.standard_normal((batch, heads, 1, head_size)),
        "key": rng.standard_normal((batch, kv_heads, length, head_size)),
        "value": rng.standard_normal((batch, kv_heads, length, head_size)),
        "num_heads": heads,
        "num_key_value_heads": kv_heads,
        "input_layout": "BNSD",
        "scale_value": head_size**-0.5,
    }


def as_bsh(call: dict[str, Any]) -> dict[str, Any]:
    def merge(array: np.ndarray) -> np.ndarray:
        batch, heads, length, head_size = array.shape
        return array.transpose(0, 2, 1, 3).reshape(batch, length, heads * head_size)

    return {**call, "input_layout": "BSH", **{name: merge(call[name]) for name in ("query", "key", "value")}}


def one_head(query: list[float], keys: list[float], values: list[float], **more: Any) -> float:
    """One sequence, one head, one channel."""
    return incre_flash_attention(
        np.reshape(query, (1, 1, 1)), np.reshape(keys, (1, -1, 1)), np.reshape(values, (1, -1, 1)), **more
    ).item()


# --- by hand ------------------------------------------------------------------------------------------------


def test_equal_scores_give_the_mean() -> None:
    assert one_head([0.0], [1.0, 2.0, 3.0], [1.0, 2.0, 6.0]) == pytest.approx(3.0)


def test_two_keys_by_hand() -> None:
    # Scores 2 * 1 * 0.5 = 1 and 0: weights e : 1.
    expected = (math.e * 10.0 + 1.0 * 20.0) / (math.e + 1.0)
    assert one_head([2.0], [1.0, 0.0], [10.0, 20.0], scale_value=0.5) == pytest.approx(expected, rel=1e-15)


def test_pse_shift_is_added_after_the_scale() -> None:
    # Scores 0.5 * 2 + 1 = 2 and 0.5 * 4 = 2.
    shift = np.array([1.0, 0.0]).reshape(1, 1, 1, 2)
    result = one_head([2.0], [1.0, 2.0], [3.0, 5.0], scale_value=0.5, pse_shift=shift)
    assert result == pytest.approx(4.0)


def test_mask_replaces_the_score() -> None:
    assert one_head([1.0], [100.0, 0.0, 0.0], [7.0, 1.0, 2.0], attn_mask=np.array([[1, 0, 0]])) == pytest.approx(1.5)


def test_mask_beats_pse_shift() -> None:
    shift = np.array([1e6, 0.0]).reshape(1, 1, 1, 2)
    result = one_head([1.0], [0.0, 0.0], [7.0, 2.0], attn_mask=np.array([[True, False]]), pse_shift=shift)
    assert result == pytest.approx(2.0)


def test_fully_masked_row_is_the_mean_of_the_valid_values() -> None:
    result = one_head(
        [1.0], [3.0, 2.0, 1.0], [1.0, 3.0, 100.0], attn_mask=np.ones((1, 3), bool), actual_seq_lengths=[2]
    )
    assert result == pytest.approx(2.0)


def test_length_zero_gives_zero() -> None:
    assert one_head([1.0], [1.0, 2.0], [3.0, 4.0], actual_seq_lengths=[0]) == 0.0


def test_left_padding_by_hand() -> None:
    # S = 4, one position of padding at the end, two valid: positions 1 and 2.
    result = one_head([0.0], [0.0] * 4, [100.0, 1.0, 3.0, 100.0], actual_seq_lengths=[2], kv_padding_size=1)
    assert result == pytest.approx(2.0)


def test_left_padding_that_starts_before_the_cache_gives_zero() -> None:
    assert one_head([0.0], [0.0] * 4, [1.0] * 4, actual_seq_lengths=[3], kv_padding_size=2) == 0.0


def test_negative_padding_is_none() -> None:
    result = one_head([0.0], [0.0] * 3, [9.0, 1.0, 2.0], actual_seq_lengths=[2], kv_padding_size=-5)
    assert result == pytest.approx(1.5)


def test_padding_without_lengths_is_ignored() -> None:
    assert one_head([0.0], [0.0] * 2, [1.0, 3.0], kv_padding_size=1) == pytest.approx(2.0)


def test_antiquant_adds_the_offset_before_it_scales() -> None:
    result = incre_flash_attention(
        np.zeros((1, 1, 1)),
        np.array([5], np.int8).reshape(1, 1, 1),
        np.array([4], np.int8).reshape(1, 1, 1),
        antiquant_scale=np.array([0.5, 2.0]),
        antiquant_offset=np.array([0.0, 1.5]),
    )
    assert result.item() == (4 + 1.5) * 2.0


@pytest.mark.parametrize(
    ("value", "scale", "offset", "expected"),
    [
        (1.0, 2.5, None, 2),
        (1.0, 3.5, None, 4),
        (1.0, 1.0, -2.5, -2),
        (1.0, 1e4, None, 127),
        (-1.0, 1e4, None, -128),
        (np.nan, 1.0, 3.0, 0),
    ],
)
def test_output_is_quantised_half_to_even_and_saturated(
    value: float, scale: float, offset: float | None, expected: int
) -> None:
    result = incre_flash_attention(
        np.zeros((1, 1, 1)),
        np.zeros((1, 1, 1)),
        np.full((1, 1, 1), value),
        quant_scale2=np.array([scale]),
        quant_offset2=None if offset is None else np.array([offset]),
    )
    assert result.dtype == np.int8
    assert result.item() == expected


def test_quantised_row_of_length_zero_is_the_rounded_offset() -> None:
    result = incre_flash_attention(
        np.ones((1, 1, 1)), np.ones((1, 2, 1)), np.ones((1, 2, 1)), actual_seq_lengths=[0],
        quant_scale2=np.array([2.0]), quant_offset2=np.array([3.5]),
    )  # fmt: skip
    assert result.item() == 4


# --- identities ---------------------------------------------------------------------------------------------


def test_layouts_agree() -> None:
    call = bnsd()
    expected = incre_flash_attention(**call)
    close(incre_flash_attention(**as_bsh(call)).reshape(expected.shape), expected)


def test_grouped_heads_are_repeated_kv_heads() -> None:
    call = bnsd()
    repeated = {name: np.repeat(call[name], 2, axis=1) for name in ("key", "value")}
    close(incre_flash_attention(**{**call, **repeated, "num_key_value_heads": 0}), incre_flash_attention(**call))


def test_one_length_stands_for_all() -> None:
    call = bnsd()
    each = incre_flash_attention(**call, actual_seq_lengths=[7, 7])
    close(incre_flash_attention(**call, actual_seq_lengths=np.array([7])), each)


def test_length_is_a_shorter_cache() -> None:
    call = bnsd()
    shorter = {name: call[name][:, :, :7] for name in ("key", "value")}
    close(incre_flash_attention(**call, actual_seq_lengths=[7]), incre_flash_attention(**{**call, **shorter}))


@pytest.mark.parametrize("shape", [(2, 11), (2, 1, 11), (2, 1, 1, 11)])
@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.uint8])
def test_masked_tail_is_a_shorter_length(shape: tuple[int, ...], dtype: type) -> None:
    call = bnsd()
    mask = np.zeros((2, 11), dtype)
    mask[0, 7:] = 1
    mask[1, 4:] = 1
    close(
        incre_flash_attention(**call, attn_mask=mask.reshape(shape)),
        incre_flash_attention(**call, actual_seq_lengths=[7, 4]),
    )


def test_masked_position_is_a_pse_shift_of_minus_infinity() -> None:
    call = bnsd()
    mask = np.random.default_rng(1).random((2, 11)) < 0.4
    shift = np.where(mask[:, None, None, :], -np.inf, 0.0) * np.ones((1, 6, 1, 1))
    close(incre_flash_attention(**call, attn_mask=mask), incre_flash_attention(**call, pse_shift=shift))


def test_pse_shift_of_one_stands_for_all_sequences() -> None:
    call = bnsd()
    shift = np.random.default_rng(2).standard_normal((1, 6, 1, 11))
    each = incre_flash_attention(**call, pse_shift=np.repeat(shift, 2, axis=0))
    close(incre_flash_attention(**call, pse_shift=shift), each)


def test_constant_pse_shift_changes_nothing() -> None:
    call = bnsd()
    close(incre_flash_attention(**call, pse_shift=np.full((1, 6, 1, 11), 3.25)), incre_flash_attention(**call))


@pytest.mark.parametrize("padding", [0, 2, 4])
def test_left_padding_is_right_padding_shifted(padding: int) -> None:
    call = bnsd()
    lengths = [7, 3]
    rng = np.random.default_rng(3)
    mask = rng.random((2, 11)) < 0.3
    shift = rng.standard_normal((2, 6, 1, 11))

    def moved(array: np.ndarray, axis: int) -> np.ndarray:
        """Put the first `length` positions of each sequence in front of the padding; noise elsewhere."""
        out = rng.standard_normal(array.shape).astype(array.dtype)
        for b, length in enumerate(lengths):
            source = np.take(array[b], range(length), axis)
            index = [slice(None)] * source.ndim
            index[axis] = slice(11 - padding - length, 11 - padding)
            out[b][tuple(index)] = source
        return out

    expected = incre_flash_attention(**call, actual_seq_lengths=lengths, attn_mask=mask, pse_shift=shift)
    left = {**call, "key": moved(call["key"], 1), "value": moved(call["value"], 1)}
    result = incre_flash_attention(
        **left, actual_seq_lengths=lengths, attn_mask=moved(mask, 0), pse_shift=moved(shift, 2),
        kv_padding_size=padding,
    )  # fmt: skip
    close(result, expected)


def paged(call: dict[str, Any], block_size: int, rank: int) -> dict[str, Any]:
    """The same cache in shuffled blocks; what they do not use is NaN, and the table's tail is -1."""
    batch, kv_heads, length, head_size = call["key"].shape
    per_sequence = -(-length // block_size)
    ids = np.random.default_rng(4).permutation(batch * per_sequence)
    table = np.full((batch, per_sequence + 1), -1)
    table[:, :per_sequence] = ids.reshape(batch, per_sequence)
    caches = {}
    for name in ("key", "value"):
        cache = np.full((ids.size, kv_heads, block_size, head_size), np.nan)
        for b in range(batch):
            for position in range(length):
                block = table[b, position // block_size]
                cache[block, :, position % block_size] = call[name][b, :, position]
        if rank == 3:
            cache = cache.transpose(0, 2, 1, 3).reshape(ids.size, block_size, kv_heads * head_size)
        caches[name] = cache
    lengths = {"actual_seq_lengths": [length, length - 3]}
    return {**call, **caches, **lengths, "block_table": table, "block_size": block_size}


@pytest.mark.parametrize("rank", [3, 4])
@pytest.mark.parametrize("block_size", [1, 4, 11, 16])
def test_pages_are_a_contiguous_cache(block_size: int, rank: int) -> None:
    call = bnsd()
    expected = incre_flash_attention(**call, actual_seq_lengths=[11, 8])
    close(incre_flash_attention(**paged(call, block_size, rank)), expected)


def test_pages_work_with_a_bsh_query() -> None:
    call = bnsd()
    pages = paged(call, 4, 3)
    query = as_bsh(call)["query"]
    result = incre_flash_attention(**{**pages, "query": query, "input_layout": "BSH"})
    close(result.reshape(pages["query"].shape), incre_flash_attention(**pages))


@pytest.mark.parametrize("shape", [(2, 3, 1, 4), (2, 1, 3, 4), (2, 3, 4), (2, 12)])
def test_antiquant_is_a_dequantised_cache(shape: tuple[int, ...]) -> None:
    call = bnsd()
    rng = np.random.default_rng(5)
    quantised = {name: rng.integers(-128, 128, call[name].shape).astype(np.int8) for name in ("key", "value")}
    scale = rng.uniform(0.01, 0.02, (2, 3, 1, 4))
    offset = rng.uniform(-3, 3, (2, 3, 1, 4))
    dequantised = {name: (quantised[name] + offset[i]) * scale[i] for i, name in enumerate(("key", "value"))}
    close(
        incre_flash_attention(
            **{**call, **quantised},
            antiquant_scale=scale.reshape(shape),
            antiquant_offset=offset.reshape(shape),
        ),
        incre_flash_attention(**{**call, **dequantised}),
    )


def test_antiquant_offset_of_the_key_cancels_within_a_tensor() -> None:
    call = bnsd()
    rng = np.random.default_rng(6)
    quantised = {name: rng.integers(-9, 9, call[name].shape).astype(np.int8) for name in ("key", "value")}
    scale = np.array([0.1, 0.2])
    results = [
        incre_flash_attention(**{**call, **quantised}, antiquant_scale=scale, antiquant_offset=np.array([key, 0.0]))
        for key in (0.0, 7.5)
    ]
    close(*results)


def test_quantisation_per_channel_with_equal_channels_is_per_tensor() -> None:
    call = bnsd()
    one = incre_flash_attention(**call, quant_scale2=np.array([40.0]), quant_offset2=np.array([1.5]))
    for shape in [(1, 6, 1, 4), (6, 4), (1, 24)]:
        many = incre_flash_attention(**call, quant_scale2=np.full(shape, 40.0), quant_offset2=np.full(shape, 1.5))
        np.testing.assert_array_equal(many, one)


def test_quantisation_per_channel_scales_its_own_channel() -> None:
    call = bnsd()
    scale = np.random.default_rng(7).uniform(10, 50, (6, 4))
    expected = np.rint(incre_flash_attention(**call) * scale[None, :, None, :]).astype(np.int8)
    np.testing.assert_array_equal(incre_flash_attention(**call, quant_scale2=scale), expected)


def test_bfloat16_and_float16_inputs_are_taken_as_they_are() -> None:
    for dtype in (ml_dtypes.bfloat16, np.float16):
        call = bnsd()
        rounded = {name: call[name].astype(dtype) for name in ("query", "key", "value")}
        widened = {name: array.astype(np.float64) for name, array in rounded.items()}
        result = incre_flash_attention(**{**call, **rounded})
        assert result.dtype == np.float64
        np.testing.assert_array_equal(result, incre_flash_attention(**{**call, **widened}))


def test_positions_beyond_the_length_are_not_read() -> None:
    call = bnsd()
    expected = incre_flash_attention(**call, actual_seq_lengths=[5, 5])
    for name in ("key", "value"):
        call[name][:, :, 5:] = np.nan
    close(incre_flash_attention(**call, actual_seq_lengths=[5, 5]), expected)
