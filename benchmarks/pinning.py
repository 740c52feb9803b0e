"""Keeps every thread on a CPU of its own, also those that peers start."""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from typing import Self


class Pinning:
    """A scope in which the process uses as many of its CPUs as it has threads in a pool."""

    def __init__(self, threads: int) -> None:
        self._allowed = os.sched_getaffinity(0)
        self._cpus = sorted(self._allowed)[:threads]
        self._known = _threads()

    def __enter__(self) -> Self:
        os.sched_setaffinity(0, self._cpus)
        return self

    def __exit__(self, *_: object) -> None:
        os.sched_setaffinity(0, self._allowed)

    def pin_new_threads(self) -> None:
        """Pin the threads that were started since the last time, one by one, to the CPUs after the first.

        The first is that of the calling thread, which takes part in most pools.
        """
        new = sorted(_threads() - self._known)
        self._known.update(new)
        for thread, cpu in zip(new, cycle(self._cpus[1:] + self._cpus[:1]), strict=False):
            with suppress(ProcessLookupError):  # it has ended
                os.sched_setaffinity(thread, {cpu})

    def pin_this_thread(self) -> None:
        """To the first CPU. Not before all pools exist: threads that start later would share it."""
        os.sched_setaffinity(0, self._cpus[:1])


def _threads() -> set[int]:
    return {int(entry.name) for entry in Path("/proc/self/task").iterdir()}
