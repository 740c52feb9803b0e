"""How long a decode step takes, and how much of it is attention."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

import mindspore as ms
import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from .config import ModelConfig
from .decoder import Decoder, lowest
from .llama import LlamaAttend

Scope = Callable[[], AbstractContextManager]


@dataclasses.dataclass(frozen=True)
class StepTime:
    """Medians in seconds: the whole step, and the attention of all its layers run by itself."""

    step: float
    attention: float


class AttentionStack(nn.Cell):
    """The attention of a decode step and nothing else: scores, mask, softmax and mix of each layer in turn.

    Every layer has keys and values of its own, fp32 (1, kvN, capacity, D), so that they come from memory as
    they do in a step, and takes the result of the layer before as its query.
    """

    def __init__(self, config: ModelConfig, capacity: int, layers: int) -> None:
        super().__init__()
        shape = (1, config.num_kv_heads, capacity, config.head_dim)
        random = np.random.default_rng(0)

        def cache(name: str) -> ParameterTuple:
            arrays = (Tensor(random.standard_normal(shape, np.float32)) for _ in range(layers))
            return ParameterTuple([Parameter(a, name=f"{name}{i}", requires_grad=False) for i, a in enumerate(arrays)])

        self.keys, self.values = cache("key"), cache("value")
        self.attend = LlamaAttend(config)
        self.indices = Tensor(np.arange(capacity, dtype=np.int32).reshape(1, 1, 1, -1))
        self.kept, self.masked = Tensor(0.0, ms.float32), Tensor(lowest(ms.float32), ms.float32)

    def construct(self, query: Tensor, position: Tensor) -> Tensor:
        """query: fp32 (1, N, 1, D); position: int32 (). Returns what the last layer gives, as query."""
        mask = ops.select(self.indices <= position, self.kept, self.masked)
        for key, value in zip(self.keys, self.values):  # noqa: B905 - graph mode takes no strict=
            query = self.attend(query, key, value, mask)
        return query


class StepTimer:
    """Times a network with a static cache on its last positions, and its attention alone; fp32, batch 1."""

    def __init__(self, net: Decoder) -> None:
        config = net.config
        self._net = net
        self._stack = AttentionStack(config, net.capacity, config.num_layers)
        self._token = Tensor(np.ones((1, 1), np.int32))
        self._query = Tensor(np.ones((1, config.num_heads, 1, config.head_dim), np.float32))
        self._steps: list[float] = []
        self._attentions: list[float] = []

    def run(self, repeats: int) -> None:
        """Take `repeats` more samples of each; one call before them is not counted, it may compile."""
        positions = [Tensor(self._net.capacity - 1 - i, ms.int32) for i in range(repeats + 1)]
        self._steps += [_seconds(self._net, self._token, position) for position in positions][1:]
        self._attentions += [_seconds(self._stack, self._query, position) for position in positions][1:]

    def medians(self) -> StepTime:
        """The medians of all samples so far."""
        return StepTime(statistics.median(self._steps), statistics.median(self._attentions))


def compare_times(
    build: Callable[[], Decoder], scopes: Mapping[str, Scope], rounds: int, repeats: int
) -> dict[str, StepTime]:
    """Time one network per scope, compiled and run in it; in turns, so that a busy machine slows all."""
    timers = {name: StepTimer(build()) for name in scopes}
    for _ in range(rounds):
        for name, scope in scopes.items():
            with scope():
                timers[name].run(repeats)
    return {name: timer.medians() for name, timer in timers.items()}


def _seconds(net: nn.Cell, *inputs: Tensor) -> float:
    start = time.perf_counter()
    net(*inputs).asnumpy()
    return time.perf_counter() - start
