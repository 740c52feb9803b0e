"""The time of attention by the length of the context, unfused and fused, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .results import Row, thread_count

_PANEL = 3.6, 3.2  # inches


def draw_contexts(rows: Sequence[Row], path: Path) -> None:
    """One panel for each shape but for its length, with a line for each peer that ran; an image of the suffix."""
    panels: dict[tuple[int, ...], list[Row]] = {}
    for row in sorted(rows, key=lambda row: row.shape.kv_length):
        panels.setdefault(tuple(row.shape._replace(kv_length=0)), []).append(row)
    figure = Figure(figsize=(_PANEL[0] * len(panels), _PANEL[1]), layout="constrained")
    for axes, of_shape in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.values(), strict=True):
        _draw_panel(axes, of_shape)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    figure.suptitle(f"Decode attention by context, {rows[0].dtype}, {thread_count(rows[0].threads)}", fontsize=11)
    figure.savefig(path, dpi=120)


def _draw_panel(axes: Axes, rows: Sequence[Row]) -> None:
    lengths = [row.shape.kv_length for row in rows]
    times = {"kernel alone": [row.median_us for row in rows]}
    times |= {name: [row.others[name].median_us for row in rows] for name in rows[0].others}
    for name, microseconds in times.items():
        axes.plot(lengths, microseconds, marker="o", markersize=3, label=name)
    shape = rows[0].shape
    axes.set_title(f"B {shape.batch}, N {shape.query_heads}, kvN {shape.kv_heads}, D {shape.head_size}", fontsize=9)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(lengths, [str(length) for length in lengths], fontsize=8)
    axes.set_xlabel("positions", fontsize=8)
    axes.set_ylabel("microseconds", fontsize=8)
    axes.tick_params(axis="y", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
