"""What every command line does with a bad input: one sentence on standard error, and an exit code of its own."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

BAD_INPUT = 2


def run(program: str, main: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Run `main`; a bad input becomes one sentence on standard error and exit code 2, with --debug a traceback."""
    try:
        return main(options)
    except (ValueError, OSError, ImportError) as error:
        if options.debug:
            raise
        print(f"{program}: {error}", file=sys.stderr)
        return BAD_INPUT
