"""The run as bars: percent of the limit, for the kernel and the peers beside it."""

from __future__ import annotations

from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from benchmarks.results import Results, Row

_BAR = 0.26  # inches, of height

Colour = tuple[float, float, float, float]


def draw(results: Results, path: Path) -> None:
    """One panel for each type, for the largest number of threads of the run; an image of the suffix of ``path``."""
    threads = max(row.threads for row in results.rows)
    rows = [row for row in results.rows if row.threads == threads]
    dtypes = list(dict.fromkeys(row.dtype for row in rows))
    names = ["ifa_fusion", *dict.fromkeys(name for row in rows for name in row.others)]
    colours = {name: matplotlib.colormaps["tab10"](i) for i, name in enumerate(names)}
    tallest = max(sum(row.dtype == dtype for row in rows) for dtype in dtypes)
    figure = Figure(figsize=(4.2 * len(dtypes) + 1.6, _BAR * tallest * (len(names) + 1) + 1.6), layout="constrained")
    panels = figure.subplots(1, len(dtypes), squeeze=False, sharex=True)[0]
    for panel, dtype in zip(panels, dtypes, strict=True):
        _panel(panel, [row for row in rows if row.dtype == dtype], names, colours)
        panel.set_title(dtype)
    handles = [Patch(color=colours[name], label=name) for name in names]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(names), 5), frameon=False)
    figure.suptitle(f"Decode attention, percent of read bandwidth, {threads} threads\n{results.machine}", fontsize=11)
    figure.savefig(path, dpi=110)


def _panel(panel: Axes, rows: list[Row], names: list[str], colours: dict[str, Colour]) -> None:
    group = len(names) + 1  # bars and a gap
    for i, row in enumerate(rows):
        for j, name in enumerate(names):
            percent = row.percent if name == names[0] else None
            if name in row.others:
                percent = row.percent / row.others[name].ratio
            if percent is None:
                continue
            panel.barh(i * group + j, percent, height=0.85, color=colours[name])
            panel.text(percent + 1, i * group + j, f"{percent:.0f}", va="center", fontsize=7)
    panel.set_yticks(
        [i * group + (group - 2) / 2 for i in range(len(rows))], [str(row.shape) for row in rows], fontsize=8
    )
    panel.set_ylim(len(rows) * group - 1, -1)
    panel.set_xlim(0, 112)
    panel.axvline(100, color="0.4", linewidth=0.8, linestyle=":")
    panel.spines[["top", "right"]].set_visible(False)
