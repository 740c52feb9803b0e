"""Write one decode step of a model as MindIR: `python -m models.export`."""

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
    """Write the decode step of `net` to `output`, which ends in .mindir. Returns its path.

    The inputs are the step's: token and position, and for a growing cache the past, whose length is free. A
    MindIR above 1 GB keeps its weights in a folder beside it. Raises ValueError or FileNotFoundError for a
    bad path.
    """
    output = Path(output)
    if output.suffix != ".mindir":
        raise ValueError(f"output is {str(output)!r}; it must end in .mindir")
    if not output.parent.is_dir():
        raise FileNotFoundError(f"output folder {str(output.parent)!r} does not exist")
    inputs = set_step_inputs(net)
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=output.parent) as scratch:
        ms.export(net, *inputs, file_name=str(Path(scratch) / output.name), file_format="MINDIR")
        # The graph comes last, so that it is never there without its weights in X_variables.
        for written in sorted(Path(scratch).iterdir(), key=lambda path: path.suffix == ".mindir"):
            os.replace(written, output.parent / written.name)
    return output


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 0 written, 2 bad input."""
    parser = argparse.ArgumentParser(prog="python -m models.export", description=__doc__)
    add_model_options(parser)
    parser.add_argument("--output", required=True, help="the .mindir file to write")
    return run(parser.prog, _export, parser.parse_args(arguments))


def _export(options: argparse.Namespace) -> int:
    ms.set_context(mode=ms.GRAPH_MODE)
    net = model_from_options(options)()
    print(f"wrote {export_step(net, options.output)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
