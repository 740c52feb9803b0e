"""An ONNX decoder, deployed as fused MindIR: import, export, fuse, load, compare.

    python examples/deploy_onnx.py

The decoder is one attention layer with a growing cache, made here. The command line does the same with a file of yours:
`ifa-fusion fuse decoder.onnx fused.mindir`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import mindspore as ms
import numpy as np
import onnx
from mindspore import Tensor
from rich.console import Console

import ifa_fusion

DECODER = """
<ir_version: 8, opset_import: ["": 17]>
decoder (float[batch, 1, 64] hidden, float[batch, 4, past, 16] past_key, float[batch, 4, past, 16] past_value)
  => (float[batch, 1, 64] output, float[batch, 4, total, 16] key, float[batch, 4, total, 16] value) {
  split = Constant <value = int64[4] {0, 1, 4, 16}> ()
  merge = Constant <value = int64[3] {0, 1, 64}> ()
  scale = Constant <value = float {0.25}> ()
  q = MatMul (hidden, q_weight)
  k = MatMul (hidden, k_weight)
  v = MatMul (hidden, v_weight)
  q_heads = Reshape (q, split)
  k_heads = Reshape (k, split)
  v_heads = Reshape (v, split)
  query = Transpose <perm = [0, 2, 1, 3]> (q_heads)
  new_key = Transpose <perm = [0, 2, 1, 3]> (k_heads)
  new_value = Transpose <perm = [0, 2, 1, 3]> (v_heads)
  key = Concat <axis = 2> (past_key, new_key)
  value = Concat <axis = 2> (past_value, new_value)
  key_columns = Transpose <perm = [0, 1, 3, 2]> (key)
  products = MatMul (query, key_columns)
  scores = Mul (products, scale)
  weights = Softmax <axis = -1> (scores)
  mixed = MatMul (weights, value)
  mixed_rows = Transpose <perm = [0, 2, 1, 3]> (mixed)
  merged = Reshape (mixed_rows, merge)
  output = MatMul (merged, o_weight)
}
"""


def make_decoder(path: Path) -> None:
    """Write the decoder with random weights."""
    model, random = onnx.parser.parse_model(DECODER), np.random.default_rng(0)
    for name in ("q_weight", "k_weight", "v_weight", "o_weight"):
        weight = random.standard_normal((64, 64), np.float32) / 8
        model.graph.initializer.append(onnx.numpy_helper.from_array(weight, name))
    onnx.save(model, path)


def make_inputs(past: int) -> list[Tensor]:
    """A hidden state, and keys and values of `past` tokens."""
    random = np.random.default_rng(past)
    shapes = (1, 1, 64), (1, 4, past, 16), (1, 4, past, 16)
    return [Tensor(random.standard_normal(shape, np.float32)) for shape in shapes]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the files are kept (default: nowhere)")
    parser.add_argument("--picture", help="an SVG file for what is printed")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        return deploy(options.folder or Path(scratch), options.picture)


def deploy(folder: Path, picture: str | None) -> int:
    """Do it all in `folder`; returns the exit code."""
    ms.set_context(mode=ms.GRAPH_MODE)
    console = Console(record=True, width=100)
    onnx_file, mindir, fused = (folder / name for name in ("decoder.onnx", "decoder.mindir", "fused.mindir"))
    make_decoder(onnx_file)

    net = ifa_fusion.onnx.load(onnx_file, dims={"batch": 1})
    console.print(f"{onnx_file.name}: {', '.join(net.input_names)} -> {', '.join(net.output_names)}", highlight=False)
    cache = Tensor(shape=(1, 4, None, 16), dtype=ms.float32)  # of any length
    ms.export(net, make_inputs(1)[0], cache, cache, file_name=str(mindir), file_format="MINDIR")
    report = ifa_fusion.fuse_mindir(mindir, fused)
    for site in report.sites:
        console.print(f"{fused.name}: {site.reason}, {', '.join(site.features)}", highlight=False)

    deployed = ms.nn.GraphCell(ms.load(str(fused)))
    for past in (7, 500):
        expected, got = (run(*make_inputs(past)) for run in (net, deployed))
        differences = [np.abs(a.asnumpy() - b.asnumpy()).max() for a, b in zip(expected, got, strict=True)]
        console.print(f"after {past} tokens the outputs differ by {max(differences):.1e} at most")
    if picture:
        console.save_svg(picture, title="examples/deploy_onnx.py")
    return 0 if report.fused else 1


if __name__ == "__main__":
    sys.exit(main())
