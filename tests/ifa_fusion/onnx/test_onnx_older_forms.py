"""Operators as older operator sets have them: axes as attributes, softmax over a matrix; against onnxruntime."""

from collections.abc import Iterator
from pathlib import Path

import mindspore as ms
import numpy as np
import onnx.parser
import onnxruntime
import pytest
from mindspore import Tensor

import ifa_fusion.onnx

MODELS = {
    11: """
        (float[2, 3, 4] x, float[4, 6] w, float[1, 3, 1] row, int64[n, m] i)
        => (float[a] p0, float[b] p1, float[c] p2, float[d] p3, float[e] sums, float[f] means, float[g] norms,
            float[h] most, float[h] least, float[j] logs, float[k] total, float[l] squeezed, float[o] stretched,
            float[q] first, float[r] second, float[s] half, float[t] other, float[u] held, float[v] padded,
            float[y] top, int64[z] places, int64[z] index, float[z] kept, float[z] product, float[z] flat, int64[z] all)
        <float low = {-0.5}, float high = {0.5}, int64[6] pads = {0, 1, -1, 0, 0, 2}, float fill = {2.0},
         int64[1] k = {2}> {
            p0 = Softmax(x)
            p1 = Softmax<axis = -1>(x)
            p2 = LogSoftmax<axis = 0>(x)
            p3 = LogSoftmax<axis = -2>(x)
            sums = ReduceSum<axes = [1], keepdims = 0>(x)
            means = ReduceMean<axes = [-1, 0]>(x)
            norms = ReduceL2<axes = [0, 1]>(x)
            most = ReduceMax<axes = [-2]>(x)
            least = ReduceMin<axes = [-2], keepdims = 0>(x)
            logs = ReduceLogSumExp<axes = [2]>(x)
            total = ReduceSum(x)
            squeezed = Squeeze<axes = [0, -1]>(row)
            stretched = Unsqueeze<axes = [0, -1]>(x)
            first, second = Split<axis = 1, split = [1, 2]>(x)
            half, other = Split<axis = -1>(x)
            held = Clip(x, low, high)
            padded = Pad(x, pads, fill)
            top, places = TopK<axis = 1, largest = 0>(x, k)
            index = ArgMax<axis = -1, keepdims = 0>(x)
            kept = Dropout<ratio = 0.5>(x)
            matrix = ReduceMax<axes = [0], keepdims = 0>(x)
            product = Gemm<transA = 1, transB = 1, alpha = 0.5, beta = 2.0>(w, matrix, fill)
            flat = Flatten<axis = -1>(x)
            all = Squeeze(i)
        }""",
    13: """
        (float[2, 3, 4] x) => (float[a] p, float[b] means, float[c] most, float[d] sums, float[e] same, float[f] part)
        <int64[1] axes = {1}, int64[1] start = {-1}, int64[1] end = {-100}, int64[1] back = {-2}> {
            p = Softmax<axis = 0>(x)
            means = ReduceMean<axes = [1], keepdims = 0>(x)
            most = ReduceMax(x)
            sums = ReduceSum<keepdims = 0>(x, axes)
            same = ReduceSum<noop_with_empty_axes = 1>(x)
            part = Slice(x, start, end, axes, back)
        }""",
}


@pytest.fixture(autouse=True)
def graph_mode() -> Iterator[None]:
    ms.set_context(mode=ms.GRAPH_MODE)
    yield
    ms.set_context(mode=ms.PYNATIVE_MODE)


@pytest.mark.parametrize("opset", MODELS)
def test_results(opset: int, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]> main {MODELS[opset]}')
    for output in model.graph.output:  # the shapes are onnxruntime's to find
        output.type.tensor_type.ClearField("shape")
    onnx.save(model, path)
    random = np.random.default_rng(0)
    session = onnxruntime.InferenceSession(path)
    fed = [
        random.standard_normal(value.shape).astype(np.float32)
        if value.type == "tensor(float)"
        else random.integers(0, 9, (1, 5))
        for value in session.get_inputs()
    ]
    expected = session.run(None, dict(zip([value.name for value in session.get_inputs()], fed, strict=True)))
    results = ifa_fusion.onnx.load(path, dims={"n": 1, "m": 5} if opset == 11 else None)(*map(Tensor, fed))
    for output, got, wanted in zip(model.graph.output, results, expected, strict=True):
        np.testing.assert_allclose(got.asnumpy(), wanted, rtol=1e-5, atol=1e-6, err_msg=output.name)
        assert (got.shape, got.asnumpy().dtype) == (wanted.shape, wanted.dtype), output.name
