"""From the score matmul to the value matmul, as the decoders of some sixty architectures have it.

Keys and values come in repeated, `hidden` is (B, 1, 1, S), `kept` (1, 1, 1, S) and `alibi` (1, N, 1, S); B, N, S and D
are 2, 6, 10 and 8.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import mindspore as ms
import numpy as np
import pytest
from judging import compare, draw, draw_bias, draw_hidden, tensors
from mindspore import Tensor, nn, ops
from networks import broadcast_to

pytestmark = pytest.mark.grid

SCALE, ROOT = 0.25, 0.5
NEG, INF = -1e4, float("-inf")
LOWEST = float(np.finfo(np.float32).min)


def product(q, k):
    return ops.matmul(q, k.swapaxes(-1, -2))


def flat(x):
    return x.reshape(12, x.shape[2], 8)


def flat_product(q, k):
    return ops.bmm(flat(q), flat(k).swapaxes(1, 2))


def mask(hidden, neg, dtype):
    return ops.where(hidden, neg, 0.0).astype(dtype)


def scaled_masked(q, k, v, hidden, kept, alibi):
    scores = product(q, k) * SCALE + mask(hidden, NEG, q.dtype)
    return ops.matmul(ops.softmax(scores, -1), v)


def cast_twice(q, k, v, hidden, kept, alibi):
    scores = product(q, k) * SCALE + mask(hidden, NEG, q.dtype)
    weights = ops.softmax(scores.astype(ms.float32), -1).astype(ms.float16).astype(v.dtype)
    return ops.matmul(weights, v)


def roots_and_guard(q, k, v, hidden, kept, alibi):
    scores = ops.matmul(q * ROOT, k.swapaxes(-1, -2) * ROOT) + mask(hidden, INF, q.dtype)
    weights = ops.softmax(scores, -1)
    return ops.matmul(ops.where(ops.isnan(weights), 0.0, weights), v)


def roots_and_guard_in_fp32(q, k, v, hidden, kept, alibi):
    scores = ops.matmul(q * ROOT, k.swapaxes(-1, -2) * ROOT).astype(ms.float32) + mask(hidden, INF, ms.float32)
    weights = ops.softmax(scores, -1)
    return ops.matmul(ops.where(ops.isnan(weights), 0.0, weights).astype(v.dtype), v)


def divided_masked(q, k, v, hidden, kept, alibi):
    scores = product(q, k) / (1 / SCALE) + mask(hidden, NEG, q.dtype)
    return ops.matmul(ops.softmax(scores.astype(ms.float32), -1).astype(v.dtype), v)


def query_scaled(q, k, v, hidden, kept, alibi):
    return ops.matmul(ops.softmax(product(q * SCALE, k) + mask(hidden, NEG, q.dtype), -1), v)


def no_scale(q, k, v, hidden, kept, alibi):
    return ops.matmul(ops.softmax(product(q, k) + mask(hidden, NEG, q.dtype), -1), v)


def no_mask(q, k, v, hidden, kept, alibi):
    return ops.matmul(ops.softmax(product(q, k) * SCALE, -1), v)


def neither(q, k, v, hidden, kept, alibi):
    return ops.matmul(ops.softmax(product(q, k), -1), v)


def masked_then_divided(q, k, v, hidden, kept, alibi):
    scores = (product(q, k) + mask(hidden, -1e9, q.dtype)) / (1 / SCALE)
    return ops.matmul(ops.softmax(scores, -1), v)


def biased_then_scaled(q, k, v, hidden, kept, alibi):
    scores = (flat_product(q, k).reshape(2, 6, 1, 10) + alibi) * SCALE + mask(hidden, NEG, q.dtype)
    return ops.bmm(ops.softmax(scores, -1).reshape(12, 1, 10), flat(v))


def biased_in_3d(q, k, v, hidden, kept, alibi):
    scores = flat_product(q, k) * SCALE + ops.tile(alibi.reshape(6, 1, 10), (2, 1, 1))
    scores = scores.reshape(2, 6, 1, 10) + mask(hidden, NEG, q.dtype)
    weights = ops.softmax(scores.astype(ms.float32), -1).astype(v.dtype)
    return ops.bmm(weights.reshape(12, 1, 10), flat(v))


def biased_in_fp32(q, k, v, hidden, kept, alibi):
    scores = (product(q, k) * SCALE).astype(ms.float32) + alibi.astype(ms.float32)
    scores = ops.where(hidden, NEG, scores).astype(q.dtype)
    return ops.matmul(ops.softmax(scores.astype(ms.float32), -1).astype(v.dtype), v)


def selected_then_masked(q, k, v, hidden, kept, alibi):
    scores = ops.where(kept, product(q, k) * SCALE, NEG) + mask(hidden, NEG, q.dtype)
    return ops.matmul(ops.softmax(scores.astype(ms.float32), -1).astype(v.dtype), v)


def divided_by_the_root_of_a_shape(q, k, v, hidden, kept, alibi):
    scores = (product(q, k) / ops.sqrt(ops.dyn_shape(q)[-1].astype(ms.float32))).astype(q.dtype)
    scores = ops.where(kept, scores, NEG) + mask(hidden, NEG, q.dtype)
    return ops.matmul(ops.softmax(scores.astype(ms.float32), -1).astype(v.dtype), v)


def zeros_added(q, k, v, hidden, kept, alibi):
    zeros = ops.zeros((12, 1, 10), q.dtype)
    scores = ops.baddbmm(zeros, flat(q), flat(k).swapaxes(1, 2), beta=0.0, alpha=SCALE)
    scores = scores.reshape(2, 6, 1, 10) + mask(hidden, NEG, q.dtype)
    return ops.bmm(ops.softmax(scores, -1).reshape(12, 1, 10), flat(v))


def any_input_times_0_added(q, k, v, hidden, kept, alibi):
    bias = ops.tile(alibi.reshape(6, 1, 10), (2, 1, 1))
    scores = ops.baddbmm(bias, flat(q), flat(k).swapaxes(1, 2), beta=0.0, alpha=SCALE)
    scores = scores.reshape(2, 6, 1, 10) + mask(hidden, NEG, q.dtype)
    return ops.bmm(ops.softmax(scores, -1).reshape(12, 1, 10), flat(v))


def times_1_and_bias(q, k, v, hidden, kept, alibi):
    scores = product(q, k) * 1 + alibi + mask(hidden, NEG, q.dtype)
    return ops.matmul(ops.softmax(scores, -1), v)


def merged_bias(q, k, v, hidden, kept, alibi):
    scores = product(q, k) + (alibi + mask(hidden, NEG, q.dtype))
    return ops.matmul(ops.softmax(scores.astype(ms.float32), -1).astype(v.dtype), v)


def raised_in_fp16(q, k, v, hidden, kept, alibi):
    """MindSpore takes fp32's lowest number for nothing to be done itself."""
    scores = flat_product(q, k).reshape(2, 6, 1, 10) + mask(hidden, INF, q.dtype)
    scores = ops.maximum(scores, Tensor(-65504.0, ms.float16)).reshape(12, 1, 10)
    return ops.bmm(ops.softmax(scores, -1), flat(v))


