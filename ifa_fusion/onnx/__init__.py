"""Imports ONNX decoders as MindSpore networks.

`load` reads a file, simplifies its graph, writes it as a Python module with one `nn.Cell`, and gives an instance of it.
"""

from ifa_fusion.onnx.errors import OnnxError
from ifa_fusion.onnx.importer import load

__all__ = ["OnnxError", "load"]
