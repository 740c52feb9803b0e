"""The operators of onnxruntime's own domain, against onnxruntime."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import mindspore as ms
import numpy as np
import pytest
from onnx import helper
from onnx_comparing import MICROSOFT, Both, model_of_nodes, run_both, run_together

from ifa_fusion.onnx import OnnxError

HEADS, SIZE = 4, 32


@pytest.fixture(autouse=True)
def graph_mode(monkeypatch, tmp_path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    ms.set_context(mode=ms.GRAPH_MODE)
    yield
    ms.set_context(mode=ms.PYNATIVE_MODE)


GROUPED = [
    *(
        "query",
        "key",
        "value",
        "past_key",
        "past_value",
        "seqlens_k",
        "total_sequence_length",
        "cos_cache",
        "sin_cache",
    ),
    *("position_ids", "attention_bias", "head_sink", "k_scale", "v_scale"),
]
MULTI_HEAD = ["query", "key", "value", "bias", "mask", "attention_bias", "past_key", "past_value"]
MASKED_MULTI_HEAD = [
    *("query", "key", "value", "mask", "attention_bias", "past_key", "past_value", "past_sequence_length"),
    *("beam_width", "cache_indirection", "bias"),
]
PLACES = {
    "GroupQueryAttention": GROUPED,
    "MultiHeadAttention": MULTI_HEAD,
    "DecoderMaskedMultiHeadAttention": MASKED_MULTI_HEAD,
}


def node_of(name, feeds, outputs, **attributes):
    """A node whose inputs are fed under their names; the others are left out."""
    names = [place if place in feeds else "" for place in PLACES[name]]
    while not names[-1]:
        names.pop()
    return helper.make_node(name, names, outputs, domain=MICROSOFT, num_heads=HEADS, **attributes)


class Grouped:
    """A GroupQueryAttention node and what it reads.

    Args:
        batch: B.
        length: L.
        past: P, the length of the caches, None for none.
        total: The total length; its default is that of a cache that grows.
        lengths: The valid positions of each sequence after the step; by default all of them.
        packed: Whether query, key and value come as one.
        extra: Further inputs by name.
        attributes: Of the node.
    """

    def __init__(
        self,
        batch=1,
        length=1,
        past=6,
        total=None,
        lengths=None,
        kv_heads=2,
        dtype=np.float32,
        packed=False,
        extra=None,
        **attributes,
    ):
        random = np.random.default_rng(0)

        def draw(*shape):
            return random.standard_normal(shape).astype(dtype)

        total = total or (past or 0) + length
        self.lengths = lengths or [total] * batch
        hidden = [HEADS * SIZE, kv_heads * SIZE, kv_heads * SIZE]
        if packed:
            feeds = {"query": draw(batch, length, sum(hidden))}
        else:
            feeds = {n: draw(batch, length, h) for n, h in zip(("query", "key", "value"), hidden, strict=True)}
        if past is not None:
            feeds |= {n: draw(batch, kv_heads, past, SIZE) for n in ("past_key", "past_value")}
        feeds["seqlens_k"] = np.array(self.lengths, np.int32) - 1
        feeds["total_sequence_length"] = np.array(total, np.int32)
        feeds |= {
            name: array.astype(dtype) if array.dtype == np.float64 else array for name, array in (extra or {}).items()
        }
        self.feeds = feeds
        self.length = length
        self.outputs = ["output", "present_key", "present_value"]
        self.node = node_of("GroupQueryAttention", feeds, self.outputs, kv_num_heads=kv_heads, **attributes)

    def model(self, constants=(), dynamic=None):
        """The model and what it is fed."""
        feeds = {name: array for name, array in self.feeds.items() if name not in constants}
        weights = {name: self.feeds[name] for name in constants}
        return model_of_nodes([self.node], feeds, self.outputs, weights, dynamic=dynamic), feeds

    def assert_close(self, both: Both) -> None:
        """Compares what is specified: not the rows of padding, nor what a cache holds behind a sequence's end."""
        for b, length in enumerate(self.lengths):
            new = min(self.length, length)
            rows = [np.s_[b, :new], np.s_[b, :, :length], np.s_[b, :, :length]]
            for ours, theirs, row in zip(both.ours, both.theirs, rows, strict=True):
                assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
                bound = 1e-5 if ours.dtype == np.float32 else 4e-3
                np.testing.assert_allclose(ours[row], theirs[row], rtol=bound, atol=bound)


