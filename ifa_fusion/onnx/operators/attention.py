"""ONNX's own operators around attention: Attention and RotaryEmbedding."""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from ifa_fusion.onnx import types
from ifa_fusion.onnx.functions import attention as functions
from ifa_fusion.onnx.functions.rotary import rotate, rows_at
from ifa_fusion.onnx.operators.attending import Attended, Attending, write_attention
from ifa_fusion.onnx.operators.node import Node
from ifa_fusion.onnx.operators.table import Unsupported, operator

_QUERY, _KEY, _VALUE, _MASK, _PAST_KEY, _PAST_VALUE, _LENGTHS = range(7)


@operator("Attention")
def attention(node: Node) -> list[str]:
    """Scaled dot-product attention, with its cache before or in it.

    The softmax is in float32 even where `softmax_precision` asks for double: the scores have no more precision.
    """
    flat = node.rank(_QUERY) == 3
    heads = _heads(node, _QUERY, "q_num_heads")
    kv_heads = _heads(node, _KEY, "kv_num_heads")
    head_size = _head_size(node, _QUERY, heads)
    query = _in_heads(node, _QUERY, heads, "query")
    key = _with_past(node, _KEY, _PAST_KEY, kv_heads, "key")
    value = _with_past(node, _VALUE, _PAST_VALUE, kv_heads, "value")
    what = Attending(
        query,
        key,
        value,
        heads,
        kv_heads,
        head_size,
        _head_size(node, _VALUE, kv_heads),
        node.shape(_QUERY)[1 if flat else 2],
        node.attribute("scale", head_size**-0.5),
        lengths=node.tensor(_LENGTHS) if node.has(_LENGTHS) else None,
        softcap=node.attribute("softcap", 0.0),
        quantised="DequantizeLinear" in (node.producer(_KEY), node.producer(_VALUE)) and not node.has(_PAST_KEY),
    )
    if node.dtype(_QUERY) == ir.DataType.DOUBLE:
        raise Unsupported("attention in double precision is not supported")
    attended = write_attention(node, _masked(node, what), node.has(_MASK), node.wants(3))
    output = f"{node.function(functions.merge_heads)}({attended.output})" if flat else attended.output
    return [output, key, value, _products(node, attended)][: node.outputs]


def _heads(node: Node, index: int, attribute: str) -> int:
    heads = node.attribute(attribute) if node.rank(index) == 3 else node.shape(index)[1]
    if heads is None:
        raise Unsupported(f"the number of heads of its input {index} is not known")
    return heads


def _head_size(node: Node, index: int, heads: int) -> int:
    size = node.shape(index)[-1]
    if size is None:
        raise Unsupported(f"the head size of its input {index} is not known")
    return size // heads if node.rank(index) == 3 else size


def _in_heads(node: Node, index: int, heads: int, name: str) -> str:
    if node.rank(index) == 4:
        return node.tensor(index)
    return node.let(f"{node.function(functions.split_heads)}({node.tensor(index)}, {heads})", name)


def _with_past(node: Node, index: int, past: int, heads: int, name: str) -> str:
    new = _in_heads(node, index, heads, name)
    return node.let(f"ops.concat(({node.tensor(past)}, {new}), 2)", name) if node.has(past) else new


def _masked(node: Node, what: Attending) -> Attending:
    """With what the mask, the causal frontier and the window hide."""
    if node.has(_MASK):
        what = _with_mask(node, what)
    left, right = node.attribute("left_window_size", -1), node.attribute("right_window_size", -1)
    if node.attribute("is_causal", 0):
        right = 0
    new = node.shape(_KEY)[1 if node.rank(_KEY) == 3 else 2]
    ends_at_query = what.lengths is not None or (node.has(_PAST_KEY) and new == 1)
    if left < 0 and (right < 0 or (what.queries == 1 and ends_at_query)):
        return what
    offset = "0"
    if what.lengths is not None:
        offset = f"{what.lengths}.reshape(-1, 1, 1, 1) - {what.query}.shape[2]"
    elif node.has(_PAST_KEY):
        offset = f"{node.tensor(_PAST_KEY)}.shape[2]"
    seen = f"{node.function(functions.visible)}({what.query}.shape[2], {what.key}.shape[2], {offset}, {left}, {right})"
    return what.masked(node, seen)


def _with_mask(node: Node, what: Attending) -> Attending:
    mask, selects = node.tensor(_MASK), node.dtype(_MASK) == ir.DataType.BOOL
    if node.version >= 24 and (_keys(node) is None or node.shape(_MASK)[-1] != _keys(node)):
        filling = "False" if selects else "float('-inf')"
        mask = node.let(f"{node.function(functions.lengthen_mask)}({mask}, {what.key}.shape[2], {filling})", "mask")
    if not selects:
        return replace(what, bias=mask)
    return what.masked(node, mask, by_head=node.rank(_MASK) >= 3 and node.shape(_MASK)[-3] != 1)


def _keys(node: Node) -> int | None:
    """S, if it is known while importing."""
    new = node.shape(_KEY)[1 if node.rank(_KEY) == 3 else 2]
    past = node.shape(_PAST_KEY)[2] if node.has(_PAST_KEY) else 0
    return None if new is None or past is None else new + past


def _products(node: Node, attended: Attended) -> str:
    if not node.wants(3):
        return ""
    modes = [attended.scores, attended.capped, attended.masked, attended.weights]
    return f"{modes[node.attribute('qk_matmul_output_mode', 0)]}.astype({types.code(node.dtype(_QUERY))})"


@operator("RotaryEmbedding")
def rotary_embedding(node: Node) -> str:
    """Rotary position embedding, of heads apart or side by side."""
    x, flat = node.tensor(0), node.rank(0) == 3
    angles = [node.tensor(1), node.tensor(2)]
    if node.has(3):
        angles = [f"{node.function(rows_at)}({table}, {node.tensor(3)})" for table in angles]
    if flat:
        x = f"{node.function(functions.split_heads)}({x}, {node.attribute('num_heads')})"
    turned = f"{node.function(rotate)}({x}, {', '.join(angles)}, {bool(node.attribute('interleaved', 0))})"
    return f"{node.function(functions.merge_heads)}({turned})" if flat else turned
