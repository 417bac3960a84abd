"""One process of the chaos: threads or tasks that read, change and invalidate, and hold all to an oracle.

What is shared is a file of numbers. For each item: its version in the source, and who invalidated up to which
version, and when that was over. A process writes the items of its own number alone.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import random  # noqa: TID251 - chance is what this is about
import signal
import struct
import sys
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import dropwhile, takewhile
from pathlib import Path
from threading import Lock, Thread
from traceback import extract_tb
from typing import Any

from origin_sdk.layers import Family, LayeredCache, LoadContext, Policy, RedisOptions
from scripts.runtime.chaos_loop import Blocking
from scripts.runtime.chaos_structures import Tables

try:
    from origin_sdk._process.clock import SystemClock
except ModuleNotFoundError:  # in code of before, which --code brings
    from origin_sdk.clock import SystemClock  # type: ignore[no-redef]  # see above

__all__ = ["BOUND_SECONDS", "KEPT", "PROCESSES", "Board", "drawn"]

ITEMS = 80
RARE = 40
"""From this item on they are changed once in half a minute: what is lost of them isn't made up for."""
KEPT = 60
"""From this item on they are never changed, so that nobody has to load them again if nothing is lost."""
PROCESSES = 5
BOUND_SECONDS = 2.5
"""After so long every process whose link is whole must have heard of an invalidation that Redis has noted."""
_RING = 64
_NUMBER = struct.Struct("<d")
_STALL_SECONDS = 1.0
_TICK_SECONDS = 0.02
_LOAD_SECONDS, _SLOW_LOAD_SECONDS, _SLOW = 0.002, 0.05, 0.1
"""How long a load takes, and one in ten."""
_STALE = Policy(lifetime=0.6, stale=5.0, jitter=0.2)
_LASTING = Policy(lifetime=600.0, jitter=0.0)
ITEM = Family("item", "{number}", int, groups=("item-{number}",), policy=_LASTING)
HIDDEN = Family("hidden", "{number}", int, policy=_STALE)
"""Whose loader alone tells the group that its value belongs to."""
PAGE = Family("page", "{number}", list[int], policy=_LASTING)
_STOP, _LENIENT, _CLOCKS = range(3)
_WHOLE = _CLOCKS + PROCESSES
_HEAD = _WHOLE + PROCESSES
_RARELY, _CHANGES = 0.0007, 0.07
_FORK_SECONDS = 3.0


def drawn(seed: int) -> random.Random:
    """Return chance that is the same for the same seed."""
    return random.Random(seed)  # noqa: S311 - guards nothing


class Board:
    """The numbers that all processes see."""

    SIZE = 8 * (_HEAD + ITEMS * (1 + 2 * _RING))

    def __init__(self, file: Path) -> None:
        with file.open("r+b") as opened:
            self._numbers = mmap.mmap(opened.fileno(), self.SIZE)

    def _get(self, place: int) -> float:
        number: float = _NUMBER.unpack_from(self._numbers, place * 8)[0]
        return number

    def _set(self, place: int, number: float) -> None:
        _NUMBER.pack_into(self._numbers, place * 8, number)

    is_over = property(lambda self: bool(self._get(_STOP)), lambda self, to: self._set(_STOP, to))
    lenient_until = property(lambda self: self._get(_LENIENT), lambda self, to: self._set(_LENIENT, to))
    """Until then there may be two primaries, of which a process may read the one that is on its way out."""

    def clock_shift(self, number: int) -> float:
        """Return how far a process's clock is ahead of the machine's."""
        return self._get(_CLOCKS + number)

    def step_clock(self, number: int, to: float) -> None:
        """Set a process's clock so far ahead."""
        self._set(_CLOCKS + number, to)

    def say_whole(self, number: int, *, is_whole: bool) -> None:
        """Note when a process last found its link whole; 0 if it isn't."""
        self._set(_WHOLE + number, time.monotonic() if is_whole else 0.0)

    def all_whole_at(self) -> float:
        """Return since when every process has found its link whole, or that it isn't so: 0."""
        return min(map(self.whole_at, range(PROCESSES)))

    def whole_at(self, number: int) -> float:
        """Return when a process last found its link whole, 0 if it isn't, or doesn't run yet."""
        return self._get(_WHOLE + number)

    def _base(self, item: int) -> int:
        return _HEAD + item * (1 + 2 * _RING)

    def version(self, item: int) -> int:
        """Return an item's version in the source."""
        return int(self._get(self._base(item)))

    def write(self, item: int) -> int:
        """Change an item in the source."""
        version = self.version(item) + 1
        self._set(self._base(item), version)
        return version

    def note(self, item: int, version: int, at: float) -> None:
        """Note that an invalidation of all before a version was over at a moment."""
        slot = self._base(item) + 1 + 2 * (version % _RING)
        self._set(slot + 1, 1e18)
        self._set(slot, version)
        self._set(slot + 1, at)

    def least(self, item: int, before: float) -> int:
        """Return the version up to which an item was invalidated before a moment."""
        base, least = self._base(item) + 1, 0
        for slot in range(base, base + 2 * _RING, 2):
            at = self._get(slot + 1)
            if 0 < at <= before:
                least = max(least, int(self._get(slot)))
        return least


