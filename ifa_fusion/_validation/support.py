"""Arguments that must be absent: reserved by the operator, or not computed by this version."""

from __future__ import annotations

from mindspore import dtype as mstype

from ifa_fusion._validation.call import Call
from ifa_fusion._validation.refusal import refuse, text_of


def check_reserved(call: Call) -> None:
    """Refuse what the operator's document reserves."""
    quant_scale1 = call.quant_scale1
    if quant_scale1 is not None and quant_scale1.dtype != mstype.float32:
        refuse(TypeError, "quant_scale1", "None; the reserved type is Float32", text_of(quant_scale1))
    for name in ("dequant_scale1", "dequant_scale2", "quant_scale1"):
        if getattr(call, name) is not None:
            refuse(RuntimeError, name, "None (it is reserved)", text_of(getattr(call, name)))


def check_supported(call: Call) -> None:
    """Refuse what the operator defines and the CPU kernel does not compute yet."""
    for name in ("quant_scale2", "quant_offset2", "antiquant_scale", "antiquant_offset"):
        if getattr(call, name) is not None:
            raise NotImplementedError(f"incre_flash_attention: '{name}' is not supported yet; it must be None.")
    for name in ("key", "value"):
        operand = getattr(call, name)
        if isinstance(operand, tuple) and operand[0].dtype == mstype.int8:
            raise NotImplementedError(
                f"incre_flash_attention: '{name}' of Int8 is not supported yet; use query's data type."
            )
