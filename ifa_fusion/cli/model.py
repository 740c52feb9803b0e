"""The network that MODEL names, and its inputs: those of a function, or made up from what a file declares."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mindspore as ms

from ifa_fusion import mindir
from ifa_fusion._compiling import Network
from ifa_fusion.cli.inputs import Declared, default_size, made_up


@dataclass(frozen=True)
class Model:
    """A network and what it takes.

    Attributes:
        network: A cell or a function.
        given: Its inputs, where they came with it.
        declared: What a file says of its inputs.
    """

    network: Network
    given: tuple[Any, ...] = ()
    declared: tuple[Declared, ...] = ()

    def to_compile(self) -> list[Any]:
        """Inputs with sizes that may be open."""
        return [*self.given, *(entry.tensor() for entry in self.declared)]

    def to_run(self) -> list[Any]:
        """Inputs with numbers. Says on standard error which sizes were taken for those that are open."""
        names = dict.fromkeys(size for entry in self.declared for size in entry.shape if isinstance(size, str))
        sizes = {name: default_size(name) for name in names}
        if sizes:
            taken = ",".join(f"{name}={size}" for name, size in sizes.items())
            print(f"The sizes that are open are taken as --dims '{taken}'; give others the same way.", file=sys.stderr)
        return [*self.given, *made_up([entry.bound(sizes) for entry in self.declared])]


def load(text: str, dims: Mapping[str, int], argument: str = "MODEL") -> Model:
    """The network that an argument names.

    Args:
        text: A .mindir or .onnx file, or package.module:function.
        dims: Sizes of open dimensions by name.
        argument: What errors call it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file can't be read, the function can't be called or returns something else, or `dims` names
            no open dimension.
    """
    if text.endswith(".mindir"):
        return _mindir(Path(text), dims, argument)
    if text.endswith(".onnx"):
        return _onnx(Path(text), dims, argument)
    module, _, function = text.partition(":")
    is_module = all(part.isidentifier() for part in module.split(".")) and not module.endswith(".py")
    if not (is_module and function.isidentifier()):
        raise ValueError(
            f"{argument} is {text!r}; it must be a .mindir or .onnx file, or a function as package.module:function."
        )
    if dims:
        raise ValueError(f"--dims is for files; {argument} {text!r} is a function, which brings its own inputs.")
    return _function(module, function, f"{argument} is {text!r}, ")


@contextmanager
def refused_as(what: str) -> Iterator[None]:
    """Turns whatever a network raises into a ValueError of one sentence that begins with `what`."""
    try:
        yield
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[0].rstrip(".") if lines else "no reason given"
        # Where in the network it is, as MindSpore's compiler lists it below the reason.
        place = re.search(r"^# 0 In file (.+?:\d+),", str(error), re.MULTILINE)
        where = f", at {place[1]}" if place else ""
        raise ValueError(f"{what} ({type(error).__name__}: {reason}{where}); --debug shows all of it.") from error


def _mindir(path: Path, dims: Mapping[str, int], argument: str) -> Model:
    # MindSpore puts the graph's name before that of the argument.
    tensors = mindir.inputs_of(path, argument).items()
    declared = [Declared.of(name.rpartition(":")[2], tensor) for name, tensor in tensors]
    names = [size for entry in declared for size in entry.shape if isinstance(size, str)]
    if unknown := [name for name in dims if name not in names]:
        allowed = ", ".join(names) or "none"
        raise ValueError(f"--dims names {unknown[0]!r}; the sizes that {argument} {path} leaves open are: {allowed}.")
    network = ms.nn.GraphCell(ms.load(str(path)))
    return Model(network, declared=tuple(entry.bound(dims) for entry in declared))


def _onnx(path: Path, dims: Mapping[str, int], argument: str) -> Model:
    import onnx

    import ifa_fusion.onnx

    if not path.is_file():
        raise FileNotFoundError(f"{argument} must be an ONNX file, but there is no {path}.")
    try:
        network = ifa_fusion.onnx.load(path, dims)
    except ValueError as error:
        raise ValueError(f"{argument} is {str(path)!r}: {error}") from error
    graph = onnx.load(path, load_external_data=False).graph
    names = {value.name: [size.dim_param for size in value.type.tensor_type.shape.dim] for value in graph.input}
    tensors = zip(network.input_names, network.get_inputs() or (), strict=True)
    return Model(network, declared=tuple(Declared.of(name, tensor, names.get(name, ())) for name, tensor in tensors))


def _function(module: str, name: str, blamed: str) -> Model:
    sys.path.insert(0, "")  # the current folder, as for `python -m`
    try:
        with refused_as(f"{blamed}which can't be called"):
            made = getattr(importlib.import_module(module), name)()
    finally:
        sys.path.remove("")
    network, *inputs = made if isinstance(made, tuple) else (made,)
    if not (isinstance(network, ms.nn.Cell) or callable(network)):
        raise ValueError(
            f"{blamed}which must return an nn.Cell or a function, and its inputs, but gave {type(network).__name__}."
        )
    return Model(network, given=tuple(inputs))
