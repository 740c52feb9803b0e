"""verify: unfused against fused, without side effects, and able to fail."""

from __future__ import annotations

from collections.abc import Iterator

import mindspore as ms
import numpy as np
import pytest
from attention_networks import (
    Attention,
    Decoder,
    MaskedAttention,
    MaskedAttentionInInt8,
    RefusedAttention,
    TwoSites,
    attend,
    operands,
    values_of,
)
from mindspore import Tensor, nn

import ifa_fusion
from ifa_fusion import VerificationError


@pytest.fixture(autouse=True)
def modes() -> Iterator[None]:
    ifa_fusion.report(reset=True)
    yield
    ifa_fusion.disable()
    ms.set_context(mode=ms.PYNATIVE_MODE)


@pytest.mark.parametrize("network", [Attention(), attend, ms.jit(attend)], ids=["cell", "function", "jit"])
@pytest.mark.parametrize("mode", [ms.GRAPH_MODE, ms.PYNATIVE_MODE], ids=["graph", "pynative"])
def test_networks(network, mode):
    ms.set_context(mode=mode)
    result = ifa_fusion.verify(network, *operands())
    assert [site.reason for site in result.report.sites] == ["fused"]
    assert 0 < result.largest_difference < 1e-5
    assert 0 < result.relative_difference < 1e-5
    assert ms.get_context("mode") == mode
    assert ifa_fusion.report().sites == ()


@pytest.mark.parametrize("dtype", [ms.float16, ms.float32])
def test_types(dtype):
    result = ifa_fusion.verify(Attention(), *operands(dtype=dtype))
    assert len(result.report.fused) == 1


def test_unfused_network_is_equal():
    result = ifa_fusion.verify(RefusedAttention(), *operands(), tolerance=0)
    assert result.largest_difference == result.relative_difference == 0
    assert len(result.report.refused) == 1


def test_all_outputs_count():
    result = ifa_fusion.verify(TwoSites(), *operands())
    assert len(result.report.sites) == 2


def test_difference_is_raised_and_named():
    with pytest.raises(VerificationError, match=r"output 0 differs by .* 0 is allowed"):
        ifa_fusion.verify(Attention(), *operands(dtype=ms.float16), tolerance=0)
    assert issubclass(VerificationError, AssertionError)


def masked_throughout() -> list[Tensor]:
    return [*operands(), Tensor(np.ones((2, 1, 1, 10), bool))]


def test_rows_that_are_masked_throughout_differ_unless_strict():
    with pytest.raises(VerificationError):
        ifa_fusion.verify(MaskedAttention(), *masked_throughout())
    result = ifa_fusion.verify(MaskedAttention(), *masked_throughout(), strict=True, tolerance=2e-3)
    assert len(result.report.fused) == 1


def weighted_or_mean(difference: int) -> list[Tensor]:
    """Unfused, every output is the first position's value, fused it is the mean of both positions."""
    query, key, value = np.full((1, 6, 1, 8), 5.0), np.zeros((1, 2, 2, 8)), np.zeros((1, 2, 2, 8))
    key[:, :, 0], value[:, :, 0] = 5, 2 * difference
    return [*(Tensor(x.astype(np.float32)) for x in (query, key, value)), Tensor(np.ones((1, 1, 1, 2), bool))]


def test_int8_outputs_may_differ_by_one():
    assert ifa_fusion.verify(MaskedAttentionInInt8(), *weighted_or_mean(1)).largest_difference == 1
    with pytest.raises(VerificationError, match=r"output 0 differs by 2 .* 1 is allowed"):
        ifa_fusion.verify(MaskedAttentionInInt8(), *weighted_or_mean(2))
    with pytest.raises(VerificationError, match=r"output 0 differs by 1 .* 0\.4 is allowed"):
        ifa_fusion.verify(MaskedAttentionInInt8(), *weighted_or_mean(1), tolerance=0.4)


def test_fusion_is_as_before_after_a_difference():
    ms.set_context(mode=ms.GRAPH_MODE)
    with pytest.raises(VerificationError):
        ifa_fusion.verify(Attention(), *operands(dtype=ms.float16), tolerance=0)
    assert ms.get_context("mode") == ms.GRAPH_MODE
    Attention()(*operands())
    assert ifa_fusion.report().sites == ()
    with ifa_fusion.fusion():
        with pytest.raises(VerificationError):
            ifa_fusion.verify(Attention(), *operands(dtype=ms.float16), tolerance=0)
        Attention()(*operands())
    assert len(ifa_fusion.report().sites) == 1


def parameters_of(network: nn.Cell) -> dict[str, np.ndarray]:
    return {parameter.name: parameter.asnumpy().copy() for parameter in network.get_parameters()}


@pytest.mark.parametrize("tolerance", [None, 0])
def test_parameters_of_a_cell_are_restored(tolerance):
    network = Decoder()
    before = parameters_of(network)
    x = Tensor(np.random.default_rng(1).standard_normal((1, 48)).astype(np.float32))
    if tolerance is None:
        result = ifa_fusion.verify(network, x)
        assert len(result.report.fused) == 1
    else:
        with pytest.raises(VerificationError):
            ifa_fusion.verify(network, x, tolerance=0)
    for name, value in parameters_of(network).items():
        np.testing.assert_array_equal(value, before[name])
    ms.set_context(mode=ms.GRAPH_MODE)
    network(x)
    assert not np.array_equal(parameters_of(network)["key"], before["key"])


def test_parameters_that_a_function_captures_are_restored():
    network = Decoder()
    before = parameters_of(network)
    x = Tensor(np.random.default_rng(1).standard_normal((1, 48)).astype(np.float32))

    def step(x):
        return network(x)

    result = ifa_fusion.verify(step, x)
    assert len(result.report.fused) == 1
    for name, value in parameters_of(network).items():
        np.testing.assert_array_equal(value, before[name])


def test_network_runs_afterwards_as_before():
    ms.set_context(mode=ms.GRAPH_MODE)
    network = Attention()
    expected = values_of(Attention()(*operands()))
    ifa_fusion.verify(network, *operands())
    np.testing.assert_array_equal(values_of(network(*operands())), expected)


def test_a_mindir_with_control_flow(tmp_path):
    class Branches(nn.Cell):
        def construct(self, x):
            return x * 2 if x.sum() > 0 else x - 1

    x = Tensor([1.0, 2.0])
    ms.export(Branches(), x, file_name=str(tmp_path / "branches"), file_format="MINDIR")
    network = nn.GraphCell(ms.load(str(tmp_path / "branches.mindir")))
    assert ifa_fusion.verify(network, x).compared == 2


def test_strict_that_is_no_bool():
    with pytest.raises(TypeError, match="strict must be True or False, but got 1"):
        ifa_fusion.verify(Attention(), *operands(), strict=1)


def test_negative_tolerance():
    with pytest.raises(ValueError, match="tolerance must be 0 or more, but got -1"):
        ifa_fusion.verify(Attention(), *operands(), tolerance=-1)


def test_what_is_no_network():
    with pytest.raises(TypeError, match=r"net must be an nn\.Cell or a function"):
        ifa_fusion.verify("net")
