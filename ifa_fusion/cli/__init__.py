"""The command line `ifa-fusion`: one file per command.

Each command imports what it works with when it runs, so that `info` can say what is wrong where the library does not
load. Commands know nothing of each other; what they give back is shown here.
"""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Sequence
from typing import NoReturn

from ifa_fusion.cli import bench, explain, fuse, generate, info, verify
from ifa_fusion.cli.outcome import show
from ifa_fusion.models.exit_codes import BAD_INPUT, run

_COMMANDS = {
    "info": info, "explain": explain, "fuse": fuse, "verify": verify, "generate": generate, "bench": bench
}  # fmt: skip
_ERRORS = "3"
"""The level of MindSpore's log at which it shows errors and no warnings."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One sentence, without the usage before it."""
        self.exit(BAD_INPUT, f"{self.prog}: {message}\n")


def prepare() -> None:
    """What has to be done before MindSpore is imported, which takes seconds.

    Answers --help and bad usage, which ends the process. Keeps MindSpore's own warnings from between our lines, unless
    --debug is given or the environment says what MindSpore shall log; its errors are still shown.
    """
    options = _parser().parse_args()
    if not options.debug:
        os.environ.setdefault("GLOG_v", _ERRORS)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends it, without the traceback of an import


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 0 done, 1 the check failed, 2 bad usage or input.

    Args:
        arguments: Those after the program's name; by default what the process was started with.
    """
    options = _parser().parse_args(arguments)
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return run(f"ifa-fusion {options.command}", _execute, options)


def _execute(options: argparse.Namespace) -> int:
    command = _COMMANDS[options.command]
    if command is not info:
        from ifa_fusion import _native  # noqa: F401  says in one sentence why there is no library

    return show(command.run, options)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="ifa-fusion", description="Decode-attention fusion for MindSpore.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in _COMMANDS.items():
        summary = (command.__doc__ or "").splitlines()[0]
        subparser = commands.add_parser(name, help=summary, description=command.__doc__)
        command.add_options(subparser)
        subparser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
        subparser.add_argument(
            "--debug", action="store_true", help="show the traceback of an error, and MindSpore's warnings"
        )
    return parser
