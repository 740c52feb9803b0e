"""The files of a run: JSON, Markdown, a picture, and the run that benchmarks/README.md shows."""

from __future__ import annotations

from pathlib import Path

from .picture import draw
from .results import Results

_START, _END = "<!-- the run: written by make bench -->", "<!-- end of the run -->"


def write_report(results: Results, folder: Path) -> None:
    """Write results/cpu.json, cpu.md and cpu.png below ``folder``, and the run into its README.md.

    Raises ValueError when the README.md has no place for it, FileNotFoundError when there is none.
    """
    readme = folder / "README.md"
    before, start, rest = readme.read_text().partition(_START)
    _, end, after = rest.partition(_END)
    if not (start and end):
        raise ValueError(f"--report is '{folder}'; its README.md must hold the lines '{_START}' and '{_END}'.")
    files = folder / "results"
    files.mkdir(exist_ok=True)
    markdown = results.to_markdown()
    (files / "cpu.json").write_text(results.to_json())
    (files / "cpu.md").write_text(markdown)
    draw(results, files / "cpu.png")
    readme.write_text(f"{before}{start}\n\n{markdown}\n{end}{after}")
