"""ONNX's Attention of one position: by the kernel where it can express it, and right in either case.

ONNX's own cases are run by test_onnx_backend.py; nearly all of them have more positions. These are compared with
ONNX's reference implementation.
"""

from __future__ import annotations

from collections.abc import Iterator

import mindspore as ms
import numpy as np
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator
from onnx_comparing import Both, model_of_nodes, run_ours

from ifa_fusion.onnx import OnnxError

BATCH, HEADS, SIZE, PAST = 2, 4, 16, 6
NAMES = ["query", "key", "value", "mask", "past_key", "past_value", "lengths"]


@pytest.fixture(autouse=True)
def graph_mode(monkeypatch, tmp_path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    ms.set_context(mode=ms.GRAPH_MODE)
    yield
    ms.set_context(mode=ms.PYNATIVE_MODE)


class Decode:
    """One position over a cache, in heads or flat, grown in the operator or before it.

    Args:
        grown: Whether the cache is the past and the new position, instead of all keys and values.
        flat: Whether query, key and value have their heads side by side.
        mask: Of the node, if it has one.
        lengths: Of the node, if it has them.
        value_size: The head size of the values.
        attributes: Of the node.
    """

    def __init__(
        self,
        grown=True,
        flat=False,
        mask=None,
        lengths=None,
        kv_heads=2,
        value_size=SIZE,
        dtype=np.float32,
        **attributes,
    ):
        random = np.random.default_rng(0)

        def draw(heads, length, size):
            drawn = random.standard_normal((BATCH, heads, length, size)).astype(dtype)
            return drawn.transpose(0, 2, 1, 3).reshape(BATCH, length, -1) if flat else drawn

        new = 1 if grown else PAST + 1
        self.feeds = {
            "query": draw(HEADS, 1, SIZE),
            "key": draw(kv_heads, new, SIZE),
            "value": draw(kv_heads, new, value_size),
        }
        if mask is not None:
            self.feeds["mask"] = mask if mask.dtype == np.bool_ else mask.astype(dtype)
        if grown:
            flat = False
            self.feeds |= {"past_key": draw(kv_heads, PAST, SIZE), "past_value": draw(kv_heads, PAST, value_size)}
        if lengths is not None:
            self.feeds["lengths"] = np.array(lengths, np.int64)
        if self.feeds["query"].ndim == 3:
            attributes |= {"q_num_heads": HEADS, "kv_num_heads": kv_heads}
        self.outputs = ["y", "present_key", "present_value"] if grown else ["y"]
        names = [name if name in self.feeds else "" for name in NAMES]
        self.node = helper.make_node("Attention", names, self.outputs, **attributes)

    def model(self, dynamic=None):
        return model_of_nodes([self.node], self.feeds, self.outputs, opset=24, dynamic=dynamic)

    def run(self, folder, dynamic=None) -> Both:
        ours = run_ours(folder, self.model(dynamic), self.feeds)
        return Both(ours.network, ours.inputs, ours.ours, ReferenceEvaluator(self.model()).run(None, self.feeds))


def mask_of(*shape, seed=1):
    """A mask of which each row shows something."""
    mask = np.random.default_rng(seed).random(shape) < 0.6
    mask[..., 0] = True
    return mask


def bias_of(*shape):
    return np.random.default_rng(2).standard_normal(shape)


NOTHING_SEEN = np.array([True, False]).reshape(2, 1, 1, 1) & mask_of(2, 1, 1, PAST + 1)
BY_KERNEL = {
    "grown": Decode(),
    "grown, flat": Decode(flat=True, is_causal=1),
    "grown, fp16": Decode(dtype=np.float16, is_causal=1),
    "all keys": Decode(grown=False, kv_heads=4, scale=0.3),
    "mask": Decode(mask=mask_of(BATCH, 1, 1, PAST + 1)),
    "mask of one row": Decode(mask=mask_of(1, PAST + 1)),
    "mask by head": Decode(mask=mask_of(BATCH, HEADS, 1, PAST + 1)),
    "mask by head, of three dimensions": Decode(mask=mask_of(HEADS, 1, PAST + 1), flat=True),
    "mask of a part": Decode(mask=mask_of(BATCH, 1, 1, 4), grown=False),
    "bias": Decode(mask=bias_of(1, HEADS, 1, PAST + 1)),
    "bias of one row, fp16": Decode(mask=bias_of(1, PAST + 1), dtype=np.float16),
    "nothing seen": Decode(mask=NOTHING_SEEN),
    "nothing seen, as bias": Decode(mask=np.where(NOTHING_SEEN, 0, -np.inf)),
    "lengths": Decode(grown=False, lengths=[7, 3], is_causal=1),
    "lengths, 0 of them": Decode(grown=False, lengths=[5, 0]),
    "lengths and mask": Decode(grown=False, lengths=[7, 3], mask=mask_of(BATCH, 1, 1, PAST + 1)),
    "causal from the first key on": Decode(grown=False, is_causal=1),
}
IN_PARTS = {
    "soft cap": Decode(softcap=2.0, mask=mask_of(BATCH, 1, 1, PAST + 1)),
    "other head size of the values": Decode(value_size=8, flat=True),
}


@pytest.mark.parametrize("case", BY_KERNEL.values(), ids=BY_KERNEL)
def test_one_position_calls_the_kernel(tmp_path, case):
    both = case.run(tmp_path)
    both.assert_close()
    assert both.kernel_calls()


@pytest.mark.parametrize("case", IN_PARTS.values(), ids=IN_PARTS)
def test_what_the_kernel_can_not_express_is_written_out(tmp_path, case):
    both = case.run(tmp_path)
    both.assert_close()
    assert not both.kernel_calls()


def test_batch_past_and_mask_may_stay_open(tmp_path):
    case = Decode(mask=mask_of(BATCH, 1, 1, PAST + 1), flat=True, is_causal=1)
    dynamic = {name: {0: "batch"} for name in case.feeds} | {"mask": {0: "batch", 3: "total_length"}}
    dynamic |= {name: {0: "batch", 2: "past_length"} for name in ("past_key", "past_value")}
    both = case.run(tmp_path, dynamic)
    both.assert_close()
    assert both.kernels_in_mindir(tmp_path) == 1


def test_a_query_of_open_length_is_written_out(tmp_path):
    case = Decode(is_causal=1)
    dynamic = {name: {2: "length"} for name in ("query", "key", "value")}
    dynamic |= {name: {2: "past_length"} for name in ("past_key", "past_value")}
    both = case.run(tmp_path, dynamic)
    both.assert_close()
    assert not both.kernel_calls()


def test_heads_that_do_not_share_evenly_are_refused(tmp_path):
    with pytest.raises(OnnxError, match="4 heads can't share 3 KV heads"):
        Decode(kv_heads=3).run(tmp_path)
