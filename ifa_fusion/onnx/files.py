"""Reads ONNX files."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir


def read(path: Path) -> ir.Model:
    """The model of a file."""
    return ir.load(path)
