"""Measure the kernel beside the machine's read limit, and attention unfused and fused, by context length."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from ifa_fusion.cli import options as shared
from ifa_fusion.cli.outcome import Outcome
from ifa_fusion.cli.terminal import progress

if TYPE_CHECKING:
    from ifa_fusion.benchmarks.case import Case
    from ifa_fusion.benchmarks.results import Results, Row

_DTYPES = ("fp16", "bf16", "fp32", "int8")
_SHAPES = ("1,32,32,4096,128", "1,32,8,4096,128", "8,32,8,2048,128")
"""A multi-head and a grouped-query model, and the latter with a batch."""
_SHORTER = (8, 4, 2, 1)
"""The context of a shape is divided by these, so that there is a line to draw."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds what `run` reads."""
    parser.add_argument(
        "--shape",
        action="append",
        metavar="B,N,kvN,S,D",
        help="batch, query heads, KV heads, positions, head size; may be repeated. Measured with S/8, S/4, S/2 and S "
        f"(default: {' and '.join(_SHAPES)})",
    )
    parser.add_argument("--dtype", choices=_DTYPES, default="fp16", help="of keys and values (default: fp16)")
    parser.add_argument("--rounds", type=shared.count, default=7, metavar="N", help="for medians (default: 7)")
    parser.add_argument(
        "--figures", type=Path, metavar="FOLDER", help="write bandwidth and contexts there, as .png and .svg"
    )


def run(options: argparse.Namespace) -> Outcome:
    """Measures every case in turn; whatever computes is checked against the reference before."""
    from ifa_fusion.benchmarks.measure import Settings, measure
    from ifa_fusion.benchmarks.native import best_isa, load
    from ifa_fusion.benchmarks.peers.mindspore_fused import MindSporeFused
    from ifa_fusion.benchmarks.peers.mindspore_unfused import MindSporeUnfused
    from ifa_fusion.benchmarks.results import Results, machine

    cases = _cases(options)
    if options.figures:
        _prepare(options.figures)
    peers = MindSporeUnfused, MindSporeFused
    library, settings = load(), Settings(len(os.sched_getaffinity(0)), options.rounds)
    with progress() as bar:
        rows = [measure(library, case, settings, peers) for case in bar.track(cases, description="measuring")]
    versions = {peer.name: peer.version() for peer in peers}
    results = Results(machine(), best_isa(library), options.rounds, versions, rows)
    figures = _draw(results, options.figures) if options.figures else []
    document = {**json.loads(results.to_json()), "figures": [str(file) for file in figures]}
    return Outcome(document, Group(_table(results), Text(_notes(results, figures))))


def _cases(options: argparse.Namespace) -> list[Case]:
    from ifa_fusion.benchmarks.case import Case, parse_shape

    shapes = [parse_shape(text) for text in options.shape or _SHAPES]
    lengths = [(shape, max(1, shape.kv_length // divisor)) for shape in shapes for divisor in _SHORTER]
    return [Case(shape._replace(kv_length=length), options.dtype) for shape, length in dict.fromkeys(lengths)]


def _prepare(folder: Path) -> None:
    """Finds out before the measuring whether figures can be written."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ImportError("--figures needs the package matplotlib: pip install 'ifa-fusion[bench]'")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"--figures is {str(folder)!r}; it must be a folder that can be made ({error.strerror})."
        ) from None


def _draw(results: Results, folder: Path) -> list[Path]:
    """Writes the figures, each whole or not at all."""
    from ifa_fusion.benchmarks.contexts import draw_contexts
    from ifa_fusion.benchmarks.picture import draw

    names = [f"{name}.{suffix}" for name in ("bandwidth", "contexts") for suffix in ("png", "svg")]
    with tempfile.TemporaryDirectory(dir=folder, prefix=".ifa_fusion-") as beside:
        for name in names:
            drawn = Path(beside, name)
            draw(results, drawn) if name.startswith("bandwidth") else draw_contexts(results.rows, drawn)
            os.replace(drawn, folder / name)
    return [folder / name for name in names]


def _table(results: Results) -> Table:
    table = Table()
    headings = "kernel\nus", "kernel\nGB/s", "limit\nGB/s", "% of\nlimit", "unfused\nus", "fused\nus", "faster"
    table.add_column("B,N,kvN,S,D", no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in results.rows:
        table.add_row(str(row.shape), *_cells(row))
    return table


def _cells(row: Row) -> list[str]:
    unfused, fused = (row.others.get(f"MindSpore {name}") for name in ("unfused", "fused"))
    kernel = [f"{row.median_us:.1f}", f"{row.kv_gbps:.1f}", f"{row.probe_gbps:.1f}", f"{row.percent:.0f}"]
    times = [f"{other.median_us:.1f}" if other else "-" for other in (unfused, fused)]
    return [*kernel, *times, f"{unfused.ratio / fused.ratio:.1f} x" if unfused and fused else "-"]


def _notes(results: Results, figures: list[Path]) -> str:
    from ifa_fusion.benchmarks.results import thread_count
    from ifa_fusion.benchmarks.ring import cold_bytes

    lines = [
        f"{results.machine}. Kernel: {results.isa}, {results.rows[0].dtype}, {thread_count(results.rows[0].threads)}.",
        f"Medians of {results.rounds} rounds, in each of which all run in turn, with cold caches: between two uses of "
        f"a buffer {cold_bytes() >> 20} MiB pass.",
        "limit: the rate at which the machine reads the same buffers. unfused and fused: in a graph of MindSpore.",
        results.reasons(),
        *(f"wrote {file}" for file in figures),
    ]
    return "\n".join(line for line in lines if line)
