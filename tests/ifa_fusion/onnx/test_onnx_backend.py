"""ONNX's own test cases of every operator that the importer has, in graph mode."""

import importlib
import itertools
import os
import pkgutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import mindspore as ms
import ml_dtypes
import numpy as np
import onnx
import pytest
from mindspore import Tensor
from onnx import numpy_helper
from onnx.backend.test.case import node as node_cases
from onnx.backend.test.case.test_case import TestCase
from onnx_comparing import merged

import ifa_fusion.onnx
from ifa_fusion.onnx.errors import OnnxError
from ifa_fusion.onnx.operators import writer_of

TYPES = {
    onnx.TensorProto.DataType.Value(name)
    for name in ["FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE", "INT8", "INT16", "INT32", "INT64", "UINT8", "BOOL"]
}
"""The types of inputs and outputs that are tested: those that text decoders have, of those that MindSpore has."""

STATIC = {
    *("axes", "axis", "repeats", "shape", "starts", "ends", "steps", "split", "pads", "k", "K", "depth"),
    *("constant_value", "training_mode", "ratio", "condition"),
}
"""The parameters that decoders hold as constants or compute from shapes, where ONNX's cases give them as inputs."""

REFUSED = {
    "must be a constant or computed from shapes": [
        "test_constantofshape_float_ones",
        "test_constantofshape_int_zeros",
        "test_constantofshape_int_shape_zero",
        "test_range_int32_type_negative_delta",
    ],
    "its limits are floats that are not constants": [
        "test_range_float_type_positive_delta",
        "test_range_float16_type_positive_delta",
        "test_range_bfloat16_type_positive_delta",
    ],
    "MindSpore's CPU has no scatter with the reduction": [
        "test_scatter_elements_with_reduction_mul",
        "test_scatter_elements_with_reduction_max",
        "test_scatter_elements_with_reduction_min",
    ],
    "it drops elements": [
        "test_training_dropout_default",
        "test_training_dropout_default_mask",
        "test_training_dropout",
        "test_training_dropout_mask",
    ],
}
"""What may be refused, and why: shapes that depend on values, which graphs need earlier; training; a CPU's gaps."""


def _modules() -> list[str]:
    """The modules of cases that are named after an operator of the importer."""
    schemas = {schema.name.lower(): schema.name for schema in onnx.defs.get_all_schemas()}
    names = [module.name for module in pkgutil.iter_modules(node_cases.__path__)]
    return [n for n in names if writer_of("", schemas.get(n.replace("_", "").removesuffix("op"), ""))]


def _cases(module: str) -> list[TestCase]:
    """The cases of a module that use only operators of the importer and types that are tested."""
    np.random.seed(0)
    known = len(node_cases._NodeTestCases)
    importlib.import_module(f"{node_cases.__name__}.{module}")
    return [case for case in node_cases._NodeTestCases[known:] if _is_claimed(case.model)]


@pytest.fixture(autouse=True)
def graph_mode() -> Iterator[None]:
    ms.set_context(mode=ms.GRAPH_MODE)
    yield
    ms.set_context(mode=ms.PYNATIVE_MODE)


def _is_claimed(model: onnx.ModelProto) -> bool:
    graph = model.graph
    values = [*graph.input, *graph.output]
    return all(value.type.tensor_type.elem_type in TYPES for value in values) and all(
        node.op_type == "Constant" or writer_of(node.domain, node.op_type) for node in graph.node
    )


def _is_static(node: onnx.NodeProto, position: int, version: int) -> bool:
    schema = onnx.defs.get_schema(node.op_type, version, node.domain)
    if node.op_type == "Where" or position >= len(schema.inputs):  # Where's condition is a tensor like others
        return False
    return schema.inputs[position].name in STATIC


