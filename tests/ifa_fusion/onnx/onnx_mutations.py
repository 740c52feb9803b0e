"""Valid ONNX models, and hypothesis strategies that spoil them a little."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx_models
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL

SIZES = st.sampled_from([0, 1, 2, 3, 4, 5, 8, -1, -2, 1 << 40, (1 << 63) - 1, -(1 << 63)])
TYPES = st.sampled_from([value for name, value in TensorProto.DataType.items()])


def _words(text: str) -> list[str]:
    return text.split()


OPERATORS = st.sampled_from(
    _words(
        "Add Mul Div MatMul Softmax Gather GatherND Reshape Transpose Concat Slice Split Squeeze Unsqueeze Expand "
        "Where Cast Equal ReduceSum ReduceMean Shape Size Range Tile Pad CumSum TopK ArgMax Einsum Gemm Pow Mod Clip "
        "LayerNormalization ScatterND ScatterElements ConstantOfShape Trilu OneHot Identity If Loop Constant "
        "NoSuchOperator QuantizeLinear DequantizeLinear MatMulNBits GroupQueryAttention Attention RotaryEmbedding"
    )
)

_KINDS = [
    _words(
        "Neg Abs Exp Relu Sigmoid Tanh Softplus Erf Sqrt Reciprocal Floor Ceil Sin Softmax LogSoftmax Identity Gelu"
    ),
    _words("Neg Abs Identity Sign"),
    _words("Add Sub Mul Div Pow Max Min Mean PRelu Mod"),
    _words("ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL2 ReduceLogSumExp ArgMax"),
    _words("Gather GatherElements GatherND"),
    _words("Squeeze Unsqueeze ReduceSum"),
    _words("Expand Reshape Tile"),
    _words("MatMul Gemm MatMulInteger"),
]
"""Operators that take the same inputs."""


def indexing() -> onnx.ModelProto:
    """Gathers, slices, splits, masks and reductions, as decoders have them around their attention."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["embedded"], axis=0),
        helper.make_node("Slice", ["embedded", "from", "to", "axes"], ["half"]),
        helper.make_node("Split", ["embedded", "parts"], ["left", "right"], axis=-1),
        helper.make_node("Concat", ["right", "left", "half"], ["joined"], axis=-1),
        helper.make_node("ReduceMean", ["joined"], ["mean"], keepdims=1, axes=[-1]),
        helper.make_node("Sub", ["joined", "mean"], ["centred"]),
        helper.make_node("Cast", ["mask"], ["allowed"], to=BOOL),
        helper.make_node("Unsqueeze", ["allowed", "last"], ["allowed_1"]),
        helper.make_node("Where", ["allowed_1", "centred", "floor"], ["masked"]),
        helper.make_node("CumSum", ["mask", "one"], ["positions"]),
        helper.make_node("Shape", ["masked"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["ones"], value=helper.make_tensor("", FLOAT, [1], [1.0])),
        helper.make_node("Trilu", ["ones"], ["lower"], upper=0),
        helper.make_node("Mul", ["masked", "lower"], ["y"]),
    ]
    weights = {
        "table": np.random.default_rng(1).standard_normal((10, 4)).astype(np.float32),
        "from": np.array([0]),
        "to": np.array([2]),
        "axes": np.array([2]),
        "parts": np.array([2, 2]),
        "last": np.array([-1]),
        "floor": np.float32(-1e9),
        "one": np.int64(1),
    }
    ids = (INT64, ["batch", "length"])
    return onnx_models.model_of(
        nodes,
        {"ids": ids, "mask": ids},
        {"y": (FLOAT, ["batch", "length", 6]), "positions": ids},
        weights,
        opset=17,
    )


def quantised() -> onnx.ModelProto:
    """Grouped attention as onnxruntime's tools write it, behind quantised weights of both kinds.

    The cache is not returned: nothing says what is behind an end.
    """
    random = np.random.default_rng(2)
    nodes = [
        helper.make_node("SimplifiedLayerNormalization", ["x", "norm"], ["normed"], epsilon=1e-5),
        helper.make_node("MatMulNBits", ["normed", "bits", "bit_scales"], ["query"], K=16, N=16, bits=4, block_size=16),
        helper.make_node("DequantizeLinear", ["levels", "scales", "points"], ["weight"], axis=1),
        helper.make_node("MatMul", ["normed", "weight"], ["key_value"]),
        helper.make_node("Split", ["key_value"], ["key", "value"], axis=-1, num_outputs=2),
        helper.make_node(
            "GroupQueryAttention",
            ["query", "key", "value", "past_key", "past_value", "last", "total"],
            ["y", "present_key", "present_value"],
            num_heads=2,
            kv_num_heads=1,
        ),
    ]
    for node in nodes:
        if node.op_type in ("MatMulNBits", "GroupQueryAttention"):
            node.domain = "com.microsoft"
    weights = {
        "norm": random.random(16, np.float32),
        "bits": random.integers(0, 256, (16, 1, 8), np.uint8),
        "bit_scales": random.random((16, 1), np.float32) * 0.1,
        "levels": random.integers(-128, 128, (16, 16), np.int8),
        "scales": random.random(16, np.float32) * 0.01,
        "points": random.integers(-9, 9, 16, np.int8),
        "last": np.array([2, 2], np.int32),
        "total": np.array(3, np.int32),
    }
    cache = (FLOAT, [2, 1, 2, 8])
    model = onnx_models.model_of(
        nodes,
        {"x": (FLOAT, [2, 1, 16]), "past_key": cache, "past_value": cache},
        {"y": (FLOAT, [2, 1, 16])},
        weights,
    )
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model


