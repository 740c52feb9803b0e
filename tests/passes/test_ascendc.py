"""Graphs for the AscendC kernel, exported and loaded again without a device: the node is what the kernel takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import mindspore as ms
import numpy as np
import prefix_networks as prefix
import pytest
import quantised_networks as quant
from judging import count_operators, draw_bias, draw_hidden, tensors, values_of
from mindspore import Tensor, nn, ops
from networks import Attention
from paged_networks import Paged
from prefix_networks import ShownWhere
from test_ascend import BNSD, BSH, exported, inputs_of, masked_and_biased, operands_and_result
from test_int8_caches import draw_int8, folded
from test_paged_caches import draw_blocks

import ifa_fusion

OPERATOR = "Custom_ifa_decode"
#: As in kernels/ascendc/mindspore/decode_operator.h.
OPERANDS = (
    *("query", "key", "value", "attn_mask", "actual_seq_lengths", "pse_shift"),
    *("dequant_scale1", "quant_scale1", "dequant_scale2", "quant_scale2", "quant_offset2"),
    *("antiquant_scale", "antiquant_offset", "block_table", "kv_padding_size"),
    *("num_heads", "input_layout", "scale_value", "num_key_value_heads", "block_size", "inner_precise"),
)
QUERY, CACHE = ("fp16", 2, 6, 1, 16), ("fp16", 2, 2, 10, 16)
PLAIN: dict[str, Any] = {
    **dict.fromkeys(OPERANDS),
    **{"query": QUERY, "key": CACHE, "value": CACHE},
    **{"num_heads": 6, "input_layout": BNSD, "scale_value": 1.0},
    **{"num_key_value_heads": 2, "block_size": 0, "inner_precise": 1},
}


@dataclass(frozen=True)
class Form:
    """A network, and what its node has other than that of plain attention."""

    network: Callable[[], nn.Cell]
    inputs: Callable[[], list[Tensor]]
    operands: dict[str, Any] = field(default_factory=dict)
    result: tuple[Any, ...] = QUERY


def half(*extra: Any) -> list[Tensor]:
    return inputs_of(ms.float16, *extra, head_size=16)


def masked(scores, mask):
    return ops.masked_fill(scores, mask, -1e9)


def biased(scores, bias):
    return scores + bias


def shifted_caches() -> nn.Cell:
    return folded(quant.Shifted(offset, 0.02, ms.float16) for offset in (3.0, 4.0))


FORMS = {
    "plain": Form(Attention, half),
    "mask": Form(
        lambda: Attention(adjust=masked),
        lambda: half(draw_hidden(2, 1, 1, 10)),
        {"attn_mask": ("bool", 2, 1, 1, 10)},
    ),
    "bias": Form(
        lambda: Attention(adjust=biased),
        lambda: half(draw_bias(6, 1, 10)),
        {"pse_shift": ("fp16", 1, 6, 1, 10)},
    ),
    "mask, bias and scale": Form(
        lambda: Attention(adjust=masked_and_biased),
        lambda: half(draw_hidden(1, 1, 1, 10), draw_bias(6, 1, 10)),
        {"attn_mask": ("bool", 2, 1, 1, 10), "pse_shift": ("fp16", 1, 6, 1, 10), "scale_value": 0.25},
    ),
    "lengths": Form(
        lambda: Attention(adjust=ShownWhere(prefix.by_index)),
        lambda: [*half(), Tensor([4, 10], ms.int32)],
        {"actual_seq_lengths": ("int64", 2)},
    ),
    "paged": Form(
        Paged,
        lambda: tensors(*draw_blocks().inputs, dtype=ms.float16),
        {
            **{"query": ("fp16", 2, 1, 48), "key": ("fp16", 10, 16, 16), "value": ("fp16", 10, 16, 16)},
            **{"actual_seq_lengths": ("int64", 1), "block_table": ("int32", 2, 3)},
            **{"input_layout": BSH, "block_size": 16},
        },
        ("fp16", 2, 1, 48),
    ),
    "int8 caches": Form(
        shifted_caches,
        lambda: tensors(*draw_int8(head_size=16).bnsd, dtype=ms.float16),
        {
            **{"key": ("int8", *CACHE[1:]), "value": ("int8", *CACHE[1:])},
            **{"antiquant_scale": ("fp16", 2, 2, 1, 16), "antiquant_offset": ("fp16", 2, 2, 1, 16)},
            "scale_value": pytest.approx(0.02),  # the key's
        },
    ),
    "int8 output": Form(
        lambda: Attention(finish=quant.Quantised(200.0, 5.0)),
        half,
        {"quant_scale2": ("fp32", 1), "quant_offset2": ("fp32", 1)},
        ("int8", *QUERY[1:]),
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_node_in_an_exported_graph(name):
    form = FORMS[name]
    model = exported(form.network(), *form.inputs(), ascend_kernel="ascendc")
    operands, result = operands_and_result(model, OPERATOR)
    assert dict(zip(OPERANDS, operands, strict=True)) == {**PLAIN, **form.operands}
    assert result == form.result
    assert count_operators(model)["IncreFlashAttention"] == 0
    # MindSpore knows it as an operator with a definition, and takes nothing from attributes.
    (primitive,) = (primitive for primitive in model.primitives if primitive.op_type == OPERATOR)
    assert (primitive.prim_type, list(primitive.attribute)) == (primitive.PRIMITIVE_FUNCTION, [])


@pytest.mark.parametrize("name", FORMS)
def test_kernel_of_cann_is_called_with_the_same(name):
    form = FORMS[name]
    operands, result = operands_and_result(exported(form.network(), *form.inputs()), "IncreFlashAttention")
    expected = {**PLAIN, **form.operands}
    expected |= {"key": [expected["key"]], "value": [expected["value"]]}
    assert dict(zip(OPERANDS, operands, strict=True)) == expected
    assert result == form.result


@pytest.mark.parametrize("name", FORMS)
def test_loaded_graph_gives_the_same_on_a_cpu(name):
    """The CPU kernel has both operators, so the operands mean the same, and MindSpore infers the same result."""
    form = FORMS[name]
    inputs = form.inputs()
    results = []
    for ascend_kernel in ("cann", "ascendc"):
        exported(form.network(), *inputs, ascend_kernel=ascend_kernel)
        results.append(nn.GraphCell(ms.load("fused.mindir"))(*inputs))
    expected, got = results
    assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(*map(values_of, results))


def test_unknown_sizes():
    """Inferred again for each length, from a loaded graph."""
    query, *caches = half()
    unknown = [query, *(Tensor(shape=[2, 2, None, 16], dtype=ms.float16) for _ in caches)]
    operands, _ = operands_and_result(exported(Attention(), *unknown, ascend_kernel="ascendc"), OPERATOR)
    assert operands[1:3] == [("fp16", 2, 2, -1, 16)] * 2
    loaded = nn.GraphCell(ms.load("fused.mindir"))
    for length in (10, 3):
        inputs = query, *(cache[:, :, :length] for cache in caches)
        with ifa_fusion.fusion():
            expected = Attention()(*inputs)
        np.testing.assert_array_equal(values_of(loaded(*inputs)), values_of(expected))


def test_report_draws_the_operator():
    site = ifa_fusion.explain(Attention(), *half(), target="ascend", ascend_kernel="ascendc").sites[0]
    assert OPERATOR in site.message
    fused = site.after[-1]
    assert (fused.operator, fused.role) == (OPERATOR, "fused")
    assert [(taken.name, site.after[taken.node].role) for taken in fused.inputs] == [
        (name, name) for name in ("query", "key", "value")
    ]


def test_graphs_for_a_cpu_are_the_same():
    for target in ("cpu", None):  # the tests' machine has no other device
        site = ifa_fusion.explain(Attention(), *half(), target=target, ascend_kernel="ascendc").sites[0]
        assert site.after[-1].operator == "IncreFlashAttention"


def test_kernels_do_not_share_compiled_graphs():
    network, inputs = Attention(), half()
    operators = []
    for ascend_kernel in ("cann", "ascendc", "cann"):
        with ifa_fusion.fusion(target="ascend", ascend_kernel=ascend_kernel):
            network(*inputs)
        operators.append([site.after[-1].operator for site in ifa_fusion.report(reset=True).sites])
    assert operators == [["IncreFlashAttention"], [OPERATOR], []]  # the third time from MindSpore's cache


@pytest.mark.parametrize("call", ["enable", "fusion", "explain", "fuse_mindir"])
def test_unknown_kernel(call):
    arguments = {"explain": (Attention(),), "fuse_mindir": ("a.mindir", "b.mindir")}.get(call, ())
    with pytest.raises(ValueError, match='ascend_kernel must be "cann" or "ascendc", but got \'cuda\''):
        result = getattr(ifa_fusion, call)(*arguments, ascend_kernel="cuda")
        result.__enter__()
