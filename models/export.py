"""Write one decode step of a model as MindIR or ONNX: `python -m models.export`."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import mindspore as ms

from .build import set_step_inputs
from .commandline import add_model_options, model_from_options
from .decoder import Decoder
from .exit_codes import run


def export_step(net: Decoder, output: str | Path) -> Path:
    """Write the decode step of `net` to `output`, which ends in .mindir or .onnx. Returns its path.

    The inputs of MindIR are the step's: token and position, and for a growing cache the past, whose length is free.
    Those of ONNX, where batch and lengths are free and the cache always grows, are said by `models.onnx`. Above
    1 GB the weights are kept beside the file. Raises ValueError or FileNotFoundError for a bad path, ValueError for a
    family that has no ONNX.
    """
    output = Path(output)
    if output.suffix not in _WRITERS:
        raise ValueError(f"output is {str(output)!r}; it must end in {' or '.join(_WRITERS)}")
    if not output.parent.is_dir():
        raise FileNotFoundError(f"output folder {str(output.parent)!r} does not exist")
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=output.parent) as scratch:
        _WRITERS[output.suffix](net, Path(scratch) / output.name)
        # The graph comes last, so that it is never there without its weights.
        for written in sorted(Path(scratch).iterdir(), key=lambda path: path.suffix == output.suffix):
            os.replace(written, output.parent / written.name)
    return output


def _write_mindir(net: Decoder, path: Path) -> None:
    ms.export(net, *set_step_inputs(net), file_name=str(path), file_format="MINDIR")


def _write_onnx(net: Decoder, path: Path) -> None:
    from .onnx import write_onnx

    write_onnx(net, path)


_WRITERS = {".mindir": _write_mindir, ".onnx": _write_onnx}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 0 written, 2 bad input."""
    parser = argparse.ArgumentParser(prog="python -m models.export", description=__doc__)
    add_model_options(parser)
    parser.add_argument(
        "--output", required=True, help="the .mindir or .onnx file to write; with .onnx the cache grows"
    )
    return run(parser.prog, _export, parser.parse_args(arguments))


def _export(options: argparse.Namespace) -> int:
    ms.set_context(mode=ms.GRAPH_MODE)
    if Path(options.output).suffix == ".onnx":
        options.cache = "growing"  # the other would be built for nothing
    net = model_from_options(options)()
    print(f"wrote {export_step(net, options.output)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
