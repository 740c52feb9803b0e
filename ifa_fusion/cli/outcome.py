"""What a command gives back, and how it is shown: as text or as JSON, with the exit code."""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ifa_fusion.cli.terminal import output

if TYPE_CHECKING:
    from rich.console import RenderableType

CHECK_FAILED = 1


@dataclass(frozen=True)
class Outcome:
    """What a command found.

    Attributes:
        document: For --json.
        text: The same for people, plain or of rich.
        failure: A sentence where what the command checks is not so, and "" where it is.
    """

    document: dict[str, Any]
    text: RenderableType
    failure: str = ""


def show(command: Callable[[argparse.Namespace], Outcome], options: argparse.Namespace) -> int:
    """Runs a command and shows what it found; returns the exit code."""
    if options.json:
        with _standard_output_kept():
            outcome = command(options)
        print(json.dumps(outcome.document, indent=2))
    else:
        outcome = command(options)
        output().print(outcome.text, markup=False, soft_wrap=isinstance(outcome.text, str))
    if outcome.failure:
        print(f"ifa-fusion {options.command}: {outcome.failure}", file=sys.stderr)
    return CHECK_FAILED if outcome.failure else 0


@contextmanager
def _standard_output_kept() -> Iterator[None]:
    """Sends what is written on standard output, from Python or from C++, to standard error."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        ctypes.CDLL(None).fflush(None)
        os.dup2(kept, 1)
        os.close(kept)
