"""Turning fusion on and off, and that no graph of another state is ever served."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext

import mindspore as ms
import numpy as np
import pytest
from attention_networks import (
    Attention,
    JittedAttention,
    MaskedAttention,
    attend_masked,
    operands,
    run_python,
    values_of,
)
from mindspore import Tensor

import ifa_fusion
from ifa_fusion import _ascend_kernel


@pytest.fixture(autouse=True)
def graph_mode() -> Iterator[None]:
    ms.set_context(mode=ms.GRAPH_MODE)
    ifa_fusion.disable()
    ifa_fusion.report(reset=True)
    yield
    ifa_fusion.disable()
    ms.set_context(mode=ms.PYNATIVE_MODE)


def is_fused() -> bool:
    """Whether a network that was never compiled before is fused now."""
    ifa_fusion.report(reset=True)
    Attention()(*operands())
    sites = ifa_fusion.report(reset=True).sites
    assert len(sites) == len([site for site in sites if site.fused])
    return bool(sites)


STATES = {
    "unfused": nullcontext,
    "fused": ifa_fusion.fusion,
    "strict": lambda: ifa_fusion.fusion(strict=True),
}


def masked_operands() -> list[Tensor]:
    hidden = np.zeros((2, 1, 1, 10), bool)
    hidden[0] = True
    hidden[1, ..., 3:7] = True
    return [*operands(), Tensor(hidden)]


@pytest.fixture(scope="module")
def expected_of() -> dict[str, np.ndarray]:
    """What networks that were never compiled before give in each state; all three differ."""
    ms.set_context(mode=ms.GRAPH_MODE)
    results = {}
    for name, state in STATES.items():
        with state():
            results[name] = values_of(MaskedAttention()(*masked_operands()))
    for one, other in (("unfused", "fused"), ("unfused", "strict"), ("fused", "strict")):
        assert not np.array_equal(results[one], results[other])
    return results


def test_is_off_at_first():
    assert not is_fused()


def test_enable_and_disable():
    ifa_fusion.enable()
    assert is_fused()
    ifa_fusion.enable()
    assert is_fused()
    ifa_fusion.disable()
    assert not is_fused()
    ifa_fusion.disable()
    assert not is_fused()


def test_scopes_nest():
    with ifa_fusion.fusion():
        with ifa_fusion.fusion(strict=True):
            assert is_fused()
        assert is_fused()
    assert not is_fused()


def test_scope_returns_to_what_was_before():
    ifa_fusion.enable()
    with ifa_fusion.fusion():
        ifa_fusion.disable()
        assert not is_fused()
    assert is_fused()


def test_scope_returns_after_an_exception():
    with pytest.raises(KeyError), ifa_fusion.fusion():
        raise KeyError
    assert not is_fused()
    ifa_fusion.enable()
    with pytest.raises(KeyError), ifa_fusion.fusion(strict=True):
        raise KeyError
    assert is_fused()


def test_inner_scope_restores_strictness(expected_of):
    network = MaskedAttention()
    with ifa_fusion.fusion(strict=True):
        with ifa_fusion.fusion():
            np.testing.assert_array_equal(values_of(network(*masked_operands())), expected_of["fused"])
        np.testing.assert_array_equal(values_of(network(*masked_operands())), expected_of["strict"])


@pytest.mark.parametrize("switch", [ifa_fusion.enable, ifa_fusion.fusion])
@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ({"strict": 1}, TypeError, "strict"),
        ({"strict": None}, TypeError, "strict"),
        ({"ascend_kernel": "cuda"}, ValueError, "ascend_kernel"),
    ],
)
def test_wrong_arguments_change_nothing(switch, arguments, error, named):
    with pytest.raises(error, match=named), switch(**arguments) or nullcontext():
        pass
    assert not is_fused()


@pytest.fixture
def on_ascend(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if that were MindSpore's device, on a machine where nothing is installed for it."""
    monkeypatch.setattr(ms, "get_context", {"device_target": "Ascend"}.get)
    for name in ("ASCEND_CUSTOM_OPP_PATH", "ASCEND_OPP_PATH"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("on_ascend")
def test_ascendc_on_a_device_without_an_operator_package():
    with pytest.raises(RuntimeError, match="needs the operator package with IfaDecode"):
        ifa_fusion.enable(ascend_kernel="ascendc")
    with ifa_fusion.fusion(ascend_kernel="ascendc", target="cpu"), ifa_fusion.fusion(ascend_kernel="cann"):
        pass


@pytest.mark.usefixtures("on_ascend")
def test_ascendc_on_a_device_without_cann(monkeypatch, tmp_path):
    monkeypatch.setattr(_ascend_kernel, "operator_library", lambda: tmp_path / "libcust_opapi.so")
    monkeypatch.setattr(_ascend_kernel, "_BACKEND", tmp_path / "libmindspore_ascend.so.2")
    with pytest.raises(RuntimeError, match=r"can't be given to MindSpore's Ascend backend .*libmindspore_ascend"):
        ifa_fusion.enable(ascend_kernel="ascendc")


ORDERS = [
    ("unfused", "fused", "unfused", "strict", "fused", "unfused"),
    ("strict", "unfused", "fused", "strict"),
]


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
@pytest.mark.parametrize("phase", ["train", "predict", "prefill", "increment"])
def test_cell_is_never_stale(phase, order, expected_of):
    network = MaskedAttention()
    network.phase = phase
    for state in order:
        with STATES[state]():
            for _ in range(2):
                np.testing.assert_array_equal(values_of(network(*masked_operands())), expected_of[state])


def test_cell_with_several_phases_is_never_stale(expected_of):
    network = MaskedAttention()
    for state in ORDERS[0]:
        for phase in ("prefill", "increment"):
            network.phase = phase
            with STATES[state]():
                np.testing.assert_array_equal(values_of(network(*masked_operands())), expected_of[state])


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
@pytest.mark.parametrize("kind", ["function", "construct"])
def test_jit_is_never_stale(kind, order, expected_of):
    ms.set_context(mode=ms.PYNATIVE_MODE)
    network = ms.jit(attend_masked) if kind == "function" else JittedAttention()
    for state in order:
        with STATES[state]():
            for _ in range(2):
                np.testing.assert_array_equal(values_of(network(*masked_operands())), expected_of[state])


def test_graph_is_found_again_when_its_state_returns():
    network = Attention()
    for _ in range(2):
        network(*operands())
        with ifa_fusion.fusion():
            network(*operands())
    assert len(ifa_fusion.report().sites) == 1


def test_pynative_calls_are_left_alone():
    ms.set_context(mode=ms.PYNATIVE_MODE)
    with ifa_fusion.fusion():
        Attention()(*operands())
    assert ifa_fusion.report().sites == ()


# The script is the same in each state: MindSpore does not use what it cached for another script.
CACHED_RUN = """
import json, sys, mindspore as ms, ifa_fusion
from contextlib import nullcontext
from attention_networks import *
ms.set_context(mode=ms.GRAPH_MODE, enable_compile_cache=True, compile_cache_path=sys.argv[1])
hidden = np.zeros((2, 1, 1, 10), bool)
hidden[0] = True
hidden[1, ..., 3:7] = True
states = dict(unfused=nullcontext, fused=ifa_fusion.fusion, strict=lambda: ifa_fusion.fusion(strict=True))
with states[sys.argv[2]]():
    output = values_of(MaskedAttention()(*operands(), Tensor(hidden)))
print(json.dumps(output.tolist()))
"""


@pytest.mark.parametrize(
    "order",
    [("unfused", "fused", "unfused"), ("fused", "unfused"), ("fused", "fused", "strict")],
    ids="-".join,
)
def test_compile_cache_on_disk_is_never_stale(order, tmp_path, expected_of):
    for state in order:
        run = run_python(CACHED_RUN, tmp_path, str(tmp_path / "cache"), state)
        assert run.returncode == 0, run.stderr
        output = np.array(json.loads(run.stdout.splitlines()[-1]), np.float32)
        np.testing.assert_array_equal(output, expected_of[state])
    assert any((tmp_path / "cache").rglob("*"))


KERNEL_RUN = """
import sys, mindspore as ms, ifa_fusion
from attention_networks import *
ms.set_context(mode=ms.GRAPH_MODE, enable_compile_cache=True, compile_cache_path=sys.argv[1])
with ifa_fusion.fusion(target="ascend", ascend_kernel=sys.argv[2]):
    Attention()(*(x.astype(ms.float16) for x in operands()))
print(*(site.after[-1].operator for site in ifa_fusion.report().sites))
"""


def test_compile_cache_on_disk_tells_the_kernels_of_ascend_apart(tmp_path):
    compiled = []
    for kernel in ("ascendc", "ascendc", "cann"):
        run = run_python(KERNEL_RUN, tmp_path, str(tmp_path / "cache"), kernel)
        assert run.returncode == 0, run.stderr
        compiled.append(run.stdout.splitlines()[-1])
    assert compiled == ["Custom_ifa_decode", "", "IncreFlashAttention"]  # the second from the cache
