"""Measure the decode-attention kernel beside the machine's read bandwidth and beside the peers that are installed."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .case import DTYPES, SHAPES, Case, parse_shape
from .measure import Settings, measure
from .native import LIBRARY, best_isa, load
from .peers import PEERS
from .report import write_report
from .results import Results, machine


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 2 for bad usage, 1 when measuring failed."""
    options = _parser().parse_args(arguments)
    try:
        options.shape = [parse_shape(text) for text in options.shape] or SHAPES
        run = _run_one if len(options.threads) == 1 else _run_each
        results = run(options)
        if options.json:
            options.json.write_text(results.to_json())
        if options.report:
            write_report(results, options.report)
    except (ValueError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 2
    except (ArithmeticError, subprocess.CalledProcessError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    cpus = len(os.sched_getaffinity(0))
    add = parser.add_argument
    add(
        "--shape",
        action="append",
        default=[],
        metavar="B,N,kvN,S,D",
        help="may be repeated; default: those of the table",
    )
    add("--dtype", choices=(*DTYPES, "all"), default="all")
    add("--threads", type=_count, nargs="+", default=sorted({1, cpus}), metavar="N", help="default: 1, and every CPU")
    add("--rounds", type=_count, default=15, metavar="N", help="default: 15")
    add(
        "--block-size",
        type=_count,
        default=64,
        metavar="N",
        help="positions in a block of the paged cache; default: 64",
    )
    add("--isa", choices=("portable", "neon", "avx2", "avx512", "amx"), help="default: the best of the machine")
    add("--no-peers", action="store_true", help="the kernel and the limit only")
    add("--json", type=Path, metavar="FILE", help="write the figures")
    add(
        "--report",
        type=Path,
        metavar="FOLDER",
        help="write results/cpu.json, .md, .png and the run in FOLDER/README.md",
    )
    add("--library", type=Path, default=LIBRARY, metavar="FILE", help=f"default: {LIBRARY}")
    return parser


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise ValueError
    return count


def _run_one(options: argparse.Namespace) -> Results:
    (threads,) = options.threads
    library = load(options.library)
    os.environ["OMP_NUM_THREADS"] = str(threads)  # some peers read it when they are loaded
    settings = Settings(threads, options.rounds, options.block_size, options.isa)
    peers = () if options.no_peers else PEERS
    rows = []
    for dtype in DTYPES if options.dtype == "all" else (options.dtype,):
        for shape in options.shape:
            rows.append(measure(library, Case(shape, dtype), settings, peers))
            print(rows[-1], flush=True)
    versions = {peer.name: peer.version() for peer in peers}
    return Results(machine(), options.isa or best_isa(library), options.rounds, versions, rows)


def _run_each(options: argparse.Namespace) -> Results:
    """One process for each number of threads, which most peers cannot change once they have started."""
    command = [sys.executable, "-m", __package__, "--dtype", options.dtype, "--rounds", str(options.rounds)]
    command += [argument for shape in options.shape for argument in ("--shape", str(shape))]
    command += ["--block-size", str(options.block_size), "--library", str(options.library)]
    command += ["--isa", options.isa] if options.isa else []
    command += ["--no-peers"] if options.no_peers else []
    parts = []
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "part.json"
        for threads in options.threads:
            subprocess.run([*command, "--threads", str(threads), "--json", str(part)], check=True)
            parts.append(Results.from_json(part.read_text()))
    rows = [row for results in parts for row in results.rows]
    return Results(parts[0].machine, parts[0].isa, parts[0].rounds, parts[0].peers, rows)


if __name__ == "__main__":
    sys.exit(main())
