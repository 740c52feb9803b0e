"""Whether graphs are fused, and how: the one place that holds it, and tells the library and MindSpore's caches.

MindSpore keeps compiled graphs by a key of the arguments, and on disk by a hash of source files. Both get the fusion
state added here, so that a graph compiled with one state is never served under another, and is found again when its own
state returns.
"""

import functools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mindspore as ms
from mindspore import _c_expression

from ifa_fusion import _native


@dataclass(frozen=True)
class FusionState:
    """How graphs are compiled.

    Attributes:
        enabled: Whether attention is fused.
        strict: Whether rows in which every position is masked keep their value.
        target: The device that graphs are meant for: "cpu", "ascend", or None for the one that MindSpore runs on.
        ascend_kernel: Whose kernel graphs for Ascend call: "cann" or "ascendc".
        fresh: For graphs that must be compiled anew, whatever the caches hold: the path of a file that there was never
            before. "" otherwise.
    """

    enabled: bool = False
    strict: bool = False
    target: str | None = None
    ascend_kernel: str = "cann"
    fresh: str = ""

    @classmethod
    def checked(cls, *, strict: bool, target: str | None = None, ascend_kernel: str = "cann") -> "FusionState":
        """Fusion, as a user asks for it.

        Raises:
            TypeError: If `strict` is not a bool.
            ValueError: If `target` or `ascend_kernel` is unknown.
        """
        if not isinstance(strict, bool):
            raise TypeError(f"strict must be True or False, but got {strict!r}.")
        if target not in _native.TARGETS:
            raise ValueError(f'target must be "cpu", "ascend" or None, but got {target!r}.')
        if ascend_kernel not in _native.ASCEND_KERNELS:
            raise ValueError(f'ascend_kernel must be "cann" or "ascendc", but got {ascend_kernel!r}.')
        return cls(enabled=True, strict=strict, target=target, ascend_kernel=ascend_kernel)

    @property
    def key(self) -> str:
        """What is added to MindSpore's keys; nothing when fusion is off, so that those stay MindSpore's own."""
        if self == FusionState():
            return ""
        return (
            f".ifa_fusion[enabled={self.enabled:d},strict={self.strict:d},target={self.target},"
            f"ascend_kernel={self.ascend_kernel},fresh={self.fresh}]"
        )


_state = FusionState()


def switch(state: FusionState) -> None:
    """Compiles graphs under another state from now on."""
    global _state
    if state.enabled:
        _register_pass()
    _native.set_options(
        enabled=state.enabled, strict=state.strict, target=state.target, ascend_kernel=state.ascend_kernel
    )
    _state = state


@contextmanager
def switched(state: FusionState, *, fresh: bool = False) -> Iterator[None]:
    """The same for the body of a ``with``; ``fresh`` compiles every graph in it anew."""
    before = _state
    with tempfile.NamedTemporaryFile("w", prefix="ifa_fusion-") as token:
        token.write(token.name)
        token.flush()
        switch(replace(state, fresh=token.name) if fresh else state)
        try:
            yield
        finally:
            switch(before)


@functools.cache
def _register_pass() -> None:
    full_graph = ms.graph.CustomPassType.FULL_GRAPH
    if not ms.graph.register_custom_pass("ifa_fusion", str(_native.LIBRARY_PATH), "all", full_graph):
        raise RuntimeError(
            f"MindSpore did not accept the fusion pass in {_native.LIBRARY_PATH}; its log (GLOG_v=1) says why."
        )


def _add_state_to_caches() -> None:
    for executor in (_c_expression.GraphExecutor_, _c_expression.JitExecutor_):
        executor.generate_arguments_key = _with_state(executor.generate_arguments_key)
        executor.set_compile_cache_dep_files = _with_state_files(executor.set_compile_cache_dep_files)
    ms.nn.Cell._predict = _dropping_other_states(ms.nn.Cell._predict)


_FILES = {"strict": "_state.py", "cpu": "_native.py", "ascend": "fusion.py", "ascendc": "mindir.py"}
"""Any files will do that tell the states apart."""


def _with_state_files(set_files: Any) -> Any:
    """The cache on disk is valid for the files that a graph depends on: with fusion, for this library as well."""

    @functools.wraps(set_files)
    def set_with_state(executor: Any, files: list[str]) -> Any:
        state = [str(_native.LIBRARY_PATH)] if _state.enabled else []
        options = ["strict"] if _state.strict else []
        options += [option for option in (_state.target, _state.ascend_kernel) if option in _FILES]
        state += [str(Path(__file__).with_name(_FILES[option])) for option in options]
        state += [_state.fresh] if _state.fresh else []
        return set_files(executor, [*files, *state])

    return set_with_state


def _with_state(generate_key: Any) -> Any:
    @functools.wraps(generate_key)
    def generate(*args: Any, **kwargs: Any) -> Any:
        key = generate_key(*args, **kwargs)
        return f"{key}{_state.key}" if _state.key else key

    return generate


def _dropping_other_states(predict: Any) -> Any:
    """Cells whose phase is "prefill" or "increment" look graphs up by the phase alone: forget those of other states."""

    @functools.wraps(predict)
    def lookup(cell: ms.nn.Cell, *args: Any, **kwargs: Any) -> Any:
        if cell.__dict__.get("_ifa_fusion_key", "") != _state.key:
            cell.phase_cache.clear()
            object.__setattr__(cell, "_ifa_fusion_key", _state.key)
        return predict(cell, *args, **kwargs)

    return lookup


_add_state_to_caches()