def _with_constants(case: TestCase) -> tuple[onnx.ModelProto, list[np.ndarray]]:
    """The model with its static inputs as initialisers, and the values of the other inputs."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    opset = model.opset_import[0]
    opset.version = max(opset.version, 11)  # the cases of older operator sets are of operators that 11 has unchanged
    version = opset.version
    static = {
        name
        for node in model.graph.node
        for position, name in enumerate(node.input)
        if _is_static(node, position, version)
    }
    inputs = list(zip(model.graph.input, map(_value, case.data_sets[0][0]), strict=True))
    del model.graph.input[:]
    fed = []
    for value, array in inputs:
        if value.name in static:
            model.graph.initializer.append(numpy_helper.from_array(array, value.name))
        else:
            model.graph.input.append(value)
            fed.append(array)
    return model, fed


def _value(given: np.ndarray | onnx.TensorProto) -> np.ndarray:
    return numpy_helper.to_array(given) if isinstance(given, onnx.TensorProto) else np.asarray(given)


def _tensor(array: np.ndarray) -> Tensor:
    if array.dtype == ml_dtypes.bfloat16:
        return Tensor(array.astype(np.float32)).astype(ms.bfloat16)
    return Tensor(array)


def _array(tensor: Tensor) -> np.ndarray:
    if tensor.dtype == ms.bfloat16:
        return tensor.astype(ms.float32).asnumpy().astype(ml_dtypes.bfloat16)
    return tensor.asnumpy()


def _run(cases: Sequence[TestCase], folder: Path) -> Iterator[tuple[TestCase, list[np.ndarray]]]:
    """Imports all cases, of one operator set, as one network; gives the results of each."""
    models = {case.name: _with_constants(case) for case in cases}
    path = folder / "cases.onnx"
    onnx.save(merged({name: model for name, (model, _) in models.items()}), path)
    network = ifa_fusion.onnx.load(path)
    results = network(*(_tensor(array) for _, fed in models.values() for array in fed))
    results = list(results) if isinstance(results, tuple) else [results]
    for case in cases:
        yield case, [_array(results.pop(0)) for _ in case.model.graph.output]


def _check(case: TestCase, results: list[np.ndarray]) -> None:
    for got, expected in zip(results, case.data_sets[0][1], strict=True):
        expected = _value(expected)
        assert got.dtype == expected.dtype, case.name
        assert got.shape == expected.shape, case.name
        rounding = {2: 2 * float(ml_dtypes.finfo(expected.dtype).eps)} if expected.dtype.kind in "fV" else {}
        rtol = max(case.rtol, rounding.get(expected.dtype.itemsize, 0.0))
        wide = np.float64 if expected.dtype.kind in "fV" else expected.dtype
        np.testing.assert_allclose(
            got.astype(wide), expected.astype(wide), rtol=rtol, atol=case.atol, err_msg=case.name
        )


REASONS = {name: reason for reason, names in REFUSED.items() for name in names}


@pytest.fixture(scope="module")
def claimed() -> dict[str, list[TestCase]]:
    """By module the cases that are claimed.

    Those written out in other operators have every eighth of them in the usual run; IFA_TEST_ONNX=all takes all.
    """
    found = {module: _cases(module) for module in _modules()}
    expanded = [case.name for cases in found.values() for case in cases if case.name.endswith("_expanded")]
    left = set() if os.environ.get("IFA_TEST_ONNX") == "all" else {*expanded} - {*expanded[::8]}
    return {module: [case for case in cases if case.name not in left] for module, cases in found.items()}


def test_cases(claimed: dict[str, list[TestCase]], tmp_path: Path) -> None:
    by_version = defaultdict(list)
    for case in itertools.chain(*claimed.values()):
        if case.name not in REASONS:
            by_version[tuple((opset.domain, opset.version) for opset in case.model.opset_import)].append(case)
    for cases in by_version.values():
        for case, results in _run(cases, tmp_path):
            _check(case, results)
    for module, cases in claimed.items():
        print(f"{module}: {sum(case.name not in REASONS for case in cases)} cases pass")


def test_refused_cases(claimed: dict[str, list[TestCase]], tmp_path: Path) -> None:
    refused = [case for case in itertools.chain(*claimed.values()) if case.name in REASONS]
    assert {case.name for case in refused} == set(REASONS)
    for case in refused:
        with pytest.raises(OnnxError, match=REASONS[case.name]):
            list(_run([case], tmp_path))
