"""What is kept as a sorted set: scores by member, or the items of a list by their places."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, get_args, get_origin

from origin_sdk.layers.errors import InvalidFamily, UnstableKey, UnsupportedValue
from origin_sdk.layers.values.shapes.base import Shape, with_changes
from origin_sdk.layers.values.shapes.parts import LENGTH, Names, Packing, Pairs, Values

__all__ = ["SortedItems", "SortedSet"]

_MOST_EXACT: Final = 1 << 53
"""The largest integer up to which a score holds each one."""


class SortedSet(Shape[dict[object, float]]):
    """A dict of scores, from the lowest up; members of one score by their bytes, as Redis has them."""

    letter = "z"

    def __init__(self, kind: object, *, may_be_none: bool) -> None:
        super().__init__(kind, may_be_none=may_be_none)
        member, self._score = get_args(kind)
        if self._score not in {int, float}:
            raise InvalidFamily(f"{kind!r}: scores are of float or int: declare dict[{member!r}, float]")
        self._names = Names(member, "members of a sorted set")

    @property
    def container(self) -> type:
        """The class of whole values."""
        return dict

    def pairs(self, value: dict[object, float], packing: Packing, preferred: int) -> Pairs:
        return [self.part(member, score, packing, preferred) for member, score in value.items()]

    def value(self, pairs: Pairs, packing: Packing) -> dict[object, float]:
        del packing
        return {self._names.decode(member): self.score_of(score) for member, score in pairs}

    def name_of(self, data: bytes) -> object:
        """Return the member of bytes."""
        return self._names.decode(data)

    def score_of(self, data: bytes) -> float:
        """Return the score of bytes."""
        score = float(data)
        return int(score) if self._score is int else score

    def normal(self, value: object) -> object:
        if type(value) is not dict:
            return value
        try:
            ordered = sorted(value, key=lambda each: (value[each], self.member(each)))
        except (TypeError, UnstableKey):
            return value
        return {member: value[member] for member in ordered}

    def member(self, given: object) -> bytes:
        return self._names.encode(given)

    def part(self, member: object, given: object, packing: Packing, preferred: int) -> tuple[bytes, bytes]:
        del packing, preferred
        if not (isinstance(given, int | float) and type(given) is self._score and _is_score(given)):
            raise UnsupportedValue(
                f"the score {given!r}, where {self._score.__name__} is declared: no sorted set has it"
            )
        return self.member(member), repr(given).encode()

    def changed(
        self, value: dict[object, float], put: Mapping[object, object], removed: Iterable[object]
    ) -> object:
        return self.normal(with_changes(value, put, removed))


def _is_score(given: float) -> bool:
    """Whether a sorted set holds a number as it is: -0.0 comes back as 0, and large integers are rounded."""
    is_exact = type(given) is float or abs(given) <= _MOST_EXACT
    return is_exact and not math.isnan(given) and (given != 0 or math.copysign(1, given) > 0)


class SortedItems(Shape[Sequence[object]]):
    """A list, in pages: the place of an item is its score."""

    letter = "z"
    takes_parts = False

    def __init__(self, kind: Any, *, may_be_none: bool) -> None:
        super().__init__(kind, may_be_none=may_be_none)
        self._class: Callable[[Iterable[object]], Sequence[object]] = get_origin(kind)
        self._values = Values(get_args(kind)[0])

    @property
    def container(self) -> type:
        """The class of whole values."""
        return list if self._class is list else tuple

    def pairs(self, value: Sequence[object], packing: Packing, preferred: int) -> Pairs:
        return [
            (LENGTH.pack(place) + self._values.encode(each, packing, preferred), str(place).encode())
            for place, each in enumerate(value)
        ]

    def value(self, pairs: Pairs, packing: Packing) -> Sequence[object]:
        return self._class(self.item_of(member, packing) for member, _ in pairs)

    def item_of(self, data: bytes, packing: Packing) -> object:
        """Return the item of bytes."""
        return self._values.decode(data[LENGTH.size :], packing)

    def member(self, given: object) -> bytes:
        del given
        raise InvalidFamily(f"items of {self.kind!r} have no names: keep dict[…, float] for that")
