"""Run a network unfused and fused on the same inputs, and compare."""

from __future__ import annotations

import argparse
from typing import Any

from ifa_fusion.cli import options as shared
from ifa_fusion.cli.explain import document_of
from ifa_fusion.cli.outcome import Outcome
from ifa_fusion.cli.terminal import working


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds what `run` reads."""
    shared.add_model(parser)
    shared.add_strict(parser)
    parser.add_argument(
        "--tolerance",
        type=_tolerance,
        metavar="X",
        help="the largest difference allowed, relative to the largest value of an output "
        "(default: 1e-4 for fp32, 1e-2 for fp16, 8e-2 for bf16)",
    )


def run(options: argparse.Namespace) -> Outcome:
    """Runs the network; inputs of files are made up."""
    import ifa_fusion
    from ifa_fusion.cli.model import load, refused_as

    with working(f"running {options.model} unfused and fused"):
        model = load(options.model, options.dims)
        inputs = model.to_run()
        with refused_as(f"MODEL is {options.model!r}, which can't be run"):
            try:
                result = ifa_fusion.verify(model.network, *inputs, tolerance=options.tolerance, strict=options.strict)
            except ifa_fusion.VerificationError as difference:
                return _outcome(options.model, {}, "", str(difference))
    failure = "" if result.compared else "no number of the outputs is finite, so that nothing could be compared."
    figures = {
        "compared": result.compared,
        "largest_difference": result.largest_difference,
        "relative_difference": result.relative_difference,
    }
    text = (
        f"{result.report}\n{result.compared} numbers compared: they differ by {result.largest_difference:.3g} at most, "
        f"{result.relative_difference:.3g} of the largest value"
    )
    return _outcome(options.model, {**figures, **document_of(result.report)}, text, failure)


def _outcome(model: str, findings: dict[str, Any], text: str, failure: str) -> Outcome:
    document = {"model": model, "agrees": not failure, "message": failure, **findings}
    return Outcome(document, text or "unfused and fused differ", failure)


def _tolerance(text: str) -> float:
    try:
        tolerance = float(text)
    except ValueError:
        tolerance = -1.0
    if not tolerance >= 0:
        raise argparse.ArgumentTypeError(f"must be a number of 0 or more, but got {text!r}")
    return tolerance
