"""What kinds of Python values the arguments are."""

from __future__ import annotations

from mindspore import dtype as mstype

from ifa_fusion._operands import Operand, RuntimeValue, TensorSpec
from ifa_fusion._validation.call import Call, has_runtime_type, is_int
from ifa_fusion._validation.refusal import refuse, text_of

_SCALE_TYPES = (mstype.float16, mstype.float32, mstype.float64)  # those that MindSpore turns into a float

RANKS = {"BSH": 3, "BNSD": 4}
"""The layouts, and the rank that query, key and value have in them."""


def check_kinds(call: Call) -> None:
    """Check that every argument is what the signature says: a tensor, a list of one, an int, a str."""
    _check_scalars(call)
    _check_tensor_kinds(call)
    _check_layout_name(call)
    _check_single_tensors(call)


def _check_scalars(call: Call) -> None:
    for name in ("num_heads", "num_key_value_heads", "block_size", "inner_precise"):
        operand = getattr(call, name)
        if not is_int(operand) and not has_runtime_type(operand, mstype.int64):
            refuse(TypeError, name, "an int", text_of(operand))
    scale = call.scale_value
    is_float_tensor = isinstance(scale, TensorSpec) and not scale.shape and scale.dtype in _SCALE_TYPES
    if not isinstance(scale, float) and not has_runtime_type(scale, mstype.float32) and not is_float_tensor:
        refuse(TypeError, "scale_value", "a float", text_of(scale))
    if not isinstance(call.input_layout, str):
        refuse(TypeError, "input_layout", "a str, 'BSH' or 'BNSD'", text_of(call.input_layout))


def _check_tensor_kinds(call: Call) -> None:
    if not isinstance(call.query, TensorSpec):
        refuse(TypeError, "query", "a Tensor", text_of(call.query))
    for name in ("key", "value"):
        operand = getattr(call, name)
        if isinstance(operand, RuntimeValue):
            continue
        if not isinstance(operand, tuple) or not all(isinstance(element, TensorSpec) for element in operand):
            refuse(TypeError, name, "a list or tuple of one Tensor", text_of(operand))
    for name in (
        *("attn_mask", "pse_shift", "dequant_scale1", "dequant_scale2", "quant_scale1"),
        *("quant_scale2", "quant_offset2", "antiquant_scale", "antiquant_offset"),
        *("block_table", "kv_padding_size"),
    ):
        operand = getattr(call, name)
        if operand is not None and not isinstance(operand, TensorSpec):
            refuse(TypeError, name, "a Tensor or None", text_of(operand))
    _check_lengths_kind(call.actual_seq_lengths)


def _check_lengths_kind(lengths: Operand) -> None:
    if lengths is None or isinstance(lengths, TensorSpec | RuntimeValue):
        return
    if not isinstance(lengths, tuple) or not all(
        is_int(element) or has_runtime_type(element, mstype.int64) for element in lengths
    ):
        allowed = "None, a Tensor of Int32 or Int64, or a list or tuple of int"
        refuse(TypeError, "actual_seq_lengths", allowed, text_of(lengths))


def _check_layout_name(call: Call) -> None:
    if call.input_layout.upper() not in RANKS:
        refuse(ValueError, "input_layout", "'BSH' or 'BNSD'", repr(call.input_layout))


def _check_single_tensors(call: Call) -> None:
    for name in ("key", "value"):
        operand = getattr(call, name)
        if isinstance(operand, tuple) and len(operand) != 1:
            refuse(RuntimeError, name, "a list or tuple of exactly one Tensor", f"{len(operand)} Tensors")
