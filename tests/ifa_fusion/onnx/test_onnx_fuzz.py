"""Spoiled models give an OnnxError, a FileNotFoundError or a network; one that onnxruntime takes too gives the same."""

from __future__ import annotations

import contextlib
import faulthandler
import resource
from collections.abc import Iterator
from pathlib import Path

import mindspore as ms
import numpy as np
import onnx
import onnx_models
import onnx_mutations
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from mindspore import nn

from ifa_fusion.onnx import OnnxError, load

_SIZE = 2
"""Of every dimension that is not bound."""
_HANGS = 60
"""Seconds after which an import, which takes some milliseconds, counts as hanging and ends the process."""
_ROOM = 2 << 30
"""Bytes that onnxruntime may take for a model of a few kilobytes."""
_TO_INTEGERS = ("Cast", "QuantizeLinear", "DynamicQuantizeLinear")
_LARGEST = 1 << 31

seeded = settings(
    derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck), print_blob=False
)


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    """In PyNative mode each operator runs at once: nothing is compiled, so that many networks can be tried."""
    ms.set_context(mode=ms.PYNATIVE_MODE)
    onnxruntime.set_default_logger_severity(4)
    yield
    onnxruntime.set_default_logger_severity(2)


def imported(content: bytes, file: Path) -> nn.Cell | None:
    """The network of a file's content, None if it is refused."""
    file.write_bytes(content)
    faulthandler.dump_traceback_later(_HANGS, exit=True)
    try:
        return load(file)
    except (OnnxError, FileNotFoundError) as error:
        assert str(error).replace("\n", "").isprintable()
        return None
    finally:
        faulthandler.cancel_dump_traceback_later()


@contextlib.contextmanager
def limited_memory() -> Iterator[None]:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + _ROOM, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def are_integers_defined(file: Path, inputs: dict[str, np.ndarray]) -> bool:
    """Whether what becomes an integer is a number not too large for one: of others no rule says what they become."""
    model = onnx.load(file)
    floats = {node.input[0] for node in model.graph.node if node.op_type in _TO_INTEGERS}
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in floats)
    values = onnx_models.session_of(model.SerializeToString()).run(None, inputs) if floats else []
    return all(np.all(np.abs(value.astype(np.float64)) < _LARGEST) for value in values)


def answer(file: Path) -> tuple[dict[str, np.ndarray], list[np.ndarray]] | None:
    """Inputs and onnxruntime's outputs.

    None if it refuses the model, its inputs are large, their types others, or its integers not defined, and if inputs
    are empty: it ends the process on empty matrices of levels.
    """
    try:
        with limited_memory():
            session = onnx_models.session_of(file)
            sizes = [[_SIZE if not isinstance(s, int) else s for s in value.shape] for value in session.get_inputs()]
            if not all(0 < np.prod(shape, dtype=float) <= 10_000 for shape in sizes):
                return None
            names = {s: _SIZE for value in session.get_inputs() for s in value.shape if not isinstance(s, int)}
            inputs = onnx_models.inputs_of(file, names)
            if not are_integers_defined(file, inputs):
                return None
            return inputs, onnx_models.expected(file, inputs)
    except Exception:  # onnxruntime has a class for each way to fail
        return None


def check(content: bytes, file: Path) -> None:
    network = imported(content, file)
    if network is None:
        return
    known = answer(file)
    if known is None:
        return
    inputs, wanted = known
    for got, want in zip(onnx_models.outputs_of(network, inputs), wanted, strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


@given(content=onnx_mutations.bytes_of_models())
@settings(seeded, max_examples=200)
def test_spoiled_bytes(content, tmp_path_factory):
    check(content, tmp_path_factory.getbasetemp() / "bytes.onnx")


@given(model=onnx_mutations.spoiled_models())
@settings(seeded, max_examples=250)
def test_spoiled_models(model: onnx.ModelProto, tmp_path_factory):
    check(model.SerializeToString(), tmp_path_factory.getbasetemp() / "spoiled.onnx")


@pytest.mark.parametrize("name", sorted(onnx_mutations.MODELS))
def test_the_models_are_taken_before_they_are_spoiled(name, tmp_path):
    file = onnx_models.save(onnx_mutations.MODELS[name](), tmp_path / "model.onnx")
    assert imported(file.read_bytes(), file) is not None
    assert answer(file) is not None
    check(file.read_bytes(), file)
