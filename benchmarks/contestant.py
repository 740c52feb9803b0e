"""What takes part in a round: it runs a call on one slot of a ring and says how long that took."""

from __future__ import annotations

import importlib.metadata
import time
from abc import ABC, abstractmethod
from typing import ClassVar

from .ring import Array, Ring


class Unsupported(Exception):
    """This contestant cannot run this case; the message says why in a few words."""


class Contestant(ABC):
    """The kernel, the read probe or a peer, made ready for all slots of one ring."""

    @abstractmethod
    def run(self, slot: int) -> float:
        """Run one call; how long it took, in microseconds."""


class Peer(Contestant):
    """Another implementation of decode attention.

    A subclass is made with a ring and a number of threads, and does then all that a server would have done before
    the step: compile, and bring every cache into the layout it wants. It raises `Unsupported` where it cannot.
    """

    name: ClassVar[str]
    package: ClassVar[str]
    """The distribution that brings it."""
    dtypes: ClassVar[frozenset[str]]

    @abstractmethod
    def __init__(self, ring: Ring, threads: int) -> None: ...

    @abstractmethod
    def attend(self, slot: int) -> None:
        """One decode step; what `run` times."""

    @abstractmethod
    def output(self) -> Array:
        """Of the last step, (B, N, D) in any shape and floating-point type."""

    def run(self, slot: int) -> float:
        """Run one step; microseconds, with what a call from Python costs."""
        start = time.perf_counter()
        self.attend(slot)
        return (time.perf_counter() - start) * 1e6

    @classmethod
    def version(cls) -> str | None:
        """Of the installed distribution; None when there is none."""
        try:
            return importlib.metadata.version(cls.package)
        except importlib.metadata.PackageNotFoundError:
            return None
