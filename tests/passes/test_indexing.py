"""Indices: what leaves nothing out is a view, a part of a cache is a tensor of its own."""

from __future__ import annotations

import networks as net
import numpy as np
from judging import compare, draw, draw_hidden, tensors
from networks import Attention


def first_positions(x):
    return net.repeat_interleave(x[:, :, :5])


def positions_reversed(x):
    return net.repeat_interleave(x[:, :, ::-1])


def test_new_axis_copies_nothing():
    """x[:, :, None] is an ExpandDims and a StridedSlice of the whole."""
    operands, hidden = draw(), draw_hidden(2, 10)
    attention = Attention(key=net.broadcast_to_by_index, adjust=net.AdditiveExpanded(-1e9))
    outcome = compare(attention, *tensors(*operands.bnsd, hidden))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(hidden=hidden[:, None]))
    assert outcome.features == ("GQA 6/2", "BNSD float32", "length 10", "head size 8", "mask: additive -> bool")
    assert outcome.other_operators <= {"Reshape"}


def test_part_of_a_cache():
    operands = draw()
    outcome = compare(Attention(key=first_positions), *tensors(*operands.bnsd))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(hidden=np.arange(10) >= 5))
    assert outcome.features[2] == "length 5"


def test_cache_in_reverse():
    """Of the whole cache's shape, and not the cache."""
    operands = draw()
    outcome = compare(Attention(key=positions_reversed, value=net.repeat_interleave), *tensors(*operands.bnsd))
    outcome.assert_fused()
    assert not np.allclose(outcome.fused[0][:, :, 0], operands.attend(), atol=0.01)
