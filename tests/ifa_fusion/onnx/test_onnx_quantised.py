"""Quantised operators against onnxruntime, and int8 caches behind them."""

from __future__ import annotations

from collections.abc import Iterator

import mindspore as ms
import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_comparing import model_of_nodes, run_both, run_ours

import ifa_fusion

BATCH, HEADS, KV_HEADS, KEYS, SIZE = 2, 4, 2, 10, 16


@pytest.fixture(autouse=True)
def graph_mode(monkeypatch, tmp_path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    ms.set_context(mode=ms.GRAPH_MODE)
    ifa_fusion.report(reset=True)
    yield
    ms.set_context(mode=ms.PYNATIVE_MODE)


def random():
    return np.random.default_rng(0)


def levels(dtype, *shape):
    """Numbers of an integer type, both ends of its range among them."""
    info = np.iinfo(dtype)
    drawn = random().integers(info.min, info.max + 1, shape).astype(dtype)
    drawn.flat[:2] = info.min, info.max
    return drawn


def scales(*shape, dtype=np.float32):
    return (random().random(shape) * 0.05 + 0.01).astype(dtype)


X = np.concatenate((np.arange(-9, 9) * 0.05, [1e3, -1e3])).reshape(2, 5, 2).astype(np.float32)
"""Multiples of half a step of 0.1, and what saturates."""

STEP = np.array(0.1, np.float32)
QUANTIZE = {
    "int8": ([X, STEP, np.array(0, np.int8)], {}),
    "int8, zero point": ([X, STEP, np.array(-7, np.int8)], {}),
    "uint8 without zero point": ([X, STEP], {}),
    "uint8, axis": ([X, scales(5), levels(np.uint8, 5)], {"axis": 1}),
    "int8, axis from the end": ([X, scales(2), levels(np.int8, 2)], {"axis": -1}),
    "fp16": ([X.astype(np.float16), STEP.astype(np.float16), np.array(3, np.int8)], {}),
}
DEQUANTIZE = {
    "int8": ([levels(np.int8, 2, 5, 2), STEP], {}),
    "int8, zero point": ([levels(np.int8, 2, 5, 2), STEP, np.array(5, np.int8)], {}),
    "uint8, axis": ([levels(np.uint8, 2, 5, 2), scales(5), levels(np.uint8, 5)], {"axis": 1}),
    "int32": ([levels(np.int32, 2, 5) // 2**8, STEP], {}),
    "to fp16": ([levels(np.int8, 2, 5, 2), STEP.astype(np.float16), np.array(5, np.int8)], {}),
    "blocks": ([levels(np.int8, 2, 5, 2), scales(2, 3, 2), levels(np.int8, 2, 3, 2)], {"axis": 1, "block_size": 2}),
}
CASES = {("QuantizeLinear", name): case for name, case in QUANTIZE.items()} | {
    ("DequantizeLinear", name): case for name, case in DEQUANTIZE.items()
}


@pytest.mark.parametrize("constant", [True, False], ids=["constants", "inputs"])
def test_linear_quantisation(tmp_path, constant):
    nodes, feeds, weights = [], {}, {}
    for i, ((operator, _), (operands, attributes)) in enumerate(CASES.items()):
        names = [f"{name}_{i}" for name in ("x", "scale", "zero_point")[: len(operands)]]
        feeds[names[0]] = operands[0]
        (weights if constant else feeds).update(zip(names[1:], operands[1:], strict=True))
        nodes.append(helper.make_node(operator, names, [f"y_{i}"], **attributes))
    outputs = [name for node in nodes for name in node.output]
    both = run_both(tmp_path, model_of_nodes(nodes, feeds, outputs, weights), feeds)
    for case, ours, theirs in zip(CASES, both.ours, both.theirs, strict=True):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape), case
        np.testing.assert_allclose(ours.astype(np.float64), theirs.astype(np.float64), rtol=1e-6, err_msg=str(case))


@pytest.mark.parametrize("values", [X, X * 0, abs(X), -abs(X)], ids=["both signs", "zeros", "positive", "negative"])
def test_dynamic_quantisation(tmp_path, values):
    node = helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "scale", "zero_point"])
    run_both(tmp_path, model_of_nodes([node], {"x": values}, node.output), {"x": values}).assert_close(1e-6)


A = {np.int8: levels(np.int8, 2, 3, 4), np.uint8: levels(np.uint8, 2, 3, 4)}
B = {np.int8: levels(np.int8, 4, 5), np.uint8: levels(np.uint8, 4, 5)}
PRODUCTS = {
    "uint8, int8": [A[np.uint8], B[np.int8]],
    "zero points": [A[np.uint8], B[np.uint8], np.array(130, np.uint8), np.array(3, np.uint8)],
    "columns": [A[np.uint8], B[np.int8], np.array(130, np.uint8), levels(np.int8, 5)],
    "int8": [A[np.int8], B[np.int8], np.array(-128, np.int8), np.array(127, np.int8)],
}


