"""The run as bars: percent of the limit, for the kernel and the peers beside it."""

from __future__ import annotations

from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from .results import Results, Row, thread_count

_BAR_HEIGHT, _PANEL_WIDTH = 0.15, 3.0  # inches

Colour = tuple[float, float, float, float]


def draw(results: Results, path: Path) -> None:
    """One panel for each type, for the largest number of threads of the run; an image of the suffix of ``path``."""
    threads = max(row.threads for row in results.rows)
    rows = [row for row in results.rows if row.threads == threads]
    dtypes = list(dict.fromkeys(row.dtype for row in rows))
    names = ["ifa_fusion", *(name for name in results.peers if any(name in row.others for row in rows))]
    colours = {name: matplotlib.colormaps["tab10"](i) for i, name in enumerate(names)}
    bars = len(rows) // len(dtypes) * (len(names) + 1)
    size = (_PANEL_WIDTH * len(dtypes) + 2, _BAR_HEIGHT * bars + 2)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, len(dtypes), squeeze=False, sharey=True)[0]
    for panel, dtype in zip(panels, dtypes, strict=True):
        _draw_panel(panel, [row for row in rows if row.dtype == dtype], colours)
        panel.set_title(dtype, fontsize=10)
    panels[0].set_ylabel("B,N,kvN,S,D")
    handles = [Patch(color=colour, label=name) for name, colour in colours.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(dtypes), frameon=False, fontsize=8)
    figure.suptitle(f"Percent of read bandwidth, {thread_count(threads)}", fontsize=11)
    figure.savefig(path, dpi=120)


def _draw_panel(panel: Axes, rows: list[Row], colours: dict[str, Colour]) -> None:
    group = len(colours) + 1  # the bars of a shape, and a gap
    for i, row in enumerate(rows):
        ratios = {name: other.ratio for name, other in row.others.items()}
        for j, (name, colour) in enumerate(colours.items()):
            ratio = 1.0 if j == 0 else ratios.get(name)
            if ratio is not None:
                percent = row.percent / ratio
                panel.barh(i * group + j, percent, height=0.85, color=colour)
                place = min(percent, 103) + 1  # of what is cut off, inside the bar
                panel.text(place, i * group + j, f"{percent:.0f}", va="center", fontsize=6)
    middles = [i * group + (group - 2) / 2 for i in range(len(rows))]
    panel.set_yticks(middles, [str(row.shape) for row in rows], fontsize=8)
    panel.set_ylim(len(rows) * group - 1, -1)
    panel.set_xlim(0, 110)
    panel.tick_params(axis="x", labelsize=8)
    panel.axvline(100, color="0.4", linewidth=0.8, linestyle=":")
    panel.spines[["top", "right"]].set_visible(False)