def angles(positions=32, size=SIZE):
    angle = np.arange(positions)[:, None] * 0.3 ** np.arange(size // 2)
    return {"cos_cache": np.cos(angle), "sin_cache": np.sin(angle)}


BY_KERNEL = {
    "grown": Grouped(),
    "grown, fp16": Grouped(dtype=np.float16),
    "all heads": Grouped(kv_heads=4, batch=2, scale=0.2),
    "ragged": Grouped(batch=2, lengths=[7, 4]),
    "buffer": Grouped(batch=2, past=12, total=7, lengths=[7, 3], do_rotary=1, extra=angles()),
    "buffer, full": Grouped(past=7, total=7),
    "packed": Grouped(packed=True, do_rotary=1, rotary_interleaved=1, extra=angles()),
    "part of the head turned": Grouped(do_rotary=1, extra=angles(size=16)),
    "positions": Grouped(do_rotary=1, extra=angles() | {"position_ids": np.array([[9]])}),
    "window": Grouped(batch=2, lengths=[7, 3], local_window_size=4),
    "bias": Grouped(
        past=12, total=7, extra={"attention_bias": np.random.default_rng(1).standard_normal((1, HEADS, 1, 7))}
    ),
}

IN_PARTS = {
    "prompt": Grouped(batch=2, length=5, past=0, do_rotary=1, extra=angles()),
    "prompt without past": Grouped(length=5, past=None),
    "padded prompt": Grouped(batch=2, length=5, past=0, lengths=[5, 2], do_rotary=1, extra=angles()),
    "prompt into a buffer": Grouped(batch=2, length=5, past=9, total=5, lengths=[5, 3]),
    "continued": Grouped(length=3, do_rotary=1, local_window_size=2, extra=angles()),
    "continued, fp16": Grouped(length=3, dtype=np.float16),
    "soft cap": Grouped(batch=2, lengths=[7, 3], softcap=5.0),
    "smooth": Grouped(batch=2, lengths=[7, 3], smooth_softmax=1),
    "sinks": Grouped(extra={"head_sink": np.array([0.5, -1.0, 2.0, 0.0])}),
    "bias": Grouped(length=3, extra={"attention_bias": np.random.default_rng(1).standard_normal((1, 1, 3, 9))}),
}


@pytest.mark.parametrize("cases, calls", [(BY_KERNEL, len(BY_KERNEL)), (IN_PARTS, 0)], ids=["by kernel", "in parts"])
def test_grouped_attention_calls_the_kernel_where_it_can(tmp_path, cases, calls):
    models = {name: case.model(constants=["total_sequence_length"]) for name, case in cases.items()}
    results = run_together(tmp_path, models)
    for name, case in cases.items():
        case.assert_close(results[name])
    assert results["bias"].kernel_calls() == calls


def test_the_total_length_may_come_with_the_call(tmp_path):
    cases, models = {}, {}
    for past, (kind, axes) in itertools.product((6, 12), {"open": {2: "past_length"}, "bound": {}}.items()):
        case = cases[f"{past}, {kind}"] = Grouped(batch=2, past=past, total=7, lengths=[7, 3])
        models[f"{past}, {kind}"] = case.model(dynamic=dict.fromkeys(("past_key", "past_value"), axes))
    results = run_together(tmp_path, models)
    for name, case in cases.items():
        case.assert_close(results[name])
    assert results["6, open"].kernel_calls() == len(cases)


def test_batch_and_past_may_stay_open(tmp_path):
    case = Grouped(batch=2, lengths=[7, 3], do_rotary=1, extra=angles())
    dynamic = {name: {0: "batch"} for name in ("query", "key", "value", "seqlens_k")}
    dynamic |= {name: {0: "batch", 2: "past_length"} for name in ("past_key", "past_value")}
    constants = ["total_sequence_length", "cos_cache", "sin_cache"]
    both = run_both(tmp_path, *case.model(constants, dynamic))
    case.assert_close(both)
    assert both.kernel_calls() == 1


SCALES = {name: np.ones(1, np.float32) for name in ("k_scale", "v_scale")}
REFUSED = {
    "attribute sliding_window_cache": Grouped(sliding_window_cache=1, local_window_size=3),
    "input k_scale, input v_scale": Grouped(extra=SCALES),
}


@pytest.mark.parametrize("named, case", REFUSED.items(), ids=REFUSED)
def test_other_forms_are_refused_by_name(tmp_path, named, case):
    with pytest.raises(OnnxError, match=f"GroupQueryAttention.*{named}"):
        run_both(tmp_path, *case.model())


def drawn(seed=0, **shapes):
    random = np.random.default_rng(seed)
    return {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


HIDDEN = HEADS * SIZE
QKV = {"query": (2, 1, HIDDEN), "key": (2, 1, HIDDEN), "value": (2, 1, HIDDEN)}
PAST = {"past_key": (2, HEADS, 6, SIZE), "past_value": (2, HEADS, 6, SIZE)}
CROSS = {"query": (2, 1, HIDDEN), "key": (2, HEADS, 9, SIZE), "value": (2, HEADS, 9, SIZE)}
PADDING = {"mask": np.array([[1] * 7, [0, 0, 1, 1, 0, 1, 1]], np.int32)}
PROMPT = {name: (2, 5, HIDDEN) for name in QKV}
MULTI_HEAD_CASES = {
    "grown": (drawn(**QKV, **PAST), {}, True),
    "grown, causal": (drawn(**QKV, **PAST), {"unidirectional": 1}, True),
    "projection bias": (drawn(**QKV, **PAST, bias=(3 * HIDDEN,)), {"scale": 0.3}, True),
    "padding": (drawn(**QKV, **PAST) | PADDING, {}, True),
    "bias": (drawn(**QKV, **PAST, attention_bias=(1, HEADS, 1, 7)), {}, True),
    "cross": (drawn(**CROSS), {}, True),
    "prompt, causal": (drawn(**PROMPT), {"unidirectional": 1}, False),
    "other head size of the values": (drawn(**{**QKV, "value": (2, 1, 2 * HIDDEN)}), {}, False),
    "continued": (drawn(**{name: (2, 3, HIDDEN) for name in QKV}, **PAST), {"unidirectional": 1}, False),
}


def attending(name, feeds, attributes):
    """The model of a node of attention, whose cache is returned where it has one, and what it is fed."""
    outputs = ["output", "present_key", "present_value"] if "past_key" in feeds else ["output"]
    return model_of_nodes([node_of(name, feeds, outputs, **attributes)], feeds, outputs), feeds


def test_multi_head_attention(tmp_path):
    models = {
        name: attending("MultiHeadAttention", feeds, attributes)
        for name, (feeds, attributes, _) in MULTI_HEAD_CASES.items()
    }
    results = run_together(tmp_path, models)
    for both in results.values():
        both.assert_close()
    assert results["grown"].kernel_calls() == sum(calls for *_, calls in MULTI_HEAD_CASES.values())


BUFFER = drawn(**QKV, past_key=(2, HEADS, 12, SIZE), past_value=(2, HEADS, 12, SIZE)) | {
    "past_sequence_length": np.array([6], np.int32)
}
DECODER_MASKED = {
    "buffer": (BUFFER, {"past_present_share_buffer": 1}),
    "buffer, padding": (BUFFER | PADDING, {"past_present_share_buffer": 1}),
    "buffer, bias": (BUFFER | drawn(attention_bias=(1, HEADS, 1, 7)), {"past_present_share_buffer": 1}),
    "buffer, projection bias": (BUFFER | drawn(bias=(3 * HIDDEN,)), {"past_present_share_buffer": 1}),
    "cross": (drawn(**CROSS), {}),
}


def test_decoder_masked_multi_head_attention(tmp_path):
    models = {name: attending("DecoderMaskedMultiHeadAttention", *case) for name, case in DECODER_MASKED.items()}
    results = run_together(tmp_path, models)
    for both in results.values():
        both.assert_close()
    assert results["cross"].kernel_calls() == len(models)


def rotary(x, positions, size=SIZE, **attributes):
    tables = {name: table.astype(np.float32) for name, table in angles(size=size).items()}
    feeds = {"x": drawn(x=x)["x"], "positions": np.array(positions)} | tables
    return helper.make_node("RotaryEmbedding", list(feeds), ["y"], domain=MICROSOFT, **attributes), feeds, {}


def skipped(name, shape=(2, 3, 8), skip=None, bias=False, sums=True, dtype=np.float32, **attributes):
    norm = {"gamma": shape[-1:]} | ({} if name.startswith("SkipSimplified") else {"beta": shape[-1:]})
    feeds = drawn(x=shape, skip=skip or shape, **norm, **({"bias": shape[-1:]} if bias else {}))
    feeds = {n: array.astype(dtype) for n, array in feeds.items()}
    outputs = ["y", "", "", "sum"] if sums else ["y"]
    return helper.make_node(name, list(feeds), outputs, domain=MICROSOFT, **attributes), feeds, {}


def gelu(name, bias=False, **attributes):
    feeds = drawn(x=(2, 3, 8), **({"bias": (8,)} if bias else {}))
    return helper.make_node(name, list(feeds), ["y"], domain=MICROSOFT, **attributes), feeds, {}


def of_bits(bits, block=16, inner=40, zero_points=None, bias=False, dtype=np.float32):
    random, rows = np.random.default_rng(0), 5
    blocks = -(-inner // block)
    weights = {
        "weight": random.integers(0, 256, (rows, blocks, block * bits // 8), np.uint8),
        "scale": random.random((rows, blocks)).astype(dtype),
    }
    if zero_points == "packed":
        weights["zero_points"] = random.integers(0, 256, (rows, -(-blocks * bits // 8)), np.uint8)
    elif zero_points:
        weights["zero_points"] = random.random((rows, blocks)).astype(dtype) * 8
    if bias:
        weights["bias"] = random.random(rows).astype(dtype)
    names = ["x", "weight", "scale", "zero_points" if zero_points else "", *(["", "bias"] if bias else [])]
    node = helper.make_node("MatMulNBits", names, ["y"], domain=MICROSOFT, K=inner, N=rows, bits=bits, block_size=block)
    return node, {"x": random.standard_normal((2, 3, inner)).astype(dtype)}, weights


def simplified(domain):
    feeds = drawn(x=(2, 3, 8), scale=(8,))
    return helper.make_node("SimplifiedLayerNormalization", list(feeds), ["y"], domain=domain, epsilon=1e-3), feeds, {}


OTHERS = {
    "rotary, flat": rotary((2, 3, 2 * SIZE), [[0, 1, 2], [7, 8, 9]]),
    "rotary, in heads": rotary((2, 2, 3, SIZE), [[0, 1, 2], [7, 8, 9]], interleaved=1),
    "rotary, from a position": rotary((2, 3, 2 * SIZE), [4]),
    "rotary, in part": rotary((2, 3, 2 * SIZE), [4], size=16, num_heads=2, rotary_embedding_dim=16),
    "skip simplified": skipped("SkipSimplifiedLayerNormalization", epsilon=1e-5),
    "skip simplified, bias": skipped("SkipSimplifiedLayerNormalization", bias=True, sums=False),
    "skip": skipped("SkipLayerNormalization", skip=(3, 8)),
    "skip, bias, fp16": skipped("SkipLayerNormalization", bias=True, dtype=np.float16, epsilon=1e-5),
    "simplified": simplified(""),
    "fast gelu": gelu("FastGelu"),
    "fast gelu, bias": gelu("FastGelu", bias=True),
    "bias gelu": gelu("BiasGelu", bias=True),
    "gelu": gelu("Gelu"),
    "quick gelu": gelu("QuickGelu", alpha=1.5),
    "4 bits": of_bits(4),
    "4 bits, zero points": of_bits(4, zero_points="packed", bias=True),
    "4 bits, float zero points": of_bits(4, zero_points="floats"),
    "8 bits": of_bits(8, zero_points="packed", block=32),
    "2 bits": of_bits(2, inner=32),
}


def test_other_operators(tmp_path):
    models = {
        name: (model_of_nodes([node], feeds, [output for output in node.output if output], weights), feeds)
        for name, (node, feeds, weights) in OTHERS.items()
    }
    for name, both in run_together(tmp_path, models).items():
        both.assert_close(1e-4 if "bits" in name else None)


def test_kernels_stand_in_the_mindir(tmp_path):
    models = {
        "grouped": Grouped(past=12, total=7).model(),
        "multi-head": attending("MultiHeadAttention", drawn(**QKV, **PAST), {}),
        "decoder masked": attending("DecoderMaskedMultiHeadAttention", BUFFER, {"past_present_share_buffer": 1}),
    }
    assert run_together(tmp_path, models)["grouped"].kernels_in_mindir(tmp_path) == len(models)
