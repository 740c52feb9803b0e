"""What program this process is. Imports nothing, so that it can be asked before MindSpore is imported."""

import sys
from pathlib import Path


def is_command_line() -> bool:
    """Whether this process was started as `ifa-fusion`, or as `python -m ifa_fusion`."""
    started = Path(sys.argv[0]).name if sys.argv else ""
    # While Python looks for the module of -m, that is its argument 0.
    return started == "ifa-fusion" or (started == "-m" and "ifa_fusion" in sys.orig_argv)
