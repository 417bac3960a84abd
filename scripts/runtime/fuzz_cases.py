"""What cases of the fuzzer are made of, and held to."""

from __future__ import annotations

import random  # noqa: TID251 - chance is what this is about
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

__all__ = ["NOISE", "Chance", "FoundError", "hold"]

_T = TypeVar("_T")
_LONG = 50_000


class FoundError(Exception):
    """A case that breaks a promise; the message says how to make it again."""


@dataclass(frozen=True, slots=True)
class Chance:
    """Where a case takes its parts from."""

    random: random.Random

    def one(self, of: Sequence[_T]) -> _T:
        """Return one of several."""
        return of[self.random.randrange(len(of))]

    def often(self, share: float) -> bool:
        """Return true in that share of the cases."""
        return self.random.random() < share

    def text(self, pieces: Sequence[str], most: int = 12) -> str:
        """Return some pieces in a row, mutated now and then."""
        made = "".join(self.one(pieces) for _ in range(self.random.randrange(most + 1)))
        for _ in range(self.random.randrange(3) if self.often(0.3) else 0):
            at = self.random.randrange(len(made) + 1)
            made = made[:at] + self.one(NOISE) + made[at + self.random.randrange(3) :]
        return made

    def long_text(self, pieces: Sequence[str]) -> str:
        """Return a text as above, one piece of which may be there very often, at either end."""
        made = self.text(pieces)
        if self.often(0.02):
            many = "".join(self.one(pieces) for _ in range(1 + self.random.randrange(2))) * _LONG
            made = many + made if self.often(0.5) else made + many
        return made


NOISE = [
    *"\x00\t\n\r \"\\,;:=%#?&/.*@()'`~^[]{}|<>+-_09azAZ\x7f", "\xe9", "\u20ac", "\U0001f600", "%0d%0a",
    "9" * 25,
]  # fmt: skip


def hold(truth: object, what: str, *shown: object) -> None:
    """Raise AssertionError unless it is so."""
    if not truth:
        raise AssertionError(f"{what}: {', '.join(map(repr, shown))}")
