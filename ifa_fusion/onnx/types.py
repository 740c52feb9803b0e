"""ONNX's types in MindSpore's words."""

import onnx_ir as ir

from ifa_fusion.onnx.operators.table import Unsupported

_NAMES = {
    ir.DataType.BOOL: "bool_",
    ir.DataType.INT8: "int8",
    ir.DataType.INT16: "int16",
    ir.DataType.INT32: "int32",
    ir.DataType.INT64: "int64",
    ir.DataType.UINT8: "uint8",
    ir.DataType.UINT16: "uint16",
    ir.DataType.UINT32: "uint32",
    ir.DataType.UINT64: "uint64",
    ir.DataType.FLOAT16: "float16",
    ir.DataType.BFLOAT16: "bfloat16",
    ir.DataType.FLOAT: "float32",
    ir.DataType.DOUBLE: "float64",
}


def name(dtype: ir.DataType) -> str:
    """The name in MindSpore of a type, such as "float32".

    Raises:
        Unsupported: If MindSpore has no such type.
    """
    if dtype not in _NAMES:
        raise Unsupported(f"MindSpore has no type {dtype.name}")
    return _NAMES[dtype]


def code(dtype: ir.DataType) -> str:
    """How generated code names a type, such as "ms.float32".

    Raises:
        Unsupported: If MindSpore has no such type.
    """
    return f"ms.{name(dtype)}"
