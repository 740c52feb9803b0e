"""What a run found, and its JSON and Markdown."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from .case import Shape
from .ring import last_level_cache


class Other(NamedTuple):
    """What ran beside the kernel: median microseconds, and the median over rounds of its time by the kernel's."""

    median_us: float
    ratio: float


@dataclass(frozen=True)
class Row:
    """One case on one number of threads.

    Attributes:
        shape: What was attended.
        dtype: Of the cache.
        threads: Of the kernel and of every peer.
        median_us: The kernel's median, in microseconds.
        kv_gbps: Bytes of K and V in that time, in GB/s.
        probe_gbps: The same of the read probe, the limit.
        percent: Of the limit: the median over rounds of the probe's time by the kernel's.
        others: The kernel where K and V are warm, on a paged cache, on half of the positions, and the peers that ran.
        absent: Why the others did not.
    """

    shape: Shape
    dtype: str
    threads: int
    median_us: float
    kv_gbps: float
    probe_gbps: float
    percent: float
    others: dict[str, Other]
    absent: dict[str, str]

    def __str__(self) -> str:
        others = "".join(f"  {name} {other.ratio:.2f} x" for name, other in self.others.items())
        return (
            f"{self.shape!s:<20} {self.dtype:<5} {thread_count(self.threads):<9} {self.median_us:10.1f} us "
            f"{self.kv_gbps:6.2f} of {self.probe_gbps:6.2f} GB/s {self.percent:5.1f} %{others}"
        )


@dataclass(frozen=True)
class Results:
    """A run.

    Attributes:
        machine: In one line.
        isa: The instruction set of the kernel.
        rounds: How many the medians are of.
        peers: The version of each peer, or None where it is not installed.
        rows: In the order of the table.
    """

    machine: str
    isa: str
    rounds: int
    peers: dict[str, str | None]
    rows: list[Row]

    def to_json(self) -> str:
        """The run as JSON; its rows are called results."""
        document = dataclasses.asdict(self)
        document["results"] = [{**row, "others": _named(row["others"])} for row in document.pop("rows")]
        return json.dumps(document, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Results:
        """What `to_json` wrote."""
        document = json.loads(text)
        return cls(rows=[_row(row) for row in document.pop("results")], **document)

    def to_markdown(self) -> str:
        """One table for each number of threads."""
        tables = [_table([r for r in self.rows if r.threads == n]) for n in sorted({r.threads for r in self.rows})]
        peers = "; ".join(f"{name} {version or 'not installed'}" for name, version in self.peers.items())
        lines = [
            f"Machine: {self.machine}. Kernel: {self.isa}. Medians of {self.rounds} rounds, cold caches.",
            f"Peers: {peers or 'not asked for'}.",
            *tables,
            self.reasons(),
        ]
        return "\n\n".join(line for line in lines if line) + "\n"

    def reasons(self) -> str:
        """Why peers did not run, as a sentence; "" when all did."""
        found = dict.fromkeys((name, reason) for row in self.rows for name, reason in row.absent.items())
        return "Not run: " + "; ".join(f"{name}: {reason}" for name, reason in found) + "." if found else ""


def thread_count(threads: int) -> str:
    """In words."""
    return f"{threads} thread{'s' if threads > 1 else ''}"


def machine() -> str:
    """Processor, CPUs, last-level cache and system of this machine."""
    information = Path("/proc/cpuinfo").read_text()
    names = [line.partition(":")[2].strip() for line in information.splitlines() if line.startswith("model name")]
    processor = names[0] if names else platform.machine()
    cache = last_level_cache() >> 20
    return f"{processor}, {os.cpu_count()} CPUs, {cache} MiB L3, {platform.system()} {platform.release()}"


def _named(others: dict[str, Other]) -> dict[str, dict[str, float]]:
    return {name: other._asdict() for name, other in others.items()}


def _row(document: dict[str, Any]) -> Row:
    others = {name: Other(**other) for name, other in document.pop("others").items()}
    return Row(shape=Shape(*document.pop("shape")), others=others, **document)


def _table(rows: list[Row]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in (*row.others, *row.absent)))
    names = [name for name in names if any(name in row.others for row in rows)]
    heading = ["B,N,kvN,S,D", "dtype", "median us", "GB/s", "limit GB/s", "% of limit", *names]
    lines = [heading, ["---", "---", *["---:"] * (len(heading) - 2)]]
    for row in rows:
        figures = f"{row.median_us:.1f}", f"{row.kv_gbps:.1f}", f"{row.probe_gbps:.1f}", f"{row.percent:.0f}"
        lines.append([str(row.shape), row.dtype, *figures, *(_cell(row, name) for name in names)])
    return f"**{thread_count(rows[0].threads)}**\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(row: Row, name: str) -> str:
    other = row.others.get(name)
    return f"{other.median_us:.1f} ({other.ratio:.2f} x)" if other else "-"
