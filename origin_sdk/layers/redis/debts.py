"""Invalidations that Redis hasn't confirmed."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from itertools import count, islice
from threading import Lock

from origin_sdk.layers.process.moments import Moments

__all__ = ["Debts", "Payment"]

_MOST_OWED = 100_000
_NAMES_AT_ONCE = 500
"""This many take Redis about a millisecond."""


@dataclass(frozen=True, slots=True)
class Payment:
    """What a shard is told of: names, or that all it holds is invalid."""

    shard: int
    names: tuple[str, ...]
    is_all: bool
    as_of: int
    """What is owed since is another debt, though it be of the same names: Redis may have been told before."""


class Debts:
    """By shard, the names that it has to be told of; or all, where there are too many to remember."""

    def __init__(self, moments: Moments) -> None:
        self.owed: dict[int, dict[str, int]] = {}
        """Each name with the number of the debt that it was last part of."""
        self.lock = Lock()
        self._owes_all: dict[int, int] = {}
        """The shards that are owed too many to remember: then all that they hold is invalid."""
        self._moments = moments
        self._numbers = count(1)
        self._last = 0

    def renew(self) -> None:
        """Start over after a fork. What is owed stays owed: parent and child both pay it."""
        self.lock = Lock()

    def add(self, names: Collection[str], shards: Collection[int]) -> set[int]:
        """Remember; return those of the shards that are owed too many to remember.

        Until names are paid, this process knows better than Redis whether they are valid.
        """
        with self.lock:
            self._last = number = next(self._numbers)
            for shard in shards:
                owed = self.owed.setdefault(shard, {})
                if len(owed) + len(names) > _MOST_OWED:
                    self._owes_all[shard] = number
                else:
                    owed.update(dict.fromkeys(names, number))
            forgotten = self._owes_all.keys() & set(shards)
            if len(forgotten) < len(shards):
                self._moments.add(names, math.inf)  # with the lock: a payment would settle it before it is so
            return forgotten

    def is_owed(self, shard: int) -> bool:
        """Whether a shard is owed anything; that holds as long as ``lock`` is held."""
        return bool(self.owed.get(shard)) or shard in self._owes_all

    def shards(self) -> list[int]:
        """Return the shards that are owed something."""
        with self.lock:
            return sorted(self.owed.keys() | self._owes_all.keys())

    def due(self, shard: int) -> Payment:
        """Return what to tell a shard of next."""
        with self.lock:
            is_all = shard in self._owes_all
            names = islice(self.owed.get(shard, ()), None if is_all else _NAMES_AT_ONCE)
            return Payment(shard, tuple(names), is_all, self._last)

    def paid(self, payment: Payment, moment: float, *, is_all: bool) -> None:
        """Forget what a shard knows of now; or ``is_all`` that it held is invalid."""
        shard, as_of = payment.shard, payment.as_of
        with self.lock:
            if is_all and self._owes_all.get(shard, 0) <= as_of:
                self._owes_all.pop(shard, None)
            owed = self.owed.get(shard, {})
            for name in payment.names:
                if owed.get(name, as_of) <= as_of:
                    owed.pop(name, None)
            if not owed:
                self.owed.pop(shard, None)
            settled = [name for name in payment.names if not any(name in each for each in self.owed.values())]
            self._moments.settle(settled, moment)
