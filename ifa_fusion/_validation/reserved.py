"""Arguments that the operator reserves, which must be absent."""

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
