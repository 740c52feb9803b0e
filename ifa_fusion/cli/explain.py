"""Say what would be fused in a network, and what would not, and why."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from ifa_fusion.cli import options as shared
from ifa_fusion.cli.outcome import Outcome
from ifa_fusion.cli.terminal import working

if TYPE_CHECKING:
    from ifa_fusion.report import Report


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds what `run` reads."""
    shared.add_model(parser)
    shared.add_fusion(parser)
    parser.add_argument("--html", metavar="FILE", help="write a page with drawings of each site")


def run(options: argparse.Namespace) -> Outcome:
    """Compiles the network with fusion on, without running it."""
    import ifa_fusion
    from ifa_fusion.cli.model import load, refused_as

    with working(f"compiling {options.model}"):
        model = load(options.model, options.dims)
        with refused_as(f"MODEL is {options.model!r}, which can't be compiled"):
            report = ifa_fusion.explain(
                model.network,
                *model.to_compile(),
                strict=options.strict,
                target=options.target,
                ascend_kernel=options.ascend_kernel,
            )
    if options.html:
        try:
            report.to_html(options.html)
        except (ValueError, OSError) as error:
            raise ValueError(f"--html is {options.html!r}: {error}") from error
    document = {"model": options.model, **document_of(report), "html": options.html}
    return Outcome(document, str(report), missing_fusion(options, report))


def document_of(report: Report) -> dict[str, Any]:
    """The sites, for --json."""
    return {"fused": len(report.fused), "refused": len(report.refused), "sites": json.loads(report.to_json())}


def missing_fusion(options: argparse.Namespace, report: Report) -> str:
    """The failure where --require-fusion was given and nothing is fused."""
    if report.fused or not options.require_fusion:
        return ""
    return f"--require-fusion was given, and 0 of {len(report.sites)} attention sites are fused."
