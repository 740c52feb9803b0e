"""Rounds: in each, everything that takes part runs in turn over the same ring, and what is compared is of one round."""

from __future__ import annotations

import ctypes
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ifa_fusion import reference

from .case import Case
from .contestant import Contestant, Peer, Unsupported
from .native import Half, Kernel, ReadProbe, WarmKernel
from .pinning import Pinning
from .results import Other, Row
from .ring import Ring

Float64 = NDArray[np.float64]

_WARM_ROUNDS = 2
_TOLERANCE = 0.03
"""Of the norm of the output. Rounding the weights to bfloat16, or a cache to 8 bits, makes less than a third of it; a
head or a block in the wrong place makes 1."""


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
        threads: Of the kernel and of all that is beside it.
        rounds: How many the medians are of.
        block_size: Positions in a block of the paged cache; None to leave out the kernel's other cases: a paged cache,
            warm buffers, half of the positions.
        isa: An instruction set; None for the best.
    """

    threads: int
    rounds: int
    block_size: int | None = None
    isa: str | None = None


def measure(library: ctypes.CDLL, case: Case, settings: Settings, peers: Sequence[type[Peer]]) -> Row:
    """Measure one case. Whatever computes is checked against the reference before it is timed.

    Raises:
        ValueError: The kernel refused the case.
        ArithmeticError: The kernel is wrong.
    """
    ring = Ring(case)
    halves = Half if settings.block_size else ()
    expected, half_expected = _expected(ring), {half.value: _expected(ring, half) for half in halves}
    ours = partial(Kernel, library, ring, settings.threads, settings.isa)
    entrants: dict[str, Callable[[], Kernel | Peer]] = {}
    if settings.block_size:
        entrants[f"paged {settings.block_size}"] = partial(ours, settings.block_size)
    entrants |= {half.value: partial(ours, half=half) for half in halves}
    entrants |= {peer.name: partial(_made, peer, ring, settings.threads) for peer in peers}
    absent: dict[str, str] = {}
    with Pinning(settings.threads) as pinning:
        kernel = ours()
        _check(kernel, expected)
        others: dict[str, Contestant] = {"warm": WarmKernel(kernel)} if settings.block_size else {}
        pinning.pin_new_threads()
        for name, make in entrants.items():
            try:
                entrant = make()
                _check(entrant, half_expected.get(name, expected))
                others[name] = entrant
            except Unsupported as reason:
                absent[name] = str(reason)
            except Exception as failure:  # whatever goes wrong in a peer must not cost the other rows
                absent[name] = f"{type(failure).__name__}: {failure}".splitlines()[0]
            pinning.pin_new_threads()
        pinning.pin_this_thread()
        probes = {
            name: ReadProbe(library, ring, settings.threads, number) for number, name in enumerate(ReadProbe.PATTERNS)
        }
        times = _rounds(ring, {"kernel": kernel, **probes, **others}, settings.rounds)
    return _row(case, settings, times, list(probes), list(others), absent)


def _made(peer: type[Peer], ring: Ring, threads: int) -> Peer:
    if peer.version() is None:
        raise Unsupported("not installed")
    if ring.case.dtype not in peer.dtypes:
        raise Unsupported(f"no {ring.case.dtype}")
    return peer(ring, threads)


def _check(contestant: Kernel | Peer, expected: Float64) -> None:
    contestant.run(0)
    output = np.asarray(contestant.output()).astype(np.float64).reshape(expected.shape)
    error = np.linalg.norm(output - expected) / np.linalg.norm(expected)
    if not error < _TOLERANCE:
        raise ArithmeticError(f"off by {error:.1%} of the output's norm")


def _expected(ring: Ring, half: Half | None = None) -> Float64:
    shape = ring.case.shape
    positions = half.positions(shape.kv_length) if half else slice(None)
    output = reference.incre_flash_attention(
        ring.query[:, :, None],
        ring.keys[0][:, :, positions],
        ring.values[0][:, :, positions],
        antiquant_scale=ring.scales,
        num_heads=shape.query_heads,
        num_key_value_heads=shape.kv_heads,
        input_layout="BNSD",
        scale_value=shape.scale,
    )
    return output.astype(np.float64, copy=False)


def _rounds(ring: Ring, contestants: Mapping[str, Contestant], rounds: int) -> dict[str, list[float]]:
    """Microseconds of each contestant in every round. A call that is not counted wakes its threads first."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(-_WARM_ROUNDS, rounds):
        for name, contestant in contestants.items():
            contestant.run(ring.next())
            microseconds = contestant.run(ring.next())
            _settle()
            if number >= 0:
                times[name].append(microseconds)
    return times


def _settle() -> None:
    """Wait until no thread spins for more work any longer, which would take the next one's CPU; 0.2 s at most."""
    for _ in range(100):
        before = time.process_time()
        time.sleep(0.002)
        if time.process_time() - before < 0.0005:
            return


def _row(
    case: Case,
    settings: Settings,
    times: Mapping[str, Sequence[float]],
    probes: Sequence[str],
    others: Sequence[str],
    absent: dict[str, str],
) -> Row:
    medians = {name: statistics.median(of) for name, of in times.items()}
    best_probe = min(probes, key=medians.__getitem__)
    kernel = times["kernel"]

    def median_ratio(name: str) -> float:
        return statistics.median(a / b for a, b in zip(times[name], kernel, strict=True))

    return Row(
        shape=case.shape,
        dtype=case.dtype,
        threads=settings.threads,
        median_us=medians["kernel"],
        kv_gbps=case.kv_bytes / medians["kernel"] / 1e3,
        probe_gbps=case.kv_bytes / medians[best_probe] / 1e3,
        percent=100 * median_ratio(best_probe),
        others={name: Other(medians[name], median_ratio(name)) for name in others},
        absent=absent,
    )
