"""Softmax and normalisation."""

from __future__ import annotations

from ifa_fusion.onnx.functions.normalisation import channels_scaled, layer_normalisation, log_softmax
from ifa_fusion.onnx.operators.integers import tuple_of
from ifa_fusion.onnx.operators.node import Node
from ifa_fusion.onnx.operators.precision import SUMS, narrowed, widened
from ifa_fusion.onnx.operators.table import Unsupported, operator


@operator("Softmax", "LogSoftmax")
def probabilities(node: Node) -> str:
    """Softmax over an axis; before operator set 13 over that and all behind it.

    MindSpore's own on a CPU gives wrong numbers for a whole tensor as soon as one row of it is -inf throughout, as the
    rows of padding are. It is written out in the network, whose line the pass then names for an attention.
    """
    axis = node.attribute("axis", -1 if node.version >= 13 else 1)
    axes = [axis] if node.version >= 13 else list(range(axis % node.rank(0), node.rank(0)))
    over = tuple_of(map(str, [-1] if axes == [node.rank(0) - 1] else axes))
    x = widened(node, node.tensor(0), node.dtype(0), SUMS)
    if node.op_type == "LogSoftmax":
        return narrowed(node, f"{node.function(log_softmax)}({x}, {over})", SUMS)
    exponentials = node.let(f"ops.exp({x} - ops.amax({x}, {over}, True))", "exponentials")
    return narrowed(node, f"{exponentials} / ops.sum({exponentials}, {over}, True)", SUMS)


@operator("LayerNormalization")
def layer_norm(node: Node) -> list[str]:
    """Normalisation over the last axes, scaled and shifted; on demand with the mean and the inverse deviation."""
    rank, epsilon = node.rank(0), node.attribute("epsilon", 1e-5)
    axis = node.attribute("axis", -1) % rank
    x, scale = (widened(node, node.tensor(i), node.dtype(i)) for i in range(2))
    bias = widened(node, node.tensor(2), node.dtype(2)) if node.has(2) else None
    sizes, statistics = node.shape(0)[axis:], node.wants(1) or node.wants(2)
    if not statistics and None not in sizes and all(node.shape(i) == sizes for i in range(1, len(node))):
        shift = bias or node.let(f"ops.zeros_like({scale})", "no_bias")
        return [narrowed(node, f"ops.LayerNorm({axis}, {axis}, {epsilon!r})({x}, {scale}, {shift})[0]")]
    function = node.function(layer_normalisation)
    results = node.let(f"{function}({x}, {scale}, {bias}, {axis}, {epsilon!r})", "normalised")
    return [narrowed(node, f"{results}[0]"), f"{results}[1]", f"{results}[2]"]


@operator("InstanceNormalization", "GroupNormalization")
def group_norm(node: Node) -> str:
    """Normalisation of groups of channels, each channel scaled and shifted."""
    channels = node.shape(0)[1]
    x, scale, bias = (widened(node, node.tensor(i), node.dtype(i)) for i in range(3))
    groups = node.attribute("num_groups", channels)
    if channels is None or groups is None:
        raise Unsupported("the number of its channels is not known")
    call = f"{node.function(channels_scaled)}({x}, {scale}, {bias}, {groups}, {node.attribute('epsilon', 1e-5)!r})"
    return narrowed(node, call)
