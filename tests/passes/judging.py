"""Operands, an independent judge in float64, and one function that runs a network unfused and fused."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn
from mindspore.graph.api import _cell_graph_executor
from mindspore.train import mind_ir_pb2

import ifa_fusion

#: Of the largest value of an output: what rounding to the type can change.
TOLERANCE = {ms.float32: 1e-5, ms.float16: 4e-3, ms.bfloat16: 3e-2}


@dataclass(frozen=True)
class Operands:
    """Query (B, N, D), key and value (B, kvN, S, D) in float64, all values different."""

    query: np.ndarray
    key: np.ndarray
    value: np.ndarray

    @property
    def bnsd(self) -> tuple[np.ndarray, ...]:
        return self.query[:, :, None], self.key, self.value

    @property
    def bsh(self) -> tuple[np.ndarray, ...]:
        def merged(x: np.ndarray) -> np.ndarray:
            return x.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[2], -1)

        return tuple(merged(x) for x in self.bnsd)

    @property
    def bsnd(self) -> tuple[np.ndarray, ...]:
        return tuple(x.transpose(0, 2, 1, 3) for x in self.bnsd)

    @property
    def rows(self) -> tuple[np.ndarray, ...]:
        """Batch and heads in one axis."""
        return tuple(x.reshape(-1, *x.shape[2:]) for x in self.bnsd)

    def attend(self, scale: float = 1.0, bias: Any = 0.0, hidden: Any = False) -> np.ndarray:
        """softmax(scale * Q K^T + bias) V, (B, N, D). `bias` and `hidden` broadcast to (B, N, S)."""
        group = self.query.shape[1] // self.key.shape[1]
        output = np.empty((*self.query.shape[:2], self.value.shape[-1]))
        for b, n in np.ndindex(*self.query.shape[:2]):
            scores = scale * (self.key[b, n // group] @ self.query[b, n])
            shape = (*self.query.shape[:2], len(scores))
            scores = scores + np.broadcast_to(bias, shape)[b, n]
            scores = np.where(np.broadcast_to(hidden, shape)[b, n], -np.inf, scores)
            weights = np.exp(scores - scores.max())
            output[b, n] = weights / weights.sum() @ self.value[b, n // group]
        return output


def draw(
    batch: int = 2, heads: int = 6, kv_heads: int = 2, length: int = 10, head_size: int = 8, seed: int = 0
) -> Operands:
    rng = np.random.default_rng([seed, batch, heads, kv_heads, length, head_size])

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float16).astype(np.float64)

    return Operands(
        normal(batch, heads, head_size),
        normal(batch, kv_heads, length, head_size),
        normal(batch, kv_heads, length, head_size),
    )


def draw_hidden(*shape: int, seed: int = 1) -> np.ndarray:
    """About half of the positions; the last one of each row stays visible."""
    hidden = np.random.default_rng([seed, *shape]).random(shape) < 0.5
    hidden[..., 0] = True
    hidden[..., -1] = False
    return hidden


def draw_bias(*shape: int, seed: int = 2) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float16).astype(np.float64)


def tensors(*arrays: np.ndarray, dtype: Any = ms.float32) -> list[Tensor]:
    """Floating-point arrays in the type, others as they are."""
    return [Tensor(x.astype(np.float32)).astype(dtype) if x.dtype.kind == "f" else Tensor(x) for x in arrays]


def values_of(output: Any) -> list[np.ndarray]:
    outputs = output if isinstance(output, tuple | list) else (output,)
    return [x.astype(ms.float32).asnumpy().astype(np.float64) for x in outputs]


def line_of(function: Callable[..., Any], text: str) -> str:
    """The place, "file:line", of the only line of a function that holds the text."""
    lines, first = inspect.getsourcelines(function)
    (number,) = (first + i for i, line in enumerate(lines) if text in line)
    return f"{inspect.getsourcefile(function)}:{number}"


@dataclass(frozen=True)
class Outcome:
    """What a network gives unfused and fused, and what the pass did to its graph."""

    unfused: list[np.ndarray]
    fused: list[np.ndarray]
    report: ifa_fusion.Report
    operators: Counter[str]
    dtype: Any

    def assert_equal(self, tolerance: float | None = None) -> None:
        allowed = TOLERANCE[self.dtype] if tolerance is None else tolerance
        for expected, got in zip(self.unfused, self.fused, strict=True):
            np.testing.assert_allclose(got, expected, rtol=0, atol=allowed * np.nanmax(np.abs(expected), initial=1e-30))

    def assert_fused(self, sites: int = 1) -> None:
        assert [site.reason for site in self.report.sites] == ["fused"] * sites, str(self.report)
        assert self.operators["IncreFlashAttention"] == sites
        assert self.operators["Softmax"] == 0
        self.assert_equal()

    def assert_gives(self, expected: np.ndarray) -> None:
        (got,) = self.fused
        allowed = TOLERANCE[self.dtype] * np.abs(expected).max()
        np.testing.assert_allclose(got.reshape(expected.shape), expected, rtol=0, atol=allowed)

    def assert_refused(self, reason: str, *, location: str | None = None) -> None:
        assert [site.reason for site in self.report.sites] == [reason], str(self.report)
        (site,) = self.report.refused
        assert site.message
        assert self.operators["IncreFlashAttention"] == 0
        if location is not None:
            assert site.location == location
        for expected, got in zip(self.unfused, self.fused, strict=True):
            np.testing.assert_array_equal(got, expected)

    @property
    def other_operators(self) -> set[str]:
        """Those beside the fused one that compute or move something."""
        return set(self.operators) - {"IncreFlashAttention", "Constant", "MakeTuple"}

    @property
    def features(self) -> tuple[str, ...]:
        (site,) = self.report.sites
        return site.features


def compare(net: nn.Cell, *inputs: Any, strict: bool = False) -> Outcome:
    """Runs a network in graph mode unfused and fused on the same inputs."""
    unfused = values_of(net(*inputs))
    return replace(fuse(net, *inputs, strict=strict), unfused=unfused)


def fuse(net: nn.Cell, *inputs: Any, strict: bool = False) -> Outcome:
    """Runs a network in graph mode fused; for those with operators that a CPU has no kernel for."""
    ifa_fusion.report(reset=True)
    with ifa_fusion.fusion(strict=strict):
        fused = net(*inputs)
    first = fused[0] if isinstance(fused, tuple | list) else fused
    values = values_of(fused)
    return Outcome(values, values, ifa_fusion.report(reset=True), operators_of(net), first.dtype)


def operators_of(net: nn.Cell) -> Counter[str]:
    """How often each operator is called in the graph of the network that was compiled last."""
    executor = _cell_graph_executor._graph_executor
    model = mind_ir_pb2.ModelProto()
    model.ParseFromString(executor.get_func_graph_proto(net.current_phase, "mind_ir", False))
    return count_operators(model)


def count_operators(model: Any) -> Counter[str]:
    """How often each operator is called in a MindIR."""
    names: Counter[str] = Counter()
    for graph in (model.graph, *model.functions):
        for node in graph.node:
            names[node.op_type.removeprefix("REF::").split(":")[0]] += 1
    return names