@pytest.mark.parametrize("operands", PRODUCTS.values(), ids=PRODUCTS)
def test_integer_products(tmp_path, operands):
    feeds = dict(zip(("a", "b", "a_zero_point", "b_zero_point"), operands, strict=False))
    node = helper.make_node("MatMulInteger", list(feeds), ["y"])
    run_both(tmp_path, model_of_nodes([node], feeds, ["y"]), feeds).assert_close()


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_quantised_products(tmp_path, dtype):
    def point(*shape):
        return levels(dtype, *shape) // 16

    names = ["a", "a_scale", "a_zero_point", "b", "b_scale", "b_zero_point", "y_scale", "y_zero_point"]
    arrays = [A[dtype], scales(), dtype(3), B[dtype], scales(5), point(5), np.float32(0.9), dtype(7)]
    feeds = dict(zip(names, map(np.asarray, arrays), strict=True))
    node = helper.make_node("QLinearMatMul", names, ["y"])
    both = run_both(tmp_path, model_of_nodes([node], feeds, ["y"]), feeds)
    np.testing.assert_array_equal(both.ours[0], both.theirs[0])


PER_ROW = {"a vector": (3,), "a column for each matrix": (2, 3, 1)}


@pytest.mark.parametrize("shape", PER_ROW.values(), ids=PER_ROW)
def test_rows_of_products_have_their_own_scales_and_zero_points(tmp_path, shape):
    """Against ONNX's definition: onnxruntime takes them for columns alone."""
    a, b, column = A[np.uint8], B[np.uint8], np.s_[..., None] if len(shape) == 1 else np.s_[...]
    points, results = levels(np.uint8, *shape) // 2, levels(np.uint8, *shape)[::-1].copy() // 4
    scale, result_scale = scales(*shape), 50 * scales(*shape)[::-1].copy()
    feeds = {"a": a, "b": b, "scale": scale, "points": points, "results": results, "result_scale": result_scale}
    weights = {"b_scale": np.float32(0.03), "b_point": np.uint8(90)}
    nodes = [
        helper.make_node("MatMulInteger", ["a", "b", "points", "b_point"], ["exact"]),
        helper.make_node(
            "QLinearMatMul",
            ["a", "scale", "points", "b", "b_scale", "b_point", "result_scale", "results"],
            ["quantised"],
        ),
    ]
    ours = run_ours(tmp_path, model_of_nodes(nodes, feeds, ["exact", "quantised"], weights), feeds).ours
    exact = (a.astype(np.int64) - points.astype(np.int64)[column]) @ (b.astype(np.int64) - 90)
    np.testing.assert_array_equal(ours[0], exact)
    real = exact * scale.astype(np.float64)[column] * 0.03 / result_scale.astype(np.float64)[column]
    expected = np.clip(np.rint(real) + results[column], 0, 255)
    np.testing.assert_array_equal(ours[1], expected)
    assert 0 < np.count_nonzero(expected % 255) < expected.size  # some saturate, most do not


def cache_model(attention, per_channel, zero_point, dtype) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """Attention over an int8 cache behind DequantizeLinear, as one operator or in parts."""
    shape = (KV_HEADS,) if per_channel else ()
    feeds = {
        "query": random().standard_normal((BATCH, HEADS, 1, SIZE)).astype(dtype),
        "key_levels": levels(np.int8, BATCH, KV_HEADS, KEYS, SIZE),
        "value_levels": levels(np.int8, BATCH, KV_HEADS, KEYS, SIZE)[::-1].copy(),
    }
    weights, nodes = {}, []
    for name in ("key", "value"):
        weights[f"{name}_scale"] = scales(*shape, dtype=dtype)
        operands = [f"{name}_levels", f"{name}_scale"]
        if zero_point:
            weights[f"{name}_zero_point"] = np.full(shape, 11, np.int8)
            operands.append(f"{name}_zero_point")
        nodes.append(helper.make_node("DequantizeLinear", operands, [name], axis=1))
    if attention == "Attention":
        nodes.append(helper.make_node("Attention", ["query", "key", "value"], ["y"], scale=0.2))
    else:
        weights["scale"] = np.array(0.2, dtype)
        group = [BATCH, KV_HEADS, HEADS // KV_HEADS, SIZE]
        weights |= {"grouped": np.array(group), "whole": np.array([BATCH, HEADS, 1, SIZE])}
        nodes += [
            helper.make_node("Reshape", ["query", "grouped"], ["groups"]),
            helper.make_node("Transpose", ["key"], ["key_t"], perm=[0, 1, 3, 2]),
            helper.make_node("MatMul", ["groups", "key_t"], ["products"]),
            helper.make_node("Mul", ["products", "scale"], ["scores"]),
            helper.make_node("Softmax", ["scores"], ["weights"], axis=-1),
            helper.make_node("MatMul", ["weights", "value"], ["outputs"]),
            helper.make_node("Reshape", ["outputs", "whole"], ["y"]),
        ]
    return model_of_nodes(nodes, feeds, ["y"], weights, opset=23), feeds


@pytest.mark.parametrize("attention", ["Attention", "parts"])
@pytest.mark.parametrize(
    "per_channel, zero_point, dtype",
    [(False, False, np.float32), (True, False, np.float16), (True, True, np.float32)],
    ids=["per tensor", "per head, fp16", "zero points"],
)
def test_int8_caches_fold_into_the_kernel(tmp_path, attention, per_channel, zero_point, dtype):
    model, feeds = cache_model(attention, per_channel, zero_point, dtype)
    both = run_both(tmp_path, model, feeds)
    both.assert_close(1e-4 if dtype == np.float32 else 4e-3)
    ifa_fusion.report(reset=True)
    with ifa_fusion.fusion():
        fused = run_ours(tmp_path, model, feeds)
    (site,) = ifa_fusion.report().fused
    assert "int8 cache" in site.features
    np.testing.assert_allclose(
        fused.ours[0].astype(np.float64), both.theirs[0], rtol=1e-4 if dtype == np.float32 else 4e-3, atol=4e-3
    )
