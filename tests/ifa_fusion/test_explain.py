"""explain: what would be fused, without running or leaving traces."""

from __future__ import annotations

from collections.abc import Iterator

import mindspore as ms
import numpy as np
import pytest
from attention_networks import Attention, Decoder, TwoSites, attend, operands, values_of
from mindspore import Tensor

import ifa_fusion


@pytest.fixture(autouse=True, params=[ms.GRAPH_MODE, ms.PYNATIVE_MODE], ids=["graph", "pynative"])
def mode(request) -> Iterator[int]:
    ms.set_context(mode=request.param)
    ifa_fusion.report(reset=True)
    yield request.param
    ifa_fusion.disable()
    ms.set_context(mode=ms.PYNATIVE_MODE)


@pytest.mark.parametrize("network", [Attention(), attend, ms.jit(attend)], ids=["cell", "function", "jit"])
def test_networks(network, mode):
    report = ifa_fusion.explain(network, *operands())
    assert [site.reason for site in report.sites] == ["fused"]
    assert ms.get_context("mode") == mode


def test_repeated_calls_say_the_same():
    network = TwoSites()
    first, second = (ifa_fusion.explain(network, *operands()) for _ in range(2))
    assert sorted(site.reason for site in first.sites) == ["fused", "probabilities_used"]
    assert [site.reason for site in first.sites] == [site.reason for site in second.sites]


def test_sizes_may_be_unknown():
    query = operands()[0]
    cache = Tensor(shape=[2, 2, None, 8], dtype=ms.float32)
    (site,) = ifa_fusion.explain(Attention(), query, cache, cache).sites
    assert site.fused and "length ?" in site.features


def test_own_sites_stay_out_of_the_report():
    with ifa_fusion.fusion():
        ms.jit(attend)(*operands())
        assert len(ifa_fusion.explain(Attention(), *operands()).sites) == 1
        assert len(ifa_fusion.report().sites) == 1


def test_does_not_turn_fusion_on():
    network = Attention()
    ifa_fusion.explain(network, *operands())
    network(*operands())
    assert ifa_fusion.report().sites == ()


def test_does_not_run():
    network = Decoder()
    before = {parameter.name: parameter.asnumpy().copy() for parameter in network.get_parameters()}
    x = Tensor(np.ones((1, 48), np.float32))
    report = ifa_fusion.explain(network, x)
    assert [site.reason for site in report.sites] == ["fused"]
    for parameter in network.get_parameters():
        np.testing.assert_array_equal(parameter.asnumpy(), before[parameter.name])


def test_network_runs_afterwards_as_before():
    network = Attention()
    expected = values_of(Attention()(*operands()))
    ifa_fusion.explain(network, *operands())
    np.testing.assert_array_equal(values_of(network(*operands())), expected)


def test_fusion_is_as_before_after_an_error():
    with pytest.raises((TypeError, ValueError, RuntimeError)):
        ifa_fusion.explain(Attention(), *operands()[:1])
    ms.jit(attend)(*operands())
    assert ifa_fusion.report().sites == ()


@pytest.mark.parametrize("network", [None, 3, "net", operands()[0]], ids=["None", "number", "text", "tensor"])
def test_what_is_no_network(network):
    with pytest.raises(TypeError, match=r"net must be an nn\.Cell or a function"):
        ifa_fusion.explain(network)