def clamped(q, k, v, hidden, kept, alibi):
    scores = flat_product(q, k).reshape(2, 6, 1, 10) + mask(hidden, INF, q.dtype)
    scores = ops.clamp(scores, min=LOWEST).reshape(12, 1, 10)
    return ops.bmm(ops.softmax(scores, -1), flat(v))


def empty_rows_set_to_0(q, k, v, hidden, kept, alibi):
    scores = product(q, k) + ops.logical_not(kept).astype(q.dtype) * NEG
    output = ops.matmul(ops.softmax(scores, -1), v)
    return ops.where(kept.any(-1, keep_dims=True), output, 0.0)


ADDED, SELECTED = "mask: additive -> bool", "mask: selecting -> bool"


class Path(NamedTuple):
    """A line of the catalogue, and what it computes: softmax(scale * Q K^T + factor * alibi, masked) V."""

    line: str
    path: Any
    scale: float = SCALE
    factor: float = 0.0
    masks: str = "hidden"
    dtype: Any = ms.float32
    features: tuple[str, ...] = (ADDED,)


BOTH = "hidden or not kept"
PATHS = [
    Path("1", scaled_masked),
    Path("2", cast_twice, dtype=ms.float16),
    Path("3", roots_and_guard),
    Path("3 in fp16", roots_and_guard_in_fp32, dtype=ms.float16),
    Path("4", divided_masked, dtype=ms.float16),
    Path("5", query_scaled),
    Path("5 without scale", no_scale, 1.0),
    Path("6", no_mask, masks="", features=()),
    Path("6 without scale", neither, 1.0, masks="", features=()),
    Path("7", masked_then_divided),
    Path("8", biased_then_scaled, factor=SCALE, features=(ADDED, "bias")),
    Path("9", biased_in_3d, factor=1.0, dtype=ms.float16, features=(ADDED, "bias")),
    Path("10", biased_in_fp32, factor=1.0, dtype=ms.float16, features=(SELECTED, "bias")),
    Path("11", selected_then_masked, masks=BOTH, dtype=ms.float16, features=(ADDED, SELECTED)),
    Path("12", divided_by_the_root_of_a_shape, 8**-0.5, masks=BOTH, features=(ADDED, SELECTED)),
    Path("13", zeros_added),
    Path("13 with an input", any_input_times_0_added, features=(ADDED, "bias")),
    Path("14", times_1_and_bias, 1.0, 1.0, features=(ADDED, "bias")),
    Path("14 merged", merged_bias, 1.0, 1.0, dtype=ms.float16, features=(ADDED, "bias")),
    Path("15", raised_in_fp16, 1.0, dtype=ms.float16),
    Path("15 by clamp", clamped, 1.0),
    Path("18", empty_rows_set_to_0, 1.0, masks="not kept"),
]


