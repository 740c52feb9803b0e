"""Networks as cells, and compiling them just as far as the pass."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import mindspore as ms
from mindspore.graph.api import _cell_graph_executor

Network: TypeAlias = ms.nn.Cell | Callable[..., Any]


class _FunctionCell(ms.nn.Cell):
    """A function as the cell that MindSpore's executor compiles."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def construct(self, *inputs: Any) -> Any:
        return self.function(*inputs)


def as_cell(network: Network, argument: str = "net") -> ms.nn.Cell:
    """The network as a cell.

    Raises:
        TypeError: If it is neither a cell nor a function.
    """
    if isinstance(network, ms.nn.Cell):
        return network
    if not callable(network):
        raise TypeError(f"{argument} must be an nn.Cell or a function, but got {type(network).__name__}.")
    function: Callable[..., Any] = getattr(network, "__wrapped__", network)  # without its @jit
    return _FunctionCell(function)


def parameters_of(network: Network) -> list[ms.Parameter]:
    """The parameters of a cell, or of the cells and parameters that a function names or is bound to."""
    if isinstance(network, ms.nn.Cell):
        return list(network.get_parameters())
    function = inspect.unwrap(network)
    captured = inspect.getclosurevars(getattr(function, "__func__", function))
    named = [getattr(function, "__self__", None), *captured.nonlocals.values(), *captured.globals.values()]
    found = [value for value in named if isinstance(value, ms.Parameter)]
    for value in named:
        if isinstance(value, ms.nn.Cell):
            found.extend(value.get_parameters())
    return list({id(parameter): parameter for parameter in found}.values())


@contextmanager
def compiled_for_now(cell: ms.nn.Cell) -> Iterator[None]:
    """Gives back, at the end of the ``with``, what the cell compiled in it; tensors have to be read before.

    MindSpore 2.10 can't hold a MindIR with control flow compiled twice: the names of its actors come from the file.
    """
    kept = set(cell.compile_cache)
    try:
        yield
    finally:
        made = cell.compile_cache - kept
        _cell_graph_executor.del_net_res(cell, made)
        cell.compile_cache.difference_update(made)


def compile_front_end(network: ms.nn.Cell, *inputs: Any) -> None:
    """Compiles the front end only, as an export does: that is where the pass runs."""
    arguments = network._get_compile_args(inputs)
    _cell_graph_executor.compile(network, *arguments, phase="export.mindir.ifa_fusion", do_convert=False)
