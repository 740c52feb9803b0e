"""The rules that a call of ``incre_flash_attention`` must keep, and the exceptions for those it breaks.

Everything is decided from data types, shapes and constants; what only the run knows (the values of tensors,
dimensions that the compiler has not inferred) passes here and is checked by the kernel.
"""

from ifa_fusion._validation.call import Call
from ifa_fusion._validation.dtypes import check_dtypes
from ifa_fusion._validation.kinds import check_kinds
from ifa_fusion._validation.reserved import check_reserved
from ifa_fusion._validation.shapes import check_head_counts, check_shapes

__all__ = ["Call", "check_call"]


def check_call(call: Call) -> None:
    """Raise the exception that the operator's document gives for the first rule that the call breaks.

    The order is MindSpore's own: kinds of arguments, then data types, then values and shapes.
    """
    check_kinds(call)
    check_reserved(call)
    check_dtypes(call)
    check_head_counts(call)
    check_shapes(call)
