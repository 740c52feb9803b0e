"""Attention in larger graphs: layers, control flow, functions, unknown sizes, element types, state."""

from __future__ import annotations

import mindspore as ms
import networks as net
import numpy as np
import pytest
from judging import compare, draw, draw_bias, draw_hidden, fuse, line_of, tensors, values_of
from mindspore import Tensor
from networks import Attention

import ifa_fusion

pytestmark = pytest.mark.grid

SCALE = 0.3


def layer(seed: int = 0) -> Attention:
    """Each seed is a spelling of its own."""
    repeat = (net.repeat_interleave, net.tile, net.broadcast_to)[seed % 3]
    return Attention(key=repeat, adjust=net.Times(SCALE + 0.1 * seed))


def test_cell_in_a_cell():
    operands = draw()
    outcome = compare(net.Residual(layer()), *tensors(*operands.bnsd))
    outcome.assert_fused()
    outcome.assert_gives(operands.query + operands.attend(SCALE))


def test_layers_of_different_spellings():
    outcome = compare(net.Stack(*(net.Residual(layer(i)) for i in range(3))), *tensors(*draw().bnsd))
    outcome.assert_fused(3)
    assert len({site.location for site in outcome.report.sites}) == 1


def test_layers_that_share_a_graph():
    """A CPU compiles such layers and can't run them."""
    layers = net.Stack(*(net.LazyResidual(layer()) for _ in range(2)))
    report = ifa_fusion.explain(layers, *tensors(*draw().bnsd))
    assert [site.reason for site in report.sites] == ["fused"]


def test_layers_that_share_a_mask():
    hidden = draw_hidden(2, 1, 1, 10)
    layers = (net.Residual(Attention(adjust=net.add)) for _ in range(3))
    outcome = compare(net.StackSharingMask(*layers), *tensors(*draw().bnsd, ~hidden))
    outcome.assert_fused(3)
    assert all("mask: additive -> bool" in site.features for site in outcome.report.sites)
    assert outcome.operators["LogicalNot"] <= 1


def test_layers_that_share_a_mask_and_scale_it_differently():
    """In one layer it hides, in the other it does not any more."""
    hidden = draw_hidden(2, 1, 1, 10)
    layers = (net.Residual(Attention(adjust=net.ScaledAfter(net.add, factor))) for factor in (1.0, 1e-9))
    outcome = compare(net.StackSharingMask(*layers), *tensors(*draw().bnsd, ~hidden))
    outcome.assert_fused(2)
    assert [site.features[4] for site in outcome.report.sites] == ["mask: additive -> bool", "bias"]


def test_layers_that_share_a_bias_and_scale_it_differently():
    layers = (net.Residual(Attention(adjust=net.ScaledAfter(net.add, factor))) for factor in (1.0, 0.25))
    outcome = compare(net.Stack(*layers), *tensors(*draw().bnsd, draw_bias(1, 6, 1, 10)))
    outcome.assert_fused(2)


def test_layers_that_share_a_bias_and_differ_very_little_in_its_scale():
    layers = (net.Residual(Attention(adjust=net.ScaledAfter(net.add, factor))) for factor in (1e-7, 4e-7))
    outcome = compare(net.Stack(*layers), *tensors(*draw().bnsd, draw_bias(1, 6, 1, 10) * 1e7))
    outcome.assert_fused(2)


def test_one_mask_that_hides_in_one_layer_what_it_keeps_in_the_other():
    hidden = draw_hidden(2, 1, 1, 10)
    layers = (net.Residual(Attention(adjust=adjust(-1e9))) for adjust in (net.SelectMaskedFill, net.SelectNot))
    outcome = compare(net.Stack(*layers), *tensors(*draw().bnsd, hidden))
    outcome.assert_fused(2)


def test_fused_beside_refused():
    attention = net.Stack(layer(), Attention(key=net.tile_in_wrong_order))
    outcome = compare(attention, *tensors(*draw().bnsd))
    assert sorted(site.reason for site in outcome.report.sites) == ["fused", "head_order"]
    assert outcome.operators["IncreFlashAttention"] == 1
    outcome.assert_equal()


