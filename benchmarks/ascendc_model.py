"""What the emulator's model of time predicts of the AscendC operator: `python -m benchmarks.ascendc_model`.

A model, not a measurement: instructions, bytes and waits are the kernel's own, counted while the emulator runs it; how
long each takes is computed from published rates (kernels/ascendc_sim/include/sim/costs.h says from which, and what is
assumed). Only a device can tell how long a call takes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .ascendc_emulator import Finding, Run, Settings, run
from .ascendc_timeline import draw
from .case import DTYPES, Case, Shape, parse_shape
from .paging import shuffled_table

SHAPES = (Shape(32, 64, 8, 4096, 128), Shape(1, 32, 8, 32768, 128), Shape(16, 32, 32, 2048, 128))
BLOCK_SIZE = 128
"""Of paged caches: what the operator's document recommends."""

PICTURED = (Shape(16, 32, 32, 256, 128), Shape(6, 64, 8, 2048, 128))
"""One for each path: small ones, whose every instruction can be listed, with as many cores as the large ones."""


class Prediction(NamedTuple):
    """One line of the table."""

    case: Case
    is_paged: bool
    run: Run

    @property
    def floor(self) -> float:
        """Seconds in which the memory can deliver K and V."""
        return self.case.kv_bytes / self.run.hbm_bytes_per_second

    @property
    def percent(self) -> float:
        """Of the memory's bandwidth: the floor by the predicted time."""
        return 100 * self.floor / self.run.seconds

    @property
    def bound(self) -> tuple[str, float]:
        """The pipe that has most to do, for example "AIC MTE2", and how much of the time, in percent."""
        busiest = max(self.run.pipes, key=lambda pipe: pipe.busy)
        return f"{busiest.core.split()[0]} {busiest.pipe}", 100 * busiest.busy / self.run.cycles

    @property
    def reads(self) -> float:
        """How often each byte of K and V was read."""
        return sum(self.run.tensors[name]["read"] for name in ("key", "value")) / self.case.kv_bytes


def arguments_of(case: Case, is_paged: bool) -> dict[str, Any]:
    """A call; its numbers are all 0, on which no time depends."""
    batch, heads, kv_heads, length, head_size = case.shape
    arguments: dict[str, Any] = {
        "query": np.zeros((batch, heads, 1, head_size), case.query_dtype),
        "num_heads": heads,
        "num_key_value_heads": kv_heads,
        "input_layout": "BNSD",
        "scale_value": case.shape.scale,
    }
    cache = case.shape.cache
    if is_paged:
        in_blocks = case.shape._replace(kv_length=-(-length // BLOCK_SIZE) * BLOCK_SIZE)
        table = shuffled_table(in_blocks, BLOCK_SIZE)
        cache = table.size, kv_heads, BLOCK_SIZE, head_size
        arguments.update(block_table=table, block_size=BLOCK_SIZE, actual_seq_lengths=[length])
    if case.dtype == "int8":
        arguments["antiquant_scale"] = np.zeros((2, kv_heads, 1, head_size), case.query_dtype)
    return {**arguments, **{name: np.zeros(cache, DTYPES[case.dtype]) for name in ("key", "value")}}


def predictions(shapes: Sequence[Shape], dtypes: Sequence[str]) -> Iterator[Prediction]:
    """Each shape with each type of cache, contiguous and paged."""
    for shape in shapes:
        for dtype in dtypes:
            for is_paged in (False, True):
                case = Case(shape, dtype)
                yield Prediction(case, is_paged, run(arguments_of(case, is_paged)))


NOTICE = "A model, not a measurement: the kernel's instructions, bytes and waits in the emulator, at published rates."
HEADINGS = ("B,N,kvN,S,D", "cache", "path", "cores", "predicted us", "HBM floor us", "% of floor", "busiest pipe")


def table_row(cells: Sequence[object]) -> str:
    """A line of Markdown."""
    return f"| {' | '.join(map(str, cells))} |"


def cells_of(prediction: Prediction) -> tuple[object, ...]:
    """What stands below HEADINGS."""
    pipe, busy = prediction.bound
    return (
        prediction.case.shape,
        f"{prediction.case.dtype}, paged" if prediction.is_paged else prediction.case.dtype,
        prediction.run.path,
        prediction.run.cores,
        f"{prediction.run.seconds * 1e6:.1f}",
        f"{prediction.floor * 1e6:.1f}",
        f"{prediction.percent:.1f}",
        f"{pipe}, {busy:.0f} %",
    )


def lines(shapes: Sequence[Shape], dtypes: Sequence[str]) -> Iterator[str]:
    """The report, line by line as it is computed.

    Raises ArithmeticError when a byte of K or V was not read exactly once.
    """
    yield from (NOTICE, "", table_row(HEADINGS), table_row(["---", "---", "---", *["---:"] * 4, "---"]))
    for prediction in predictions(shapes, dtypes):
        if prediction.reads != 1:
            raise ArithmeticError(f"K and V of {prediction.case} were read {prediction.reads} times.")
        yield table_row(cells_of(prediction))


def write_picture(path: Path) -> None:
    """The timeline of a tile on each path."""
    cases = [Case(shape, "fp16") for shape in PICTURED]
    draw([(case, run(arguments_of(case, False), Settings(trace=True))) for case in cases], path)


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A file beside ``path``, of its suffix, to be written; it takes the place of ``path`` when that is done."""
    beside = path.with_stem(f"{path.stem}.new")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 2 for bad usage, 1 when the kernel did not do what it should."""
    options = _parser().parse_args(arguments)
    try:
        report = []
        for line in lines([parse_shape(text) for text in options.shape] or SHAPES, options.dtype):
            print(line, flush=True)
            report.append(line)
        if options.report:
            files = options.report / "results"
            files.mkdir(parents=True, exist_ok=True)
            with replaced(files / "ascendc.md") as table:
                table.write_text("\n".join(report) + "\n")
            with replaced(files / "ascendc.png") as picture:
                write_picture(picture)
    except (ValueError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 2
    except (ArithmeticError, Finding) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ascendc_model", description=__doc__)
    add = parser.add_argument
    add("--shape", action="append", default=[], metavar="B,N,kvN,S,D", help="may be repeated; default: three")
    dtypes = ("fp16", "bf16", "int8")
    add("--dtype", choices=dtypes, nargs="+", default=dtypes, help="of the cache; default: all")
    add("--report", type=Path, metavar="FOLDER", help="write results/ascendc.md and a picture, ascendc.png, below it")
    return parser


if __name__ == "__main__":
    sys.exit(main())
