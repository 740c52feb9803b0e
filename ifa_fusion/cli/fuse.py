"""Write a network as MindIR with its decode attention fused."""

from __future__ import annotations

import argparse
from pathlib import Path

from ifa_fusion.cli import options as shared
from ifa_fusion.cli.explain import document_of, missing_fusion
from ifa_fusion.cli.outcome import Outcome
from ifa_fusion.cli.terminal import working


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds what `run` reads."""
    shared.add_model(parser, "source", "IN")
    parser.add_argument("destination", metavar="OUT", type=Path, help="the .mindir file to write")
    shared.add_fusion(parser)


def run(options: argparse.Namespace) -> Outcome:
    """Exports the network; the file is written when it is complete, and not where it fails --require-fusion."""
    from ifa_fusion import mindir
    from ifa_fusion._state import FusionState
    from ifa_fusion.cli.model import load, refused_as

    mindir.check_destination(options.destination, "OUT")
    state = FusionState.checked(strict=options.strict, target=options.target, ascend_kernel=options.ascend_kernel)
    with working(f"fusing {options.source}"):
        model = load(options.source, options.dims, "IN")
        with refused_as(f"IN is {options.source!r}, which can't be exported"):
            report = mindir.export_fused(
                model.network,
                model.to_compile(),
                options.destination,
                state,
                accept=lambda report: not missing_fusion(options, report),
            )
    failure = missing_fusion(options, report)
    written = None if failure else str(options.destination)
    text = f"{report}\n{f'wrote {written}' if written else 'wrote nothing'}"
    return Outcome({"source": options.source, "written": written, **document_of(report)}, text, failure)
