"""Runs the decoders of `decoders/` in onnxruntime and imported, unfused and fused. As a program it prints a table:

python decoder_table.py [ARCHITECTURE ...]
"""

from __future__ import annotations

import itertools
import string
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import mindspore as ms
import numpy as np
import onnx
import onnxruntime
from mindspore import Tensor, nn

import ifa_fusion
from ifa_fusion.onnx import load

FOLDER = Path(__file__).parent / "decoders"
FILES = sorted(FOLDER.glob("*.onnx"))
STEP = {"batch": 2, "sequence_length": 1}
BOUND = STEP | {"past_length": 5, "total_length": 6}
LENGTHS = BOUND | {"encoder_length": 7}
VOCABULARY = 32

Inputs = dict[str, np.ndarray]


def parts_of(path: Path) -> list[str]:
    """Architecture, exporter with its opset, attention, type."""
    return path.stem.split("-")


def maker_of(path: Path) -> tuple[str, str]:
    """Architecture, and exporter without its opset."""
    architecture, exporter, *_ = parts_of(path)
    return architecture, exporter.rstrip(string.digits)


def inputs_of(path: Path, lengths: dict[str, int]) -> Inputs:
    """One step; of two sequences the second is masked at its first position."""
    generator = np.random.default_rng(7)
    inputs = {}
    for value in onnx.load(path).graph.input:
        kind = value.type.tensor_type
        shape = [lengths.get(size.dim_param, size.dim_value) for size in kind.shape.dim]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        if value.name.endswith("attention_mask"):
            inputs[value.name] = np.ones(shape, dtype)
            inputs[value.name][1:, 0] = 0
        elif value.name == "position_ids":
            inputs[value.name] = np.full(shape, lengths["past_length"], dtype)
        elif value.name == "input_ids":
            inputs[value.name] = generator.integers(3, VOCABULARY, shape, dtype)
        else:
            inputs[value.name] = generator.standard_normal(shape).astype(dtype)
    return inputs


def session_of(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def outputs_of(net: nn.Cell, inputs: Inputs) -> list[np.ndarray]:
    return [output.asnumpy() for output in net(*(Tensor(inputs[name]) for name in net.input_names))]


@dataclass(frozen=True)
class Outcome:
    """The largest differences from onnxruntime, relative to the largest value of an output, and the sites' reasons."""

    unfused: float
    fused: float
    reasons: list[str]


def run(path: Path, dims: dict[str, int]) -> Outcome:
    """Runs one step in graph mode; `dims` are bound, the other dimensions stay open."""
    inputs = inputs_of(path, LENGTHS)
    expected = session_of(path).run(None, inputs)
    net = load(path, dims)
    unfused = largest_error(outputs_of(net, inputs), expected)
    ifa_fusion.report(reset=True)
    with ifa_fusion.fusion():
        fused = largest_error(outputs_of(net, inputs), expected)
    return Outcome(unfused, fused, [site.reason for site in ifa_fusion.report(reset=True).sites])


def largest_error(got: list[np.ndarray], expected: list[np.ndarray]) -> float:
    assert [(array.shape, array.dtype) for array in got] == [(array.shape, array.dtype) for array in expected]
    pairs = [(mine.astype(np.float64), theirs.astype(np.float64)) for mine, theirs in zip(got, expected, strict=True)]
    return max(float(np.abs(mine - theirs).max() / np.abs(theirs).max()) for mine, theirs in pairs)


def row(architecture: str, exporter: str, paths: Iterable[Path]) -> str:
    """Of an architecture's files by one exporter: how many, their sites, those fused, errors, refusals."""
    outcomes = {path: run(path, STEP) for path in paths}
    reasons = Counter(reason for outcome in outcomes.values() for reason in outcome.reasons)
    fused = reasons.pop("fused", 0)
    errors = {
        dtype: max(max(o.unfused, o.fused) for path, o in outcomes.items() if parts_of(path)[3] == dtype)
        for dtype in sorted({parts_of(path)[3] for path in outcomes}, reverse=True)
    }
    cells = [
        architecture,
        exporter,
        len(outcomes),
        fused + reasons.total(),
        fused,
        ", ".join(f"{dtype} {error:.0e}" for dtype, error in errors.items()),
        ", ".join(f"`{reason}`" for reason in reasons),
    ]
    return f"| {' | '.join(map(str, cells))} |"


def main(architectures: list[str]) -> None:
    ms.set_context(mode=ms.GRAPH_MODE)
    print("| Architecture | Exporter | Files | Sites | Fused | Largest error | Refused |")
    print("|---|---|---|---|---|---|---|")
    paths = [path for path in FILES if not architectures or parts_of(path)[0] in architectures]
    for (architecture, exporter), group in itertools.groupby(paths, maker_of):
        print(row(architecture, exporter, group), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
