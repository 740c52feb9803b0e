"""int8 caches and int8 output: which scales and offsets belong to a call, and in which shapes."""

from __future__ import annotations

from mindspore import dtype as mstype

from ifa_fusion._operands import TensorSpec, agrees, known_dimensions
from ifa_fusion._validation.call import Call, tensor_of
from ifa_fusion._validation.refusal import refuse, text_of

_Shape = tuple[int | None, ...]
"""A dimension is None where only the run will tell."""


def check_antiquantisation(call: Call, kv_heads: int, head_size: int | None) -> None:
    """Check the scale and offset of an int8 cache."""
    key = tensor_of(call.key)
    if key is None:
        return
    if key.dtype != mstype.int8:
        _check_absent(call, ("antiquant_scale", "antiquant_offset"), "None unless 'key' and 'value' are Int8")
        return
    scale, offset = call.antiquant_scale, call.antiquant_offset
    if scale is None:
        refuse(RuntimeError, "antiquant_scale", "given with 'key' and 'value' of Int8", None)
    h, d = kv_heads, head_size
    shapes: list[_Shape] = [(2,), (2, h, 1, d), (2, 1, h, d), (2, h, d), (2, _product(h, d))]
    _check_shape("antiquant_scale", scale, shapes)
    _check_shape("antiquant_offset", offset, shapes)
    if offset is None or offset.shape is None or scale.shape is None:
        return
    if len(offset.shape) != len(scale.shape):
        refuse(
            RuntimeError, "antiquant_offset", f"of the rank of 'antiquant_scale', {len(scale.shape)}", text_of(offset)
        )


def check_output_quantisation(call: Call, heads: int, head_size: int | None) -> None:
    """Check the scale and offset of an int8 output."""
    scale, offset = call.quant_scale2, call.quant_offset2
    if scale is None:
        _check_absent(call, ("quant_offset2",), "None without 'quant_scale2'")
        return
    n, d, h = heads, head_size, _product(heads, head_size)
    per_channel: list[_Shape] = [
        *((1, n, 1, d), (n, 1, d), (n, d), (1, 1, n, d), (1, n, d)),
        *((1, h), (1, 1, h), (h,)),
    ]
    paged = call.block_table is not None
    _check_shape("quant_scale2", scale, [(1,)] if paged else [(1,), *per_channel])
    if offset is None or offset.shape is None or scale.shape is None:
        return
    if not agrees(offset.shape, known_dimensions(scale.shape)):
        refuse(RuntimeError, "quant_offset2", f"of the shape of 'quant_scale2', {scale.shape}", text_of(offset))


def _product(heads: int, head_size: int | None) -> int | None:
    return None if head_size is None else heads * head_size


def _check_absent(call: Call, names: tuple[str, ...], allowed: str) -> None:
    for name in names:
        if getattr(call, name) is not None:
            refuse(RuntimeError, name, allowed, text_of(getattr(call, name)))


def _check_shape(name: str, parameter: TensorSpec | None, shapes: list[_Shape]) -> None:
    if parameter is None or parameter.shape is None:
        return
    if not any(agrees(parameter.shape, shape) for shape in shapes):
        allowed = " or ".join(str(tuple("?" if n is None else n for n in shape)) for shape in shapes)
        refuse(RuntimeError, name, f"of shape {allowed}", text_of(parameter))
