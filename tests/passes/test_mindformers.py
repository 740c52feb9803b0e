"""The attention of MindFormers, version by version: each is fused, and gives what it gave before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mindformers_networks as mf
import mindspore as ms
import numpy as np
import pytest
from judging import Operands, Outcome, compare, draw, draw_bias, tensors
from mindspore import Tensor

pytestmark = pytest.mark.grid

LENGTH, HEAD_SIZE = mf.LENGTH, mf.HEAD_SIZE
SCALE = HEAD_SIZE**-0.5
DTYPES = pytest.mark.parametrize("dtype", [ms.float16, ms.float32])
KV_HEADS = pytest.mark.parametrize("kv_heads", [6, 2, 1])


def merged(x: np.ndarray) -> np.ndarray:
    """(B, heads, 1, D) as it comes out of a dense layer."""
    return x.transpose(0, 2, 1, 3).reshape(len(x), 1, -1)


def at_the_end(operands: Operands) -> tuple[np.ndarray, ...]:
    """The new token's query, key and value, and the caches that it is appended to."""
    past = (operands.key[:, :, :-1], operands.value[:, :, :-1])
    new = (operands.bnsd[0], operands.key[:, :, -1:], operands.value[:, :, -1:])
    return (*(merged(x) for x in new), *past)


def in_the_middle(operands: Operands, past: np.ndarray) -> tuple[np.ndarray, ...]:
    """The same with caches of the full length, 0 from each sequence's new position on."""
    here = past[:, None, None, None]
    new = (np.take_along_axis(x, here, 2) for x in (operands.key, operands.value))
    filled = np.arange(LENGTH)[:, None] < here
    return (*(merged(x) for x in (operands.bnsd[0], *new)), operands.key * filled, operands.value * filled)


def assert_fused(outcome: Outcome, expected: np.ndarray, *features: str, kv_heads: int) -> None:
    outcome.assert_fused()
    outcome.assert_gives(expected)
    kind = {6: "MHA", 1: "MQA"}.get(kv_heads, "GQA")
    assert outcome.features[0] == f"{kind} 6/{kv_heads}"
    assert outcome.features[1].startswith("BNSD float")
    assert outcome.features[2:] == (f"length {LENGTH}", f"head size {HEAD_SIZE}", *features)


def sequences() -> tuple[np.ndarray, np.ndarray]:
    """How many positions each sequence has before this one, and what it must not see, (B, 1, S)."""
    past = np.array([3, 7])
    return past, np.arange(LENGTH) > past[:, None, None]


def padded() -> np.ndarray:
    """What sequences that are padded on the left must not see, (B, 1, S)."""
    return np.arange(LENGTH) < np.array([3, 0])[:, None, None]


@DTYPES
def test_multi_head_attention_up_to_1_3(dtype: Any) -> None:
    operands = draw(kv_heads=6)
    past, hidden = sequences()
    query, key, value, key_past, value_past = in_the_middle(operands, past)
    inputs = tensors(query, key, value, key_past.transpose(0, 1, 3, 2), value_past, dtype=dtype)
    outcome = compare(mf.MultiHeadAttention(), *inputs, Tensor(past, ms.int32))
    expected = operands.attend(SCALE, hidden=hidden)
    assert_fused(outcome, expected, "mask: additive -> lengths", "key transposed", kv_heads=6)
    assert str(dtype).lower() in outcome.features[1]


@KV_HEADS
@DTYPES
@pytest.mark.parametrize("alibi", [False, True])
def test_llama_attention(alibi: bool, dtype: Any, kv_heads: int) -> None:
    operands, bias = draw(kv_heads=kv_heads), draw_bias(1, 6, 1, LENGTH)
    hidden = padded()
    inputs = tensors(*at_the_end(operands), dtype=dtype)
    extra = tensors(bias, dtype=dtype) if alibi else []
    outcome = compare(mf.LLamaAttention(kv_heads), *inputs, None, Tensor(~hidden), *extra)
    expected = operands.attend(SCALE, bias=bias[:, :, 0] if alibi else 0.0, hidden=hidden)
    assert_fused(outcome, expected, "mask: additive -> bool", *(["bias"] if alibi else []), kv_heads=kv_heads)


@KV_HEADS
@DTYPES
def test_older_llama_attention(dtype: Any, kv_heads: int) -> None:
    operands = draw(kv_heads=kv_heads)
    past, hidden = sequences()
    inputs = tensors(*in_the_middle(operands, past), dtype=dtype)
    outcome = compare(mf.OlderLLamaAttention(kv_heads), *inputs, Tensor(past, ms.int32), Tensor(~hidden))
    assert_fused(outcome, operands.attend(SCALE, hidden=hidden), "mask: additive -> bool", kv_heads=kv_heads)


@KV_HEADS
@DTYPES
def test_chatglm2_attention(dtype: Any, kv_heads: int) -> None:
    operands = draw(kv_heads=kv_heads)
    hidden = padded()
    inputs = tensors(*at_the_end(operands), dtype=dtype)
    outcome = compare(mf.ChatGLM2Attention(kv_heads), *inputs, None, Tensor(hidden[:, None]))
    assert_fused(
        replace(outcome, dtype=dtype),
        operands.attend(SCALE, hidden=hidden),
        "mask: additive -> bool",
        kv_heads=kv_heads,
    )


@KV_HEADS
@DTYPES
@pytest.mark.parametrize("fills", [True, False], ids=["filled", "added"])
def test_dot_product_attention(fills: bool, dtype: Any, kv_heads: int) -> None:
    operands = draw(kv_heads=kv_heads)
    hidden = padded()
    inputs = tensors(*at_the_end(operands), dtype=dtype)
    outcome = compare(mf.DotProductAttention(kv_heads, fills), *inputs, None, Tensor(hidden[:, None]))
    kind = "selecting" if fills else "additive"
    assert_fused(outcome, operands.attend(SCALE, hidden=hidden), f"mask: {kind} -> bool", kv_heads=kv_heads)
