"""Inputs that are made up for networks of files."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest

from ifa_fusion.cli.inputs import Declared, default_size, made_up


@pytest.mark.parametrize("dtype", [ms.int32, ms.int64])
def test_tokens_and_positions_are_small(dtype):
    (numbers,) = made_up([Declared("input_ids", dtype, (5, 20))])
    assert numbers.dtype == dtype
    assert set(np.unique(numbers.asnumpy())) == {0, 1, 2, 3}


def test_masks_leave_something_whichever_value_hides():
    integers, booleans, added = made_up(
        [Declared("attention_mask", dtype, (2, 1, 9)) for dtype in (ms.int64, ms.bool_, ms.float16)]
    )
    assert (integers.asnumpy() == 1).all()
    assert (added.asnumpy() == 0).all()
    for row in booleans.asnumpy()[:, 0]:
        assert set(row) == {True, False}


@pytest.mark.parametrize("dtype", [ms.float32, ms.float16, ms.bfloat16, ms.int8])
def test_caches_are_random_and_the_same_each_time(dtype):
    entry = Declared("past.key", dtype, (1, 2, 9, 8))
    first, second = (made_up([entry])[0].float().asnumpy() for _ in range(2))
    assert first.std() > 0.5
    np.testing.assert_array_equal(first, second)


def test_scalars():
    (position,) = made_up([Declared("position", ms.int32, ())])
    assert position.shape == ()


@pytest.mark.parametrize(
    ("name", "size"),
    [("batch_size", 1), ("sequence_length", 1), ("past_sequence_length", 8), ("total_sequence_length", 9),
     ("past_sequence_length + 1", 9), ("encoder_length", 8), ("key.2", 8), ("key.0", 1), ("attention_mask.1", 9)],
)  # fmt: skip
def test_sizes_of_one_token_after_a_past(name, size):
    assert default_size(name) == size


def test_open_sizes_have_names():
    tensor = ms.Tensor(shape=[None, 4, None], dtype=ms.float32)
    declared = Declared.of("past", tensor, ("batch", ""))
    assert declared.shape == ("batch", 4, "past.2")
    assert declared.bound({"past.2": 7}).shape == ("batch", 4, 7)
