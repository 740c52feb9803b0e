"""The data types of the tensors."""

from __future__ import annotations

from mindspore import context
from mindspore import dtype as mstype

from ifa_fusion._operands import Operand, TensorSpec
from ifa_fusion._validation.call import Call, tensor_of
from ifa_fusion._validation.refusal import refuse, text_of

_HALF_TYPES = (mstype.float16, mstype.bfloat16)
_MASK_TYPES = (mstype.bool_, mstype.int8, mstype.uint8)
_LENGTH_TYPES = (mstype.int32, mstype.int64)


def check_dtypes(call: Call) -> None:
    """Check every data type, and that those agree that must."""
    for name in ("quant_scale2", "quant_offset2"):
        _check_dtype(name, getattr(call, name), (mstype.float32,))
    beside_query = (call.query.dtype == mstype.float32, "'query' of Float32")
    for name in ("antiquant_scale", "antiquant_offset", "pse_shift"):
        _check_float(name, getattr(call, name), *beside_query)
    _check_dtype("attn_mask", call.attn_mask, _MASK_TYPES)
    if isinstance(call.actual_seq_lengths, TensorSpec):
        _check_dtype("actual_seq_lengths", call.actual_seq_lengths, _LENGTH_TYPES)
    _check_dtype("block_table", call.block_table, (mstype.int32,))
    _check_dtype("kv_padding_size", call.kv_padding_size, (mstype.int64,))
    key, value = tensor_of(call.key), tensor_of(call.value)
    for name, operand in (("key", key), ("value", value)):
        _check_float(name, operand, *beside_query, mstype.int8)
    if key is not None and value is not None and key.dtype != value.dtype:
        refuse(TypeError, "value", f"of the data type of 'key', {key.dtype}", text_of(value))
    beside_cache = key is None or key.dtype not in _HALF_TYPES
    _check_float("query", call.query, beside_cache, "'key' and 'value' of Float32 or Int8")
    if key is not None and key.dtype not in (call.query.dtype, mstype.int8):
        refuse(RuntimeError, "key", f"of the data type of 'query', {call.query.dtype}, or Int8", text_of(key))
    for name in ("pse_shift", "antiquant_scale", "antiquant_offset"):
        operand = getattr(call, name)
        if operand is not None and operand.dtype != call.query.dtype:
            refuse(RuntimeError, name, f"of the data type of 'query', {call.query.dtype}", text_of(operand))


def _check_float(name: str, operand: Operand, takes_float32: bool, beside: str, *others: object) -> None:
    """Check a tensor of floating point, or of ``others``.

    fp32 is an extension on the CPU, for a call that has no half type in it: it is taken only ``beside`` what is
    of fp32 as well.
    """
    allowed = (*_HALF_TYPES, *others)
    if operand is None or operand.dtype in allowed:
        return
    on_cpu = context.get_context("device_target") == "CPU"
    if not (on_cpu and takes_float32 and operand.dtype == mstype.float32):
        extension = f" (or Float32, with {beside})" if on_cpu else ""
        refuse(TypeError, name, f"a Tensor of {_names(allowed)}{extension}", text_of(operand))


def _check_dtype(name: str, operand: Operand, allowed: tuple[object, ...]) -> None:
    if operand is not None and operand.dtype not in allowed:
        refuse(TypeError, name, f"a Tensor of {_names(allowed)}", text_of(operand))


def _names(dtypes: tuple[object, ...]) -> str:
    return " or ".join(map(str, dtypes))
