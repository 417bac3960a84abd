"""`scripts/bench eviction`: the hit ratio of the layers' memory against that of other packages.

Traces are Zipf's, alone, with names that are asked for once, with scans, and with a popularity that drifts.
Each contestant keeps a share of the names. An aim is met within half a point of the best other.
"""

from __future__ import annotations

import argparse
import time
from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2s
from itertools import accumulate
from typing import Any

import cachebox
import cachetools
import moka_py
import theine

from origin_sdk.layers.process.memory import MOST_USES, Memory, MemoryEntry
from origin_sdk.layers.values.policy import Windows
from scripts.benches.rows import AtLeast, AtMost, Row, row

__all__ = ["add_arguments", "measure"]

_NAMES, _CALLS = 10_000, 120_000
_SHARES = (0.01, 0.05, 0.2)
_EXPONENTS = (0.8, 1.0, 1.1)
_POINTS = 0.5
_SEED = [0]
_Use = Callable[[str], bool]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Ask for other traces."""
    parser.add_argument(
        "--seed", type=int, default=0, help="of the traces: other ones show what is tuned on some"
    )


def measure(options: argparse.Namespace) -> list[Row]:
    """Return a row for each trace and size, and what a put into a full memory takes."""
    calls = _CALLS // 10 if options.quick else _CALLS
    _SEED[0] = options.seed
    rows = [
        _compared(f"{name}, Zipf {exponent}", list(make(exponent, calls)), share)
        for name, make in _TRACES.items()
        for exponent in (_EXPONENTS[:1] if options.quick else _EXPONENTS)
        for share in _SHARES
    ]
    return [*rows, *_puts(10_000 if options.quick else 1_000_000)]


def _compared(name: str, trace: Sequence[str], share: float) -> Row:
    size = int(_NAMES * share)
    ratios = {
        other: 100 * sum(map(make(size), trace)) / len(trace)
        for other, make in ({"ours": _ours} | _OTHERS).items()
    }
    ours = ratios.pop("ours")
    best = max(ratios, key=lambda other: ratios[other])
    aim = AtLeast(ratios[best] - _POINTS)
    return row("hit ratio", f"{name}, {share:.0%} ({best} {ratios[best]:.2f})", "%", [ours], aim=aim)


def _puts(entries: int) -> list[Row]:
    """Measure the slowest put into a memory in which all is in use: an eviction must not walk through it."""
    memory = Memory(entries)
    memory.put_many({str(number): _entry() for number in range(entries)})
    for entry in memory.entries.values():
        entry.used = MOST_USES
    took: list[float] = []
    for number in range(2_000):
        began = time.perf_counter()
        memory.put(f"new-{number}", _entry())
        took.append((time.perf_counter() - began) * 1e6)
    took.sort()
    return [row("eviction", f"a put into {entries:,} in use, p99", "us", [took[-20]], aim=AtMost(100))]


def _entry() -> MemoryEntry:
    return MemoryEntry("value", 1, 1.0, Windows(), (), 1.0, 0, 1)


def _drawn(exponent: float, calls: int) -> Iterator[int]:
    """Draw ranks by Zipf's law, always the same ones."""
    ends = list(accumulate(1 / rank**exponent for rank in range(1, _NAMES + 1)))
    for call in range(calls):
        yield bisect(ends, _chance(call) * ends[-1])


def _chance(number: int) -> float:
    key = b"%d" % _SEED[0] if _SEED[0] else b""
    return int.from_bytes(blake2s(b"%d" % number, digest_size=4, key=key).digest(), "big") / 2**32


def _zipf(exponent: float, calls: int) -> Iterator[str]:
    yield from map(str, _drawn(exponent, calls))


def _wonders(exponent: float, calls: int) -> Iterator[str]:
    for call, rank in enumerate(_drawn(exponent, calls)):
        yield f"once-{call}" if _chance(-call) < 0.3 else str(rank)


def _scans(exponent: float, calls: int) -> Iterator[str]:
    for call, rank in enumerate(_drawn(exponent, calls)):
        yield str(rank)
        if call % (_NAMES // 5) == 0:
            yield from (f"scan-{call}-{number}" for number in range(_NAMES // 10))


def _drifts(exponent: float, calls: int) -> Iterator[str]:
    for call, rank in enumerate(_drawn(exponent, calls)):
        yield str(rank + call // (calls // 20) * (_NAMES // 200))


_TRACES = {
    "alone": _zipf,
    "with names asked for once": _wonders,
    "with scans": _scans,
    "that drifts": _drifts,
}


def _ours(size: int) -> _Use:
    memory = Memory(size)

    def use(name: str) -> bool:
        entry = memory.get(name)
        if entry is None:
            memory.put(name, _entry())
            return False
        if entry.used < MOST_USES:
            entry.used += 1
        return True

    return use


def _getting(get: Callable[[str], Any], put: Callable[[str, int], Any]) -> _Use:
    def use(name: str) -> bool:
        if get(name) is not None:
            return True
        put(name, 1)
        return False

    return use


def _theine(size: int) -> _Use:
    cache: Any = theine.Cache(size)

    def use(name: str) -> bool:
        found = cache.get(name)
        if found[1] if isinstance(found, tuple) else found is not None:
            return True
        cache.set(name, 1)
        return False

    return use


def _moka(size: int) -> _Use:
    cache: Any = moka_py.Moka(size)
    return _getting(cache.get, cache.set)


def _mapping(cache: Any) -> _Use:
    return _getting(cache.get, cache.__setitem__)


_OTHERS: dict[str, Callable[[int], _Use]] = {
    "theine": _theine,
    "moka-py": _moka,
    "cachebox LFU": lambda size: _mapping(cachebox.LFUCache(size)),
    "cachetools LRU": lambda size: _mapping(cachetools.LRUCache(size)),
}
