"""Head counts, shapes and lengths. A dimension that only the run will tell agrees with every other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ifa_fusion._operands import UNKNOWN_DIMENSION, Operand, TensorSpec, agrees, dimension, known_dimensions
from ifa_fusion._validation.call import Call, is_int, tensor_of
from ifa_fusion._validation.kinds import RANKS
from ifa_fusion._validation.paging import check_paging, paged_layout
from ifa_fusion._validation.quantisation import check_antiquantisation, check_output_quantisation
from ifa_fusion._validation.refusal import refuse, text_of
from ifa_fusion.errors import IfaValueError

# Limits of the operator, not of one device's kernel: a call within them runs wherever the operator does.
_MAX_BATCH = 65536
_MAX_KV_HEADS = 256
_MAX_GROUP = 64
_MAX_HEAD_SIZE = 512


def check_head_counts(call: Call) -> None:
    """Check the numbers that others are divided by, before anything is."""
    if is_int(call.num_heads) and call.num_heads <= 0:
        refuse(RuntimeError, "num_heads", "greater than 0", call.num_heads)
    if is_int(call.num_key_value_heads) and call.num_key_value_heads < 0:
        refuse(
            RuntimeError,
            "num_key_value_heads",
            "0 (as many as num_heads) or greater",
            call.num_key_value_heads,
        )
    if is_int(call.inner_precise) and call.inner_precise not in (0, 1):
        refuse(RuntimeError, "inner_precise", "0 or 1", call.inner_precise)


@dataclass(slots=True)
class _Sizes:
    """What the shapes say. None: only the run will tell."""

    batch: int | None
    heads: int
    kv_heads: int
    kv_length: int | None
    paged: bool


def check_shapes(call: Call) -> None:
    """Check every shape, the lengths that are constants, and the operator's limits."""
    if not is_int(call.num_heads) or not is_int(call.num_key_value_heads):
        return  # the kernel checks what the run decides
    heads = call.num_heads
    kv_heads = call.num_key_value_heads or heads
    layout = call.input_layout.upper()
    paged = call.block_table is not None
    cache_layout = paged_layout(call) if paged else layout
    query, key, value = call.query, tensor_of(call.key), tensor_of(call.value)
    _check_rank("query", query, layout)
    _check_rank("key", key, cache_layout)
    _check_rank("value", value, cache_layout)
    head_size = _query_head_size(query, layout, heads)
    kv_head_size = None if cache_layout is None else _cache_head_size(call, key, cache_layout, kv_heads)
    _check_group(heads, kv_heads)
    if head_size is not None:
        _check_head_sizes(call, head_size, kv_head_size)
    position = 1 if layout == "BSH" else 2
    if dimension(query, position) not in (None, 1):
        form = "(B, 1, H)" if layout == "BSH" else "(B, N, 1, D)"
        refuse(RuntimeError, "query", f"of shape {form}", query.shape)
    kv_length = check_paging(call, cache_layout) if paged else dimension(key, position)
    sizes = _Sizes(dimension(query, 0), heads, kv_heads, kv_length, paged)
    _check_pse_shift(call.pse_shift, sizes)
    _check_mask(call.attn_mask, sizes)
    _check_lengths(call.actual_seq_lengths, sizes)
    _check_padding(call.kv_padding_size)
    _check_key_and_value(key, value, sizes)
    known_head_size = kv_head_size if head_size is None else head_size
    check_antiquantisation(call, kv_heads, known_head_size)
    check_output_quantisation(call, heads, known_head_size)
    _check_limits(call, sizes)


def _check_rank(name: str, tensor: TensorSpec | None, layout: str | None) -> None:
    if tensor is None or tensor.shape is None or layout is None:
        return
    if len(tensor.shape) != RANKS[layout]:
        refuse(RuntimeError, name, f"of rank {RANKS[layout]} in layout {layout}", f"shape {tensor.shape}")
    if 0 in tensor.shape:
        refuse(RuntimeError, name, "a Tensor with elements", f"shape {tensor.shape}")


def _query_head_size(query: TensorSpec, layout: str, heads: int) -> int | None:
    if layout == "BNSD":
        if dimension(query, 1) not in (None, heads):
            allowed = f"of shape (B, num_heads, 1, D) with num_heads = {heads}"
            refuse(RuntimeError, "query", allowed, query.shape)
        return dimension(query, 3)
    hidden = dimension(query, 2)
    if hidden is not None and hidden % heads:
        refuse(IfaValueError, "num_heads", f"a divisor of query's last dimension, {hidden}", heads)
    return None if hidden is None else hidden // heads


def _cache_head_size(call: Call, key: TensorSpec | None, layout: str, kv_heads: int) -> int | None:
    name = "num_key_value_heads" if call.num_key_value_heads else "num_heads"
    if layout == "BNSD":
        if key is not None and dimension(key, 1) not in (None, kv_heads):
            refuse(RuntimeError, "key", f"of shape (B, {name}, S, D) with {name} = {kv_heads}", key.shape)
        return dimension(key, 3)
    hidden = dimension(key, 2)
    if hidden is not None and hidden % kv_heads:
        refuse(RuntimeError, name, f"a divisor of key's last dimension, {hidden}", kv_heads)
    return None if hidden is None else hidden // kv_heads