def levels() -> onnx.ModelProto:
    """Activations quantised over their range and with given scales, and the products of both kinds."""
    random = np.random.default_rng(3)
    nodes = [
        helper.make_node(
            "SkipSimplifiedLayerNormalization", ["x", "skip", "norm"], ["normed"], domain="com.microsoft", epsilon=1e-5
        ),
        helper.make_node("DynamicQuantizeLinear", ["normed"], ["levels", "scale", "point"]),
        helper.make_node("MatMulInteger", ["levels", "up", "point", "up_points"], ["product"]),
        helper.make_node("Cast", ["product"], ["whole"], to=FLOAT),
        helper.make_node("Mul", ["scale", "up_scales"], ["both"]),
        helper.make_node("Mul", ["whole", "both"], ["projected"]),
        helper.make_node("QuantizeLinear", ["projected", "a", "a_point"], ["quantised"]),
        helper.make_node(
            "QLinearMatMul", ["quantised", "a", "a_point", "down", "b", "b_point", "c", "c_point"], ["result"]
        ),
        helper.make_node("DequantizeLinear", ["result", "c", "c_point"], ["y"]),
    ]
    weights = {
        "norm": random.random(8, np.float32),
        "up": random.integers(-128, 128, (8, 6), np.int8),
        "up_points": random.integers(-9, 9, 6, np.int8),
        "up_scales": random.random(6, np.float32) * 0.01,
        "a": np.float32(0.02),
        "a_point": np.uint8(128),
        "down": random.integers(-128, 128, (6, 4), np.int8),
        "b": np.float32(0.01),
        "b_point": np.int8(3),
        "c": np.float32(0.05),
        "c_point": np.uint8(120),
    }
    kind = (FLOAT, ["batch", 3, 8])
    model = onnx_models.model_of(nodes, {"x": kind, "skip": kind}, {"y": (FLOAT, ["batch", 3, 4])}, weights, opset=21)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model


MODELS: dict[str, Callable[[], onnx.ModelProto]] = {
    "levels": levels,
    "linear": onnx_models.linear,
    "attention": onnx_models.attention,
    "indexing": indexing,
    "quantised": quantised,
}


@st.composite
def bytes_of_models(draw: st.DrawFn) -> bytes:
    """A model's file with a few bytes changed, taken out or put in."""
    content = bytearray(MODELS[draw(st.sampled_from(sorted(MODELS)))]().SerializeToString())
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(len(content) - 1, 0)))
        match draw(st.sampled_from(["change", "remove", "insert", "cut"])):
            case "change":
                content[place : place + 1] = bytes([draw(st.integers(0, 255))])
            case "remove":
                del content[place : place + draw(st.integers(1, 8))]
            case "insert":
                content[place:place] = draw(st.binary(min_size=1, max_size=8))
            case "cut":
                del content[place:]
    return bytes(content)


@st.composite
def spoiled_models(draw: st.DrawFn) -> onnx.ModelProto:
    """A model in which a few nodes, attributes, shapes, types or constants are others.

    Gentle changes come first: most of what they give is a valid model again.
    """
    model = MODELS[draw(st.sampled_from(sorted(MODELS)))]()
    for _ in range(draw(st.integers(1, 3))):
        draw(st.sampled_from(_GENTLE))(draw, model.graph)
    for _ in range(draw(st.integers(0, 2))):
        draw(st.sampled_from(_ROUGH))(draw, model.graph)
    return model


def _another_of_its_kind(draw: st.DrawFn, graph: onnx.GraphProto) -> None:
    """A node's operator becomes one that takes and gives the same."""
    known = [(node, kind) for node in graph.node for kind in _KINDS if node.op_type in kind]
    node, kind = draw(st.sampled_from(known))
    node.op_type = draw(st.sampled_from(kind))


def _other_numbers(draw: st.DrawFn, graph: onnx.GraphProto) -> None:
    """Axes, bounds and sizes move a little, weights take special values (not -0.0: MindSpore divides by it as by 0)."""
    weight = draw(st.sampled_from(list(graph.initializer)))
    values = numpy_helper.to_array(weight).copy()
    if values.dtype.kind in "iu":
        values = (values.astype(np.int64) + draw(st.integers(-2, 2))).astype(values.dtype)
    else:
        values.flat[: draw(st.integers(1, 9))] = draw(st.sampled_from([0.0, 1.5, -3.0, 1e-40, 1e30, np.inf, np.nan]))
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))


