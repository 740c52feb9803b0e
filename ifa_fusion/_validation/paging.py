"""Paged caches: what a block table demands of the other arguments."""

from __future__ import annotations

from math import prod

from mindspore import dtype as mstype

from ifa_fusion._operands import UNKNOWN_DIMENSION, TensorSpec, dimension
from ifa_fusion._validation.call import Call, is_int, tensor_of
from ifa_fusion._validation.refusal import refuse

_BLOCK_ALIGNMENT = 16
_INT8_BLOCK_ALIGNMENT = 32
_MAX_BLOCK_SIZE = 512
_MAX_BLOCKS = 16 * 1024  # of a sequence
_MAX_HIDDEN = 65535  # kvN * D of a cache of rank 3
_MAX_ELEMENTS = 2**31 - 1  # of a cache


def paged_layout(call: Call) -> str | None:
    """Return the layout of the blocks, which the rank of the cache decides; None: only the run will tell."""
    key = tensor_of(call.key)
    if key is None or key.shape is None:
        return None
    layout = {3: "BSH", 4: "BNSD"}.get(len(key.shape))
    if layout is None:
        allowed = "of shape (blocks, block_size, kvH) or (blocks, kvN, block_size, D) with 'block_table'"
        refuse(RuntimeError, "key", allowed, f"shape {key.shape}")
    if layout == "BNSD" and call.input_layout.upper() == "BSH":
        allowed = "of shape (blocks, block_size, kvH) with 'block_table' in layout BSH"
        refuse(RuntimeError, "key", allowed, f"shape {key.shape}")
    return layout


def check_paging(call: Call, cache_layout: str | None) -> int | None:
    """Check all that is particular to a paged cache but its lengths.

    Returns:
        The positions that a sequence has room for, S; None: only the run will tell.
    """
    key = tensor_of(call.key)
    int8 = key is not None and key.dtype == mstype.int8
    _check_block_size(call.block_size, _INT8_BLOCK_ALIGNMENT if int8 else _BLOCK_ALIGNMENT)
    if call.actual_seq_lengths is None:
        refuse(RuntimeError, "actual_seq_lengths", "given with 'block_table'", None)
    if cache_layout is not None and key is not None and key.shape is not None:
        _check_cache(key, key.shape, cache_layout, call.block_size)
    _check_table(call.block_table, dimension(call.query, 0))
    blocks = dimension(call.block_table, 1)
    return blocks * call.block_size if blocks is not None and is_int(call.block_size) else None


def _check_block_size(block_size: object, alignment: int) -> None:
    if not isinstance(block_size, int):
        return
    if not alignment <= block_size <= _MAX_BLOCK_SIZE or block_size % alignment:
        allowed = f"a multiple of {alignment}, at most {_MAX_BLOCK_SIZE}, with 'block_table' and this cache"
        refuse(RuntimeError, "block_size", allowed, block_size)


def _check_cache(key: TensorSpec, shape: tuple[int, ...], layout: str, block_size: object) -> None:
    if isinstance(block_size, int) and dimension(key, 1 if layout == "BSH" else 2) not in (None, block_size):
        form = "(blocks, block_size, kvH)" if layout == "BSH" else "(blocks, kvN, block_size, D)"
        refuse(RuntimeError, "key", f"of shape {form} with block_size = {block_size}", f"shape {shape}")
    if layout == "BSH" and shape[2] > _MAX_HIDDEN:
        allowed = f"of a last dimension of at most {_MAX_HIDDEN} with 'block_table'"
        refuse(RuntimeError, "key", allowed, f"shape {shape}")
    if UNKNOWN_DIMENSION not in shape and prod(shape) > _MAX_ELEMENTS:
        refuse(RuntimeError, "key", f"of at most {_MAX_ELEMENTS} elements with 'block_table'", f"shape {shape}")


def _check_table(table: TensorSpec, batch: int | None) -> None:
    if table.shape is None:
        return
    allowed = f"of shape (B, blocks of a sequence) with B = {'?' if batch is None else batch}"
    if len(table.shape) != 2 or (batch is not None and dimension(table, 0) not in (None, batch)):
        refuse(RuntimeError, "block_table", allowed, f"shape {table.shape}")
    if not all(table.shape) or table.shape[1] > _MAX_BLOCKS:
        refuse(RuntimeError, "block_table", f"{allowed} and 1 to {_MAX_BLOCKS} blocks", f"shape {table.shape}")
