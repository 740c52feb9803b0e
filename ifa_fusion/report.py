"""What the pass did: the sites it fused, and those it refused with the reason."""

import json
import os
import shutil
import tempfile
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ifa_fusion import _native


@dataclass(frozen=True)
class Input:
    """What a node takes.

    Attributes:
        name: The operand's name, "" when MindSpore does not tell.
        node: The `Node.id` of what is taken.
    """

    name: str
    node: int


@dataclass(frozen=True)
class Node:
    """A node of a site's graph.

    Attributes:
        id: Its index in the tuple that holds it. Inputs come before what uses them.
        operator: MindSpore's name, "Parameter" for what is given to the graph, "Constant", "Call" of another graph.
        shape: With -1 for sizes that only the run knows; None for what is no tensor.
        dtype: Of the elements, "" for what is no tensor.
        role: What it is in the attention, for example "query", "score matmul", "scale", "KV repeat", "inserted".
        inputs: What it takes of the site's nodes.
        attributes: What it takes of constants, for example "axis=2"; of a parameter its name.
    """

    id: int
    operator: str
    shape: tuple[int, ...] | None
    dtype: str
    role: str
    inputs: tuple[Input, ...]
    attributes: tuple[str, ...]

    @classmethod
    def from_dict(cls, entry: dict[str, Any]) -> "Node":
        """The node that an entry of `Report.to_json` describes."""
        shape = entry["shape"]
        return cls(
            **{
                **entry,
                "shape": None if shape is None else tuple(shape),
                "inputs": tuple(Input(**taken) for taken in entry["inputs"]),
                "attributes": tuple(entry["attributes"]),
            }
        )


@dataclass(frozen=True)
class Site:
    """One softmax that looks like decode attention.

    Attributes:
        fused: Whether it was rewritten.
        reason: "fused", or a stable code that says why not.
        message: The same as a sentence.
        location: "file.py:line" of the user's code, "" when MindSpore does not know it.
        graph: The function graph that holds it.
        features: What was recognised, for example "GQA 9/3", "BNSD float32", "mask: additive -> bool".
        before: The nodes from query, key, value, masks and biases to the output; of a refused site, those that were
            looked at.
        after: The nodes that stand there now, of a fused site.
        refused_at: The `Node.id` in `before` of the node that is the reason; None when fused, and when the reason is
            not one node.
    """

    fused: bool
    reason: str
    message: str
    location: str
    graph: str
    features: tuple[str, ...]
    before: tuple[Node, ...] = ()
    after: tuple[Node, ...] = ()
    refused_at: int | None = None

    @classmethod
    def from_dict(cls, entry: dict[str, Any]) -> "Site":
        """The site that an entry of `Report.to_json` describes."""
        nodes = {when: tuple(Node.from_dict(node) for node in entry[when]) for when in ("before", "after")}
        return cls(**{**entry, "features": tuple(entry["features"]), **nodes})


@dataclass(frozen=True)
class Report:
    """The sites of one or more graphs, in the order in which the pass saw them."""

    sites: tuple[Site, ...]

    @property
    def fused(self) -> list[Site]:
        """The sites that were rewritten."""
        return [site for site in self.sites if site.fused]

    @property
    def refused(self) -> list[Site]:
        """The sites that were left as they are."""
        return [site for site in self.sites if not site.fused]

    def to_json(self) -> str:
        """The sites as a JSON list of objects with the attributes of `Site`."""
        return json.dumps([asdict(site) for site in self.sites], indent=2)

    def to_html(self, path: str | os.PathLike[str]) -> None:
        """Writes a page with a table of the sites and, of each, drawings of its nodes before and after.

        Args:
            path: The file to write. It needs no other file and no network, and appears when it is complete, not before.

        Raises:
            FileNotFoundError: If there is no folder for `path`.
            ValueError: If `path` is a folder.
        """
        from ifa_fusion import _page  # here: few need it, and its template engine is slow to import

        path = Path(path)
        if not path.parent.is_dir():
            raise FileNotFoundError(f"path must be in a folder that exists, but there is no {path.parent}.")
        if path.is_dir():
            raise ValueError(f"path must be a file name, but {path} is a folder.")
        text = _page.render(self)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".ifa_fusion-") as folder:
            page = Path(folder, path.name)
            page.write_text(text, encoding="utf-8")
            os.replace(page, path)

    def __str__(self) -> str:
        if not self.sites:
            return "no attention sites seen (one that is fused already, or was compiled before, is not seen again)"
        rows = [("site", "where", "status", "features", "reason")]
        for number, site in enumerate(self.sites, 1):
            status = "fused" if site.fused else site.reason
            reason = "" if site.fused else site.message
            rows.append((str(number), site.location or site.graph, status, ", ".join(site.features), reason))
        return "\n".join([*_table(rows), f"{len(self.fused)} of {len(self.sites)} fused"])


_NARROWEST, _WIDEST = 80, 120
"""Columns of text, between which a table follows the terminal."""


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Lines with columns below each other, of which the last two are wrapped and the second's paths cut at the left."""
    total = min(max(shutil.get_terminal_size((_WIDEST, 24)).columns, _NARROWEST), _WIDEST)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    widths[1] = min(widths[1], total // 4)
    room = total - sum(widths[:3]) - 2 * (len(widths) - 1)
    if widths[3] + widths[4] > room:
        widths[3] = min(widths[3], max(room // 2, room - widths[4]))
        widths[4] = room - widths[3]
    lines = []
    for number, where, status, *texts in rows:
        path = where if len(where) <= widths[1] else f"…{where[1 - widths[1] :]}"
        wrapped = [textwrap.wrap(text, width) for text, width in zip(texts, widths[3:], strict=True)]
        for cells in zip_longest([number], [path], [status], *wrapped, fillvalue=""):
            lines.append("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
    return lines


_seen: list[Site] = []


def _take() -> list[Site]:
    """The sites that the pass has seen since this was last called."""
    return [Site.from_dict(entry) for entry in json.loads(_native.take_report())]


def report(*, reset: bool = False) -> Report:
    """The sites that the pass has seen since the last ``report(reset=True)``.

    Sites of `explain`, `verify` and `fuse_mindir` are in their own results and not here.

    Args:
        reset: Whether to forget them afterwards.

    Returns:
        The sites. Print it for a table.
    """
    _seen.extend(_take())
    result = Report(tuple(_seen))
    if reset:
        _seen.clear()
    return result


class Collector:
    """Keeps the sites that are seen in the body of a ``with`` to itself: ``with Collector() as sites: ...``."""

    def __enter__(self) -> "Collector":
        report()
        self.report = Report(())
        return self

    def __exit__(self, *exception: object) -> None:
        self.report = Report(tuple(_take()))