@pytest.mark.parametrize("count", [0, 1, 3])
def test_while(count):
    outcome = compare(net.WhileLoop(net.Residual(layer())), *tensors(*draw().bnsd), Tensor(count, ms.int32))
    outcome.assert_fused()


@pytest.mark.parametrize("flag", [0, 1])
def test_if(flag):
    outcome = compare(net.IfElse(layer(), layer(1)), *tensors(*draw().bnsd), Tensor(flag, ms.int32))
    outcome.assert_fused(2)


@pytest.mark.parametrize("network", [net.ValuesInBranch, net.ValuesInLoop])
@pytest.mark.parametrize("extra", [0, 2])
def test_attention_across_the_edge_of_control_flow(network, extra):
    outcome = compare(network(), *tensors(*draw().bnsd), Tensor(extra, ms.int32))
    outcome.assert_equal()
    assert len(outcome.report.sites) == 1


@pytest.mark.parametrize("mode", [ms.GRAPH_MODE, ms.PYNATIVE_MODE])
@pytest.mark.parametrize("kind", ["function", "construct"])
def test_jit(kind, mode):
    ms.set_context(mode=mode)
    network = ms.jit(net.attend) if kind == "function" else net.JittedConstruct()
    operands = draw()
    inputs = tensors(*operands.bnsd)
    with ifa_fusion.fusion():
        (fused,) = values_of(network(*inputs))
    np.testing.assert_allclose(fused[:, :, 0], operands.attend(SCALE), atol=1e-5)
    assert [site.reason for site in ifa_fusion.report().sites] == ["fused"]


def test_unknown_length():
    attention = Attention(key=net.repeat_interleave, scores=net.scores_by_bmm_flag, adjust=net.Times(SCALE))
    cache = Tensor(shape=[2, 2, None, 8], dtype=ms.float32)
    attention.set_inputs(tensors(draw().bnsd[0])[0], cache, cache)
    for length in (10, 3, 1, 17):
        operands = draw(length=length)
        inputs = tensors(*operands.bnsd)
        with ifa_fusion.fusion():
            (fused,) = values_of(attention(*inputs))
        np.testing.assert_allclose(fused[:, :, 0], operands.attend(SCALE), atol=1e-5)
    (site,) = ifa_fusion.report().sites
    assert site.fused, site.message
    assert site.features == ("GQA 6/2", "BNSD float32", "length ?", "head size 8")


@pytest.mark.parametrize(
    ("spelling", "layout"),
    [
        ({"key": net.same}, "mha"),
        ({"query": net.grouped_query, "key": net.same}, "bnsd"),
        ({"key": net.tile_unknown_length}, "bnsd"),
        ({"query": net.heads_of_query_bsh, "key": net.split_repeated_unknown_length}, "bsh"),
    ],
    ids=["mha", "grouped", "tile", "bsh"],
)
def test_spellings_with_unknown_length(spelling, layout):
    operands = draw(kv_heads=6 if layout == "mha" else 2)
    inputs = tensors(*(operands.bsh if layout == "bsh" else operands.bnsd))
    shape = list(inputs[1].shape)
    shape[1 if layout == "bsh" else 2] = None
    cache = Tensor(shape=shape, dtype=ms.float32)
    attention = Attention(scores=net.scores_by_bmm_flag, adjust=net.Times(SCALE), **spelling)
    attention.set_inputs(inputs[0], cache, cache)
    outcome = compare(attention, *inputs)
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(SCALE))