class ShiftedClock(SystemClock):
    """A machine's clock that is stepped."""

    def __init__(self, board: Board, number: int) -> None:
        self._board = board
        self._number = number

    def now(self) -> float:
        return super().now() + self._board.clock_shift(self._number)


@dataclass
class Seen:
    """What a process saw."""

    reads: int = 0
    loads: int = 0
    invalidations: int = 0
    owed: int = 0
    cut_off: int = 0
    """Reads while its link was down or young, which are held to its own invalidations alone."""
    forks: int = 0
    waits: list[tuple[float, float, str]] = field(default_factory=list)
    """When calls began, what they took beside their loads and what this process didn't run, and for what they
    asked."""
    errors: list[str] = field(default_factory=list)
    violations: list[dict[str, Any]] = field(default_factory=list)


class Client:
    """The oracle's half in a process."""

    def __init__(self, board: Board, cache: Any, number: int, seed: int) -> None:
        self.board = board
        self.cache = cache
        self.tables = Tables(cache)
        self.number = number
        self.seed = seed
        self.seen = Seen()
        self.own = [0] * ITEMS
        self.may_change = True
        self._calls: list[tuple[float, float, float, str]] = []
        """When calls began and ended, how long their loads took, and for what they asked."""
        self._stalls: list[tuple[float, float]] = []
        self.whole_since = time.monotonic()
        self.events: dict[int, deque[tuple[float, str, Any]]] = {
            item: deque(maxlen=40) for item in range(ITEMS)
        }
        self._slowness = drawn(seed)
        self._lock = Lock()

    def watch(self, until: float = math.inf) -> None:
        """Note since when the link is whole, and stalls of this process."""
        last = time.monotonic()
        while not self.board.is_over and last < until:
            now = time.monotonic()
            link = self.cache.link
            is_whole = link.is_up and link.can_hear
            if self.may_change:
                self.board.say_whole(self.number, is_whole=is_whole)
            if not is_whole or now > last + _STALL_SECONDS:
                self.whole_since = now
            if now > last + 2 * _TICK_SECONDS:
                self._stalls.append((last + _TICK_SECONDS, now))
            last = now
            time.sleep(_TICK_SECONDS)
        starts = [since for since, _ in self._stalls]
        self.seen.waits = [
            (begin, max(0.0, end - begin - loading - self._stalled(starts, begin, end)), what)
            for begin, end, loading, what in self._calls
        ]

    def _stalled(self, starts: Sequence[float], begin: float, end: float) -> float:
        """Return for how long this process didn't run between two moments."""
        first = max(0, bisect_right(starts, begin) - 1)
        overlaps = (min(end, until) - max(begin, since) for since, until in self._stalls[first:])
        return sum(takewhile(lambda overlap: overlap > 0, dropwhile(lambda overlap: overlap <= 0, overlaps)))

    def run(self, number: int, until: float = math.inf) -> None:
        """Read and write until it is over, or that moment comes."""
        chance, last = drawn(self.seed * 100 + number), time.monotonic()
        while not self.board.is_over and last < until:
            now = time.monotonic()
            if now > last + _STALL_SECONDS:
                self.whole_since = now
            last = now
            try:
                self._act(chance)
            except Exception as error:  # noqa: BLE001 - no error of Redis may reach a caller
                line = extract_tb(error.__traceback__)[-1]
                where = f"{Path(line.filename).name}:{line.lineno} {line.name}"
                self.seen.errors.append(f"{type(error).__name__}: {error} ({where})")
            time.sleep(chance.random() * 0.01)

    def _act(self, chance: random.Random) -> None:
        action = chance.random() if self.may_change else chance.uniform(_CHANGES, 1.0)
        if action < _RARELY:
            self._change(self._own_item(RARE, KEPT, chance), chance)
        elif action < 0.05:
            self._change(self._own_item(0, RARE, chance), chance)
        elif action < _CHANGES:  # while a refresh is under way, which the first of these may begin
            item = self._own_item(0, RARE, chance)
            self._read([item], HIDDEN)
            self._change(item, chance)
            self._read([item], HIDDEN)
        elif action < 0.4:
            self._read([chance.randrange(ITEMS)], ITEM)
        elif action < 0.6:
            self._read([chance.randrange(ITEMS)], HIDDEN)
        elif action < 0.75:
            self._read(chance.sample(range(ITEMS), 6), ITEM)
        elif action < 0.85 and self.tables.is_possible:
            self._read_table(chance.randrange(ITEMS // 4), chance)
        else:
            self._read_page(chance.randrange(ITEMS // 4))
        if chance.random() < 0.01:
            self.cache.memory.clear()

    def _own_item(self, first: int, end: int, chance: random.Random) -> int:
        """Return an item that this process alone changes."""
        return first + self.number + PROCESSES * chance.randrange((end - first) // PROCESSES)

    def _change(self, item: int, chance: random.Random) -> None:
        with self._lock:
            version = self.board.write(item)
            groups = [f"item-{item}", f"hidden-{item}"]
            if chance.random() < 0.2:
                self.cache.set(ITEM.key(number=item), version)
            is_written = True
            if self.tables.is_possible and chance.random() < 0.5:
                is_written = self.tables.write(item, version)
            else:
                groups.append(self.tables.group_of(item))
            in_redis = self.cache.invalidate(groups=groups).in_redis and is_written
            self.own[item] = version
            over = time.monotonic()
            if in_redis:
                self.board.note(item, version, over)
            self.seen.invalidations += 1
            self.seen.owed += not in_redis
            self.events[item].append((over, "invalidated" if in_redis else "owed", version))

    def _source(self, item: int, spent: list[float]) -> int:
        self.seen.loads += 1
        began = time.monotonic()
        version = self.board.version(item)
        time.sleep(_SLOW_LOAD_SECONDS if self._slowness.random() < _SLOW else _LOAD_SECONDS)
        spent.append(time.monotonic() - began)
        return version

    def _item(self, item: int, family: Family[int], spent: list[float]) -> int:
        def load(context: LoadContext[int]) -> int:
            if family is HIDDEN:
                context.add_groups([f"hidden-{item}"])
            return self._source(item, spent)

        value: int = self.cache.get_or_load(family.key(number=item), load)
        return value

    def _floors(self, items: Sequence[int]) -> tuple[float, list[int]]:
        """Return when it is, and the least versions that a read from now on may see."""
        began = time.monotonic()
        is_whole = self.whole_since + BOUND_SECONDS < began and began > self.board.lenient_until
        self.seen.cut_off += not is_whole
        heard = began - BOUND_SECONDS if is_whole else 0.0
        return began, [max(self.own[item], self.board.least(item, heard)) for item in items]

    def _read(self, items: Sequence[int], family: Family[int]) -> None:
        began, least = self._floors(items)
        spent: list[float] = []
        if len(items) == 1:
            values = [self._item(items[0], family, spent)]
        else:
            keys = [family.key(number=item) for item in items]
            found = self.cache.get_many_or_load(
                keys,
                lambda some: {key: self._source(int(key.name.rpartition(":")[2]), spent) for key in some},
            )
            values = [found[key] for key in keys]
        what = family.name if len(items) == 1 else "batch"
        self._calls.append((began, time.monotonic(), sum(spent), what))
        self._judge(family.name, items, values, least, began)

    def _read_page(self, page: int) -> None:
        items = range(page * 4, page * 4 + 4)
        began, least = self._floors(items)
        values: list[int] = self.cache.get_or_load(
            PAGE.key(number=page),
            lambda _: [self._item(item, HIDDEN if item % 2 else ITEM, []) for item in items],
        )
        self._judge("page", items, values, least, began)

    def _read_table(self, page: int, chance: random.Random) -> None:
        items = self.tables.items(page)
        began, least = self._floors(items)
        spent: list[float] = []
        read, values = self.tables.read(page, lambda item: self._source(item, spent), chance)
        self._calls.append((began, time.monotonic(), sum(spent), "table"))
        self._judge("table", read, values, [least[item - items[0]] for item in read], began)

    def _judge(
        self,
        name: str,
        items: Sequence[int],
        values: Sequence[int],
        least: Sequence[int],
        began: float,
    ) -> None:
        self.seen.reads += 1
        for item, value, low in zip(items, values, least, strict=True):
            self.events[item].append((began, f"read {name}", value))
            if value < low:
                link = self.cache.link
                self.seen.violations.append(
                    {
                        "process": self.number,
                        "item": item,
                        "through": name,
                        "version": value,
                        "least": low,
                        "is_own": low == self.own[item],
                        "at": began,
                        "whole_for": began - self.whole_since,
                        "link": [link.is_up, link.can_hear, list(link.generations)[:3]],
                        "history": list(self.events[item]),
                    }
                )


class Process:
    """Runs a client's threads until it is over, and forks when it is told to by a signal."""

    def __init__(self, client: Client, folder: Path) -> None:
        self._client = client
        self._folder = folder
        self._is_to_fork = False
        signal.signal(signal.SIGUSR1, self._ask_for_fork)

    def _ask_for_fork(self, *_: object) -> None:
        self._is_to_fork = True

    def run(self) -> None:
        """Run; what the children saw is in files of the folder then."""
        client = self._client
        threads = [
            Thread(target=client.watch),
            *(Thread(target=client.run, args=(each,)) for each in range(4)),
        ]
        for thread in threads:
            thread.start()
        while not client.board.is_over:
            time.sleep(0.02)
            if self._is_to_fork:
                self._is_to_fork = False
                client.seen.forks += 1
                if os.fork() == 0:
                    self._run_child()
        for thread in threads:
            thread.join()

    def _run_child(self) -> None:
        """Read for some seconds with the parent's cache, and knowing what the parent's callers were told."""
        board, parent = self._client.board, self._client
        child = Client(board, parent.cache, parent.number, parent.seed + os.getpid())
        child.own, child.may_change = parent.own.copy(), False
        until = time.monotonic() + _FORK_SECONDS
        threads = [
            Thread(target=child.watch, args=(until,)),
            *(Thread(target=child.run, args=(each, until)) for each in range(2)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (self._folder / f"fork-{os.getpid()}.json").write_text(json.dumps(vars(child.seen)))
        os._exit(0)


def main(file: str, number: int, kind: str, url: str, prefix: str, seed: int, timeout: float) -> None:
    """Run until it is over, then print what was seen."""
    board = Board(Path(file))
    options = RedisOptions(url=url, prefix=prefix, timeout=timeout)
    made: dict[str, Any] = {"clock": ShiftedClock(board, number)}
    cache: Any = LayeredCache(options, **made) if kind == "threads" else Blocking(options, **made)
    client = Client(board, cache, number, seed)
    Process(client, Path(file).parent).run()
    cache.close()
    sys.stdout.write(json.dumps(vars(client.seen)) + "\n")


if __name__ == "__main__":
    _, where, which, how, address, named, seeded, patience = sys.argv
    main(where, int(which), how, address, named, int(seeded), float(patience))