def _check_group(heads: int, kv_heads: int) -> None:
    if heads % kv_heads:
        refuse(IfaValueError, "num_heads", f"a multiple of num_key_value_heads, {kv_heads}", heads)


def _check_head_sizes(call: Call, head_size: int, kv_head_size: int | None) -> None:
    if kv_head_size not in (None, head_size):
        given = f"{kv_head_size} in {text_of(tensor_of(call.key))}"
        refuse(RuntimeError, "key", f"of the head size of 'query', {head_size}", given)
    if head_size > _MAX_HEAD_SIZE:
        given = f"{head_size} in {text_of(call.query)}"
        refuse(RuntimeError, "query", f"of a head size of at most {_MAX_HEAD_SIZE}", given)


def _check_pse_shift(pse_shift: TensorSpec | None, sizes: _Sizes) -> None:
    if pse_shift is None or pse_shift.shape is None:
        return
    form = "of shape (B, N, 1, S) or (1, N, 1, S)"
    if len(pse_shift.shape) != 4:
        refuse(RuntimeError, "pse_shift", form, pse_shift.shape)
    batch = dimension(pse_shift, 0)
    expected = (batch if batch == 1 else sizes.batch, sizes.heads, 1)
    if not _matches_rows(pse_shift.shape, expected, sizes):
        refuse(RuntimeError, "pse_shift", f"{form} with B, N, S = {_size_text(sizes)}", pse_shift.shape)


def _check_mask(mask: TensorSpec | None, sizes: _Sizes) -> None:
    if mask is None or mask.shape is None:
        return
    rank = len(mask.shape)
    if rank not in (2, 3, 4) or not _matches_rows(mask.shape, (sizes.batch, *[1] * (rank - 2)), sizes):
        form = "of shape (B, S), (B, 1, S) or (B, 1, 1, S)"
        refuse(RuntimeError, "attn_mask", f"{form} with B, N, S = {_size_text(sizes)}", mask.shape)


def _matches_rows(shape: tuple[int, ...], expected: tuple[int | None, ...], sizes: _Sizes) -> bool:
    """Whether a shape is the expected one, then S; with a block table, S or more."""
    row = shape[-1]
    longer = sizes.paged and sizes.kv_length is not None and row > sizes.kv_length
    return agrees(shape, (*expected, row if longer else sizes.kv_length))


def _size_text(sizes: _Sizes) -> str:
    text = ", ".join("?" if n is None else str(n) for n in (sizes.batch, sizes.heads, sizes.kv_length))
    return f"{text} or more" if sizes.paged else text


def _check_lengths(lengths: Operand, sizes: _Sizes) -> None:
    if isinstance(lengths, tuple):
        shape: tuple[int, ...] | None = (len(lengths),)
    else:
        shape = lengths.shape if isinstance(lengths, TensorSpec) else None
    if shape is None:
        return
    if len(shape) != 1 or (sizes.batch is not None and shape[0] not in (1, sizes.batch, UNKNOWN_DIMENSION)):
        batch = "?" if sizes.batch is None else sizes.batch
        refuse(IfaValueError, "actual_seq_lengths", f"of shape (1,) or (B,) with B = {batch}", f"shape {shape}")
    for index, length in _known_lengths(lengths):
        if length < 0 or (sizes.kv_length is not None and length > sizes.kv_length):
            allowed = f"between 0 and S = {sizes.kv_length}"
            refuse(RuntimeError, "actual_seq_lengths", allowed, f"{length} at index {index}")


def _known_lengths(lengths: Operand) -> Iterator[tuple[int, int]]:
    if isinstance(lengths, tuple):
        yield from ((index, length) for index, length in enumerate(lengths) if is_int(length))


def _check_padding(padding: TensorSpec | None) -> None:
    if padding is not None and padding.shape not in (None, (), (1,), (UNKNOWN_DIMENSION,)):
        refuse(RuntimeError, "kv_padding_size", "of shape () or (1,)", f"shape {padding.shape}")


def _check_key_and_value(key: TensorSpec | None, value: TensorSpec | None, sizes: _Sizes) -> None:
    if key is None or key.shape is None:
        return
    if value is not None and value.shape is not None and not agrees(value.shape, known_dimensions(key.shape)):
        refuse(RuntimeError, "value", f"of the shape of 'key', {key.shape}", value.shape)
    if not sizes.paged and sizes.batch is not None and dimension(key, 0) not in (None, sizes.batch):
        refuse(RuntimeError, "key", f"of query's batch size, {sizes.batch}", f"shape {key.shape}")


def _check_limits(call: Call, sizes: _Sizes) -> None:
    if sizes.heads // sizes.kv_heads > _MAX_GROUP:
        allowed = f"at most {_MAX_GROUP} times num_key_value_heads, {sizes.kv_heads}"
        refuse(RuntimeError, "num_heads", allowed, sizes.heads)
    if sizes.kv_heads > _MAX_KV_HEADS:
        name, allowed = "num_key_value_heads", f"at most {_MAX_KV_HEADS}"
        if call.num_key_value_heads == 0:
            name, allowed = "num_heads", f"{allowed} without num_key_value_heads"
        refuse(RuntimeError, name, allowed, sizes.kv_heads)
    if sizes.batch is not None and sizes.batch > _MAX_BATCH:
        refuse(RuntimeError, "query", f"of a batch size of at most {_MAX_BATCH}", text_of(call.query))