@pytest.mark.parametrize("adjust", [net.Additive(-1e9), net.SelectMaskedFill(-1e9)], ids=["additive", "select"])
def test_mask_of_unknown_length(adjust):
    attention = Attention(scores=net.scores_by_bmm_flag, adjust=adjust)
    cache = Tensor(shape=[2, 2, None, 8], dtype=ms.float32)
    attention.set_inputs(tensors(draw().bnsd[0])[0], cache, cache, Tensor(shape=[2, 1, 1, None], dtype=ms.bool_))
    fused = []
    for length in (10, 4):
        operands, hidden = draw(length=length), draw_hidden(2, 1, 1, length)
        outcome = compare(attention, *tensors(*operands.bnsd, hidden))
        outcome.assert_equal()
        outcome.assert_gives(operands.attend(hidden=hidden[:, :, 0]))
        fused.append([site.fused for site in outcome.report.sites])
    assert fused == [[True], []]  # the second time from MindSpore's cache


def test_unknown_batch_and_length():
    attention = Attention(key=net.same, scores=net.scores_by_bmm_flag, adjust=net.Times(SCALE))
    cache = Tensor(shape=[None, 6, None, 8], dtype=ms.float32)
    attention.set_inputs(Tensor(shape=[None, 6, 1, 8], dtype=ms.float32), cache, cache)
    fused = []
    for batch in (1, 3):
        operands = draw(batch=batch, kv_heads=6)
        outcome = compare(attention, *tensors(*operands.bnsd))
        outcome.assert_equal()
        outcome.assert_gives(operands.attend(SCALE))
        fused.append([site.fused for site in outcome.report.sites])
    assert fused == [[True], []]


@pytest.mark.parametrize("adjust", [net.Additive(-1e9), net.SelectMaskedFill(-1e9)], ids=["additive", "select"])
def test_mask_of_unknown_batch_and_length(adjust):
    attention = Attention(key=net.same, scores=net.scores_by_bmm_flag, adjust=adjust)
    cache = Tensor(shape=[None, 6, None, 8], dtype=ms.float32)
    query, mask = Tensor(shape=[None, 6, 1, 8], dtype=ms.float32), Tensor(shape=[None, 1, 1, None], dtype=ms.bool_)
    attention.set_inputs(query, cache, cache, mask)
    operands, hidden = draw(batch=3, kv_heads=6), draw_hidden(3, 1, 1, 10)
    outcome = compare(attention, *tensors(*operands.bnsd, hidden))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(hidden=hidden[:, :, 0]))


@pytest.mark.parametrize("adjust", [net.Additive(-1e9), net.SelectMaskedFill(-1e9)], ids=["additive", "select"])
@pytest.mark.parametrize("mask_shape", [[1, 1, 1, 10], [None, 1, 1, None]], ids=["shared", "unknown"])
def test_mask_shared_by_an_unknown_number_of_sequences(mask_shape, adjust):
    attention = Attention(key=net.same, scores=net.scores_by_bmm_flag, adjust=adjust)
    query, cache = (Tensor(shape=[None, 6, size, 8], dtype=ms.float32) for size in (1, mask_shape[-1]))
    attention.set_inputs(query, cache, cache, Tensor(shape=mask_shape, dtype=ms.bool_))
    fused = []
    for batch in (3, 1):
        operands, hidden = draw(batch=batch, kv_heads=6), draw_hidden(1, 1, 1, 10)
        outcome = compare(attention, *tensors(*operands.bnsd, hidden))
        outcome.assert_gives(operands.attend(hidden=hidden[:, :, 0]))
        fused.append([site.fused for site in outcome.report.sites])
    assert fused == [[True], []]


def test_mask_that_two_unknown_numbers_of_sequences_share():
    attention = net.AttentionOfTwoBatches()
    query, cache = (Tensor(shape=[None, 6, size, 8], dtype=ms.float32) for size in (1, 10))
    attention.set_inputs(*[query, cache, cache] * 2, Tensor(shape=[1, 1, 1, 10], dtype=ms.bool_))
    one, other, hidden = draw(batch=3, kv_heads=6), draw(batch=2, kv_heads=6), draw_hidden(1, 1, 1, 10)
    outcome = compare(attention, *tensors(*one.bnsd, *other.bnsd, hidden))
    outcome.assert_fused(sites=2)
    for operands, got in zip((one, other), outcome.fused, strict=True):
        np.testing.assert_allclose(got[:, :, 0], operands.attend(hidden=hidden[:, :, 0]), atol=1e-5)


