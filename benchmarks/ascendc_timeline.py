"""What the pipes of a core do over about one tile, as the emulator's model of time has it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from .ascendc_emulator import Run
from .case import Case

_WIDTH, _LANE_HEIGHT = 11.0, 0.35  # inches
_TILES = 2  # in the middle of a run, where its beginning and end do not show

#: The pipes of each kind of core from the memory inwards and back.
_PIPES = {"AIC": ("MTE2", "MTE1", "M", "FIX"), "AIV": ("MTE2", "V", "MTE3")}


def draw(runs: Sequence[tuple[Case, Run]], path: Path) -> None:
    """One panel for each traced run; an image of the suffix of ``path``."""
    lanes = [_lanes(run) for _, run in runs]
    heights = [len(names) for names in lanes]
    size = (_WIDTH, _LANE_HEIGHT * sum(heights) + 1.6 * len(runs))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(runs), 1, squeeze=False, height_ratios=heights)[:, 0]
    for panel, (case, run), names in zip(panels, runs, lanes, strict=True):
        _draw_panel(panel, run, names, _window(run, case))
    figure.suptitle("A model, not a measurement: the pipes of one core over two tiles", fontsize=11)
    figure.savefig(path, dpi=120)


def _lanes(run: Run) -> list[tuple[str, str]]:
    """Core and pipe of each lane: of the first vector core, or of the first cube core and its two vector cores."""
    cores = ("AIV 0.0",) if run.path == "vector" else ("AIC 0", "AIV 0.0", "AIV 0.1")
    return [(core, pipe) for core in cores for pipe in _PIPES[core.split()[0]]]


def _draw_panel(panel: Axes, run: Run, lanes: list[tuple[str, str]], window: tuple[float, float]) -> None:
    start, end = window
    shown = [
        entry for entry in run.trace if (entry.core, entry.pipe) in lanes and entry.end > start and entry.start < end
    ]
    names = sorted({entry.name for entry in shown})
    colours = {name: matplotlib.colormaps["tab20"](i % 20) for i, name in enumerate(names)}
    for entry in shown:
        lane = lanes.index((entry.core, entry.pipe))
        left, right = max(entry.start, start) - start, min(entry.end, end) - start
        panel.barh(
            lane, right - left, left=left, height=0.8, color=colours[entry.name], edgecolor="white", linewidth=0.3
        )
    panel.set_yticks(range(len(lanes)), [f"{core} {pipe}" for core, pipe in lanes], fontsize=8)
    panel.set_ylim(len(lanes) - 0.5, -0.5)
    panel.set_xlim(0, end - start)
    panel.set_xlabel(f"cycles of {run.clock_hz / 1e9:.1f} GHz", fontsize=8)
    panel.tick_params(axis="x", labelsize=8)
    panel.set_title(f"{run.path} path, {run.tile_rows} positions a tile", fontsize=9, loc="left")
    panel.spines[["top", "right"]].set_visible(False)
    handles = [Patch(color=colours[name], label=name) for name in names]
    panel.legend(handles=handles, loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=6)


def _window(run: Run, case: Case) -> tuple[float, float]:
    """Some tiles from the middle of a run."""
    shape = case.shape
    tiles = shape.batch * shape.kv_heads * -(-shape.kv_length // run.tile_rows)
    middle = run.cycles / 2
    return middle, middle + _TILES * run.cycles * run.cores / tiles
