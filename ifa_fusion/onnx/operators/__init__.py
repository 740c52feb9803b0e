"""How ONNX operators are written in MindSpore: one table, by concept in the modules of this folder."""

import importlib
import pkgutil

from ifa_fusion.onnx.operators.node import Node
from ifa_fusion.onnx.operators.table import Numbers, Unsupported, operator, writer_of

for _module in pkgutil.iter_modules(__path__, f"{__name__}."):
    importlib.import_module(_module.name)

__all__ = ["Node", "Numbers", "Unsupported", "operator", "writer_of"]