def test_mask_of_unknown_number_of_sequences_may_be_shared():
    operands, hidden = draw(), draw_hidden(1, 1, 1, 10)
    attention = Attention(adjust=net.Additive(-1e9))
    mask = Tensor(shape=[None, 1, 1, 10], dtype=ms.bool_)
    attention.set_inputs(*tensors(*operands.bnsd), mask)
    outcome = compare(attention, *tensors(*operands.bnsd, hidden))
    outcome.assert_equal()


TYPED = {
    "fp16": (ms.float16, {}),
    "fp16, softmax in fp32": (ms.float16, {"weights": net.softmax_in_fp32}),
    "fp16, softmax in fp32 by mint": (ms.float16, {"weights": net.softmax_in_fp32_mint}),
    "fp16, scores in fp32": (ms.float16, {"adjust": net.in_fp32_of, "weights": net.softmax_to_fp16}),
    "fp16 grouped": (ms.float16, {"query": net.grouped_query, "key": net.same}),
}


@pytest.mark.parametrize("name", TYPED)
def test_element_types(name):
    dtype, spelling = TYPED[name]
    operands = draw()
    outcome = compare(Attention(**spelling), *tensors(*operands.bnsd, dtype=dtype))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend())
    assert outcome.features[:2] == ("GQA 6/2", f"BNSD {str(dtype).lower()}")
    assert outcome.dtype == dtype


@pytest.mark.parametrize("weights", [net.softmax, net.softmax_in_fp32], ids=["softmax", "softmax in fp32"])
def test_bf16(weights):
    """A CPU has no matmul in bf16 for the unfused network."""
    operands = draw()
    outcome = fuse(Attention(weights=weights), *tensors(*operands.bnsd, dtype=ms.bfloat16))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend())
    assert outcome.features[:2] == ("GQA 6/2", "BNSD bfloat16")


def test_bf16_with_matmuls_in_fp32():
    operands = draw(kv_heads=6)
    outcome = compare(
        Attention(net.in_fp32, net.in_fp32, finish=net.in_bf16), *tensors(*operands.bnsd, dtype=ms.bfloat16)
    )
    outcome.assert_fused()
    outcome.assert_gives(operands.attend())
    assert outcome.features[:2] == ("MHA 6/6", "BNSD bfloat16")


@pytest.mark.parametrize("dtype", [ms.float16, ms.bfloat16])
@pytest.mark.parametrize(("layout", "bias_shape"), [("bnsd", (1, 6, 1, 10)), ("bsh", (10,)), ("mixed", (6, 1, 1))])
def test_narrow_inputs_of_a_network_in_fp32(layout, bias_shape, dtype):
    """What ran before must run after: a CPU has no Reshape, Mul or BroadcastTo in bf16."""
    operands, bias, hidden = draw(), draw_bias(*bias_shape), draw_hidden(2, 1, 1, 10)
    query = net.same if layout == "bnsd" else net.heads_of_query_bsh
    key = net.split_repeated if layout == "bsh" else net.repeat_interleave
    adjust = net.ScaledAfter(net.MaskAndBias(-1e9), 0.5)
    attention = Attention(net.Chain(net.in_fp32, query), net.Chain(net.in_fp32, key), adjust=adjust)
    sources = {"bnsd": operands.bnsd, "bsh": operands.bsh, "mixed": (operands.bsh[0], *operands.bnsd[1:])}[layout]
    outcome = compare(attention, *tensors(*sources, dtype=dtype), *tensors(hidden, bias))
    expanded = np.broadcast_to(bias, (2, 6, 1, 10))[:, :, 0]
    np.testing.assert_allclose(
        outcome.fused[0][:, :, 0],
        operands.attend(0.5, bias=0.5 * expanded, hidden=hidden[:, :, 0]),
        atol=1e-3 if dtype == ms.float16 else 1e-2,
    )


