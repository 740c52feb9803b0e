"""Graphs meant for Ascend, rewritten and exported without a device: the node is what the operator takes there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mindspore as ms
import networks as net
import pytest
from judging import compare, count_operators, draw, draw_bias, draw_hidden, tensors
from mindspore import Tensor, nn, ops
from mindspore.train import mind_ir_pb2
from networks import Attention

import ifa_fusion

TENSOR = mind_ir_pb2.TensorProto
TYPES = {
    **{TENSOR.FLOAT: "fp32", TENSOR.FLOAT16: "fp16", TENSOR.BFLOAT16: "bf16"},
    **{TENSOR.BOOL: "bool", TENSOR.INT8: "int8", TENSOR.INT32: "int32", TENSOR.INT64: "int64"},
}
#: dequant_scale1, quant_scale1, dequant_scale2, quant_scale2, quant_offset2, antiquant_scale, antiquant_offset,
#: block_table, kv_padding_size
NOTHING_ELSE = [None] * 9
BNSD, BSH = 1, 0


def exported(network: nn.Cell, *inputs: Tensor, ascend_kernel: str = "cann") -> Any:
    """A MindIR for Ascend in which the one site is fused."""
    ms.export(network, *inputs, file_name="network", file_format="MINDIR")
    report = ifa_fusion.fuse_mindir("network.mindir", "fused.mindir", target="ascend", ascend_kernel=ascend_kernel)
    assert [site.reason for site in report.sites] == ["fused"], str(report)
    model = mind_ir_pb2.ModelProto()
    model.ParseFromString(Path("fused.mindir").read_bytes())
    return model


def operands_of_fused_node(model: Any, operator: str = "IncreFlashAttention") -> list[Any]:
    """Of each operand the type and shape, [type and shape] for a tuple of one, the number, or None."""
    return operands_and_result(model, operator)[0]


def operands_and_result(model: Any, operator: str) -> tuple[list[Any], Any]:
    """Of the one node that calls the operator."""
    known = {value.name: described(value.tensor[0]) for value in model.graph.input}
    for node in model.graph.node:
        attribute = next(a for a in node.attribute if a.name in ("shape", "value"))
        known[node.name] = described_result(attribute)
    (fused,) = (node for node in model.graph.node if operator in node.op_type)
    return [known[name] for name in fused.input], known[fused.name]


def described(tensor: Any) -> tuple[Any, ...]:
    return (TYPES[tensor.data_type], *tensor.dims)


def described_result(attribute: Any) -> Any:
    kinds = mind_ir_pb2.AttributeProto
    if attribute.type == kinds.TUPLE and all(value.tensors for value in attribute.values):
        return [described(value.tensors[0]) for value in attribute.values]
    if attribute.type == kinds.TENSORS:
        return described(attribute.tensors[0])
    return {kinds.INT64: attribute.i, kinds.FLOAT: attribute.f}.get(attribute.type)


def masked_and_biased(scores, mask, bias):
    return ops.masked_fill(scores * 0.25, mask, -1e9) + bias


def softmax_in_fp32(scores, bias):
    return scores.astype(ms.float32) * 0.25 + bias


def inputs_of(dtype: Any, *extra: Any, **sizes: int) -> list[Tensor]:
    return tensors(*draw(**sizes).bnsd, *extra, dtype=dtype)


@pytest.mark.parametrize(("dtype", "name"), [(ms.float16, "fp16"), (ms.bfloat16, "bf16")])
def test_mask_and_bias_are_brought_into_the_operators_shapes(dtype, name):
    inputs = inputs_of(dtype, draw_hidden(1, 1, 1, 10), draw_bias(6, 1, 10), head_size=16)
    model = exported(Attention(adjust=masked_and_biased), *inputs)
    cache = [(name, 2, 2, 10, 16)]
    assert operands_of_fused_node(model) == [
        *((name, 2, 6, 1, 16), cache, cache, ("bool", 2, 1, 1, 10), None, (name, 1, 6, 1, 10)),
        *NOTHING_ELSE,
        *(6, BNSD, 0.25, 2, 0, 1),
    ]
    assert not count_operators(model)["Cast"]  # a CPU needs them for bf16


def test_bias_in_fp32_is_cast_to_the_type_of_the_query():
    inputs = [*inputs_of(ms.float16, head_size=16), *tensors(draw_bias(2, 6, 1, 10))]
    model = exported(Attention(adjust=softmax_in_fp32, weights=net.softmax_to_fp16), *inputs)
    operands = operands_of_fused_node(model)
    assert operands[0] == ("fp16", 2, 6, 1, 16)
    assert operands[5] == ("fp16", 2, 6, 1, 10)


def test_computing_in_fp32_from_caches_in_fp16():
    inputs = inputs_of(ms.float16, head_size=16)
    operands = operands_of_fused_node(exported(ComputedInFp32(), *inputs))
    assert operands[:3] == [("fp16", 2, 6, 1, 16), [("fp16", 2, 2, 10, 16)], [("fp16", 2, 2, 10, 16)]]


class ComputedInFp32(nn.Cell):
    def construct(self, q, k, v):
        q, k, v = (x.astype(ms.float32) for x in (q, k, v))
        weights = ops.softmax(ops.matmul(q, net.repeat_interleave(k).swapaxes(-1, -2)) * 0.25, -1)
        return ops.matmul(weights, net.repeat_interleave(v))


@pytest.mark.parametrize(
    ("inputs", "network", "reason", "said"),
    [
        (inputs_of(ms.float32), Attention(), "ascend_type", "float32"),
        (
            inputs_of(ms.float16, draw_bias(6, 1, 10), head_size=24),
            Attention(adjust=net.add),
            "ascend_limit",
            "head size is 24",
        ),
        (inputs_of(ms.float16, heads=65, kv_heads=1), Attention(key=net.same), "ascend_limit", "65"),
        (inputs_of(ms.float16, heads=257, kv_heads=257), Attention(key=net.same), "ascend_limit", "257"),
        (inputs_of(ms.float16, batch=65537, heads=1, kv_heads=1), Attention(key=net.same), "ascend_limit", "65537"),
    ],
    ids=["fp32", "bias", "group", "KV heads", "batch"],
)
def test_what_only_a_cpu_takes_is_refused(inputs, network, reason, said):
    (site,) = ifa_fusion.explain(network, *inputs, target="ascend").sites
    assert (site.reason, site.fused) == (reason, False)
    assert said in site.message
    for target in ("cpu", None):  # the tests' machine has no other device
        (site,) = ifa_fusion.explain(network, *inputs, target=target).sites
        assert site.fused


def test_a_graph_for_ascend_gives_the_same_on_a_cpu():
    inputs = inputs_of(ms.float16, head_size=16)
    unfused = compare(Attention(), *inputs)
    with ifa_fusion.fusion(target="ascend"):
        fused = Attention()(*inputs)
    unfused.assert_gives(fused.astype(ms.float32).asnumpy())
    assert ifa_fusion.report(reset=True).fused


def test_targets_do_not_share_compiled_graphs():
    network, inputs = Attention(), inputs_of(ms.float32)
    fused = []
    for target in ("ascend", "cpu", "ascend"):
        with ifa_fusion.fusion(target=target):
            network(*inputs)
        fused.append([site.fused for site in ifa_fusion.report(reset=True).sites])
    assert fused == [[False], [True], []]  # the third time from MindSpore's cache


@pytest.mark.parametrize("call", ["enable", "fusion", "explain", "fuse_mindir"])
def test_unknown_target(call):
    arguments = {"explain": (Attention(),), "fuse_mindir": ("a.mindir", "b.mindir")}.get(call, ())
    with pytest.raises(ValueError, match='target must be "cpu", "ascend" or None, but got \'gpu\''):
        result = getattr(ifa_fusion, call)(*arguments, target="gpu")
        result.__enter__()
