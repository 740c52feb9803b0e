"""The nodes that are reported of a site: complete, connected, each with its part, and the one that is the reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import mindspore as ms
import networks as net
import numpy as np
import pytest
import quantised_networks as quant
from judging import draw, draw_bias, draw_hidden, tensors
from mindspore import Tensor, nn
from networks import Attention
from quantised_networks import After, as_parameter

import ifa_fusion
from ifa_fusion import Site
from ifa_fusion.report import Node

PLAIN = {"query": 1, "key": 1, "value": 1, "score matmul": 1, "softmax": 1, "value matmul": 1}


class SharedCache(nn.Cell):
    """One cache is both key and value."""

    def __init__(self):
        super().__init__()
        self.attention = Attention()

    def construct(self, q, cache):
        return self.attention(q, cache, cache)


def assert_sorted_and_connected(nodes: Sequence[Node], ends: int = 1) -> None:
    """Inputs come first, and all but so many nodes are used."""
    assert [node.id for node in nodes] == list(range(len(nodes)))
    taken = {taken.node for node in nodes for taken in node.inputs}
    assert all(used.node < node.id for node in nodes for used in node.inputs)
    assert len(set(range(len(nodes))) - taken) == ends


def sites_of(network: nn.Cell, *inputs: Any, **options: Any) -> tuple[Site, ...]:
    return ifa_fusion.explain(network, *inputs, **options).sites


def site_of(network: nn.Cell, *inputs: Any, **options: Any) -> Site:
    (site,) = sites_of(network, *inputs, **options)
    assert_sorted_and_connected(site.before)
    if site.fused:
        assert_sorted_and_connected(site.after)
        assert site.refused_at is None
    else:
        assert site.after == ()
    return site


def roles(nodes: Sequence[Node]) -> dict[str, int]:
    return dict(Counter(node.role for node in nodes))


def only(nodes: Sequence[Node], **wanted: str) -> Node:
    (found,) = (node for node in nodes if all(getattr(node, name) == value for name, value in wanted.items()))
    return found


def input_of(nodes: Sequence[Node], node: Node, name: str) -> Node:
    (taken,) = (taken.node for taken in node.inputs if taken.name == name)
    return nodes[taken]


def fused_node(site: Site) -> Node:
    return only(site.after, operator="IncreFlashAttention", role="fused")


def test_plain_attention():
    network = Attention(key=net.same, scores=net.scores_by_bmm_flag, adjust=net.Times(0.25))
    site = site_of(network, *tensors(*draw(kv_heads=6).bnsd))
    assert roles(site.before) == {**PLAIN, "scale": 1}
    score, value = (only(site.before, role=f"{which} matmul") for which in ("score", "value"))
    assert [site.before[taken.node].role for taken in score.inputs] == ["query", "key"]
    assert [site.before[taken.node].role for taken in value.inputs] == ["softmax", "value"]
    assert only(site.before, role="scale").attributes == ("other=0.25",)
    query = only(site.before, role="query")
    assert (query.operator, query.attributes, query.dtype, query.shape) == (
        "Parameter",
        ("name=q",),
        "float32",
        (2, 6, 1, 8),
    )
    assert (score.shape, value.shape) == ((2, 6, 1, 10), (2, 6, 1, 8))

    fused = fused_node(site)
    assert [(taken.name, site.after[taken.node].role) for taken in fused.inputs] == [
        (name, name) for name in ("query", "key", "value")
    ]
    assert {"num_heads=6", "num_key_value_heads=6", "input_layout=BNSD", "scale_value=0.25"} <= set(fused.attributes)
    assert roles(site.after) == {"query": 1, "key": 1, "value": 1, "fused": 1}


def test_repeated_heads_and_views():
    query, key, value = draw().bsh
    network = Attention(net.heads_of_query_bsh, net.split_repeated)
    site = site_of(network, *tensors(query, key, value))
    found = roles(site.before)
    assert found.pop("KV repeat") == 2 and found.pop("view") >= 6
    assert found == PLAIN
    assert only(site.before, role="key").shape == (2, 10, 16)
    assert "input_layout=BSH" in fused_node(site).attributes
    assert only(site.after, role="key").attributes == only(site.before, role="key").attributes == ("name=k",)


def test_casts():
    inputs = tensors(*draw().bnsd, dtype=ms.float16)
    site = site_of(Attention(adjust=net.Times(0.3), weights=net.softmax_in_fp32), *inputs)
    assert roles(site.before)["cast"] >= 2
    assert {node.dtype for node in site.before if node.role == "softmax"} == {"float32"}
    assert fused_node(site).dtype == "float16"


def test_mask_that_is_added():
    site = site_of(Attention(adjust=net.Additive(-1e9)), *tensors(*draw().bnsd, draw_hidden(2, 1, 1, 10)))
    masks = [node for node in site.before if node.role == "mask"]
    assert [node.operator for node in masks] == ["Parameter", "Select", "Add"]
    assert masks[0].dtype == "bool"
    assert input_of(site.after, fused_node(site), "attn_mask") == only(site.after, role="attn_mask")


def test_mask_that_selects():
    site = site_of(Attention(adjust=net.SelectMaskedFill(-1e9)), *tensors(*draw().bnsd, draw_hidden(2, 1, 1, 10)))
    assert [node.operator for node in site.before if node.role == "mask"] == ["Parameter", "MaskedFill"]


def test_bias_and_what_is_inserted_for_it():
    site = site_of(Attention(adjust=net.add), *tensors(*draw().bnsd, draw_bias(10)))
    assert [node.operator for node in site.before if node.role == "bias"] == ["Parameter", "Add"]
    inserted = [node.operator for node in site.after if node.role == "inserted"]
    assert set(inserted) == {"Reshape", "BroadcastTo"}
    assert input_of(site.after, fused_node(site), "pse_shift").shape == (1, 6, 1, 10)
    assert only(site.after, role="pse_shift").shape == (10,)


def test_layers_that_share_a_mask_each_show_it():
    layers = (net.Residual(Attention(adjust=net.add)) for _ in range(2))
    sites = sites_of(net.StackSharingMask(*layers), *tensors(*draw().bnsd, draw_hidden(2, 1, 1, 10)))
    assert len(sites) == 2
    for site in sites:
        assert_sorted_and_connected(site.before)
        assert_sorted_and_connected(site.after)
        assert only(site.after, role="attn_mask").dtype == "bool"
        assert only(site.after, operator="LogicalNot").role == "inserted"


def test_layer_after_a_layer_starts_at_its_result():
    """Without an operation between the two, and with the same caches."""
    sites = sites_of(net.Stack(Attention(key=net.same), Attention(key=net.same)), *tensors(*draw(kv_heads=6).bnsd))
    assert roles(sites[1].after) == {"key": 1, "value": 1, "query": 1, "fused": 1}
    assert only(sites[1].after, role="query").operator == "IncreFlashAttention"
    assert input_of(sites[1].after, only(sites[1].after, role="fused"), "query").role == "query"


def test_one_tensor_that_is_key_and_value():
    query, key, _ = tensors(*draw().bnsd)
    site = site_of(SharedCache(), query, key)
    assert only(site.before, operator="Parameter", role="key, value").shape == (2, 2, 10, 8)
    fused = fused_node(site)
    assert input_of(site.after, fused, "key") == input_of(site.after, fused, "value")


def test_int8_caches():
    operands = draw()
    key, value = (x.astype(np.int8) for x in operands.bnsd[1:])
    scale = as_parameter(np.full((1, 2, 1, 8), 0.02))
    network = Attention(key=After(quant.Scaled(scale), net.repeat_interleave))
    site = site_of(network, *tensors(operands.bnsd[0], key, value))
    assert only(site.before, role="key").dtype == only(site.before, role="value").dtype == "int8"
    assert {"Cast", "Mul", "Parameter"} == {node.operator for node in site.before if node.role == "dequantisation"}
    assert input_of(site.after, fused_node(site), "antiquant_scale").role == "inserted"


def test_int8_output():
    site = site_of(Attention(finish=quant.Quantised(200.0)), *tensors(*draw().bnsd))
    operators = [node.operator for node in site.before if node.role == "quantisation"]
    assert "Round" in operators and operators[-1] == "Cast"
    assert site.before[-1].dtype == site.after[-1].dtype == "int8"


def test_unknown_sizes():
    cache = Tensor(shape=[2, 2, None, 8], dtype=ms.float32)
    site = site_of(Attention(key=net.tile_unknown_length), tensors(draw().bnsd[0])[0], cache, cache)
    assert only(site.before, role="key").shape == (2, 2, -1, 8)
    assert roles(site.before)["KV repeat"] == 2


@pytest.mark.parametrize(
    ("network", "operator", "role"),
    [
        (net.SoftCapping(), "Tanh", "other"),
        (net.AbsoluteScores(), "Abs", "other"),
        (net.HalvedWeights(), "Muls", "scale"),
        (net.SoftmaxOverHeads(), "Softmax", "softmax"),
        (net.HeadsSwapped(), "Transpose", "view"),
        (Attention(key=net.tile_in_wrong_order), "Transpose", "view"),
        (Attention(net.heads_of_prompt_wrongly, net.repeat_interleave), "Reshape", "query"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Cell) else None,
)
def test_node_that_is_the_reason(network, operator, role):
    query, *caches = draw().bnsd
    if getattr(network, "query", None) is net.heads_of_prompt_wrongly:
        query = draw_bias(2, 5, 48)
    site = site_of(network, *tensors(query, *caches))
    marked = site.before[site.refused_at]
    assert (marked.operator, marked.role) == (operator, role), site
    assert PLAIN.items() <= roles(site.before).items()


@pytest.mark.parametrize("network", [net.ScoresReturned, net.WeightsReturned])
def test_other_users_of_the_node_that_is_the_reason(network):
    """They end in what the network returns."""
    site = site_of(network(), *tensors(*draw().bnsd))
    user = only(site.before, role="user")
    assert user.operator == "MakeTuple"
    assert site.refused_at in {taken.node for taken in user.inputs}


def test_node_behind_a_mask_is_the_reason():
    site = site_of(net.SoftCappingAndMask(), *tensors(*draw().bnsd, draw_bias(2, 1, 1, 10)))
    assert site.reason == "score_op"
    assert site.message.startswith("Tanh ")
    assert site.before[site.refused_at].operator == "Tanh"


def test_mask_that_is_the_reason():
    inputs = tensors(*draw().bnsd, draw_hidden(1, 6, 1, 10))
    site = site_of(Attention(adjust=net.SelectMaskedFill(-1e9)), *inputs)
    assert site.reason == "mask_heads"
    assert site.before[site.refused_at].role == "mask"


def test_cache_that_is_the_reason():
    operands = draw()
    site = site_of(Attention(), *tensors(operands.bnsd[0], operands.key[:1], operands.value))
    assert site.reason == "kv_layout"
    assert site.before[site.refused_at].role == "key"
