"""What the pass did: the sites it fused, and those it refused with the reason."""

import json
from dataclasses import asdict, dataclass

from ifa_fusion import _native


@dataclass(frozen=True)
class Site:
    """One softmax that looks like decode attention.

    Attributes:
        fused: Whether it was rewritten.
        reason: "fused", or a stable code that says why not.
        message: The same as a sentence.
        location: "file.py:line" of the user's code, "" when MindSpore does not know it.
        graph: The function graph that holds it.
        features: What was recognised, for example "GQA 9/3", "BNSD Float32", "mask".
    """

    fused: bool
    reason: str
    message: str
    location: str
    graph: str
    features: tuple[str, ...]


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

    def __str__(self) -> str:
        if not self.sites:
            return "no attention sites seen (a graph that was compiled before is not seen again)"
        rows = [("site", "where", "status", "features", "reason")]
        for number, site in enumerate(self.sites, 1):
            status = "fused" if site.fused else site.reason
            reason = "" if site.fused else site.message
            rows.append((str(number), site.location or site.graph, status, ", ".join(site.features), reason))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([*lines, f"{len(self.fused)} of {len(self.sites)} fused"])


_seen: list[Site] = []


def _take() -> list[Site]:
    """The sites that the pass has seen since this was last called."""
    return [Site(**{**entry, "features": tuple(entry["features"])}) for entry in json.loads(_native.take_report())]


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
