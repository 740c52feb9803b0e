"""MindIR in, fused MindIR out."""

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mindspore as ms
from google.protobuf.message import DecodeError
from mindspore.train import mind_ir_pb2

from ifa_fusion import _state
from ifa_fusion._state import FusionState
from ifa_fusion.report import Collector, Report

_TENSOR = mind_ir_pb2.TensorProto
_TYPES = {
    _TENSOR.FLOAT: ms.float32,
    _TENSOR.FLOAT16: ms.float16,
    _TENSOR.BFLOAT16: ms.bfloat16,
    _TENSOR.DOUBLE: ms.float64,
    _TENSOR.INT8: ms.int8,
    _TENSOR.UINT8: ms.uint8,
    _TENSOR.INT16: ms.int16,
    _TENSOR.INT32: ms.int32,
    _TENSOR.INT64: ms.int64,
    _TENSOR.BOOL: ms.bool_,
}


def fuse_mindir(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    strict: bool = False,
    target: str | None = None,
    ascend_kernel: str = "cann",
) -> Report:
    """Writes a MindIR in which the decode attention of another one is fused.

    The result holds the fused primitive: it runs on Ascend with MindSpore alone, and on a CPU, or with the AscendC
    kernel, in a process that has imported `ifa_fusion`.

    Args:
        source: The MindIR to read.
        destination: The file to write, ``.mindir``. It appears when it is complete, not before.
        strict: As for `enable`.
        target: The device that will run it, as for `enable`: "ascend" for a file that is made on a CPU for Ascend.
        ascend_kernel: As for `enable`.

    Returns:
        The sites of the graph.

    Raises:
        FileNotFoundError: If there is no file `source`, or no folder for `destination`.
        TypeError: If `strict` is not a bool.
        ValueError: If a path does not end in ``.mindir``, `destination` is a folder, `source` is no MindIR or has an
            input that is not a tensor, or `target` or `ascend_kernel` is unknown.
    """
    state = FusionState.checked(strict=strict, target=target, ascend_kernel=ascend_kernel)
    inputs = inputs_of(Path(source), "source")
    check_destination(Path(destination), "destination")
    network = ms.nn.GraphCell(ms.load(str(source)))
    return export_fused(network, list(inputs.values()), Path(destination), state)


def export_fused(
    network: ms.nn.Cell,
    inputs: Sequence[Any],
    destination: Path,
    state: FusionState,
    accept: Callable[[Report], bool] = lambda report: True,
) -> Report:
    """Writes a network as MindIR, compiled under a fusion state.

    Args:
        network: The network.
        inputs: What it takes. Tensors with unknown sizes do.
        destination: A path that `check_destination` passes. The file appears when it is complete, not before.
        state: How it is fused.
        accept: Whether the file shall be written, by the sites that were found.

    Returns:
        The sites of the network.
    """
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=".ifa_fusion-") as folder:
        with Collector() as seen, _state.switched(state, fresh=True):
            ms.export(network, *inputs, file_name=str(Path(folder, destination.stem)), file_format="MINDIR")
        if accept(seen.report):
            _move(Path(folder), destination)
    return seen.report


def check_destination(path: Path, argument: str) -> None:
    """Checks a file to be written before there is work to lose.

    Args:
        path: The file.
        argument: What errors call it.

    Raises:
        FileNotFoundError: If there is no folder for it.
        ValueError: If it does not end in ``.mindir`` or is a folder.
    """
    _check_suffix(path, argument)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{argument} must be in a folder that exists, but there is no {path.parent}.")
    if path.is_dir():
        raise ValueError(f"{argument} must be a file name, but {path} is a folder.")


def _check_suffix(path: Path, argument: str) -> None:
    if path.suffix != ".mindir":
        raise ValueError(f"{argument} must be a file name that ends in .mindir, but got {str(path)!r}.")


def inputs_of(path: Path, argument: str) -> dict[str, ms.Tensor]:
    """Tensors without data, of the shapes and types that the graph of a MindIR declares, by name.

    Args:
        path: The file.
        argument: What errors call it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it does not end in ``.mindir``, is no MindIR, or has an input that is not a tensor.
    """
    _check_suffix(path, argument)
    if not path.is_file():
        raise FileNotFoundError(f"{argument} must be a MindIR file, but there is no {path}.")
    model = mind_ir_pb2.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError:
        raise ValueError(f"{argument} must be a MindIR, but {path} can't be read as one.") from None
    if not model.graph.node:
        raise ValueError(f"{argument} must be a MindIR, but {path} holds no graph.")
    inputs = {}
    for value in model.graph.input:
        if len(value.tensor) != 1 or value.tensor[0].data_type not in _TYPES:
            raise ValueError(
                f"{argument} must take tensors only, but the input {value.name!r} of {path} is something else."
            )
        tensor = value.tensor[0]
        shape = [None if size < 0 else size for size in tensor.dims]
        init = None if None in shape else 0
        inputs[value.name] = ms.Tensor(shape=shape, dtype=_TYPES[tensor.data_type], init=init)
    return inputs


def _move(folder: Path, destination: Path) -> None:
    """Moves what an export wrote, the variables that large graphs have in files of their own first."""
    variables = f"{destination.stem}_variables"
    if (folder / variables).is_dir():
        shutil.rmtree(destination.parent / variables, ignore_errors=True)
        os.replace(folder / variables, destination.parent / variables)
    os.replace(folder / destination.name, destination)
