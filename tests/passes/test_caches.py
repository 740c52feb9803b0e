"""From a cache to the matmul: how caches are stored, written and scaled, and what the operator is given of them."""

from __future__ import annotations

from dataclasses import replace

import mindspore as ms
import networks as net
import numpy as np
import pytest
import quantised_networks as quant
from judging import compare, draw, fuse, tensors
from mindspore import Tensor
from mindspore.ops import operations as P
from networks import Attention

SOFTMAX_LINE = "ops.softmax("


def features(heads: str = "GQA 6/2", dtype: str = "float32") -> tuple[str, ...]:
    return (heads, f"BNSD {dtype}", "length 10", "head size 8")


# Keys that are stored (B, kvN, D, S), as the product wants them.


def transposed(operands):
    query, key, value = operands.bnsd
    return query, key.transpose(0, 1, 3, 2), value


@pytest.mark.parametrize("dtype", [ms.float16, ms.float32])
@pytest.mark.parametrize("length", [10, 8], ids=["length 10", "length of the head size"])
@pytest.mark.parametrize("kv_heads", [6, 2])
def test_key_stored_transposed(kv_heads, length, dtype):
    operands = draw(kv_heads=kv_heads, length=length)
    repeat = net.same if kv_heads == 6 else net.repeat_interleave
    attention = Attention(key=repeat, scores=net.scores_of_transposed_cache)
    outcome = compare(attention, *tensors(*transposed(operands), dtype=dtype))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend())
    assert outcome.features[4:] == ("key transposed",)
    assert outcome.other_operators == {"Transpose"}


def test_key_stored_transposed_in_bf16():
    """A CPU can't run it unfused, nor transpose it in bf16."""
    operands = draw(kv_heads=6)
    attention = Attention(key=net.same, scores=net.scores_of_transposed_cache)
    outcome = fuse(attention, *tensors(*transposed(operands), dtype=ms.bfloat16))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend())


def values_of_transposed_cache(p, v):
    """Value is (B, N, D, S)."""
    return P.BatchMatMul(transpose_b=True)(p, v)


def test_value_stored_transposed():
    operands = draw(kv_heads=6)
    query, key, value = operands.bnsd
    attention = Attention(key=net.same, output=values_of_transposed_cache)
    outcome = compare(attention, *tensors(query, key, value.transpose(0, 1, 3, 2)))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend())
    assert outcome.features[4:] == ("value transposed",)


def test_int8_key_stored_transposed():
    operands = draw(kv_heads=6)
    key, value = np.random.default_rng(4).integers(-128, 128, (2, *operands.key.shape)).astype(np.int8)
    scale = np.random.default_rng(5).uniform(0.002, 0.03, (1, 6, 1, 8))
    operands = replace(operands, key=key, value=value)
    attention = Attention(
        key=quant.Scaled(quant.as_parameter(scale.transpose(0, 1, 3, 2))),
        value=quant.Scaled(0.02),
        scores=net.scores_of_transposed_cache,
    )
    outcome = compare(attention, *tensors(*transposed(operands)))
    outcome.assert_fused()
    outcome.assert_gives(replace(operands, key=key * scale, value=value * 0.02).attend())
    assert {"int8 cache", "key transposed"} <= {*outcome.features}


def test_key_stored_transposed_of_unknown_length():
    attention = Attention(key=net.same, scores=net.scores_of_transposed_cache)
    caches = (Tensor(shape=shape, dtype=ms.float32) for shape in ([2, 6, 8, None], [2, 6, None, 8]))
    attention.set_inputs(Tensor(shape=[2, 6, 1, 8], dtype=ms.float32), *caches)
    for length in (10, 3):
        operands = draw(kv_heads=6, length=length)
        outcome = compare(attention, *tensors(*transposed(operands)))
        outcome.assert_equal()
        outcome.assert_gives(operands.attend())


def turned_round(x):
    return x.transpose(0, 1, 3, 2)


def test_key_that_the_network_turns_round_itself():
    """Once, as before."""
    operands = draw(kv_heads=6)
    attention = Attention(key=turned_round, value=net.same)
    outcome = compare(attention, *tensors(*transposed(operands)))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend())
    assert outcome.operators["Transpose"] == 1
