"""The attention operators of onnxruntime's own domain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from ifa_fusion.onnx.functions import attention as functions
from ifa_fusion.onnx.functions.cache import write_cache
from ifa_fusion.onnx.functions.rotary import rotate, rows_at
from ifa_fusion.onnx.inference import inference
from ifa_fusion.onnx.operators.attending import Attending, write_attention
from ifa_fusion.onnx.operators.node import Node
from ifa_fusion.onnx.operators.table import Unsupported, operator

_DOMAIN = "com.microsoft"

_GROUPED = {
    "key": 1,
    "value": 2,
    "past_key": 3,
    "past_value": 4,
    "seqlens_k": 5,
    "total_sequence_length": 6,
    "cos_cache": 7,
    "sin_cache": 8,
    "position_ids": 9,
    "attention_bias": 10,
    "head_sink": 11,
}
_GROUPED_REFUSED = {"k_scale": 12, "v_scale": 13, "q_norm_weight": 14, "k_norm_weight": 15, "query_seqlens": 16}
_MULTI_HEAD = {
    "key": 1,
    "value": 2,
    "bias": 3,
    "mask": 4,
    "attention_bias": 5,
    "past_key": 6,
    "past_value": 7,
    "past_sequence_length": 8,
    "cache_indirection": 9,
}
_MASKED_MULTI_HEAD = {
    "key": 1,
    "value": 2,
    "mask": 3,
    "attention_bias": 4,
    "past_key": 5,
    "past_value": 6,
    "past_sequence_length": 7,
    "beam_width": 8,
    "cache_indirection": 9,
    "bias": 10,
}


@operator("GroupQueryAttention", domain=_DOMAIN)
def group_query_attention(node: Node) -> list[str]:
    """Causal attention whose cache is right-padded: each sequence has its own length."""
    _refuse(node, _GROUPED_REFUSED, ("sliding_window_cache", "qk_output"), output=3)
    heads, kv_heads = node.attribute("num_heads"), node.attribute("kv_num_heads")
    packed = not node.has(_GROUPED["key"])
    head_size = _size(node) // (heads + 2 * kv_heads if packed else heads)
    query, key, value = _packed(node, heads, kv_heads) if packed else _unpacked(node, heads, kv_heads)
    queries = f"{query}.shape[2]"
    lengths = node.let(f"{node.tensor(_GROUPED['seqlens_k'])}.reshape(-1) + 1", "lengths")
    starts = node.let(f"ops.maximum({lengths} - {queries}, 0)", "starts")
    if node.attribute("do_rotary", 0):
        query, key = _rotated(node, query, key, starts)
    if node.has(_GROUPED["past_key"]):
        key, value = (_in_cache(node, _GROUPED[p], x, starts) for p, x in (("past_key", key), ("past_value", value)))
    what = Attending(
        query,
        key,
        value,
        heads,
        kv_heads,
        head_size,
        head_size,
        node.shape(0)[1],
        node.attribute("scale", 0.0) or head_size**-0.5,
        bias=_bias(node, _GROUPED["attention_bias"], key, node.has(_GROUPED["past_key"])),
        softcap=node.attribute("softcap", 0.0),
        sinks=_sinks(node, heads),
    )
    causal, left = node.attribute("causal", 1), node.attribute("local_window_size", -1) - 1
    if what.queries == 1 or not causal:
        what = replace(what, lengths=lengths)
    right = 0 if causal and what.queries != 1 else -1
    if left >= 0 or right >= 0:
        seen = node.function(functions.visible)
        offset = f"{starts}.reshape(-1, 1, 1, 1)"
        what = what.masked(node, f"{seen}({queries}, {key}.shape[2], {offset}, {max(left, -1)}, {right})")
    return _results(node, what)


@operator("MultiHeadAttention", domain=_DOMAIN)
def multi_head_attention(node: Node) -> list[str]:
    """Attention of as many KV heads as query heads, with the bias of the projections."""
    return _multi_head(node, _MULTI_HEAD)


@operator("DecoderMaskedMultiHeadAttention", domain=_DOMAIN)
def decoder_masked_multi_head_attention(node: Node) -> list[str]:
    """The same for one position, with a cache of a fixed length if that is asked for."""
    beams = node.has(_MASKED_MULTI_HEAD["beam_width"]) and node.constant(_MASKED_MULTI_HEAD["beam_width"])
    if beams is None or beams not in (False, 1):
        raise Unsupported("beams are not supported")
    return _multi_head(node, _MASKED_MULTI_HEAD)


def _multi_head(node: Node, at: dict[str, int]) -> list[str]:
    shared = node.attribute("past_present_share_buffer", 0)
    refused = {"cache_indirection": at["cache_indirection"]}
    _refuse(node, refused if shared else refused | {"past_sequence_length": at["past_sequence_length"]}, (), output=3)
    heads = node.attribute("num_heads")
    if node.rank(0) != 3 or (node.has(at["key"]) and node.rank(at["key"]) == 5):
        raise Unsupported("packed inputs of five dimensions are not supported")
    query, key, value, head_size, value_size = _projected(node, at, heads)
    lengths, offset = None, "0"
    if shared and node.has(at["past_key"]):
        past = node.let(
            f"ops.broadcast_to({node.tensor(at['past_sequence_length'])}.reshape(-1), ({query}.shape[0],))", "starts"
        )
        lengths = node.let(f"{past} + 1", "lengths")
        called = node.function(write_cache)
        key = node.let(f"{called}({node.tensor(at['past_key'])}, {key}, {past})", "key")
        value = node.let(f"{called}({node.tensor(at['past_value'])}, {value}, {past})", "value")
    elif node.has(at["past_key"]):
        offset = f"{node.tensor(at['past_key'])}.shape[2]"
        key = node.let(f"ops.concat(({node.tensor(at['past_key'])}, {key}), 2)", "key")
        value = node.let(f"ops.concat(({node.tensor(at['past_value'])}, {value}), 2)", "value")
    what = Attending(
        query,
        key,
        value,
        heads,
        heads,
        head_size,
        value_size,
        node.shape(0)[1],
        node.attribute("scale", 0.0) or head_size**-0.5,
        bias=_bias(node, at["attention_bias"], key, lengths is not None),
        lengths=lengths,
    )
    if node.has(at["mask"]):
        what = _padded(node, at["mask"], what)
    if node.attribute("unidirectional", 0) and not (what.queries == 1 and offset != "0"):
        seen = node.function(functions.visible)
        what = what.masked(node, f"{seen}({query}.shape[2], {key}.shape[2], {offset}, -1, 0)")
    return _results(node, what)


def _refuse(node: Node, inputs: dict[str, int], attributes: tuple[str, ...], output: int) -> None:
    found = [f"input {name}" for name, index in inputs.items() if node.has(index)]
    found += [f"attribute {name}" for name in attributes if node.attribute(name, 0)]
    if node.wants(output):
        found.append(f"output {output}")
    if found:
        raise Unsupported(f"its {', '.join(found)} {'is' if len(found) == 1 else 'are'} not supported")


def _size(node: Node) -> int:
    size = node.shape(0)[-1]
    if size is None:
        raise Unsupported("the hidden size of its query is not known")
    return size


def _packed(node: Node, heads: int, kv_heads: int) -> tuple[str, str, str]:
    called = node.function(functions.split_heads)
    every = node.let(f"{called}({node.tensor(0)}, {heads + 2 * kv_heads})", "query_key_value")
    return (
        node.let(f"{every}[:, :{heads}]", "query"),
        node.let(f"{every}[:, {heads}:{heads + kv_heads}]", "key"),
        node.let(f"{every}[:, {heads + kv_heads}:]", "value"),
    )


def _unpacked(node: Node, heads: int, kv_heads: int) -> tuple[str, str, str]:
    called = node.function(functions.split_heads)
    return (
        node.let(f"{called}({node.tensor(0)}, {heads})", "query"),
        node.let(f"{called}({node.tensor(1)}, {kv_heads})", "key"),
        node.let(f"{called}({node.tensor(2)}, {kv_heads})", "value"),
    )


def _projected(node: Node, at: dict[str, int], heads: int) -> tuple[str, str, str, int, int]:
    """Queries, keys and values in heads, their bias added, and the sizes of the heads of keys and values."""
    query, size = node.tensor(0), _size(node)
    if not node.has(at["key"]):
        size //= 3
        parts = [f"{query}[..., {i * size}:{(i + 1) * size}]" for i in range(3)]
        value_size = size
    else:
        parts = [query, node.tensor(at["key"]), node.tensor(at["value"])]
        last = node.shape(at["value"])[-1]
        if last is None:
            raise Unsupported("the hidden size of its value is not known")
        value_size = last if node.rank(at["value"]) == 3 else last * heads
    if node.has(at["bias"]):
        bias = node.tensor(at["bias"])
        slices = (f"[:{size}]", f"[{size}:{2 * size}]", f"[{2 * size}:]")
        in_heads = node.has(at["key"]) and node.rank(at["key"]) == 4
        parts = [
            part if i and in_heads else node.let(f"{part} + {bias}{which}", "projected")
            for i, (part, which) in enumerate(zip(parts, slices, strict=True))
        ]
    called = node.function(functions.split_heads)
    split = []
    for name, index, part in zip(("query", "key", "value"), (0, at["key"], at["value"]), parts, strict=True):
        in_heads = index > 0 and node.has(index) and node.rank(index) == 4
        split.append(part if in_heads else node.let(f"{called}({part}, {heads})", name))
    return split[0], split[1], split[2], size // heads, value_size // heads


def _rotated(node: Node, query: str, key: str, starts: str) -> tuple[str, str]:
    if node.has(_GROUPED["position_ids"]):
        positions = node.tensor(_GROUPED["position_ids"])
    else:
        positions = node.let(f"{starts}.reshape(-1, 1) + ops.range(0, {query}.shape[2], 1)", "positions")
    angles = ", ".join(
        node.let(f"{node.function(rows_at)}({node.tensor(_GROUPED[name])}, {positions})", name[:3])
        for name in ("cos_cache", "sin_cache")
    )
    interleaved = bool(node.attribute("rotary_interleaved", 0))
    called = node.function(rotate)
    return (
        node.let(f"{called}({query}, {angles}, {interleaved})", "query"),
        node.let(f"{called}({key}, {angles}, {interleaved})", "key"),
    )


def _in_cache(node: Node, past: int, new: str, starts: str) -> str:
    """The past with the new positions in it, as long as the total length or, if that is longer, as the past."""
    cache, length, total = node.tensor(past), node.shape(past)[2], _total(node)
    known = int(total) if total.isdigit() else None
    if length is None or known is None or known > length:
        if node.shape(0)[0] == 1 and length is not None and known == length + (node.shape(0)[1] or 0):
            return node.let(f"ops.concat(({cache}, {new}), 2)", "cache")
        larger = "max" if node.are_numbers(_GROUPED["total_sequence_length"]) else "ops.maximum"
        end = f"{larger}({total}, {cache}.shape[2])"
        cache = node.let(f"ops.concat(({cache}, {new}), 2)[:, :, :{end}]", "cache")
    return node.let(f"{node.function(write_cache)}({cache}, {new}, {starts})", "cache")


def _total(node: Node) -> str:
    index = _GROUPED["total_sequence_length"]
    if node.are_numbers(index):
        return node.numbers(index)[0]
    return node.tensor(index) if node.rank(index) == 0 else f"{node.tensor(index)}[0]"


def _bias(node: Node, index: int, key: str, fixed: bool) -> str | None:
    """The bias of the scores; in a cache of a fixed length it ends where the sequences do."""
    if not node.has(index):
        return None
    if not fixed:
        return node.tensor(index)
    called = node.function(functions.lengthen_mask)
    return node.let(f"{called}({node.tensor(index)}, {key}.shape[2], 0.0)", "bias")


def _sinks(node: Node, heads: int) -> str | None:
    if node.has(_GROUPED["head_sink"]):
        return node.tensor(_GROUPED["head_sink"])
    return node.keep(np.zeros(heads, np.float32), "sinks") if node.attribute("smooth_softmax", 0) else None


def _padded(node: Node, index: int, what: Attending) -> Attending:
    """With what a mask of integers hides by 0, or the lengths that it gives instead."""
    rank, mask = node.rank(index), node.tensor(index)
    if rank == 1:
        if node.shape(index)[0] is None or node.shape(index)[0] != node.shape(0)[0]:
            raise Unsupported("a mask of one dimension is supported as one length for each sequence of a known batch")
        return replace(what, lengths=mask)
    seen = f"ops.not_equal({mask}, 0)[:, None{', None' if rank == 2 else ''}]"
    if what.lengths is not None:
        seen = f"{node.function(functions.lengthen_mask)}({seen}, {what.key}.shape[2], False)"
    return what.masked(node, seen)


def _results(node: Node, what: Attending) -> list[str]:
    output = f"{node.function(functions.merge_heads)}({write_attention(node, what).output})"
    return [output, what.key, what.value][: node.outputs]


@inference("GroupQueryAttention", domain=_DOMAIN)
def infer_group_query_attention(node: ir.Node) -> None:
    """The output like the query without packed keys and values; the caches as long as `_in_cache` makes them."""
    query, past, total = node.inputs[0], node.inputs[3], node.inputs[6]
    if query is None or query.shape is None:
        return
    heads, kv_heads = (node.attributes.get_int(name) for name in ("num_heads", "kv_num_heads"))
    hidden: int | ir.SymbolicDim | None = query.shape[2]
    length: int | ir.SymbolicDim | None = query.shape[1]
    head_size = None
    if isinstance(hidden, int):
        head_size = hidden // (heads if node.inputs[1] is not None else heads + 2 * kv_heads)
        hidden = heads * head_size
    if past is not None:
        known = None if total is None or total.const_value is None else total.const_value.numpy().item()
        size = past.shape[2] if past.shape is not None else None
        length = max(size, known) if isinstance(size, int) and known is not None else None
    _set(node, 0, query.dtype, [query.shape[0], query.shape[1], hidden])
    for i in (1, 2):
        _set(node, i, past.dtype if past is not None else query.dtype, [query.shape[0], kv_heads, length, head_size])


@inference("MultiHeadAttention", "DecoderMaskedMultiHeadAttention", domain=_DOMAIN)
def infer_multi_head_attention(node: ir.Node) -> None:
    """The output as wide as the values, the caches as long as past and new keys together."""
    at = _MULTI_HEAD if node.op_type == "MultiHeadAttention" else _MASKED_MULTI_HEAD
    given = dict(enumerate(node.inputs))
    query, key, value, past = given[0], given.get(1), given.get(2), given.get(at["past_key"])
    if query is None or query.shape is None or len(query.shape) != 3:
        return
    heads = node.attributes.get_int("num_heads")
    sizes: list[int | None] = []
    for source, packed in (
        (query if key is None else key, key is None),
        (query if value is None else value, value is None),
    ):
        last = source.shape[-1] if source.shape is not None else None
        whole = 1 if len(source.shape or ()) == 4 else heads
        sizes.append(last // whole // (3 if packed else 1) if isinstance(last, int) else None)
    new = query.shape[1] if key is None or key.shape is None else key.shape[-2 if len(key.shape) == 4 else 1]
    length: int | ir.SymbolicDim | None = new
    if past is not None:
        size = past.shape[2] if past.shape is not None else None
        shared = node.attributes.get_int("past_present_share_buffer", 0)
        length = size if shared else size + new if isinstance(size, int) and isinstance(new, int) else None
    batch = query.shape[0]
    _set(node, 0, query.dtype, [batch, query.shape[1], None if sizes[1] is None else heads * sizes[1]])
    for i in (1, 2):
        _set(node, i, query.dtype, [batch, heads, length, sizes[i - 1]])


def _set(node: ir.Node, index: int, dtype: ir.DataType | None, shape: list[int | ir.SymbolicDim | None]) -> None:
    if index < len(node.outputs) and dtype is not None:
        node.outputs[index].dtype, node.outputs[index].shape = dtype, ir.Shape(shape)
