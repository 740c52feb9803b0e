"""Where text goes: tables to standard output, what passes to standard error, and colours to terminals only."""

from __future__ import annotations

from contextlib import AbstractContextManager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

_FILE_WIDTH = 120
"""Columns of a table that is written to a file or a pipe."""


def output() -> Console:
    """Standard output."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_FILE_WIDTH)


def working(what: str) -> AbstractContextManager[object]:
    """Says on a terminal what is being done, for as long as the body of the ``with`` takes."""
    return Console(stderr=True).status(what)


def progress() -> Progress:
    """A bar on a terminal, which is gone when the work is done."""
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
