"""Text that is written as it comes, over a line that says how far it is."""

from __future__ import annotations

from typing import Self

from rich.console import Group
from rich.live import Live
from rich.text import Text

from ifa_fusion.cli.terminal import output


class Stream:
    """A scope in which text is written to standard output; the line below it is for terminals, and does not stay."""

    def __init__(self) -> None:
        self._console = output()
        self._live = Live(console=self._console, transient=True, auto_refresh=False)
        self._line = ""

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()
        self._console.print(self._line, markup=False, soft_wrap=True)

    def write(self, piece: str, status: str) -> None:
        """Adds a piece of text."""
        if not self._console.is_terminal:
            self._console.print(piece, end="", markup=False, soft_wrap=True)
            return
        self._line += piece
        # What is above the live lines can't be changed: whole lines go there, the last one stays below.
        text = self._line.rstrip(" ")
        *whole, rest = Text(text).wrap(self._console, self._console.width)
        for line in whole:
            self._console.print(line)
        self._line = rest.plain + self._line[len(text) :]  # wrapping drops the spaces at its end
        self._live.update(Group(rest, Text(status, style="dim", no_wrap=True)), refresh=True)