def _one_more_node(draw: st.DrawFn, graph: onnx.GraphProto) -> None:
    """An operator that keeps shape and type comes behind a node."""
    node = draw(st.sampled_from(list(graph.node)))
    kind = _KINDS[1] if node.op_type in ("Shape", "Gather", "CumSum") else _KINDS[0]
    result, node.output[0] = node.output[0], f"{node.output[0]} before"
    graph.node.append(helper.make_node(draw(st.sampled_from(kind)), [node.output[0]], [result]))


def _other_attribute(draw: st.DrawFn, graph: onnx.GraphProto) -> None:
    """An axis or a flag becomes another small number, a permutation another order."""
    known = [attribute for node in graph.node for attribute in node.attribute]
    if not known:
        return
    attribute = draw(st.sampled_from(known))
    if attribute.type == onnx.AttributeProto.INT:
        attribute.i = draw(st.integers(-3, 3))
    elif attribute.name == "perm":
        attribute.ints[:] = draw(st.permutations(attribute.ints))


def _names(graph: onnx.GraphProto) -> list[str]:
    results = [name for node in graph.node for name in node.output]
    return ["", "nothing", *(value.name for value in graph.input), *(w.name for w in graph.initializer), *results]


def _spoil_node(draw: st.DrawFn, graph: onnx.GraphProto) -> None:
    node = draw(st.sampled_from(list(graph.node)))
    match draw(st.sampled_from(["operator", "input", "more", "fewer", "output", "remove", "twice", "domain"])):
        case "operator":
            node.op_type = draw(OPERATORS)
        case "input" if node.input:
            node.input[draw(st.integers(0, len(node.input) - 1))] = draw(st.sampled_from(_names(graph)))
        case "more":
            node.input.append(draw(st.sampled_from(_names(graph))))
        case "fewer" if node.input:
            node.input.pop()
        case "output":
            node.output[0] = draw(st.sampled_from(_names(graph)))
        case "remove":
            graph.node.remove(node)
        case "twice":
            graph.node.append(node)
        case "domain":
            node.domain = draw(st.sampled_from(["ai.onnx", "com.microsoft", "nowhere"]))


def _spoil_attribute(draw: st.DrawFn, graph: onnx.GraphProto) -> None:
    node = draw(st.sampled_from(list(graph.node)))
    if node.attribute and draw(st.booleans()):
        node.attribute.pop()
    name = draw(st.sampled_from(["axis", "axes", "perm", "to", "keepdims", "value", "upper", "k", "num_heads", "odd"]))
    numbers = st.lists(SIZES, max_size=4)
    value = draw(st.one_of(SIZES, st.floats(width=32), st.text(max_size=3), numbers.filter(bool), TYPES))
    if all(attribute.name != name for attribute in node.attribute):
        node.attribute.append(helper.make_attribute(name, value))


def _spoil_value(draw: st.DrawFn, graph: onnx.GraphProto) -> None:
    kind = draw(st.sampled_from([*graph.input, *graph.output])).type.tensor_type
    match draw(st.sampled_from(["size", "name", "rank", "type", "none"])):
        case "size" if kind.shape.dim:
            draw(st.sampled_from(list(kind.shape.dim))).dim_value = draw(SIZES)
        case "name" if kind.shape.dim:
            draw(st.sampled_from(list(kind.shape.dim))).dim_param = draw(
                st.sampled_from(["batch", "a+b", "2**9**9", "("])
            )
        case "rank":
            kind.shape.dim.add(dim_value=2)
        case "type":
            kind.elem_type = draw(TYPES)
        case "none":
            kind.ClearField("shape")


def _spoil_weight(draw: st.DrawFn, graph: onnx.GraphProto) -> None:
    if not graph.initializer:
        return
    weight = draw(st.sampled_from(list(graph.initializer)))
    match draw(st.sampled_from(["size", "type", "data", "remove", "numbers", "rank"])):
        case "size" if weight.dims:
            weight.dims[draw(st.integers(0, len(weight.dims) - 1))] = draw(SIZES)
        case "type":
            weight.data_type = draw(TYPES)
        case "data":
            weight.raw_data = weight.raw_data[: draw(st.integers(0, len(weight.raw_data)))]
        case "remove":
            graph.initializer.remove(weight)
        case "numbers" if weight.data_type == INT64:
            values = numpy_helper.to_array(weight).copy()
            values[...] = draw(SIZES)
            weight.CopyFrom(numpy_helper.from_array(values, weight.name))
        case "rank":
            weight.dims.append(1)


_GENTLE = [_another_of_its_kind, _other_numbers, _one_more_node, _other_attribute]
_ROUGH = [_spoil_node, _spoil_attribute, _spoil_value, _spoil_weight]
