"""The arguments of one call, described."""

from __future__ import annotations

from dataclasses import dataclass

from ifa_fusion._operands import Operand, RuntimeValue, TensorSpec


@dataclass(slots=True)
class Call:
    """A call's arguments, described; in the order of ``incre_flash_attention``."""

    query: Operand
    key: Operand
    value: Operand
    attn_mask: Operand
    actual_seq_lengths: Operand
    pse_shift: Operand
    dequant_scale1: Operand
    quant_scale1: Operand
    dequant_scale2: Operand
    quant_scale2: Operand
    quant_offset2: Operand
    antiquant_scale: Operand
    antiquant_offset: Operand
    block_table: Operand
    num_heads: Operand
    input_layout: Operand
    scale_value: Operand
    num_key_value_heads: Operand
    block_size: Operand
    inner_precise: Operand
    kv_padding_size: Operand


def is_int(operand: Operand) -> bool:
    """Whether the operand is an int whose value is known; a bool is none."""
    return isinstance(operand, int) and not isinstance(operand, bool)


def has_runtime_type(operand: Operand, dtype: object) -> bool:
    """Whether the operand is a value that only the run will tell, of the type."""
    return isinstance(operand, RuntimeValue) and operand.dtype == dtype


def tensor_of(sequence: Operand) -> TensorSpec | None:
    """Return the tensor in ``key`` or ``value``, if it is known."""
    return sequence[0] if isinstance(sequence, tuple) else None