def test_masked_fp16():
    operands, hidden = draw(), draw_hidden(2, 1, 1, 10)
    adjust = net.Additive(-65504.0, ms.float16)
    outcome = compare(Attention(adjust=adjust), *tensors(*operands.bnsd, hidden, dtype=ms.float16))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(hidden=hidden[:, :, 0]))
    assert outcome.features[4:] == ("mask: additive -> bool",)


def test_biased_fp16():
    operands, bias = draw(), draw_bias(1, 6, 1, 10)
    outcome = compare(Attention(adjust=net.add), *tensors(*operands.bnsd, bias, dtype=ms.float16))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(bias=bias[:, :, 0]))


def test_fp16_caches_with_an_fp32_query():
    operands = draw()
    query, *caches = operands.bnsd
    attention = Attention(key=net.Chain(net.in_fp32, net.repeat_interleave), adjust=net.Times(SCALE))
    outcome = compare(attention, *tensors(query), *tensors(*caches, dtype=ms.float16))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend(SCALE))
    assert outcome.features[0] == "GQA 6/2"


def test_everything_cast_to_fp32_before_the_matmuls():
    operands = draw()
    cast = net.Chain(net.in_fp32, net.repeat_interleave)
    outcome = compare(Attention(net.in_fp32, cast, finish=net.in_fp16), *tensors(*operands.bnsd, dtype=ms.float16))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend())
    assert outcome.features[:2] == ("GQA 6/2", "BNSD float16")


def test_fp32_caches_with_matmuls_in_fp16():
    operands = draw()
    cast = net.Chain(net.in_fp16, net.repeat_interleave)
    outcome = compare(Attention(net.in_fp16, cast), *tensors(*operands.bnsd))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend())


def cache_network(network):
    operands = draw(seed=9)
    return network(*tensors(operands.key, operands.value))


def run_steps(network, steps):
    """Calls a fresh network several times and collects its outputs and, last, its parameters."""
    cell = cache_network(network)
    outputs = [values_of(cell(*inputs))[0] for inputs in steps]
    return [*outputs, *(parameter.asnumpy() for parameter in cell.get_parameters())]


def assert_same_steps(network, steps):
    unfused = run_steps(network, steps)
    with ifa_fusion.fusion():
        fused = run_steps(network, steps)
    for expected, got in zip(unfused, fused, strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(expected).max())
    return ifa_fusion.report().sites


def test_cache_written_before_it_is_read():
    steps = []
    for position in range(4):
        new = draw(length=1, seed=position)
        steps.append([*tensors(*new.bnsd), Tensor(position, ms.int64)])
    sites = assert_same_steps(net.KvCache, steps)
    assert [site.reason for site in sites] == ["fused"]
    assert "mask: selecting -> lengths" in sites[0].features


@pytest.mark.parametrize("network", [net.ReadBeforeWrite, net.WriteBetween, net.WriteWhatWasAttended])
def test_order_of_reads_and_writes_of_a_cache(network):
    steps = [tensors(*draw(seed=step).bnsd) for step in range(3)]
    (site,) = assert_same_steps(network, steps)
    assert site.reason == ("side_effect" if network is net.WriteBetween else "fused")


def test_views_of_mint_are_folded_and_not_executed():
    operands = draw()
    outcome = compare(net.MintAttention(), *tensors(*operands.bnsd))
    outcome.assert_fused()
    outcome.assert_gives(operands.attend())
    assert outcome.features[0] == "GQA 6/2"
    assert outcome.other_operators <= {"Depend"}  # an edge, which is not executed


def test_view_of_memory_that_is_written_before_it_is_read():
    outcome = compare(net.MintAttentionWrittenInBetween(), *tensors(*draw().bnsd))
    outcome.assert_equal()


def test_sites_that_share_library_functions_are_told_apart_by_their_lines():
    report = ifa_fusion.explain(net.TwoFunctions(), *tensors(*draw().bnsd))
    places = {site.reason: site.location for site in report.sites}
    assert places == {
        "fused": line_of(net.TwoFunctions.plain, "ops.softmax"),
        "score_op": line_of(net.TwoFunctions.capped, "/ 3.0"),
    }
