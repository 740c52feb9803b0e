"""Operators of onnxruntime's own domain but attention."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ifa_fusion.onnx.functions import attention as functions
from ifa_fusion.onnx.functions.normalisation import layer_normalisation
from ifa_fusion.onnx.functions.quantisation import matmul_of_blocks
from ifa_fusion.onnx.functions.rms import rms_normalisation
from ifa_fusion.onnx.functions.rotary import rotate, rows_at
from ifa_fusion.onnx.inference import inference
from ifa_fusion.onnx.operators.node import Node
from ifa_fusion.onnx.operators.table import Unsupported, operator

_DOMAIN = "com.microsoft"

_GELUS = {
    "BiasGelu": "{0} * 0.5 * (1 + ops.erf({0} * 0.7071067811865476))",
    "Gelu": "{0} * 0.5 * (1 + ops.erf({0} * 0.7071067811865476))",
    "FastGelu": "{0} * 0.5 * (1 + ops.tanh({0} * (0.7978845608028654 + 0.035677408136300125 * {0} * {0})))",
    "QuickGelu": "{0} * ops.sigmoid({alpha} * {0})",
}


@operator(*_GELUS, domain=_DOMAIN)
def gelu(node: Node) -> str:
    """The Gaussian error linear unit and its approximations, of a sum where a bias is given; in float32."""
    x = f"{node.tensor(0)} + {node.tensor(1)}" if node.has(1) else node.tensor(0)
    wide = node.let(f"ops.cast({x}, ms.float32)", "wide")
    written = _GELUS[node.op_type].format(wide, alpha=node.attribute("alpha", 1.702))
    return f"ops.cast({written}, {node.tensor(0)}.dtype)"


@operator("SkipSimplifiedLayerNormalization", "SkipLayerNormalization", domain=_DOMAIN)
def skip_normalization(node: Node) -> list[str]:
    """The normalised sum of an input and what skipped a layer, and the sum."""
    if node.wants(1) or node.wants(2):
        raise Unsupported("its outputs mean and inv_std_var are not supported")
    simplified = node.op_type == "SkipSimplifiedLayerNormalization"
    bias = 3 if simplified else 4
    added = [node.tensor(i) for i in (0, 1, bias) if node.has(i)]
    total, axis, epsilon = node.let(" + ".join(added), "sum"), node.rank(0) - 1, node.attribute("epsilon", 1e-12)
    if simplified:
        result = f"{node.function(rms_normalisation)}({total}, {node.tensor(2)}, ({axis},), {epsilon!r})"
    else:
        beta = node.tensor(3) if node.has(3) else "None"
        result = f"{node.function(layer_normalisation)}({total}, {node.tensor(2)}, {beta}, {axis}, {epsilon!r})[0]"
    return [result, "", "", total][: node.outputs]


@operator("RotaryEmbedding", domain=_DOMAIN)
def rotary_embedding(node: Node) -> str:
    """Rotary position embedding at given positions, of heads apart or side by side."""
    if node.attribute("is_packed_batching", 0) or node.attribute("scale", 1.0) != 1.0:
        raise Unsupported("packed batches and scaled rotary embeddings are not supported")
    flat, x, positions = node.rank(0) == 3, node.tensor(0), node.tensor(1)
    if flat:
        x = node.let(f"{node.function(functions.split_heads)}({x}, {_heads(node)})", "heads")
    if node.rank(1) < 2:
        positions = node.let(f"{positions}.reshape(1, 1) + ops.range(0, {x}.shape[2], 1)", "positions")
    angles = [f"{node.function(rows_at)}({node.tensor(i)}, {positions})" for i in (2, 3)]
    turned = f"{node.function(rotate)}({x}, {', '.join(angles)}, {bool(node.attribute('interleaved', 0))})"
    return f"{node.function(functions.merge_heads)}({turned})" if flat else turned


def _heads(node: Node) -> int:
    hidden, half = node.shape(0)[2], node.shape(2)[1]
    heads = node.attribute("num_heads", 0) or (hidden and half and hidden // (2 * half))
    if not heads:
        raise Unsupported("the number of its heads is not known")
    return heads


@operator("MatMulNBits", domain=_DOMAIN)
def matmul_n_bits(node: Node) -> str:
    """The product with a weight of 2, 4 or 8 bits, of which the network keeps 8."""
    bits, block = node.attribute("bits", 4), node.attribute("block_size")
    packed, scale = node.constant(1), node.constant(2)
    if packed is None or scale is None or node.has(4) or node.attribute("weight_prepacked", 0) or bits not in (2, 4, 8):
        raise Unsupported("its weights must be constants of 2, 4 or 8 bits in their own order")
    rows, middle = node.attribute("N"), 1 << bits - 1
    blocks = packed.size * 8 // bits // block // rows
    levels = (_unpack(packed.reshape(rows, -1), bits).astype(np.int16) - middle).astype(np.int8)
    weight = node.keep(levels.reshape(rows, blocks, block), f"{node.name}_weight")
    scales = node.keep(scale.reshape(rows, blocks, 1), f"{node.name}_scale")
    zero_points = _zero_points(node, bits, rows, blocks)
    product = f"{node.function(matmul_of_blocks)}({node.tensor(0)}, {weight}, {scales}, {zero_points})"
    return f"{product} + {node.tensor(5)}" if node.has(5) else product


def _zero_points(node: Node, bits: int, rows: int, blocks: int) -> str:
    if not node.has(3):
        return "None"
    value = node.constant(3)
    if value is None:
        raise Unsupported("its zero points must be constants")
    if value.dtype == np.uint8:
        value = _unpack(value.reshape(rows, -1), bits)[:, :blocks]
    return node.keep((value.astype(np.float32) - (1 << bits - 1)).reshape(rows, blocks, 1), f"{node.name}_zero_point")


def _unpack(packed: np.ndarray, bits: int) -> np.ndarray:
    """The numbers in the bytes of each row, those in the lower bits first."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    return (packed[..., None] >> shifts & np.uint8(2**bits - 1)).reshape(len(packed), -1)


@inference(*_GELUS, "RotaryEmbedding", domain=_DOMAIN)
def infer_elementwise(node: ir.Node) -> None:
    """Results like the first input."""
    _like(node, 0, node.inputs[0])


@inference("SkipSimplifiedLayerNormalization", "SkipLayerNormalization", domain=_DOMAIN)
def infer_skip_normalization(node: ir.Node) -> None:
    """Result and sum like the first input."""
    for i in (0, 3):
        _like(node, i, node.inputs[0])


@inference("MatMulNBits", domain=_DOMAIN)
def infer_matmul_n_bits(node: ir.Node) -> None:
    """Like the first input, but for the last size."""
    x = node.inputs[0]
    if x is not None and x.shape is not None:
        _like(node, 0, x)
        node.outputs[0].shape = ir.Shape([*x.shape[:-1], node.attributes.get_int("N")])


def _like(node: ir.Node, index: int, value: ir.Value | None) -> None:
    if index < len(node.outputs) and value is not None and value.dtype is not None:
        node.outputs[index].dtype, node.outputs[index].shape = value.dtype, value.shape
