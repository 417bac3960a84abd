"""One process of the chaos: threads or tasks that read, change and invalidate, and hold all to an oracle.

What is shared is a file of numbers. For each item: its version in the source, and who invalidated up to which
version, and when that was over. A process writes the items of its own number alone.
"""

from __future__ import annotations

import json
import mmap
import random  # noqa: TID251 - chance is what this is about
import struct
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock, Thread
from typing import Any

from origin_sdk._process.clock import SystemClock
from origin_sdk.layers import Family, LayeredCache, LoadContext, Policy, RedisOptions
from scripts.runtime.chaos_loop import Blocking

__all__ = ["BOUND_SECONDS", "PROCESSES", "Board", "drawn"]

ITEMS = 40
PROCESSES = 5
BOUND_SECONDS = 2.5
"""After so long every process whose link is whole must have heard of an invalidation that Redis has noted."""
_RING = 64
_NUMBER = struct.Struct("<d")
_STALL_SECONDS = 1.0
_STALE = Policy(lifetime=0.6, stale=5.0, jitter=0.2)
_LASTING = Policy(lifetime=60.0, jitter=0.0)
ITEM = Family("item", "{number}", int, groups=("item-{number}",), policy=_LASTING)
HIDDEN = Family("hidden", "{number}", int, policy=_STALE)
"""Whose loader alone tells the group that its value belongs to."""
PAGE = Family("page", "{number}", list[int], policy=_LASTING)
_CLOCK, _STOP, _LENIENT, _WHOLE = range(4)
_HEAD = _WHOLE + PROCESSES


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

    clock_shift = property(lambda self: self._get(_CLOCK), lambda self, to: self._set(_CLOCK, to))
    is_over = property(lambda self: bool(self._get(_STOP)), lambda self, to: self._set(_STOP, to))
    lenient_until = property(lambda self: self._get(_LENIENT), lambda self, to: self._set(_LENIENT, to))
    """Until then there may be two primaries, of which a process may read the one that is on its way out."""

    def say_whole(self, number: int, *, is_whole: bool) -> None:
        """Note when a process last found its link whole; 0 if it isn't."""
        self._set(_WHOLE + number, time.monotonic() if is_whole else 0.0)

    def all_whole_at(self) -> float:
        """Return since when every process has found its link whole, or that it isn't so: 0."""
        return min(self._get(_WHOLE + number) for number in range(PROCESSES))

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

    def __init__(self, board: Board) -> None:
        self._board = board

    def now(self) -> float:
        return super().now() + float(self._board.clock_shift)


@dataclass
class Seen:
    """What a process saw."""

    reads: int = 0
    loads: int = 0
    invalidations: int = 0
    owed: int = 0
    cut_off: int = 0
    """Reads while its link was down or young, which are held to its own invalidations alone."""
    waits: list[tuple[float, float]] = field(default_factory=list)
    """When calls for items began, and what they took beside their loads, unless this process was stalled."""
    errors: list[str] = field(default_factory=list)
    violations: list[dict[str, Any]] = field(default_factory=list)


class Client:
    """The oracle's half in a process."""

    def __init__(self, board: Board, cache: Any, number: int, seed: int) -> None:
        self.board = board
        self.cache = cache
        self.number = number
        self.seed = seed
        self.seen = Seen()
        self.own = [0] * ITEMS
        self._calls: list[tuple[float, float, float]] = []
        """When calls began and ended, and how long their loads took."""
        self._stalls: list[tuple[float, float]] = []
        self.whole_since = time.monotonic()
        self.events: dict[int, deque[tuple[float, str, Any]]] = {
            item: deque(maxlen=40) for item in range(ITEMS)
        }
        self._lock = Lock()

    def watch(self) -> None:
        """Note since when the link is whole, and stalls of this process."""
        last = time.monotonic()
        while not self.board.is_over:
            now = time.monotonic()
            link = self.cache.link
            is_whole = link.is_up and link.can_hear
            self.board.say_whole(self.number, is_whole=is_whole)
            if not is_whole or now > last + _STALL_SECONDS:
                self.whole_since = now
            if now > last + _STALL_SECONDS / 5:
                self._stalls.append((last, now))
            last = now
            time.sleep(0.02)
        self.seen.waits = [
            (begin, max(0.0, end - begin - loading))
            for begin, end, loading in self._calls
            if not any(begin < until and since < end for since, until in self._stalls)
        ]

    def run(self, number: int) -> None:
        """Read and write until it is over."""
        chance, last = drawn(self.seed * 100 + number), time.monotonic()
        while not self.board.is_over:
            now = time.monotonic()
            if now > last + _STALL_SECONDS:
                self.whole_since = now
            last = now
            try:
                self._act(chance)
            except Exception as error:  # noqa: BLE001 - no error of Redis may reach a caller
                self.seen.errors.append(f"{type(error).__name__}: {error}")
            time.sleep(chance.random() * 0.01)

    def _act(self, chance: random.Random) -> None:
        action = chance.random()
        if action < 0.07:
            self._change(self.number + PROCESSES * chance.randrange(ITEMS // PROCESSES), chance)
        elif action < 0.4:
            self._read([chance.randrange(ITEMS)], ITEM)
        elif action < 0.6:
            self._read([chance.randrange(ITEMS)], HIDDEN)
        elif action < 0.8:
            self._read(chance.sample(range(ITEMS), 6), ITEM)
        else:
            self._read_page(chance.randrange(ITEMS // 4))
        if chance.random() < 0.01:
            self.cache.memory.clear()

    def _change(self, item: int, chance: random.Random) -> None:
        with self._lock:
            version = self.board.write(item)
            groups = [f"item-{item}", f"hidden-{item}"]
            if chance.random() < 0.2:
                self.cache.set(ITEM.key(number=item), version)
            in_redis = self.cache.invalidate(groups=groups).in_redis
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
        time.sleep(0.002)
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
        self._calls.append((began, time.monotonic(), sum(spent)))
        self._judge(family.name, items, values, least, began)

    def _read_page(self, page: int) -> None:
        items = range(page * 4, page * 4 + 4)
        began, least = self._floors(items)
        values: list[int] = self.cache.get_or_load(
            PAGE.key(number=page),
            lambda _: [self._item(item, HIDDEN if item % 2 else ITEM, []) for item in items],
        )
        self._judge("page", items, values, least, began)

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


def main(file: str, number: int, kind: str, url: str, prefix: str, seed: int, timeout: float) -> None:
    """Run until it is over, then print what was seen."""
    board = Board(Path(file))
    options = RedisOptions(url=url, prefix=prefix, timeout=timeout)
    made: dict[str, Any] = {"clock": ShiftedClock(board)}
    cache: Any = LayeredCache(options, **made) if kind == "threads" else Blocking(options, **made)
    client = Client(board, cache, number, seed)
    # A process that comes after another of its number knows what that one's callers were told.
    threads = [Thread(target=client.watch), *(Thread(target=client.run, args=(each,)) for each in range(4))]
    cache.wait_until_synced(10)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cache.close()
    seen = client.seen
    sys.stdout.write(json.dumps(vars(seen)) + "\n")


if __name__ == "__main__":
    _, where, which, how, address, named, seeded, patience = sys.argv
    main(where, int(which), how, address, named, int(seeded), float(patience))
