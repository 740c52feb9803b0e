"""What every command line does with a bad input, or with Ctrl-C: a line on standard error, and an exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

BAD_INPUT = 2
INTERRUPTED = 130  # as shells count: 128 and the number of SIGINT


def run(program: str, main: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Run `main`; a bad input becomes one sentence on standard error and exit code 2, with --debug a traceback.

    Ctrl-C becomes one word there and exit code 130.
    """
    try:
        return main(options)
    except (ValueError, OSError, ImportError) as error:
        if options.debug:
            raise
        print(f"{program}: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return INTERRUPTED
