"""A report as one HTML page that needs nothing else: a table of the sites, and drawings of each."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader

from ifa_fusion._page.drawing import draw

if TYPE_CHECKING:
    from ifa_fusion.report import Report

#: Characters that XML can't hold, and halves of characters, which paths that are not UTF-8 are made of.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _printable(value: Any) -> Any:
    return _UNPRINTABLE.sub("\ufffd", value) if type(value) is str else value


_environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    finalize=_printable,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(report: Report) -> str:
    """The page's text."""
    return _environment.get_template("page.html").render(report=report, draw=draw)
