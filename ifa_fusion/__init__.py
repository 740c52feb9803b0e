"""Decode-attention fusion for MindSpore.

`enable` makes MindSpore rewrite each decode attention of a graph into one `IncreFlashAttention` call; the CPU kernel in
this package runs that call where MindSpore has none. `incre_flash_attention` is the same operator on its own.
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING

from ifa_fusion import _program

if _program.is_command_line():
    from ifa_fusion import cli

    cli.prepare()  # what has to be done before MindSpore is imported
try:
    from ifa_fusion import _native as _native  # first: it explains what is missing when something is
except ImportError:
    if _program.is_command_line():  # which shows what there is where nothing else works
        sys.exit(cli.main())
    raise
from ifa_fusion import reference
from ifa_fusion.explain import explain
from ifa_fusion.functional import incre_flash_attention
from ifa_fusion.fusion import disable, enable, fusion
from ifa_fusion.mindir import fuse_mindir
from ifa_fusion.report import Report, Site, report
from ifa_fusion.verify import VerificationError, VerificationResult, verify

if TYPE_CHECKING:
    from ifa_fusion import onnx as onnx

__all__ = [
    "Report",
    "Site",
    "VerificationError",
    "VerificationResult",
    "disable",
    "enable",
    "explain",
    "fuse_mindir",
    "fusion",
    "incre_flash_attention",
    "onnx",
    "reference",
    "report",
    "verify",
]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> ModuleType:
        """Imports `ifa_fusion.onnx` when it is first asked for: it needs packages that nothing else here needs."""
        if name == "onnx":
            return importlib.import_module("ifa_fusion.onnx")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