class Attention(nn.Cell):
    def __init__(self, path: Any) -> None:
        super().__init__()
        self.path = path

    def construct(self, q, k, v, *extra):
        return self.path(q, broadcast_to(k), broadcast_to(v), *extra)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.line)
def test_paths(path: Path) -> None:
    operands, alibi = draw(), draw_bias(1, 6, 1, 10)
    hidden, kept = draw_hidden(2, 1, 1, 10), ~draw_hidden(1, 1, 1, 10, seed=5)
    inputs = tensors(*operands.bnsd, hidden, kept, alibi, dtype=path.dtype)
    outcome = compare(Attention(path.path), *inputs)
    outcome.assert_fused()
    masked = {"": hidden & False, "hidden": hidden, "not kept": ~kept, BOTH: hidden | ~kept}[path.masks]
    outcome.assert_gives(operands.attend(path.scale, bias=path.factor * alibi[:, :, 0], hidden=masked[:, 0]))
    assert outcome.features[4:] == path.features


def test_rows_set_to_0_where_all_positions_are_masked() -> None:
    operands, kept = draw(), np.zeros((2, 1, 1, 10), bool)
    kept[1, ..., 3] = True
    inputs = tensors(*operands.bnsd, kept, kept, draw_bias(1, 6, 1, 10))
    outcome = compare(Attention(empty_rows_set_to_0), *inputs)
    outcome.assert_fused()
    assert not outcome.fused[0][0].any()
    np.testing.assert_allclose(outcome.fused[0][1, :, 0], np.repeat(operands.value[1, :, 3], 3, 0), atol=1e-5)
